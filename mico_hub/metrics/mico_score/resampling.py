"""How sure a score is: intervals by resampling models, the paired difference of two attacks, ranks.

Models and not points are drawn, with replacement, because the points of a model are not independent: they share its
training, and exactly half of them are members (Efron and Tibshirani 1993, chapters 8 and 13, on clusters). An interval
says how the score would vary with other models of the same recipe. It is conditional on the shadow models: with others
the attack would be another one. Where the targets are each other's shadows, as in leave-one-model-out, they are not
independent, and an interval is approximate and too narrow.

A resample is a count of each model, so its curve is a matrix product of counts that are made once: no points are sorted
again. Nothing but numpy is imported: this file is published with the metric.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .scores import MAX_FPRS, SCORES, Score
from .scoring import corners, headline_scores, wrong_labels

FloatArray = NDArray[np.float64]

DRAWS = 2_000
LEVEL = 0.95
MOST_COUNTS = 50_000_000
"""Models times thresholds; more would not fit into memory."""
_CHUNK = 300_000  # numbers in one array of resampled curves


class Interval(NamedTuple):
    """An interval that covers a score with the asked-for level of confidence."""

    low: float
    high: float


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
    labels = [np.asarray(model) for model in membership]
    values = [np.asarray(model, dtype=np.float64) for model in predictions]
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
    if labels.ndim != 1 or labels.shape != values.shape:
        return f"expected membership and predictions as lists of one length, got shapes {labels.shape}, {values.shape}"
    if wrong := wrong_labels(labels, values):
        return wrong
    return "" if np.isfinite(values).all() else "predictions: expected finite numbers"


def draw_models(models: int, draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each model is in each resample, (draws, models)."""
    if draws < 1:
        raise ValueError(f"expected draws >= 1, got {draws}")
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
    highest = tuple(score for score in SCORES if score.highest)
    scores = _on_curves(counts, drawn, highest, _ends_of_runs(counts))
    scores |= {key: of(counts, drawn) for key, of in _FASTER.items()}
    if others := tuple(score for score in SCORES if score.key not in scores):
        scores |= _on_curves(counts, drawn, others, np.ones(counts.false_positives.shape[1], dtype=np.bool_))
    if counts.mixed:  # only then can a point be dropped that the competition would have liked
        scores |= _competition_tprs(counts, drawn)
    members, others_drawn = (drawn @ each[:, -1] for each in (counts.true_positives, counts.false_positives))
    one_class = (members == 0) | (others_drawn == 0)
    return {score.key: np.where(one_class, np.nan, scores[score.key]) for score in SCORES}


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


