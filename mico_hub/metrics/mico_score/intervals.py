"""How sure a score is: intervals by resampling models, the paired difference of two attacks, ranks.

An interval says how the score would vary with other models of the same recipe. It is conditional on the shadow models:
with others the attack would be another one. Where the targets are each other's shadows, as in leave-one-model-out, they
are not independent. Measured, intervals were not too narrow with 100 models: 84 of 84 covered, over 14 fresh suites.
With 8 to 16 models percentile intervals were: those of paired differences covered in 79 to 96%.

`benchmarks/coverage.py` measures how often intervals cover. Nothing but numpy is imported: this file is published with
the metric.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .resampling import DRAWS, Counts, count, draw_models, resampled_scores
from .scores import BESIDES, COMPETITION, SCORES
from .scoring import headline_scores, models_of

FloatArray = NDArray[np.float64]

LEVEL = 0.95
ENOUGH_MODELS = 30
"""From so many models on intervals are percentiles of resamples."""
ENOUGH_FALSE_POSITIVES = 5
"""Where fewer are allowed, a true positive rate has no interval."""


class Interval(NamedTuple):
    """An interval that covers a score with the asked-for level of confidence."""

    low: float
    high: float


def needed_non_members(max_fpr: float) -> int:
    """How many it takes for `ENOUGH_FALSE_POSITIVES` at a false positive rate."""
    return math.ceil(ENOUGH_FALSE_POSITIVES / max_fpr)


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A number that models give, and what resamples of these models give."""

    value: float
    draws: FloatArray  # (draws,)
    models: int
    bounds: tuple[float, float] = (-math.inf, math.inf)  # of what it can be
    enough: bool = True  # whether it rests on enough points for an interval

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The paired difference, of numbers from the same resamples."""
        return Estimate(
            self.value - other.value,
            self.draws - other.draws,
            min(self.models, other.models),
            enough=self.enough and other.enough,
        )

    def interval(self, level: float = LEVEL) -> Interval | None:
        """From `ENOUGH_MODELS` on the percentiles of the draws, below a t interval; None for a single model.

        Of few models M percentiles cover too rarely: the draws vary by 1 / M where an unbiased variance has
        1 / (M - 1), and the normal distribution stands for Student's t (Hesterberg 2015, What Teachers Should Know
        About the Bootstrap, on "narrowness bias"; Efron and Tibshirani 1993, section 12.4). So it is the value plus and
        minus the draws' standard deviation, times sqrt(M / (M - 1)), times the quantile of t with M - 1 degrees of
        freedom, and no further than what the number can be.

        Raises:
            ValueError: The level is not in (0, 1), or a draw is NaN: a resample had only members or only non-members.
        """
        if not 0 < level < 1:
            raise ValueError(f"expected a level in (0, 1), got {level}")
        if not self.enough or self.models < 2:
            return None
        if np.isnan(self.draws).any():
            raise ValueError(
                "expected members and non-members in every resample; the models have too few of one of them"
            )
        if self.models >= ENOUGH_MODELS:
            # Between two values that were drawn nothing is interpolated, so that infinite ones do no harm.
            low, high = (share * (len(self.draws) - 1) for share in ((1 - level) / 2, (1 + level) / 2))
            ascending = np.sort(self.draws)
            return Interval(float(ascending[math.floor(low)]), float(ascending[math.ceil(high)]))
        if not np.isfinite([self.value, *self.draws]).all():
            return Interval(*self.bounds)  # an infinite standard error
        error = float(self.draws.std()) * math.sqrt(self.models / (self.models - 1))
        reach = t_quantile(level, self.models - 1) * error
        return Interval(max(self.value - reach, self.bounds[0]), min(self.value + reach, self.bounds[1]))


def t_quantile(level: float, freedom: int) -> float:
    """What Student's t stays within, to both sides, with a probability; by bisection.

    With angle = arctan(t / sqrt(freedom)) the probability is a finite sum (Abramowitz and Stegun 1964, 26.7.3, 26.7.4).

    Args:
        level: In (0, 1).
        freedom: Degrees of freedom, from 1.
    """
    odd = freedom % 2

    def within(angle: float) -> float:
        total, term = 0.0, math.cos(angle) if odd else 1.0
        for k in range(2 + odd, freedom + 1, 2):
            total += term
            term *= math.cos(angle) ** 2 * (k - 1) / k
        inside = math.sin(angle) * total
        return 2 / math.pi * (angle + inside) if odd else inside

    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def estimates(
    membership: Sequence[ArrayLike] | NDArray[Any],
    predictions: Sequence[ArrayLike] | NDArray[Any],
    *,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
) -> dict[str, Estimate]:
    """Each pooled score, with its resamples.

    Args:
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model, aligned with `membership`.
        rng: Where the draws come from; of another attack on as many models the same ones, with the same state. None:
            the same draws each time.
        draws: Number of resamples.

    Returns:
        The keys of `SCORES`.

    Raises:
        ValueError: As `count`, or draws is below 1.
    """
    counts = count(membership, predictions)
    return _estimates(counts, draw_models(counts.models, draws, rng))


def _estimates(counts: Counts, drawn: NDArray[np.float32]) -> dict[str, Estimate]:
    itself = np.ones((1, counts.models), dtype=drawn.dtype)
    values = resampled_scores(counts, np.concatenate([itself, drawn]))
    non_members = int(counts.false_positives[:, -1].sum(dtype=np.float64))
    return {
        score.key: Estimate(
            float(values[score.key][0]),
            values[score.key][1:],
            counts.models,
            score.bounds,
            score.max_fpr is None or non_members >= needed_non_members(score.max_fpr),
        )
        for score in SCORES
    }


def intervals(
    membership: Sequence[ArrayLike] | NDArray[Any],
    predictions: Sequence[ArrayLike] | NDArray[Any],
    *,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, Interval | None]:
    """An interval for each pooled score, by resampling models.

    Args:
        membership: As for `estimates`.
        predictions: As for `estimates`.
        rng: As for `estimates`.
        draws: As for `estimates`.
        level: Confidence, in (0, 1).

    Returns:
        The keys of `SCORES`. None at a false positive rate that fewer than `ENOUGH_FALSE_POSITIVES` are within.

    Raises:
        ValueError: As `estimates` and `Estimate.interval`.
    """
    found = estimates(membership, predictions, rng=rng, draws=draws)
    return {name: estimate.interval(level) for name, estimate in found.items()}


def per_model(
    membership: Sequence[ArrayLike] | NDArray[Any], predictions: Sequence[ArrayLike] | NDArray[Any]
) -> dict[str, FloatArray]:
    """`headline_scores` of each model alone, by a threshold of its own: key -> (models,).

    Raises:
        ValueError: As `mico_score`, for a model with only members or only non-members too, and `models_of`.
    """
    models = zip(models_of(membership, "membership"), models_of(predictions, "predictions"), strict=True)
    scores = [headline_scores(labels, values) for labels, values in models]
    return {name: np.array([of_model[name] for of_model in scores]) for name in scores[0]}


def mean_per_model(
    scores: Mapping[str, FloatArray],
    *,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, tuple[float, Interval | None]]:
    """The mean over models of each score of `per_model`, with an interval by resampling models; None for one model."""
    models = len(next(iter(scores.values())))
    drawn = draw_models(models, draws, rng)
    bounds = {score.key: score.bounds for score in SCORES}
    means = {name: Estimate(float(of.mean()), drawn @ of / models, models, bounds[name]) for name, of in scores.items()}
    return {name: (mean.value, mean.interval(level)) for name, mean in means.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two attacks on the same models: the first one's score less the second one's."""

    difference: float
    interval: Interval | None  # see `Estimate.interval`
    probability: float  # share of resamples in which it is above 0, half of those in which it is 0

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0: the difference is not inside the noise."""
        return self.ahead or self.behind

    @property
    def ahead(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.interval is not None and self.interval.low > 0

    @property
    def behind(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.interval is not None and self.interval.high < 0


def compare_estimates(first: Estimate, second: Estimate, level: float = LEVEL) -> Comparison:
    """Two scores from the same resamples, so that what makes a model hard for both cancels."""
    difference = first - second
    above = np.mean(difference.draws > 0) + np.mean(difference.draws == 0) / 2
    return Comparison(difference.value, difference.interval(level), float(above))


def compare(
    membership: Sequence[ArrayLike] | NDArray[Any],
    first: Sequence[ArrayLike] | NDArray[Any],
    second: Sequence[ArrayLike] | NDArray[Any],
    *,
    rng: np.random.Generator | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, Comparison]:
    """Two attacks' predictions for the same models: each score's paired difference.

    Returns:
        The keys of `headline_scores`.

    Raises:
        ValueError: As `estimates`.
    """
    counts = [count(membership, predictions) for predictions in (first, second)]
    drawn = draw_models(counts[0].models, draws, rng)
    one, other = (_estimates(each, drawn) for each in counts)
    keys = [score.key for score in COMPETITION + BESIDES]
    return {key: compare_estimates(one[key], other[key], level) for key in keys}


@dataclass(frozen=True, slots=True)
class Rank:
    """An attack's place among others on the same models."""

    name: str
    value: float
    interval: Interval | None  # see `Estimate.interval`
    best: int  # place, from 1, if every difference inside the noise went its way: 1 + those clearly better
    worst: int  # place if none did: all but those clearly worse

    def __str__(self) -> str:
        return f"{self.best}" if self.best == self.worst else f"{self.best}-{self.worst}"


def rank(scores: Mapping[str, Estimate], level: float = LEVEL) -> list[Rank]:
    """Ranks attacks by their score; places of which the difference is inside the noise, or has no interval, overlap.

    Args:
        scores: Attack -> its score, all from the same resamples.
        level: Confidence of the paired differences, each on its own.
    """
    places = []
    for name, score in sorted(scores.items(), key=lambda item: -item[1].value):
        differences = [compare_estimates(score, other, level) for rival, other in scores.items() if rival != name]
        better, worse = sum(each.behind for each in differences), sum(each.ahead for each in differences)
        places.append(Rank(name, score.value, score.interval(level), 1 + better, len(scores) - worse))
    return places
