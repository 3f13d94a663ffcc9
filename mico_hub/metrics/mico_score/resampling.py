"""Scores of resamples: models are drawn with replacement, and every score is read off each resample's curve.

Models and not points are drawn, because the points of a model are not independent: they share its training, and
exactly half of them are members (Efron and Tibshirani 1993, chapters 8 and 13, on clusters).

A resample is a count of each model, so its curve is a matrix product of counts that are made once: no points are sorted
again. Nothing but numpy is imported: this file is published with the metric.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .scores import MAX_FPRS, SCORES, Score
from .scoring import models_of, wrong_labels

FloatArray = NDArray[np.float64]
Numbers = NDArray[Any]
Columns = NDArray[np.intp]  # positions of thresholds

DRAWS = 2_000
MOST_COUNTS = 50_000_000
"""Models times thresholds; more would not fit into memory."""
_CHUNK = 300_000  # numbers in one array of resampled curves


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Each model's points above each threshold; all that resampling models needs to know."""

    false_positives: NDArray[np.float32]  # (models, thresholds + 1) non-members, from none to all; exact to 2^24
    true_positives: NDArray[np.float32]  # (models, thresholds + 1) members
    mixed: bool  # whether members and non-members share a prediction

    @property
    def models(self) -> int:
        """How many models there are."""
        return len(self.false_positives)


def count(membership: Sequence[ArrayLike] | NDArray[Any], predictions: Sequence[ArrayLike] | NDArray[Any]) -> Counts:
    """Counts the points of each model above each distinct prediction.

    Args:
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model, aligned with `membership`.

    Raises:
        ValueError: There are fewer than 2 models, or they are not aligned, not of 0 and 1, not finite, or too many; all
            models that are wrong are named.
    """
    labels = models_of(membership, "membership")
    values = [model.astype(np.float64) for model in models_of(predictions, "predictions")]
    if len(labels) != len(values):
        raise ValueError(f"expected as many models in membership and predictions, got {len(labels)} and {len(values)}")
    if len(labels) < 2:
        raise ValueError(f"expected at least 2 models to resample, got {len(labels)}")
    problems = [
        f"model at position {i}: {problem}"
        for i, (of_labels, of_values) in enumerate(zip(labels, values, strict=True))
        if (problem := _problem(of_labels, of_values))
    ]
    if problems:
        raise ValueError("; ".join(problems))
    thresholds = np.unique(np.concatenate(values))
    if len(labels) * len(thresholds) > MOST_COUNTS:
        raise ValueError(f"expected at most {MOST_COUNTS:,} models times thresholds, got {len(labels)} models with "
                         f"{len(thresholds):,} distinct predictions")  # fmt: skip
    counts = np.zeros((2, len(labels), len(thresholds) + 1), dtype=np.float32)
    for i, (of_labels, of_values) in enumerate(zip(labels, values, strict=True)):
        rank = len(thresholds) - np.searchsorted(thresholds, of_values)  # 1 is the highest
        for label in (0, 1):
            counts[label, i] = np.bincount(rank[of_labels == label], minlength=len(thresholds) + 1)
    mixed = bool((counts.any(axis=1).sum(axis=0) > 1).any())
    false_positives, true_positives = counts.cumsum(axis=2, dtype=np.float32)
    return Counts(false_positives, true_positives, mixed)


def _problem(labels: NDArray[Any], values: FloatArray) -> str:
    if labels.ndim == 0 and labels.item() is None:
        return "the membership is hidden"
    if labels.ndim != 1 or labels.shape != values.shape:
        return f"expected membership and predictions as lists of one length, got shapes {labels.shape}, {values.shape}"
    if wrong := wrong_labels(labels, values):
        return wrong
    return "" if np.isfinite(values).all() else "predictions: expected finite numbers"


