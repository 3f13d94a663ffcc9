"""Scores one submission in a process of its own, with limits.

The truth comes on stdin, an .npz that is never on a disk; scores or problems go to stdout as JSON. Whatever a
submission does to the process that reads it, the server only sees that it ended.
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mico_hub.metrics.mico_score.scores import COMPETITION
from mico_hub.metrics.mico_score.scoring import headline_scores
from mico_hub.submissions import SubmissionError, load, splits_in
from mico_hub.submissions.limits import EndedError, LimitError, limit, run_limited
from mico_hub.suites import SUITES

MOST_OUTPUT = 1 << 20
SHOWN = 50
"""Problems that are told before they are only counted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A suite's models while it is on a board."""

    fingerprint: str
    points: int
    models: Mapping[str, Sequence[int]]  # split -> ids
    truth: Mapping[int, NDArray[np.int8]]  # of dev: model id -> (points,) 0 and 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a submission: problems, or the splits that it has and its scores on dev."""

    problems: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    scores: Mapping[str, Mapping[str, float]] | None = None  # suite -> the competition's


def judge(path: Path, wanted: Mapping[str, Wanted]) -> Verdict:
    """Scores a submission in another process.

    Args:
        path: Its zip.
        wanted: Suite -> what is wanted of it.

    Returns:
        Its scores, or what is wrong with it; that it took too long or too much memory is its own problem, too.

    Raises:
        EndedError: The process was ended by something else.
    """
    about = {
        name: {"points": of.points, "fingerprint": of.fingerprint, "models": {k: list(v) for k, v in of.models.items()}}
        for name, of in wanted.items()
    }
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{name}/{model_id}": labels for name, of in wanted.items() for model_id, labels in of.truth.items()
    }
    np.savez(content, about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8), **arrays)
    try:
        done = run_limited("mico_hub.boards.live.judge", [str(path.resolve())], content.getvalue())
    except EndedError:
        raise
    except LimitError as error:
        return Verdict(problems=(str(error),))
    found = json.loads(done.stdout[:MOST_OUTPUT])
    return Verdict(tuple(found["problems"]), tuple(found["splits"]), found["scores"])


def main(file: str) -> int:
    """Runs the program on a zip; the truth comes on stdin."""
    limit()
    try:
        told = _judged(Path(file))
    except MemoryError:
        told = {"problems": ["it takes more memory than it may"], "splits": [], "scores": None}
    sys.stdout.write(json.dumps(told))
    return 0


def _judged(path: Path) -> dict[str, Any]:
    held = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    about: dict[str, dict[str, Any]] = json.loads(held["about"].tobytes())
    suites = [SUITES[name] for name in about]
    problems: list[str] = []
    predictions: dict[str, NDArray[np.float64]] = {}
    splits: list[str] = []
    try:
        there = {split for _, split in splits_in(path, suites)}
        splits = ["dev", *(split for split in ("final",) if split in there)]
    except SubmissionError as error:
        problems += [problem.replace(path.name, "the zip") for problem in error.problems]
    for split in splits:
        for suite in suites:
            of = about[suite.name]
            try:
                found = load(
                    path, suite, split, points=of["points"], models=of["models"][split], fingerprint=of["fingerprint"]
                ).predictions
            except SubmissionError as error:
                problems += [
                    f"{suite.name}/{split}: {problem.replace(path.name, 'the zip')}" for problem in error.problems
                ]
                continue
            if split == "dev":
                predictions[suite.name] = np.concatenate([*found.values()])
    scores = None
    if not problems:
        scores = {}
        for name, values in predictions.items():
            labels = np.concatenate([held[f"{name}/{model_id}"] for model_id in sorted(about[name]["models"]["dev"])])
            every = headline_scores(labels, values)
            scores[name] = {score.key: every[score.key] for score in COMPETITION}
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return {"problems": [*(problem[:500] for problem in problems[:SHOWN]), *more], "splits": splits, "scores": scores}
