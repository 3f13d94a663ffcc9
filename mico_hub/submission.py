"""Predictions of an attack as files: write them, read them, check them, all without the answers.

Two forms, for the same content:

- `<track>/<suite>/<split>/model_N/prediction.csv`, as the competition's scorer reads them: one line of comma-separated
  numbers in [0, 1], in challenge order, higher = member;
- one Parquet file with a row for each model of any number of suites and splits, and the columns of `COLUMNS`.

A submission comes from a stranger: nothing outside its folder is read, no more of a file is read than the points could
need, and an error names everything that is wrong.
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from mico_hub.cache import atomic_write
from mico_hub.messages import InputError
from mico_hub.scoring import validate_predictions
from mico_hub.suites import SUITES, Suite

Predictions = dict[int, NDArray[np.float64]]
"""Model id -> (points,) in challenge order, for every model of a split, ascending."""

COLUMNS = pa.schema(
    {"suite": pa.string(), "split": pa.string(), "model_id": pa.int32(), "predictions": pa.list_(pa.float64())}
)
"""The columns of the Parquet form; predictions are in challenge order."""

FILE_NAME = "prediction.csv"
BYTES_PER_VALUE = 64
"""What a file may spend on a number. The longest float64 that must round-trip takes 24 characters."""

SHOWN = 10
"""Names that an error lists before it only counts them."""


class SubmissionError(InputError, ValueError):
    """Predictions that cannot be scored.

    Attributes:
        problems: Everything that is wrong, one line each.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"{where}: {count}", *problems]))


def validate(
    predictions: Mapping[int, ArrayLike],
    suite: Suite,
    split: str,
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
) -> Predictions:
    """Checks the predictions for one split.

    Args:
        predictions: Model id -> (points,) in [0, 1], in challenge order.
        suite: Says which models there are.
        split: `train`, `dev` or `final`.
        points: Challenge points of each model; None: the suite's 2m.
        models: The ids that there must be, for a source that lacks some; None: all of the split.

    Returns:
        The same predictions as float64, by ascending model id.

    Raises:
        SubmissionError: Names every missing and extra model and every wrong number at once.
        ValueError: There is no such split.
    """
    found = [(f"model_{i}", values) for i, values in predictions.items()]
    return _validate(found, _Wanted.of(suite, split, points, models))


def write(
    root: Path,
    suite: Suite,
    split: str,
    predictions: Mapping[int, ArrayLike],
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
) -> Path:
    """Writes `root/<track>/<suite>/<split>/model_N/prediction.csv` for every model; gives the split's folder.

    Each file appears whole or not at all, and gives back the very same float64 values.

    Args:
        root: Made where it does not exist.
        suite: Whose predictions they are.
        split: `train`, `dev` or `final`.
        predictions: As `validate` takes them.
        points: As `validate` takes it.
        models: As `validate` takes them.

    Raises:
        SubmissionError: The predictions are not valid; nothing is written.
    """
    folder = root / suite.track / suite.name / split
    for model_id, values in validate(predictions, suite, split, points=points, models=models).items():
        line = ",".join(map(repr, values.tolist())) + "\n"
        atomic_write(folder / f"model_{model_id}" / FILE_NAME, line.encode())
    return folder


def write_parquet(
    path: Path, predictions: Mapping[tuple[Suite, str], Mapping[int, ArrayLike]], *, points: int | None = None
) -> None:
    """Writes one Parquet file, whole or not at all.

    Args:
        path: The file.
        predictions: (suite, split) -> what `validate` takes.
        points: As `validate` takes it.

    Raises:
        SubmissionError: The predictions are not valid; nothing is written.
    """
    rows = [
        {"suite": suite.name, "split": split, "model_id": model_id, "predictions": values}
        for (suite, split), models in predictions.items()
        for model_id, values in validate(models, suite, split, points=points).items()
    ]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), content, compression="zstd")
    atomic_write(path, content.getvalue())