def draw_models(models: int, draws: int, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
    """How often each model is in each resample, (draws, models); without a generator the same each time."""
    if draws < 1:
        raise ValueError(f"expected draws >= 1, got {draws}")
    rng = rng or np.random.default_rng(0)
    return rng.multinomial(models, [1 / models] * models, size=draws).astype(np.float32)


def resampled_scores(counts: Counts, drawn: NDArray[np.float32]) -> dict[str, FloatArray]:
    """Every pooled score on every resample.

    Args:
        counts: Of the attack.
        drawn: (draws, models), from `draw_models`; the same for two attacks pairs them.

    Returns:
        The keys of `SCORES`, each (draws,), as `mico_score` and `curves.full_scores` compute them. NaN where a resample
        has only members or only non-members.
    """
    scores = _of_few_points(counts, drawn) | {key: of(counts, drawn) for key, of in _FASTER.items()}
    if others := tuple(score for score in SCORES if score.key not in scores):
        scores |= _of_whole_curves(counts, drawn, others)
    if counts.mixed:  # only then can a point be dropped that the competition would have liked
        scores |= _competition_tprs(counts, drawn)
    one_class = (_all(counts.true_positives, drawn) == 0) | (_all(counts.false_positives, drawn) == 0)
    return {score.key: np.where(one_class[:, 0], np.nan, scores[score.key]) for score in SCORES}


def _all(of_class: NDArray[np.float32], drawn: NDArray[np.float32]) -> FloatArray:
    """How many members, or non-members, each resample has: (draws, 1)."""
    return np.asarray(drawn @ of_class[:, -1:], dtype=np.float64)


def _chunks(
    drawn: NDArray[np.float32], false: NDArray[np.float32], true: NDArray[np.float32]
) -> Iterator[tuple[slice, Numbers, Numbers]]:
    """Some draws at a time, and their curves in counts, (draws, columns) each: as many as fit into memory."""
    chunk = max(1, _CHUNK // false.shape[1])
    for start in range(0, len(drawn), chunk):
        here = slice(start, start + chunk)
        yield here, drawn[here] @ false, drawn[here] @ true


def _of_whole_curves(counts: Counts, drawn: NDArray[np.float32], scores: Sequence[Score]) -> dict[str, FloatArray]:
    """Scores of the resampled curves with all thresholds, key -> (draws,)."""
    found: dict[str, list[FloatArray]] = {score.key: [] for score in scores}
    for _, *curves in _chunks(drawn, counts.false_positives, counts.true_positives):
        with np.errstate(invalid="ignore", divide="ignore"):
            fpr, tpr = (curve / curve[:, -1:].astype(np.float64) for curve in curves)
        for score in scores:
            found[score.key].append(score.of(fpr, tpr))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _ends_of_runs(counts: Counts) -> NDArray[np.bool_]:
    """(thresholds + 1,) those behind a member and before a non-member, whatever the models are counted for.

    At the others a curve is as high as before, or further right.
    """
    members, others = (
        np.diff(each.sum(axis=0, dtype=np.float64)) for each in (counts.true_positives, counts.false_positives)
    )
    ends = np.ones(counts.false_positives.shape[1], dtype=np.bool_)
    ends[1:-1] = (members[:-1] > 0) & (others[1:] > 0)
    return ends


def _of_few_points(counts: Counts, drawn: NDArray[np.float32]) -> dict[str, FloatArray]:
    """The scores that few points of each curve decide, key -> (draws,): see `Score.few`."""
    ends, rates = _ends_of_runs(counts), len(MAX_FPRS)
    false, true = counts.false_positives[:, ends], counts.true_positives[:, ends]
    others, members = _all(false, drawn), _all(true, drawn)
    allowed = np.concatenate([_allowed(others, np.less), _allowed(others, np.less_equal)], axis=1)
    pooled_false, pooled_true = (each.sum(axis=0, dtype=np.float64, keepdims=True) for each in (false, true))
    chords = _corners(pooled_false, pooled_true, np.array([0, false.shape[1] - 1]))
    fpr, tpr = points = np.empty((2, len(drawn), 4 * rates + 1))
    for here, *curves in _chunks(drawn, false, true):
        last = _last(curves[0], allowed[here])
        hulls = _hulls(curves[0], curves[1], chords)
        right = (hulls[0][:, None] > allowed[here, rates:, None]).argmax(axis=2)
        best = (others[here] * hulls[1] - members[here] * hulls[0]).argmax(axis=1, keepdims=True)
        rows, corners = np.arange(len(last))[:, None], np.concatenate([right - 1, right, best], axis=1)
        for of_class, curve, hull in zip(points, curves, hulls, strict=True):
            of_class[here] = np.append(curve[rows, last], hull[rows, corners], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fpr /= others
        tpr /= members
    columns = {rate: slice(i, -1, rates) for i, rate in enumerate(MAX_FPRS)}
    of_score = {score: columns[score.max_fpr] if score.max_fpr else slice(-1, None) for score in SCORES if score.few}
    return {score.key: score.of(fpr[:, points], tpr[:, points]) for score, points in of_score.items()}


def _allowed(others: FloatArray, within: Callable[[Numbers, float], Numbers]) -> FloatArray:
    """The most false positives of which the rate is within each of `MAX_FPRS`: (curves, rates), of (curves, 1) others.

    The rate is divided as for one curve, so that rounding decides alike.
    """
    allowed = []
    for max_fpr in MAX_FPRS:
        near = np.floor(max_fpr * others) + np.arange(-1, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            allowed.append(near[:, 0] - 1 + within(near / others, max_fpr).sum(axis=1))
    return np.stack(allowed, axis=1)


def _last(false: Numbers, allowed: FloatArray) -> Columns:
    """The last column of each curve with at most so many false positives: (curves, bounds)."""
    rows = zip(false, allowed.astype(false.dtype), strict=True)
    found: Columns = np.array([row.searchsorted(most, side="right") for row, most in rows])
    return np.maximum(found - 1, 0)  # below 0 where there are no non-members at all


def _hulls(false: Numbers, true: Numbers, chords: Columns) -> tuple[FloatArray, FloatArray]:
    """The corners of each curve's upper convex hull, from left to right; the last again and again to fill the rows.

    Args:
        false: (curves, columns) counts of false positives, ascending.
        true: (curves, columns) likewise.
        chords: As for `_corners`.

    Returns:
        Two (curves, corners), of whole numbers.
    """
    at = _corners(false, true, chords)
    many = np.bincount(at // false.shape[1])[:, None]
    filled = at[many.cumsum()[:, None] - many + np.minimum(np.arange(many.max()), many - 1)]
    return false.ravel()[filled].astype(np.float64), true.ravel()[filled].astype(np.float64)


def _corners(false: Numbers, true: Numbers, chords: Columns) -> Columns:
    """Where the corners of the upper convex hulls are in the flattened (curves, columns).

    A point that is not above the line between two others, left and right of it, is no corner. So points are left out
    that are not above the line between their neighbours, all at once, until all are. Before, those that are below the
    lines between the columns `chords`, the first and the last among them: of similar curves nearly all are, where these
    are the corners of one.
    """
    above, edge = np.ones(false.shape, dtype=np.bool_), np.zeros(false.shape, dtype=np.bool_)
    edge[:, [0, -1]] = True
    x, y = false[:, chords, None], true[:, chords, None]
    run, rise = np.diff(x, axis=1), np.diff(y, axis=1)
    room = np.float32(1e-6) * (run * y[:, -1:] + rise * x[:, -1:])  # more than single precision rounds
    height = run * y[:, :-1] - rise * x[:, :-1] - room
    for i, (start, stop) in enumerate(pairwise(chords)):
        between = slice(start + 1, stop)
        over = run[:, i] * true[:, between]
        over -= rise[:, i] * false[:, between]
        np.greater_equal(over, height[:, i], out=above[:, between])
    at = np.flatnonzero(above)
    edge, x, y = edge.ravel().take(at), *(each.ravel().take(at).astype(np.float64) for each in (false, true))
    kept = edge | np.append(True, (x[1:] != x[:-1]) | (y[1:] != y[:-1]))  # each point once
    while True:
        left = np.flatnonzero(kept)  # and `take`, which is faster than the mask
        at, edge, x, y = at.take(left), edge.take(left), x.take(left), y.take(left)
        step_x, step_y = x[1:] - x[:-1], y[1:] - y[:-1]
        kept = edge.copy()
        kept[1:-1] |= step_y[:-1] * step_x[1:] > step_x[:-1] * step_y[1:]
        if kept.all():
            return at


def _areas(counts: Counts, drawn: NDArray[np.float32]) -> FloatArray:
    """The areas under the curves: pairs of a member and a non-member in the right order, of each two models, once."""
    above = counts.true_positives[:, 1:].astype(np.float64)  # members at or above each threshold
    at = np.diff(counts.true_positives.astype(np.float64), axis=1)
    others = np.diff(counts.false_positives.astype(np.float64), axis=1)  # non-members at each threshold
    pairs = (above - at / 2) @ others.T  # (models of members, models of non-members)
    weights = drawn.astype(np.float64)
    ordered = np.einsum("di,ij,dj->d", weights, pairs, weights, optimize=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        areas: FloatArray = ordered / (weights @ above[:, -1]) / (weights @ counts.false_positives[:, -1])
    return areas


_FASTER: Mapping[str, Callable[[Counts, NDArray[np.float32]], FloatArray]] = {"AUC": _areas}
"""Scores that the counts give sooner than curves with all thresholds do."""


def _competition_tprs(counts: Counts, drawn: NDArray[np.float32]) -> dict[str, FloatArray]:
    """`competition_tpr_at_fpr` of each resample: its own thresholds alone, without the points that would be dropped."""
    allowed = _allowed(_all(counts.false_positives, drawn), np.less)
    most = allowed.max(axis=1)
    # No threshold matters that is behind the first one beyond the largest rate; it tells whether the last is a corner.
    width = 1 + bisect_left(
        range(counts.false_positives.shape[1] - 1),
        True,
        key=lambda column: bool((drawn @ counts.false_positives[:, column] > most).all()),
    )
    found = np.empty_like(allowed)
    for here, false, true in _chunks(drawn, counts.false_positives[:, :width], counts.true_positives[:, :width]):
        found[here] = np.take_along_axis(true, _last_corner(false, true, _last(false, allowed[here])), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found /= _all(counts.true_positives, drawn)
    return {f"TPR_FPR_{int(1e4 * max_fpr)}": of_rate for max_fpr, of_rate in zip(MAX_FPRS, found.T, strict=True)}


def _last_corner(false: Numbers, true: Numbers, last: Columns) -> Columns:
    """The last column of each curve up to `last` that `scoring.corners` keeps of those where it has a point.

    Args:
        false: (curves, columns) counts of false positives.
        true: (curves, columns) likewise.
        last: (curves, rates), each before the curve's last point.
    """
    total, at = false + true, last.ravel().copy()
    rows = np.repeat(np.arange(len(false)), last.shape[1])
    unsure = np.flatnonzero(total[rows, at] > 0)  # (0, 0) is prepended later, and stays
    while unsure.size:
        row, here = rows[unsure], at[unsure]
        before, after = (_neighbour(total, row, here, step) for step in (-1, 1))
        dropped = total[row, before] > 0
        for each in (false, true):
            dropped &= each[row, here] - each[row, before] == each[row, after] - each[row, here]
        unsure = unsure[dropped]
        at[unsure] = before[dropped]
    return at.reshape(last.shape)


def _neighbour(total: Numbers, rows: Columns, columns: Columns, step: int) -> Columns:
    """The next columns in one direction where the curves of these rows have another point."""
    found = columns + step
    while (same := total[rows, found] == total[rows, columns]).any():
        found[same] += step
    return found
