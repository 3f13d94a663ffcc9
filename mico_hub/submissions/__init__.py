"""Predictions of an attack as files: write them, read them, check them, all without the answers.

They have three forms with the same content: a folder as the competition's scorer reads it (`folder.py`), a zip of it,
as the competition took it (`archive.py`), and one Parquet file (`parquet.py`). An array that numpy saved is read, too
(`array.py`).

A submission comes from a stranger: nothing outside its folder is read, no more of a file is read than the points could
need, and an error names everything that is wrong.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from numpy.typing import ArrayLike

from mico_hub.submissions.archive import SUFFIX, Archive
from mico_hub.submissions.array import read_array
from mico_hub.submissions.check import (
    ABOUT,
    Predictions,
    SubmissionError,
    Wanted,
    checked,
    fingerprint_in,
    reason,
    validate,
)
from mico_hub.submissions.folder import read_about, read_folder, splits_in_folder
from mico_hub.submissions.parquet import read_rows, splits_in_parquet
from mico_hub.submissions.unpacking import COLUMNS
from mico_hub.submissions.writing import write
from mico_hub.suites import SPLITS, Suite

__all__ = [
    "COLUMNS",
    "Predictions",
    "Submission",
    "SubmissionError",
    "load",
    "load_all",
    "read",
    "splits_in",
    "validate",
    "write",
]


class Submission(NamedTuple):
    """What a submission holds for one split."""

    predictions: Predictions
    fingerprint: str | None  # of the models that the predictions were made on; None: they carry none


def load(
    path: Path,
    suite: Suite,
    split: str,
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
    fingerprint: str | None = None,
) -> Submission:
    """The predictions for one split, read from either form and checked by `validate`, and what they carry.

    Args:
        path: A zip, a Parquet file, a .npy file with a row for each model by ascending id, the folder that holds
            `<track>/<suite>/<split>`, or one of those three folders.
        suite: Whose predictions are wanted.
        split: `train`, `dev` or `final`.
        points: As `validate` takes it.
        models: As `validate` takes them.
        fingerprint: Of the suite that they are scored on, `Handle.fingerprint`; None: it is not compared. Predictions
            that carry none, as the competition's, are not compared either.

    Raises:
        SubmissionError: Names everything that is wrong: files that are missing, cannot be read, are too large or lie
            outside `path`, what `validate` names, and another fingerprint.
        ValueError: There is no such split.
    """
    wanted = Wanted.of(suite, split, points, models, path)
    found, carried = _found(path, suite, split, wanted)
    if fingerprint is not None and carried not in (None, fingerprint):
        raise SubmissionError(
            wanted.where,
            [
                f"made on other models than those here: the predictions carry the fingerprint {carried:.12}, "
                f"{suite.name} has {fingerprint:.12} here; name the place of those models with --source"
            ],
        )
    return Submission(checked(found, wanted), carried)


def read(
    path: Path,
    suite: Suite,
    split: str,
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
    fingerprint: str | None = None,
) -> Predictions:
    """The predictions of `load`; arguments and errors as there."""
    return load(path, suite, split, points=points, models=models, fingerprint=fingerprint).predictions


def load_all(
    path: Path,
    suites: Sequence[Suite],
    splits: Sequence[str] = (),
    *,
    fingerprints: Mapping[str, str] | None = None,
    models: Mapping[tuple[str, str], Sequence[int]] | None = None,
) -> dict[tuple[str, str], Submission]:
    """The predictions for all of these suites, on each of the splits, checked.

    Args:
        path: A zip, a Parquet file or a folder.
        suites: Usually those of a track.
        splits: Empty: those that the submission has of any of the suites.
        fingerprints: Suite's name -> as `load` takes it.
        models: (suite, split) -> as `load` takes them, for sources that lack some.

    Returns:
        (suite, split) -> predictions and what they carry, for every one of the suites.

    Raises:
        SubmissionError: A suite lacks a split, or what `load` refuses, of all suites and splits at once.
        ValueError: There is no such split.
    """
    track, there = suites[0].track, splits_in(path, suites)
    where = f"{track} in {path}"
    wanted = splits or [split for split in SPLITS if any(found == split for _, found in there)]
    if not wanted:
        names = ", ".join(suite.name for suite in suites)
        problem = f"expected predictions for {names} in {track}/SUITE/SPLIT, found none of these"
        try:
            load(path, suites[0], SPLITS[0])
        except SubmissionError as error:
            raise SubmissionError(where, [problem, *error.problems]) from error
    found: dict[tuple[str, str], Submission] = {}
    problems: list[str] = []
    for suite in suites:
        for split in wanted:
            try:
                found[suite.name, split] = load(
                    path,
                    suite,
                    split,
                    models=(models or {}).get((suite.name, split)),
                    fingerprint=(fingerprints or {}).get(suite.name),
                )
            except SubmissionError as error:
                problems += [f"{suite.name}/{split}: {problem}" for problem in error.problems]
    if problems:
        raise SubmissionError(where, problems)
    return found


def splits_in(path: Path, suites: Sequence[Suite]) -> set[tuple[str, str]]:
    """The (suite, split) that a submission has anything for.

    Args:
        path: A zip, a Parquet file or a folder.
        suites: Of a track.

    Raises:
        SubmissionError: It cannot be read.
    """
    try:
        if path.is_dir():
            return splits_in_folder(path, suites)
        if path.suffix.lower() == SUFFIX:
            return Archive(path, suites[0], 2 * max(suite.m for suite in suites)).splits(suites)
        if path.suffix == ".npy":
            raise ValueError(f"{path.name} is of one suite and split; write a zip, a Parquet file or a folder")
        return splits_in_parquet(path, suites)
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise SubmissionError(f"{suites[0].track} in {path}", [reason(problem, path.name)]) from problem


Found = Sequence[tuple[str, ArrayLike | Exception]]


def _found(path: Path, suite: Suite, split: str, wanted: Wanted) -> tuple[Found, str | None]:
    """What is there for each model, and the fingerprint that the predictions carry."""
    found: Found
    try:
        if path.is_file() and path.suffix == ".npy":
            return read_array(path, wanted), None
        if path.is_file() and path.suffix.lower() == SUFFIX:
            found, about = Archive(path, suite, wanted.points).read(suite, split, wanted)
        elif path.is_file():
            found, about = read_rows(path, suite, split, wanted.points)
        else:
            found, about = read_folder(path, suite, split, wanted), read_about(path, suite, split, wanted.where)
        where = path.name if path.is_file() and path.suffix.lower() != SUFFIX else ABOUT
        return found, None if about is None else fingerprint_in(about, suite, where)
    except SubmissionError:
        raise
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise SubmissionError(wanted.where, [reason(problem, path.name)]) from problem
