"""Scores on the whole ROC curve, beside the competition's: no dropped points, "at most" where the text says so.

How they differ from the competition's `scoring.py`, each by an example (member = 1):

- ties: predictions that share a value are one step of the curve, and of two equal steps in a row the competition drops
  the point between. With a member and a non-member at each of 0.9, 0.8 and 0.7 and a non-member at 0.1, at 60% the
  competition finds 1/3, since the point (0.5, 2/3) is dropped; `full_tpr_at_fpr` finds 2/3.
- rounding makes ties: 400 predictions rounded to 2 decimals (`ties_2_decimals` in tests/golden/scores.json) score 0.275
  at 10%, the full curve with `<` 0.29, with `<=` 0.305.
- boundary: of 10 non-members one is above the only member. The threshold that realises 10% exactly finds the member;
  the competition (`<`) finds 0, `full_tpr_at_fpr` (`<=`) finds 1.

Nothing but numpy is imported: this file is published with the metric.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .scores import MAX_FPRS, WHOLE_CURVE, hull_at
from .scoring import RocCurve, full_roc_curve, read_off


class OperatingPoint(NamedTuple):
    """The best threshold within a bound on the false positive rate: `prediction >= threshold` says member."""

    tpr: float  # share of members found
    fpr: float  # realised, at most the bound
    false_positives: int  # realised
    threshold: float  # inf: nothing is called a member


def operating_point(membership: ArrayLike, predictions: ArrayLike, max_fpr: float = 0.1) -> OperatingPoint:
    """The point of `full_roc_curve` with the highest TPR among those with FPR <= `max_fpr`; the lowest FPR of equals.

    Args:
        membership: (points,) 0 or 1.
        predictions: (points,) any finite numbers.
        max_fpr: In [0, 1].

    Raises:
        ValueError: As `roc_curve`, or `max_fpr` is out of range.
    """
    return _operating_point(full_roc_curve(membership, predictions), _non_members(membership), max_fpr)


def full_tpr_at_fpr(membership: ArrayLike, predictions: ArrayLike, max_fpr: float = 0.1) -> float:
    """The best true positive rate on `full_roc_curve` with false positive rate <= `max_fpr`.

    What the competition's text says ("at most 10% of the non-members") but not what its program computes; never lower
    than `competition_tpr_at_fpr`. Arguments and errors as `operating_point`.
    """
    return operating_point(membership, predictions, max_fpr).tpr


def hull_tpr_at_fpr(membership: ArrayLike, predictions: ArrayLike, max_fpr: float = 0.1) -> float:
    """The TPR at `max_fpr` on the upper convex hull of the curve: what a randomised threshold finds on average.

    Between two thresholds an attacker may toss a coin, which realises every point on the line between theirs (Provost
    and Fawcett 2001, Robust Classification for Imprecise Environments). Does not depend on how ties are broken, and is
    never lower than `full_tpr_at_fpr`. Arguments and errors as `operating_point`.
    """
    _check_rate(max_fpr)
    fpr, tpr, _ = full_roc_curve(membership, predictions)
    return float(hull_at(max_fpr, fpr[None], tpr[None])[0])


def auc(membership: ArrayLike, predictions: ArrayLike) -> float:
    """The area under the curve: the chance that a member scores higher than a non-member, ties counting half.

    Equals the competition's `AUC` but for rounding: dropping collinear points does not change the area.
    """
    fpr, tpr, _ = full_roc_curve(membership, predictions)
    return float(np.trapezoid(tpr, fpr))


def advantage(membership: ArrayLike, predictions: ArrayLike) -> float:
    """max(TPR - FPR) over thresholds (Yeom et al. 2018): the competition's `MIA` but for rounding.

    The threshold is the best one on the very points that are scored, so it is optimistic for a fixed threshold.
    """
    fpr, tpr, _ = full_roc_curve(membership, predictions)
    return float(np.max(tpr - fpr))


def balanced_accuracy(membership: ArrayLike, predictions: ArrayLike) -> float:
    """(1 + advantage) / 2, the mean of TPR and true negative rate: the competition's `accuracy` but for rounding."""
    return (1 + advantage(membership, predictions)) / 2


def tied_groups(predictions: ArrayLike) -> int:
    """How many values more than one point has; 0 where every point has a value of its own."""
    _, counts = np.unique(np.asarray(predictions, dtype=np.float64), return_counts=True)
    return int(np.count_nonzero(counts > 1))


def full_scores(membership: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """The scores of the whole curve, for all `MAX_FPRS`; r below is a rate times 10,000, as in the competition's keys.

    Returns:
        `TPR_FPR_le_r` (`full_tpr_at_fpr`), `TPR_FPR_hull_r` (`hull_tpr_at_fpr`) and what else of `SCORES` is not the
        competition's; `FP_r` false positives realised by the first and `threshold_r` its threshold (inf: none);
        `tied_groups`; `points`.

    Raises:
        ValueError: As `roc_curve`.
    """
    curve = full_roc_curve(membership, predictions)
    non_members = _non_members(membership)
    scores = read_off(curve, WHOLE_CURVE)
    for max_fpr in MAX_FPRS:
        rate = int(1e4 * max_fpr)
        point = _operating_point(curve, non_members, max_fpr)
        scores[f"FP_{rate}"] = point.false_positives
        scores[f"threshold_{rate}"] = point.threshold
    return scores | {"tied_groups": tied_groups(predictions), "points": np.size(predictions)}


def _operating_point(curve: RocCurve, non_members: int, max_fpr: float) -> OperatingPoint:
    _check_rate(max_fpr)
    allowed = int(np.searchsorted(curve.fpr, max_fpr, side="right"))
    best = int(np.argmax(curve.tpr[:allowed]))  # the first of equals: the one with the fewest false positives
    return OperatingPoint(
        tpr=float(curve.tpr[best]),
        fpr=float(curve.fpr[best]),
        false_positives=round(curve.fpr[best] * non_members),
        threshold=float(curve.thresholds[best]),
    )


def _non_members(membership: ArrayLike) -> int:
    return int(np.count_nonzero(np.asarray(membership) == 0))


def _check_rate(max_fpr: float) -> None:
    if not 0 <= max_fpr <= 1:
        raise ValueError(f"max_fpr: expected a rate in [0, 1], got {max_fpr}")
