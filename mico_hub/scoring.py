"""Scores of an attack and how sure they are: the competition's, the full curve's, and intervals.

The competition's scores live in `mico_hub.metrics.mico_score.scoring`, which is published with the metric; this module
hands them on and adds what the competition did not have.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mico_hub.metrics.mico_score.scoring import (
    MAX_FPRS,
    RocCurve,
    competition_tpr_at_fpr,
    full_roc_curve,
    mico_score,
    roc_curve,
    validate_predictions,
)

__all__ = [
    "MAX_FPRS",
    "Interval",
    "RocCurve",
    "bootstrap_interval",
    "competition_tpr_at_fpr",
    "full_roc_curve",
    "full_tpr_at_fpr",
    "mico_score",
    "roc_curve",
    "validate_predictions",
]

Score = Callable[[NDArray[Any], NDArray[np.float64]], float]
"""(points,) membership and (points,) predictions, models pooled -> a number that does not depend on their order."""


class Interval(NamedTuple):
    """An interval that covers a score with the asked-for level of confidence."""

    low: float
    high: float


def full_tpr_at_fpr(membership: ArrayLike, predictions: ArrayLike, max_fpr: float = 0.1) -> float:
    """The best true positive rate on `full_roc_curve` with false positive rate <= `max_fpr`.

    What the competition's text says ("at most 10% of the non-members") but not what its program computes.
    `competition_tpr_at_fpr` differs in two ways, and is never higher:

    - it takes `fpr < max_fpr`: where a threshold realises 10% exactly, that threshold is lost;
    - it looks at the curve without collinear points: where predictions tie, the best point may be among the dropped.

    With 400 predictions rounded to 2 decimals (`ties_2_decimals` in tests/golden/scores.json), at 10%: the competition
    0.275; the full curve with `<` 0.29; the full curve with `<=`, this function, 0.305.

    Args:
        membership: (points,) 0 or 1.
        predictions: (points,) any finite numbers.
        max_fpr: In [0, 1].

    Raises:
        ValueError: As `roc_curve`, or `max_fpr` is out of range.
    """
    if not 0 <= max_fpr <= 1:
        raise ValueError(f"max_fpr: expected a rate in [0, 1], got {max_fpr}")
    fpr, tpr, _ = full_roc_curve(membership, predictions)
    return float(np.max(tpr[fpr <= max_fpr]))


def bootstrap_interval(
    membership: Sequence[ArrayLike] | NDArray[Any],
    predictions: Sequence[ArrayLike] | NDArray[np.float64],
    score: Score = competition_tpr_at_fpr,
    *,
    rng: np.random.Generator,
    draws: int = 1_000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a pooled score, by resampling models.

    Models and not points are drawn, with replacement, because the points of a model are not independent: they share its
    training run, and exactly half of them are members (Efron and Tibshirani 1993, chapters 8 and 13, on clusters).
    Where models are each other's shadows, as in leave-one-model-out, the models are not independent either, and the
    interval is too narrow.

    Args:
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model, aligned with `membership`.
        score: What the interval is for, of the pooled points of the drawn models.
        rng: Where the draws come from.
        draws: Number of resamples.
        level: Confidence, in (0, 1).

    Raises:
        ValueError: Fewer than 2 models, unaligned models, a setting out of range, or `score` refuses a resample.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"expected draws >= 1 and a level in (0, 1), got {draws} and {level}")
    labels = [np.asarray(model) for model in membership]
    values = [np.asarray(model, dtype=np.float64) for model in predictions]
    if [model.shape for model in labels] != [model.shape for model in values]:
        raise ValueError("expected the same models and points in membership and predictions")
    if len(labels) < 2:
        raise ValueError(f"expected at least 2 models to resample, got {len(labels)}")
    scores = [
        score(np.concatenate([labels[i] for i in drawn]), np.concatenate([values[i] for i in drawn]))
        for drawn in rng.integers(len(labels), size=(draws, len(labels)))
    ]
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
