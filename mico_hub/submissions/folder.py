"""Predictions as the competition's scorer reads them: a folder with `<track>/<suite>/<split>/model_N/prediction.csv`.

Each is one line of comma-separated numbers in [0, 1], in challenge order, higher = member. Beside the models' folders
`submission.json` says which models were attacked; the competition's own submissions have none.
"""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from numpy.typing import ArrayLike

from mico_hub.cache import atomic_write
from mico_hub.submissions.check import (
    BYTES_PER_VALUE,
    FILE_NAME,
    SubmissionError,
    Wanted,
    about,
    read_bounded,
    validate,
)
from mico_hub.suites import Suite

ABOUT = "submission.json"
ABOUT_BYTES = 10_000


def write(
    root: Path,
    suite: Suite,
    split: str,
    predictions: Mapping[int, ArrayLike],
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
    fingerprint: str | None = None,
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
        fingerprint: Of the suite that was attacked, `Handle.fingerprint`: `read` compares it.

    Raises:
        SubmissionError: The predictions are not valid; nothing is written.
    """
    folder = root / suite.track / suite.name / split
    valid = validate(predictions, suite, split, points=points, models=models)
    (folder / ABOUT).unlink(missing_ok=True)  # which is not about what comes now
    for model_id, values in valid.items():
        line = ",".join(map(repr, values.tolist())) + "\n"
        atomic_write(folder / f"model_{model_id}" / FILE_NAME, line.encode())
    if fingerprint is not None:
        atomic_write(folder / ABOUT, about({suite.name: fingerprint}))
    return folder


def read_about(path: Path, suite: Suite, split: str, where: str) -> bytes | None:
    """`submission.json`; None: there is none.

    Raises:
        SubmissionError: As `read_folder`.
        OSError: It cannot be read.
        ValueError: It is too large, or a link out of `path`.
    """
    file = _split_folder(path, suite, split, where) / ABOUT
    return _read_inside(file, _roots(path), ABOUT_BYTES) if file.exists() else None


def read_folder(path: Path, suite: Suite, split: str, wanted: Wanted) -> list[tuple[str, ArrayLike | Exception]]:
    """What is there for each model, by its folder's name: its numbers as text, or why they cannot be read.

    Raises:
        SubmissionError: The split's folder is missing, lies outside `path`, or could be one of several.
    """
    folder = _split_folder(path, suite, split, wanted.where)
    roots = _roots(path)
    known = [f"model_{model_id}" for model_id in wanted.models]
    found: list[tuple[str, ArrayLike | Exception]] = []
    for name in known:
        try:
            found.append((name, _read_csv(folder / name / FILE_NAME, roots, wanted.points)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as problem:
            found.append((name, problem))
    there = {entry.name for entry in folder.iterdir() if entry.name.startswith("model_")}
    return [*found, *((name, []) for name in sorted(there.difference(known)))]


def _split_folder(path: Path, suite: Suite, split: str, where: str) -> Path:
    """The folder of the split, in a path that may itself end with the track, the suite or the split."""
    parts = (suite.track, suite.name, split)
    given = path.absolute().parts
    candidates = [path.joinpath(*parts[k:]) for k in range(4) if k == 0 or given[-k:] == parts[:k]]
    folders = [folder for folder in candidates if folder.is_dir()]
    if len(folders) > 1:
        raise SubmissionError(where, [f"more than one folder can be meant by {'/'.join(parts)}"])
    if not folders and path.is_dir() and any("\\" in entry.name for entry in path.iterdir()):
        raise SubmissionError(
            where,
            ["file names have backslashes, from an archive that Windows made; unpack it with `unzip` or `7z`"],
        )
    if not folders:
        raise SubmissionError(where, [f"expected a Parquet file or a folder with {'/'.join(parts)}"])
    if not folders[0].resolve().is_relative_to(path.resolve()):
        raise SubmissionError(where, [f"{'/'.join(parts)} is a link out of the submission"])
    return folders[0]


def _roots(path: Path) -> list[Path]:
    """Where a submission's files may be; those of a snapshot in the Hub's cache are links into `blobs/` beside it."""
    root = path.resolve()
    commits = [folder for folder in (root, *root.parents) if folder.parent.name == "snapshots"]
    return [root, *(each.parent.with_name("blobs") for each in commits if re.fullmatch("[0-9a-f]{40}", each.name))]


def _read_inside(path: Path, roots: Iterable[Path], limit: int) -> bytes:
    """As `read_bounded`, of a file inside one of `roots`."""
    try:
        real = path.resolve(strict=True)
    except RuntimeError:
        raise ValueError(f"{path.name} is a link to itself") from None
    if not any(map(real.is_relative_to, roots)):
        raise ValueError(f"{path.name} is a link out of the submission; copy the files themselves, as `cp -rL` does")
    return read_bounded(real, limit)


def _read_csv(path: Path, roots: Iterable[Path], points: int) -> list[str]:
    """The fields of the file's one line. OSError or ValueError where it is not as it should be."""
    content = _read_inside(path, roots, BYTES_PER_VALUE * (points + 1))
    try:
        lines = content.decode(_encoding(content)).strip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{FILE_NAME} is not text") from None
    if len(lines) != 1:
        raise ValueError(f"{FILE_NAME}: expected one line of {points} numbers, got {len(lines)} lines")
    return lines[0].split(",")


def _encoding(content: bytes) -> str:
    """UTF-16, as some programs on Windows write a text, shows by its first bytes."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return {b"\0": "utf-16-be"}.get(content[:1]) or ("utf-16-le" if content[1:2] == b"\0" else "utf-8-sig")
