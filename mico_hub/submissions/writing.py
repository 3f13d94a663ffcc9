"""Writes predictions, in the form that the path's suffix names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Union

from numpy.typing import ArrayLike

from mico_hub.submissions.archive import SUFFIX, write_archive
from mico_hub.submissions.check import Content, Predictions, SubmissionError, validate
from mico_hub.submissions.folder import files_of, write_folder
from mico_hub.submissions.parquet import write_parquet
from mico_hub.suites import Suite, get_suite

if TYPE_CHECKING:  # it takes seconds to import, and a judge has none to spare
    from mico_hub.handle import Handle

_OTHERS = (".npy", ".npz", ".csv", ".json", ".txt", ".pkl", ".pickle", ".feather", ".tar", ".gz", ".tgz", ".7z", ".rar")
"""Suffixes that a folder will hardly have: another form was meant."""

_Named = TypeVar("_Named", bound=Union["Handle", Suite, str])

ByModel = Mapping[int, ArrayLike] | Sequence[ArrayLike]
"""Model id -> (2m,) in the order of its challenge; or these alone, models by ascending id."""


def write(
    path: Path | str,
    predictions: Mapping[tuple[_Named, str], ByModel],
    *,
    points: int | None = None,
    fingerprints: Mapping[str, str] | None = None,
) -> None:
    """Writes a submission; it gives back the very same float64 values.

    Args:
        path: `NAME.zip`, as the competition took it, `NAME.parquet`, or a folder. A file appears whole or not at all.
        predictions: (suite, split) -> what `validate` takes, or as `mico_hub.attack` gives it, in the order of the
            split. A suite that was opened (`open_suite`) says which models there are, and its fingerprint goes with
            them; one of the table, or its name, has all models.
        points: As `validate` takes it.
        fingerprints: Of suites that are named: name -> `Handle.fingerprint`, which `read` compares.

    Raises:
        SubmissionError: The predictions are not valid; nothing is written.
        KeyError: There is no such suite.
        ValueError: There is no such split, or the file's name is of another form.
    """
    path, content = Path(path), complete(predictions, points=points)
    if path.suffix.lower() in _OTHERS:
        raise ValueError(f"{path.name}: expected NAME.zip, NAME.parquet or a folder")
    known = {suite.name: suite.fingerprint for suite, _ in predictions if not isinstance(suite, str | Suite)}
    known |= fingerprints or {}
    if path.suffix.lower() == SUFFIX:
        write_archive(path, files_of(content, known))
    elif path.suffix.lower() == ".parquet":
        write_parquet(path, content, known)
    else:
        write_folder(path, content, known)


def complete(predictions: Mapping[tuple[_Named, str], ByModel], *, points: int | None = None) -> Content:
    """What `write` writes, checked; arguments and errors as there."""
    content, problems = dict[tuple[Suite, str], Predictions](), []
    for (named, split), given in predictions.items():
        suite, models = _models(named, split)
        try:
            by_model = given if isinstance(given, Mapping) else _in_order(given, models, f"{suite.name}/{split}")
            content[suite, split] = validate(by_model, suite, split, points=points, models=models)
        except SubmissionError as error:
            problems.append(error)
    if len(problems) > 1:
        raise SubmissionError("predictions", [str(each) for each in problems])
    if problems:
        raise problems[0]
    return content


def _models(named: Union["Handle", Suite, str], split: str) -> tuple[Suite, Sequence[int]]:
    """The suite, and the ids of the split's models."""
    if not isinstance(named, str | Suite):
        return named.manifest.suite, [row["model_id"] for row in named.challenges(split)]
    suite = get_suite(named) if isinstance(named, str) else named
    if split not in suite.model_ids:
        raise ValueError(f"{suite.name}: expected a split of {', '.join(suite.model_ids)}, got {split!r}")
    return suite, suite.model_ids[split]


def _in_order(given: Sequence[ArrayLike], models: Sequence[int], where: str) -> dict[int, ArrayLike]:
    if len(given) != len(models):
        raise SubmissionError(where, [f"expected predictions for {len(models):,} models, got {len(given):,}"])
    return dict(zip(models, given, strict=True))