def _on_curves(
    counts: Counts, drawn: NDArray[np.float32], scores: Sequence[Score], at: NDArray[np.bool_]
) -> dict[str, FloatArray]:
    """Scores of the resampled curves with the thresholds `at`, key -> (draws,)."""
    false, true = counts.false_positives[:, at], counts.true_positives[:, at]
    found: dict[str, list[FloatArray]] = {score.key: [] for score in scores}
    chunk = max(1, _CHUNK // false.shape[1])
    for start in range(0, len(drawn), chunk):
        with np.errstate(invalid="ignore", divide="ignore"):
            fpr, tpr = (
                each.astype(np.float64) / each[:, -1:].astype(np.float64)
                for each in (drawn[start : start + chunk] @ false, drawn[start : start + chunk] @ true)
            )
        for score in scores:
            found[score.key].append(score.of(fpr, tpr))
    return {key: np.concatenate(parts) for key, parts in found.items()}


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
    found = np.empty((len(MAX_FPRS), len(drawn)))
    for position, weights in enumerate(drawn):
        false, true = weights @ counts.false_positives, weights @ counts.true_positives
        there = np.flatnonzero(np.diff(false + true)) + 1
        # No later threshold matters, but the first of them tells whether the one before it is a corner.
        there = there[: np.searchsorted(false[there], max(MAX_FPRS) * false[-1], side="right") + 1]
        kept = there[corners(false[there], true[there])]
        fpr = np.append(0.0, false[kept].astype(np.float64) / false[-1])
        tpr = np.append(0.0, true[kept].astype(np.float64) / true[-1])
        for rate, max_fpr in enumerate(MAX_FPRS):
            found[rate, position] = tpr[fpr < max_fpr].max()
    return {f"TPR_FPR_{int(1e4 * max_fpr)}": found[rate] for rate, max_fpr in enumerate(MAX_FPRS)}


def interval_of(values: FloatArray, level: float = LEVEL) -> Interval:
    """The percentile interval of resampled values.

    Raises:
        ValueError: The level is not in (0, 1), or a value is NaN: a resample had only members or only non-members.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level in (0, 1), got {level}")
    if np.isnan(values).any():
        raise ValueError("expected members and non-members in every resample; the models have too few of one of them")
    # Between two values that were drawn nothing is interpolated, so that infinite ones do no harm.
    low = np.quantile(values, (1 - level) / 2, method="lower")
    high = np.quantile(values, (1 + level) / 2, method="higher")
    return Interval(float(low), float(high))


def intervals(
    membership: Sequence[ArrayLike] | NDArray[Any],
    predictions: Sequence[ArrayLike] | NDArray[Any],
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """An interval for each pooled score, by resampling models.

    Args:
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model, aligned with `membership`.
        rng: Where the draws come from.
        draws: Number of resamples.
        level: Confidence, in (0, 1).

    Returns:
        The keys of `resampled_scores`.

    Raises:
        ValueError: As `count` and `interval_of`, or draws is below 1.
    """
    counts = count(membership, predictions)
    scores = resampled_scores(counts, draw_models(counts.models, draws, rng))
    return {name: interval_of(values, level) for name, values in scores.items()}


def per_model(
    membership: Sequence[ArrayLike] | NDArray[Any], predictions: Sequence[ArrayLike] | NDArray[Any]
) -> dict[str, FloatArray]:
    """`headline_scores` of each model alone, by a threshold of its own: key -> (models,).

    Raises:
        ValueError: As `mico_score`, for a model with only members or only non-members too.
    """
    scores = [headline_scores(labels, values) for labels, values in zip(membership, predictions, strict=True)]
    return {name: np.array([of_model[name] for of_model in scores]) for name in scores[0]}


def mean_per_model(
    scores: Mapping[str, FloatArray], *, rng: np.random.Generator, draws: int = DRAWS, level: float = LEVEL
) -> dict[str, tuple[float, Interval]]:
    """The mean over models of each score of `per_model`, with an interval by resampling models."""
    drawn = draw_models(len(next(iter(scores.values()))), draws, rng)
    return {
        name: (float(values.mean()), interval_of(drawn @ values / len(values), level))
        for name, values in scores.items()
    }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two attacks on the same models: the first one's score less the second one's."""

    difference: float
    interval: Interval
    probability: float  # share of resamples in which it is above 0, half of those in which it is 0

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0: the difference is not inside the noise."""
        return self.interval.low > 0 or self.interval.high < 0


def compare_draws(difference: float, draws: FloatArray, level: float = LEVEL) -> Comparison:
    """From the difference of two scores and its resampled values, (draws,)."""
    above = np.mean(draws > 0) + np.mean(draws == 0) / 2
    return Comparison(float(difference), interval_of(draws, level), float(above))


def compare(
    membership: Sequence[ArrayLike] | NDArray[Any],
    first: Sequence[ArrayLike] | NDArray[Any],
    second: Sequence[ArrayLike] | NDArray[Any],
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, Comparison]:
    """Two attacks' predictions for the same models: each score's paired difference.

    Both are scored on the same resamples, so that what makes a model hard for both cancels.

    Returns:
        The keys of `headline_scores`.

    Raises:
        ValueError: As `count`.
    """
    counts = [count(membership, predictions) for predictions in (first, second)]
    drawn = draw_models(counts[0].models, draws, rng)
    resampled = [resampled_scores(each, drawn) for each in counts]
    pooled, *values = (np.concatenate([np.asarray(model) for model in each]) for each in (membership, first, second))
    scores = [headline_scores(pooled, each) for each in values]
    return {
        name: compare_draws(scores[0][name] - scores[1][name], resampled[0][name] - resampled[1][name], level)
        for name in scores[0]
    }


@dataclass(frozen=True, slots=True)
class Rank:
    """An attack's place among others on the same models."""

    name: str
    value: float
    interval: Interval
    best: int  # place, from 1, if every difference inside the noise went its way: 1 + those clearly better
    worst: int  # place if none did: all but those clearly worse

    def __str__(self) -> str:
        return f"{self.best}" if self.best == self.worst else f"{self.best}-{self.worst}"


def rank(values: Mapping[str, float], draws: Mapping[str, FloatArray], level: float = LEVEL) -> list[Rank]:
    """Ranks attacks by their score; places of which the difference is inside the noise overlap.

    Args:
        values: Attack -> score; for a track, the mean over its suites.
        draws: Attack -> its (draws,) resampled scores, all on the same resamples.
        level: Confidence of the paired differences, each on its own.
    """
    places = []
    for name, value in sorted(values.items(), key=lambda item: -item[1]):
        differences = [
            compare_draws(value - other_value, draws[name] - draws[other], level)
            for other, other_value in values.items()
            if other != name
        ]
        better = sum(each.interval.high < 0 for each in differences)
        worse = sum(each.interval.low > 0 for each in differences)
        places.append(Rank(name, float(value), interval_of(draws[name], level), 1 + better, len(values) - worse))
    return places