def read(
    path: Path,
    suite: Suite,
    split: str,
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
) -> Predictions:
    """The predictions for one split, read from either form and checked by `validate`.

    Args:
        path: A Parquet file, or the folder that holds `<track>/<suite>/<split>`, or one of those three folders.
        suite: Whose predictions are wanted.
        split: `train`, `dev` or `final`.
        points: As `validate` takes it.
        models: As `validate` takes them.

    Raises:
        SubmissionError: Names everything that is wrong: files that are missing, cannot be read, are too large or lie
            outside `path`, and what `validate` names.
        ValueError: There is no such split.
    """
    wanted = _Wanted.of(suite, split, points, models, path)
    if path.is_file():
        try:
            rows = _read_rows(path, suite, split, wanted.points)
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise SubmissionError(wanted.where, [_reason(problem, path.name)]) from problem
        return _validate([(f"model_{model_id}", values) for model_id, values in rows], wanted)

    folder = _split_folder(path, suite, split, wanted.where)
    known = [f"model_{model_id}" for model_id in wanted.models]
    found: list[tuple[str, ArrayLike | Exception]] = []
    for name in known:
        try:
            found.append((name, _read_csv(folder / name / FILE_NAME, path.resolve(), wanted.points)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as problem:
            found.append((name, problem))
    there = {entry.name for entry in folder.iterdir() if entry.name.startswith("model_")}
    return _validate([*found, *((name, []) for name in sorted(there.difference(known)))], wanted)


@dataclass(frozen=True)
class _Wanted:
    """What the predictions for a split must be."""

    where: str  # for errors
    models: Sequence[int]
    points: int  # of each model

    @classmethod
    def of(
        cls, suite: Suite, split: str, points: int | None, models: Sequence[int] | None, path: Path | None = None
    ) -> "_Wanted":
        if split not in suite.model_ids:
            raise ValueError(f"{suite.name}: expected a split of {', '.join(suite.model_ids)}, got {split!r}")
        where = f"{suite.name}/{split}" + (f" in {path}" if path else "")
        ids = suite.model_ids[split] if models is None else models
        return cls(where, ids, 2 * suite.m if points is None else points)


def _validate(found: Sequence[tuple[str, ArrayLike | Exception]], wanted: _Wanted) -> Predictions:
    """What `validate` returns, from what was found for each model: its predictions, or why they cannot be read."""
    models = {f"model_{model_id}": model_id for model_id in wanted.models}
    times = Counter(name for name, _ in found)
    problems = [
        f"{_listed(names)} {what}"
        for names, what in (
            ([name for name in models if name not in times], "missing"),
            ([name for name in times if name not in models], f"not expected, only {_listed([*models])}"),
            ([name for name in times if times[name] > 1], "more than once"),
        )
        if names
    ]
    valid: Predictions = {}
    for name, values in sorted(dict(found).items(), key=lambda item: models.get(item[0], 0)):
        if isinstance(values, Exception):
            problems.append(f"{name}: {_reason(values, FILE_NAME)}")
        elif name in models:
            try:
                valid[models[name]] = validate_predictions(values, expected=wanted.points, where=name)
            except ValueError as problem:
                problems.append(str(problem))
    if problems:
        raise SubmissionError(wanted.where, problems)
    return valid


def _reason(problem: Exception, name: str) -> str:
    # The text of an OSError has the whole path, which is no business of whoever submitted.
    return f"{name}: {problem.strerror}" if isinstance(problem, OSError) and problem.strerror else str(problem)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:SHOWN]) + (
        f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    )


