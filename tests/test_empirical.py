"""What is called a bound covers, shown by simulation; what is called an estimate is seen to fail as one."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from mico_hub.auditing.empirical import (
    Outcomes,
    Rule,
    bayesian_epsilon,
    certified_bound,
    certified_epsilon,
    clopper_pearson_upper,
    draw_one_each,
    epsilon_of_rates,
    fix_rule,
    pooled_epsilon,
)


@pytest.mark.parametrize(("models", "most"), [(50, 1.84), (100, 2.57)])
def test_a_perfect_attack_certifies_no_more_than_the_models_allow(models: int, most: float) -> None:
    perfect = Outcomes(false_positives=0, non_members=models // 2, false_negatives=0, members=models // 2)
    assert round(certified_bound(perfect, delta=0), 2) == most


def test_rates_give_epsilon_by_the_definition() -> None:
    assert epsilon_of_rates(0.1, 0.1) == pytest.approx(math.log(9))
    assert epsilon_of_rates(0.1, 0.5) == pytest.approx(math.log(5))
    assert epsilon_of_rates(0.5, 0.1) == pytest.approx(math.log(5))
    assert epsilon_of_rates(0.5, 0.5) == 0
    assert epsilon_of_rates(0.1, 0.1, delta=0.1) == pytest.approx(math.log(8))
    assert epsilon_of_rates(0.0, 0.5) == math.inf
    assert epsilon_of_rates(0.0, 1.0) == 0  # nothing is said: nothing is shown
    assert epsilon_of_rates([0.1, 0.5], [0.1, 0.5]).tolist() == pytest.approx([math.log(9), 0])


def test_the_exact_interval_is_clopper_and_pearsons() -> None:
    """By its definition: with the upper end as the rate, so few errors happen with probability alpha."""
    for errors, trials, alpha in ((0, 25, 0.025), (3, 25, 0.025), (24, 25, 0.1)):
        assert binom.cdf(errors, trials, clopper_pearson_upper(errors, trials, alpha)) == pytest.approx(alpha)
    assert clopper_pearson_upper(25, 25, 0.025) == 1
    assert clopper_pearson_upper(0, 0, 0.025) == 1


def test_rules_count_what_they_say() -> None:
    membership, scores = np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.7], [0.1, 0.2]])
    assert Outcomes.of(Rule(0.7), membership, scores) == Outcomes(1, 2, 1, 2)
    assert Outcomes.of(Rule(0.15, at_least=False), membership, scores) == Outcomes(0, 2, 1, 2)
    with pytest.raises(ValueError, match="expected a membership of 0 and 1 for each score"):
        Outcomes.of(Rule(0.5), [1, 0, 1], [0.1, 0.2])


# Models with a known epsilon and points that are correlated within a model. A challenge record's label is told rightly
# with probability p = e^eps / (1 + e^eps), so the mechanism is exactly eps-DP for that record; whether a model's
# records are told rightly or wrongly goes together: with probability `together` one coin decides for all of them.


def simulate(rng: np.random.Generator, epsilon: float, models: int, m: int, together: float) -> tuple[Any, Any]:
    membership = np.array([rng.permutation(np.repeat([0, 1], m)) for _ in range(models)])
    right = rng.random((models, 2 * m)) < math.exp(epsilon) / (1 + math.exp(epsilon))
    right = np.where(rng.random((models, 1)) < together, right[:, :1], right)
    return membership, np.where(right, membership, 1 - membership) + 0.0


EPSILON, RUNS = 1.0, 400


def test_the_certified_bound_covers_and_pooled_points_do_not() -> None:
    rng = np.random.default_rng(0)
    rule = Rule(0.5)
    certified_fails = pooled_fails = 0
    for _ in range(RUNS):
        membership, scores = simulate(rng, EPSILON, models=50, m=100, together=0.7)
        bound, outcomes = certified_epsilon(membership, scores, rule, delta=0, rng=rng)
        assert outcomes.members + outcomes.non_members == 50
        certified_fails += bound > EPSILON
        pooled_fails += certified_bound(Outcomes.of(rule, membership, scores), 0) > EPSILON
    assert certified_fails / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
    assert pooled_fails / RUNS > 0.2  # at a level that promises 0.05


def test_the_certified_bound_finds_something() -> None:
    """A bound of 0 would cover too."""
    rng = np.random.default_rng(1)
    membership, scores = simulate(rng, 4.0, models=100, m=100, together=0.7)
    bound, _ = certified_epsilon(membership, scores, Rule(0.5), delta=1e-5, rng=rng)
    assert 1 < bound < 4


def test_the_record_is_drawn_without_looking() -> None:
    membership = [np.repeat([0, 1], 5), np.repeat([1, 0], 5), np.repeat([0, 1], 3)]
    first = draw_one_each(membership, np.random.default_rng(3))
    swapped = draw_one_each([1 - of_model for of_model in membership], np.random.default_rng(3))
    assert first.tolist() == swapped.tolist()
    assert (first < [10, 10, 6]).all()
    many = [draw_one_each(membership, np.random.default_rng(seed))[0] for seed in range(500)]
    assert set(many) == set(range(10))


def naive_rule(labels: Any, values: Any, models: int, level: float) -> float:
    """The best bound over every threshold and both directions, one by one."""
    best = -1.0
    for threshold in np.unique(values):
        for at_least in (True, False):
            outcomes = Outcomes.of(Rule(threshold, at_least), labels, values)
            fpr, fnr = outcomes.false_positives / outcomes.non_members, outcomes.false_negatives / outcomes.members
            highs = [
                1.0 if rate == 1 else beta.ppf(1 - (1 - level) / 2, rate * models / 2 + 1, models / 2 * (1 - rate))
                for rate in (fpr, fnr)
            ]
            best = max(best, float(epsilon_of_rates(*highs)))
    return best


@pytest.mark.parametrize("sign", [1, -1])
def test_the_rule_is_the_best_of_all_and_knows_its_direction(sign: int) -> None:
    rng = np.random.default_rng(2)
    membership = [rng.permutation(np.repeat([0, 1], 10)) for _ in range(6)]
    scores = [np.round(sign * rng.normal(1.5 * of_model), 1) for of_model in membership]
    rule = fix_rule(membership, scores, models=50, delta=0)
    assert rule.at_least == (sign == 1)
    labels, values = np.concatenate(membership), np.concatenate(scores)
    outcomes = Outcomes.of(rule, labels, values)
    fpr, fnr = outcomes.false_positives / outcomes.non_members, outcomes.false_negatives / outcomes.members
    highs = [1.0 if rate == 1 else beta.ppf(0.975, rate * 25 + 1, 25 * (1 - rate)) for rate in (fpr, fnr)]
    assert epsilon_of_rates(*highs) == pytest.approx(naive_rule(labels, values, 50, 0.95))


def test_the_pooled_estimate_is_near_the_truth_and_its_interval_is_over_models() -> None:
    rng = np.random.default_rng(3)
    membership, scores = simulate(rng, EPSILON, models=200, m=100, together=0.7)
    estimate, interval = pooled_epsilon(membership, scores, Rule(0.5), delta=0, rng=rng)
    assert estimate == pytest.approx(EPSILON, abs=0.4)
    assert interval
    assert interval.low < estimate < interval.high
    membership, scores = simulate(rng, EPSILON, models=200, m=100, together=0.0)
    _, narrow = pooled_epsilon(membership, scores, Rule(0.5), delta=0, rng=rng)
    assert narrow
    assert interval.high - interval.low > 3 * (narrow.high - narrow.low)


def test_an_estimate_of_few_models_has_a_wide_interval_and_of_one_none() -> None:
    rng = np.random.default_rng(3)
    membership, scores = simulate(rng, EPSILON, models=4, m=100, together=0.7)
    estimate, interval = pooled_epsilon(membership, scores, Rule(0.5), delta=0, rng=rng)
    assert interval
    assert 0 <= interval.low < estimate < interval.high
    assert pooled_epsilon(membership[:1], scores[:1], Rule(0.5), delta=0, rng=rng)[1] is None


def test_a_perfect_rule_has_an_infinite_estimate() -> None:
    for models, low in ((30, math.inf), (5, 0)):  # of few models the standard error is infinite
        membership = [[0, 1, 0, 1, 0, 1]] * models
        estimate, interval = pooled_epsilon(membership, membership, Rule(1), delta=0, rng=np.random.default_rng(0))
        assert (estimate, interval) == (math.inf, (low, math.inf))


def test_the_bayesian_interval_is_its_definition() -> None:
    """By integrating the two posteriors over the region that (e, delta)-DP allows."""
    outcomes, delta = Outcomes(false_positives=4, non_members=40, false_negatives=9, members=40), 0.01
    median, interval = bayesian_epsilon(outcomes, delta)
    fpr, fnr = beta(4.5, 36.5), beta(9.5, 31.5)
    for epsilon, share in ((interval.low, 0.025), (median, 0.5), (interval.high, 0.975)):
        grown = math.exp(epsilon)

        def density(x: float, grown: float = grown) -> float:
            lowest = max(1 - delta - grown * x, (1 - delta - x) / grown)
            return float(fpr.pdf(x) * fnr.sf(lowest))

        mass, _ = quad(density, 0, 1, points=[0.05, 0.1, 0.2], epsabs=1e-6)
        assert mass == pytest.approx(share, abs=2e-3)


def test_the_bayesian_interval_is_tighter_than_the_bound_for_independent_outcomes() -> None:
    outcomes = Outcomes(2, 50, 3, 50)
    _, interval = bayesian_epsilon(outcomes, 0)
    assert certified_bound(outcomes, 0) < interval.low


def test_where_so_few_models_certify_nothing_the_rule_is_that_of_more() -> None:
    """A weak attack: with 10 models every bound is 0, and the first threshold would call everyone a member."""
    rng = np.random.default_rng(5)
    membership = [rng.permutation(np.repeat([0, 1], 100)) for _ in range(50)]
    scores = [rng.normal(0.8 * of_model) for of_model in membership]
    rule = fix_rule(membership, scores, models=10, delta=0)
    outcomes = Outcomes.of(rule, np.concatenate(membership), np.concatenate(scores))
    assert outcomes.false_positives < outcomes.non_members / 2
    assert outcomes.members - outcomes.false_negatives > 1.5 * outcomes.false_positives
    with pytest.raises(ValueError, match="expected scores that tell members from non-members"):
        fix_rule([[0, 1]] * 3, [[0.5, 0.5]] * 3, models=10, delta=0)
