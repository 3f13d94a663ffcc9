"""Epsilon as attacks show it: a certified lower bound, and estimates that are none.

What is a bound and what is not:

- `certified_epsilon` is a lower bound at its level of confidence: one challenge record per model, drawn without
  looking, so that the outcomes of different models are independent; the attack, its threshold and its direction fixed
  on other models; Clopper-Pearson for each error rate at half of the error.
- `pooled_epsilon` and `bayesian_epsilon` are estimates. They pool all challenge records, and those of one model share
  its training and number m members exactly, so no interval that counts them as independent is valid: `certified_bound`
  of pooled points fails its level by far (tests/test_empirical.py shows it on models with a known epsilon).

All are about substitution, the game that MICO plays: for a given record, being a member or not decides whether another
one is. Adding or removing one record is a smaller change; its epsilon is no ceiling for these figures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import beta

from mico_hub.scoring import DRAWS, LEVEL, Estimate, Interval, draw_models

FloatArray = NDArray[np.float64]

_MOST_TRIALS = 1e9
_QUANTILES = 4_000  # of the posterior false positive rate, to average over


@dataclass(frozen=True, slots=True)
class Rule:
    """A decision fixed before the models it is used on: member if the score is at least, or at most, the threshold."""

    threshold: float
    at_least: bool = True

    def __call__(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Which scores say member; the shape of `scores`."""
        values = np.asarray(scores, dtype=np.float64)
        called: NDArray[np.bool_] = values >= self.threshold if self.at_least else values <= self.threshold
        return called


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a rule decided on some challenge records."""

    false_positives: int
    non_members: int
    false_negatives: int
    members: int

    @classmethod
    def of(cls, rule: Rule, membership: ArrayLike, scores: ArrayLike) -> "Outcomes":
        """Counts them.

        Raises:
            ValueError: Membership and scores differ in shape, or membership is not of 0 and 1.
        """
        member, called = np.asarray(membership), rule(scores)
        if member.shape != called.shape or not np.isin(member, (0, 1)).all():
            raise ValueError(f"expected a membership of 0 and 1 for each score, got {member.shape} and {called.shape}")
        return cls(
            false_positives=int(np.count_nonzero(called & (member == 0))),
            non_members=int(np.count_nonzero(member == 0)),
            false_negatives=int(np.count_nonzero(~called & (member == 1))),
            members=int(np.count_nonzero(member == 1)),
        )


def epsilon_of_rates(fpr: ArrayLike, fnr: ArrayLike, delta: float = 0.0) -> FloatArray:
    """The smallest epsilon for which (epsilon, delta)-DP allows these error rates (Kairouz, Oh and Viswanath 2015).

    max(ln((1 - delta - FNR) / FPR), ln((1 - delta - FPR) / FNR), 0), infinite where an error rate is 0.
    """
    x, y = np.broadcast_arrays(np.asarray(fpr, dtype=np.float64), np.asarray(fnr, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        both = [np.log(np.maximum(1 - delta - other, 0) / rate) for rate, other in ((x, y), (y, x))]
    epsilon: FloatArray = np.fmax(np.fmax(*both), 0.0)
    return epsilon


def clopper_pearson_upper(errors: ArrayLike, trials: ArrayLike, alpha: float) -> FloatArray:
    """The upper end of the exact one-sided interval for an error rate (Clopper and Pearson 1934); 1 without trials."""
    others = np.maximum(np.subtract(trials, errors), 1e-12)
    return np.where(np.greater_equal(errors, trials), 1.0, beta.ppf(1 - alpha, np.add(errors, 1), others))


def certified_bound(outcomes: Outcomes, delta: float, level: float = LEVEL) -> float:
    """A lower bound of epsilon from independent outcomes: each error rate bounded at half of the error, 1 - level.

    With 50 models, 25 of each kind, a perfect attack certifies 1.84 at level 0.95 and delta 0; with 100 models 2.57.
    """
    alpha = (1 - level) / 2
    fpr = clopper_pearson_upper(outcomes.false_positives, outcomes.non_members, alpha)
    fnr = clopper_pearson_upper(outcomes.false_negatives, outcomes.members, alpha)
    return float(epsilon_of_rates(fpr, fnr, delta))


def draw_one_each(membership: Sequence[ArrayLike], rng: np.random.Generator) -> NDArray[np.int64]:
    """The position of one challenge record for each model, drawn without looking at anything but how many there are."""
    return np.array([rng.integers(np.size(of_model)) for of_model in membership], dtype=np.int64)


def certified_epsilon(
    membership: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    rule: Rule,
    *,
    delta: float,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> tuple[float, Outcomes]:
    """A lower bound of the models' epsilon for substitution, at that level of confidence.

    Args:
        membership: One (points,) list of 0 and 1 for each model.
        scores: One (points,) list for each model, from that model and the train models alone: not ranks among the
            other models, as `attack` gives them, or the outcomes depend on each other.
        rule: Fixed on the train models, see `fix_rule`.
        delta: Of the guarantee that is tested.
        rng: Draws the one record of each model that is looked at. Another seed after seeing the result is another
            test, and its level no longer holds.
        level: Confidence.

    Returns:
        (epsilon, what the rule decided on the records drawn).
    """
    drawn = draw_one_each(membership, rng)
    of_drawn = [np.array([np.asarray(model)[i] for model, i in zip(lists, drawn, strict=True)])
                for lists in (membership, scores)]  # fmt: skip
    outcomes = Outcomes.of(rule, *of_drawn)
    return certified_bound(outcomes, delta, level), outcomes


def fix_rule(
    membership: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    *,
    models: int,
    delta: float,
    level: float = LEVEL,
) -> Rule:
    """The threshold and direction that promise the highest certified bound, selected on the train models.

    For each threshold, the bound that `models` models would certify if their error rates were those of the train
    models. Where that is nothing at any threshold, what four times as many would certify, and so on.

    Args:
        membership: Of the train models.
        scores: Of the train models, leave one model out.
        models: How many models it will be used on, half of the outcomes members.
        delta: As for `certified_epsilon`.
        level: As for `certified_epsilon`.

    Raises:
        ValueError: The signals do not separate members from non-members at all.
    """
    labels = np.concatenate([np.asarray(model) for model in membership])
    values = np.concatenate([np.asarray(model, dtype=np.float64) for model in scores])
    thresholds = np.unique(values)
    rank = np.searchsorted(thresholds, values)
    members, others = (np.bincount(rank[labels == label], minlength=len(thresholds)) for label in (1, 0))
    rates = {  # direction -> shares called members of non-members and of members, at each threshold
        at_least: tuple(
            (counts[::-1].cumsum()[::-1] if at_least else counts.cumsum()) / counts.sum()
            for counts in (others, members)
        )
        for at_least in (True, False)
    }
    trials, alpha = models / 2, (1 - level) / 2
    while trials < _MOST_TRIALS:
        bounds = {
            at_least: epsilon_of_rates(
                clopper_pearson_upper(fpr * trials, trials, alpha),
                clopper_pearson_upper((1 - tpr) * trials, trials, alpha),
                delta,
            )
            for at_least, (fpr, tpr) in rates.items()
        }
        at_least = max(bounds, key=lambda direction: float(bounds[direction].max()))
        if bounds[at_least].max() > 0:
            return Rule(float(thresholds[int(np.argmax(bounds[at_least]))]), at_least)
        trials *= 4
    raise ValueError("expected scores that tell members from non-members, got some that do not at any threshold")


def pooled_epsilon(
    membership: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    rule: Rule,
    *,
    delta: float,
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> tuple[float, Interval | None]:
    """An estimate of epsilon from all challenge records, with an interval by resampling models. It is no bound.

    Returns:
        (estimate, interval, None for a single model); infinite where the rule makes no error of one kind.
    """
    of_models = [Outcomes.of(rule, model, values) for model, values in zip(membership, scores, strict=True)]
    table = np.array(
        [[each.false_positives, each.non_members, each.false_negatives, each.members] for each in of_models]
    )
    drawn = draw_models(len(table), draws, rng) @ table

    def estimate(counts: FloatArray) -> FloatArray:
        return epsilon_of_rates(counts[..., 0] / counts[..., 1], counts[..., 2] / counts[..., 3], delta)

    found = Estimate(float(estimate(table.sum(axis=0))), estimate(drawn), len(table), bounds=(0, math.inf))
    return found.value, found.interval(level)


def bayesian_epsilon(outcomes: Outcomes, delta: float, level: float = LEVEL) -> tuple[float, Interval]:
    """The credible interval of epsilon, as if the outcomes were independent. It is no bound for pooled points.

    Source: Zanella-Beguelin et al. 2023, Bayesian Estimation of Differential Privacy: the error rates have independent
    posteriors Beta(1/2 + errors, 1/2 + others), by Jeffreys' prior, and epsilon is at most e where the rates lie in the
    region that (e, delta)-DP allows.

    Returns:
        (posterior median, equal-tailed credible interval).
    """
    fpr = beta(0.5 + outcomes.false_positives, 0.5 + outcomes.non_members - outcomes.false_positives)
    fnr = beta(0.5 + outcomes.false_negatives, 0.5 + outcomes.members - outcomes.false_negatives)
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    rates = fpr.ppf(middles)  # equally likely false positive rates

    def at_most(epsilon: float) -> float:
        """The posterior probability that the rates lie in the region of that epsilon."""
        grown = math.exp(epsilon)
        lowest = np.maximum(1 - delta - grown * rates, (1 - delta - rates) / grown)  # of the FNR allowed at that FPR
        return float(np.mean(fnr.sf(lowest)))

    low, median, high = (_solve(at_most, share) for share in ((1 - level) / 2, 0.5, (1 + level) / 2))
    return median, Interval(low, high)


def _solve(increasing: Callable[[float], float], value: float, top: float = 50.0) -> float:
    """Where an increasing function of epsilon reaches a value: 0 if it is there already, at most `top`."""
    if increasing(0) >= value:
        return 0.0
    return float(brentq(lambda epsilon: increasing(epsilon) - value, 0, top)) if increasing(top) > value else top
