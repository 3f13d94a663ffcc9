"""What predictions must be, checked without the answers; an error names everything that is wrong."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mico_hub.cache import refuse_pointer
from mico_hub.messages import InputError, counted, printable
from mico_hub.release.format import FormatError, known_keys, parse, stamped
from mico_hub.scoring import validate_predictions
from mico_hub.suites import Suite

Predictions = dict[int, NDArray[np.float64]]
"""Model id -> (points,) in challenge order, for every model of a split, ascending."""

Content = Mapping[tuple[Suite, str], Predictions]
"""(suite, split) -> its predictions."""

FILE_NAME = "prediction.csv"
ABOUT = "submission.json"
"""Beside the models' folders: which models were attacked. The competition's own submissions have none."""
ABOUT_BYTES = 10_000
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
        super().__init__("\n  ".join([f"{where}: {counted(len(problems), 'problem')}", *problems]))


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
    return checked(found, Wanted.of(suite, split, points, models))


@dataclass(frozen=True)
class Wanted:
    """What the predictions for a split must be."""

    where: str  # for errors
    models: Sequence[int]
    points: int  # of each model

    @classmethod
    def of(
        cls, suite: Suite, split: str, points: int | None, models: Sequence[int] | None, path: Path | None = None
    ) -> "Wanted":
        """What `validate` takes, the suite's own where that is None; `path` is for errors."""
        if split not in suite.model_ids:
            raise ValueError(f"{suite.name}: expected a split of {', '.join(suite.model_ids)}, got {split!r}")
        where = f"{suite.name}/{split}" + (f" in {path}" if path else "")
        ids = suite.model_ids[split] if models is None else models
        return cls(where, ids, 2 * suite.m if points is None else points)


def checked(found: Sequence[tuple[str, ArrayLike | Exception]], wanted: Wanted) -> Predictions:
    """What `validate` returns, from what was found for each model: its predictions, or why they cannot be read."""
    models = {f"model_{model_id}": model_id for model_id in wanted.models}
    times = Counter(name for name, _ in found)
    problems = [
        f"{listed(names)} {what}"
        for names, what in (
            ([name for name in models if name not in times], "missing"),
            ([name for name in times if name not in models], f"not expected, only {listed([*models])}"),
            ([name for name in times if times[name] > 1], "more than once"),
        )
        if names
    ]
    valid: Predictions = {}
    unread: dict[str, list[str]] = {}  # why -> which
    for name, values in sorted(dict(found).items(), key=lambda item: models.get(item[0], 0)):
        if isinstance(values, Exception):
            unread.setdefault(reason(values, FILE_NAME), []).append(name)
        elif name in models:
            try:
                valid[models[name]] = validate_predictions(values, expected=wanted.points)
            except ValueError as problem:
                unread.setdefault(str(problem), []).append(name)
    problems += [f"{listed(names)}: {why}" for why, names in unread.items()]
    if problems:
        raise SubmissionError(wanted.where, problems)
    return valid


def about(fingerprints: Mapping[str, str]) -> bytes:
    """What a submission says of itself: suite's name -> fingerprint of the suite that was attacked."""
    return json.dumps(stamped({"fingerprints": dict(fingerprints)})).encode()


def fingerprint_in(text: bytes, suite: Suite, where: str) -> str | None:
    """The suite's fingerprint in what `about` wrote; None: it has none of this suite.

    Raises:
        FormatError: It is something else, or of a newer format.
    """
    fingerprints = known_keys(parse(text, where), ("fingerprints",), where).get("fingerprints")
    if not isinstance(fingerprints, dict) or not isinstance(fingerprints.get(suite.name), str | None):
        raise FormatError(f"{where}: expected fingerprints as texts by the names of suites, got {fingerprints!r:.80}")
    found: str | None = fingerprints.get(suite.name)
    return found


def misnamed(files: Iterable[str]) -> str:
    """What to say of a model's folder that has other files than `FILE_NAME`."""
    return f"expected {FILE_NAME}, got {listed(sorted(files))}"


def reason(problem: Exception, name: str) -> str:
    """Why a file cannot be read, without its whole path, which the submitter should not see."""
    return f"{name}: {problem.strerror}" if isinstance(problem, OSError) and problem.strerror else str(problem)


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are."""
    return ", ".join(printable(name[:80]) for name in names[:SHOWN]) + (
        f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    )


def read_bounded(path: Path, limit: int) -> bytes:
    """A file's content.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than the limit, in bytes, or no file.
    """
    if not os.path.lexists(path):
        raise ValueError(f"{path.name}: no such file")
    if not path.is_file():  # a pipe or a device could be read for ever
        raise ValueError(f"{path.name} is not a file")
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    refuse_pointer(path.name, content)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than the {limit} bytes that its points could need")
    return content
