"""Writes predictions, in the form that the path's suffix names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from numpy.typing import ArrayLike

from mico_hub.submissions.archive import SUFFIX, write_archive
from mico_hub.submissions.check import Content, Predictions, SubmissionError, validate
from mico_hub.submissions.folder import files_of, write_folder
from mico_hub.submissions.parquet import write_parquet
from mico_hub.suites import Suite, get_suite

_Named = TypeVar("_Named", bound=Suite | str)

ByModel = Mapping[int, ArrayLike] | Sequence[ArrayLike]
"""Model id -> (2m,) in the order of its challenge; or these alone, models by ascending id."""


def write(
    path: Path | str,
    predictions: Mapping[tuple[_Named, str], ByModel],
    *,
    points: int | None = None,
    partial: bool = False,
    fingerprints: Mapping[str, str] | None = None,
) -> None:
    """Writes a submission; it gives back the very same float64 values.

    Args:
        path: `NAME.zip`, as the competition took it, `NAME.parquet`, or a folder. A file appears whole or not at all.
        predictions: (suite or its name, split) -> what `validate` takes, or as `mico_hub.attack` gives it, in the order
            of the split.
        points: As `validate` takes it.
        partial: Whether models may be missing, as for a source that lacks some.
        fingerprints: Suite's name -> `Handle.fingerprint` of the suite that was attacked: `read` compares it.

    Raises:
        SubmissionError: The predictions are not valid; nothing is written.
        KeyError: There is no such suite.
        ValueError: There is no such split.
    """
    path, content = Path(path), complete(predictions, points=points, partial=partial)
    known = fingerprints or {}
    if path.suffix.lower() == SUFFIX:
        write_archive(path, files_of(content, known))
    elif path.suffix.lower() == ".parquet":
        write_parquet(path, content, known)
    else:
        write_folder(path, content, known)


def complete(
    predictions: Mapping[tuple[_Named, str], ByModel], *, points: int | None = None, partial: bool = False
) -> Content:
    """What `write` writes, checked; arguments and errors as there."""
    content, problems = dict[tuple[Suite, str], Predictions](), []
    for (named, split), given in predictions.items():
        suite = get_suite(named) if isinstance(named, str) else named
        try:
            by_model = given if isinstance(given, Mapping) else _in_order(given, suite, split)
            models = sorted(by_model) if partial else None
            content[suite, split] = validate(by_model, suite, split, points=points, models=models)
        except SubmissionError as error:
            problems.append(error)
    if len(problems) > 1:
        raise SubmissionError("predictions", [str(each) for each in problems])
    if problems:
        raise problems[0]
    return content


def _in_order(given: Sequence[ArrayLike], suite: Suite, split: str) -> dict[int, ArrayLike]:
    if split not in suite.model_ids:
        raise ValueError(f"{suite.name}: expected a split of {', '.join(suite.model_ids)}, got {split!r}")
    ids = suite.model_ids[split]
    if len(given) != len(ids):
        raise SubmissionError(
            f"{suite.name}/{split}", [f"expected predictions for {len(ids):,} models, got {len(given):,}"]
        )
    return dict(zip(ids, given, strict=True))
