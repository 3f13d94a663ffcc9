"""THE TABLE of scores: each is an entry of `SCORES`, from which values, resamples, tables, metric and Space are made.

A score is a number of a receiver operating characteristic. Nothing but numpy is imported: this file is published with
the metric.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_FPRS = (0.001, 0.01, 0.05, 0.1, 0.15, 0.2)
"""The false positive rates at which the competition reported the true positive rate; 0.1 ranked."""


@dataclass(frozen=True, slots=True)
class Score:
    """A number that is read off curves."""

    key: str  # in every mapping of scores
    title: str  # for people
    of: Callable[[FloatArray, FloatArray], FloatArray]
    """(curves, points) false positive rates, ascending from 0 to 1, and true positive rates -> (curves,)."""
    competition: bool = False  # whether it is read off the competition's curve, which lacks collinear points
    few: bool = False
    """Whether few points decide it, the only ones that resampling keeps: with a `max_fpr` the last below it, the last
    at most there, and the ends of the convex hull's line over it; without, the one furthest above the diagonal."""
    max_fpr: float | None = None  # of the scores that there are one of for each of `MAX_FPRS`
    bounds: tuple[float, float] = (-np.inf, np.inf)  # of what it can be; no interval goes further


def _below(max_fpr: float, fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    return np.asarray(np.where(fpr < max_fpr, tpr, 0).max(axis=1))


def _at_most(max_fpr: float, fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    return np.asarray(np.where(fpr <= max_fpr, tpr, 0).max(axis=1))


def hull_at(max_fpr: float, fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    """The upper convex hull of several curves at one false positive rate.

    The hull over x is the bridge between the points left and right of x: the line that no point is above (Kirkpatrick
    and Seidel 1986). It is found by turns: from the left end the steepest line to the right, from that right end the
    least steep to the left. Each turn raises the line at x, and where none does, no point is above it.

    Args:
        max_fpr: x, in [0, 1].
        fpr: (curves, points) ascending, from 0 to 1.
        tpr: (curves, points).

    Returns:
        (curves,)
    """
    if max_fpr >= 1:
        return np.asarray(tpr.max(axis=1))
    rows = np.arange(len(fpr))
    left = fpr <= max_fpr
    i = np.argmax(np.where(left, tpr, -np.inf), axis=1)
    height = np.full(len(fpr), -np.inf)
    while True:
        j = np.argmax(np.where(left, -np.inf, _slopes(fpr, tpr, i)), axis=1)
        i = np.argmin(np.where(left, _slopes(fpr, tpr, j), np.inf), axis=1)
        slope = (tpr[rows, j] - tpr[rows, i]) / (fpr[rows, j] - fpr[rows, i])
        higher: FloatArray = tpr[rows, i] + slope * (max_fpr - fpr[rows, i])
        if not (higher > height).any():
            return height
        height = np.maximum(height, higher)


def _slopes(fpr: FloatArray, tpr: FloatArray, ends: NDArray[np.intp]) -> FloatArray:
    """Of the lines from each curve's end to each of its points, (curves, points); NaN at the end itself."""
    rows = np.arange(len(fpr))
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes: FloatArray = (tpr - tpr[rows, ends][:, None]) / (fpr - fpr[rows, ends][:, None])
    return slopes


def _area(fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    return np.asarray(np.trapezoid(tpr, fpr, axis=1))


def _advantage(fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    return np.asarray((tpr - fpr).max(axis=1))


def _accuracy(fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    # Written as the competition has it: another order of operations differs in the last bit.
    return np.asarray((1 - (fpr + (1 - tpr)) / 2).max(axis=1))


_SHARE = (0.0, 1.0)
OfRate = Callable[[float, FloatArray, FloatArray], FloatArray]


def _at(key: str, title: str, of: OfRate, competition: bool = False) -> tuple[Score, ...]:
    """A score at each of `MAX_FPRS`."""
    return tuple(
        Score(key.format(int(1e4 * rate)), title.format(rate), partial(of, rate), competition, True, rate, _SHARE)
        for rate in MAX_FPRS
    )


SCORES: tuple[Score, ...] = (
    *_at("TPR_FPR_{}", "TPR at FPR < {:g}", _below, competition=True),
    Score("AUC", "AUC", _area, competition=True, bounds=_SHARE),
    Score("MIA", "advantage, max(TPR - FPR)", _advantage, competition=True, few=True, bounds=_SHARE),
    Score("accuracy", "best balanced accuracy", _accuracy, competition=True, few=True, bounds=(0.5, 1.0)),
    *_at("TPR_FPR_le_{}", "TPR at FPR <= {:g}, whole curve", _at_most),
    *_at("TPR_FPR_hull_{}", "TPR at FPR {:g}, randomised threshold", hull_at),
)
"""All of them; the competition's first."""

RANKING = "TPR_FPR_1000"
"""The key of the score that ranks attacks."""

COMPETITION = tuple(score for score in SCORES if score.competition)
WHOLE_CURVE = tuple(score for score in SCORES if not score.competition)
BESIDES = tuple(score for score in WHOLE_CURVE if score.max_fpr is None)
"""What stands beside the competition's scores, as one number."""

TITLES = {score.key: score.title for score in SCORES}