def _split_folder(path: Path, suite: Suite, split: str, where: str) -> Path:
    """The folder of the split, in a path that may itself end with the track, the suite or the split."""
    parts = (suite.track, suite.name, split)
    given = path.absolute().parts
    candidates = [path.joinpath(*parts[k:]) for k in range(4) if k == 0 or given[-k:] == parts[:k]]
    folders = [folder for folder in candidates if folder.is_dir()]
    if len(folders) > 1:
        raise SubmissionError(where, [f"more than one folder can be meant by {'/'.join(parts)}"])
    if not folders:
        raise SubmissionError(where, [f"expected a Parquet file or a folder with {'/'.join(parts)}"])
    if not folders[0].resolve().is_relative_to(path.resolve()):
        raise SubmissionError(where, [f"{'/'.join(parts)} is a link out of the submission"])
    return folders[0]


def _read_csv(path: Path, root: Path, points: int) -> list[str]:
    """The fields of the file's one line. OSError or ValueError where it is not as it should be."""
    try:
        real = path.resolve(strict=True)
    except RuntimeError:
        raise ValueError(f"{FILE_NAME} is a link to itself") from None
    if not real.is_relative_to(root):
        raise ValueError(f"{FILE_NAME} is a link out of the submission")
    content = _read_bounded(real, BYTES_PER_VALUE * (points + 1))
    try:
        lines = content.decode("utf-8-sig").strip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{FILE_NAME} is not text") from None
    if len(lines) != 1:
        raise ValueError(f"{FILE_NAME}: expected one line of {points} numbers, got {len(lines)} lines")
    return lines[0].split(",")


def _read_rows(path: Path, suite: Suite, split: str, points: int) -> list[tuple[int, ArrayLike]]:
    """Model id and predictions of the split's rows. OSError, ValueError or ArrowException where it cannot be had."""
    most_rows = sum(sum(each.models) for each in SUITES.values()) + sum(suite.models)
    most_values = most_rows * (points + 1)
    content = _read_bounded(path, BYTES_PER_VALUE * most_values)
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=["suite", "split"])
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    # Encoded and compressed, a few bytes can stand for any number of values.
    if file.metadata.num_rows > most_rows or any(column.num_values > most_values for column in columns):
        raise ValueError(f"{path.name} has more than {most_rows} rows or {most_values} values")
    if sum(column.total_uncompressed_size for column in columns) > BYTES_PER_VALUE * most_values:
        raise ValueError(f"{path.name} would unpack to more than {BYTES_PER_VALUE * most_values} bytes")
    lacking = [name for name in COLUMNS.names if name not in file.schema_arrow.names]
    if lacking:
        raise ValueError(f"{path.name}: expected the columns {', '.join(COLUMNS.names)}, got no {', '.join(lacking)}")
    table = file.read(columns=COLUMNS.names)
    numbers = table.select(COLUMNS.names[2:]).cast(pa.schema(list(COLUMNS)[2:])).to_pylist()
    rows: dict[tuple[str | None, str | None], list[tuple[int, ArrayLike]]] = {}
    for key, row in zip(zip(_names(table["suite"]), _names(table["split"]), strict=True), numbers, strict=True):
        rows.setdefault(key, []).append((row["model_id"], row["predictions"] or []))
    if (suite.name, split) not in rows:
        there = sorted(f"{its_suite}/{its_split}" for its_suite, its_split in rows)
        raise ValueError(f"{path.name} has no row for it, only for {_listed(there) or 'nothing'}")
    return rows[suite.name, split]


def _names(column: pa.ChunkedArray) -> Iterator[str | None]:
    """The strings of a dictionary column, each once in memory: written out, a long one could fill it from few bytes."""
    if not pa.types.is_dictionary(column.type):
        raise ValueError(f"expected suite and split to be strings, got {column.type}")
    for chunk in column.chunks:
        names = chunk.dictionary.to_pylist()
        yield from (None if index is None else names[index] for index in chunk.indices.to_pylist())


def _read_bounded(path: Path, limit: int) -> bytes:
    if not path.is_file():  # a pipe or a device could be read for ever
        raise ValueError(f"{path.name} is not a file")
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than the {limit} bytes that its points could need")
    return content
