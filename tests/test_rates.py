"""Epsilon from two error rates: by definition, and below the truth as often as it says."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from mico_hub.auditing.rates import Errors, clopper_pearson_upper, epsilon_of_rates, two_rates_epsilon


@pytest.mark.parametrize(("trainings", "most"), [(50, 1.84), (100, 2.57), (2_000, 5.60)])
def test_a_perfect_attack_certifies_no_more_than_the_trainings_allow(trainings: int, most: float) -> None:
    assert round(two_rates_epsilon(Errors(0, trainings // 2, 0, trainings // 2), delta=0), 2) == most


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


@pytest.mark.parametrize("epsilon", [0.25, 1.0, 4.0])
def test_the_bound_is_above_the_truth_as_seldom_as_it_says(epsilon: float) -> None:
    """Randomised response, whose two error rates are the ones that epsilon allows."""
    rng, runs, trainings = np.random.default_rng(0), 2_000, 500
    wrong = 1 / (1 + math.exp(epsilon))
    errors = rng.binomial(trainings, wrong, (runs, 2))
    bounds = np.array([two_rates_epsilon(Errors(first, trainings, second, trainings), 0) for first, second in errors])
    assert np.mean(bounds > epsilon) <= 0.05
    assert bounds.mean() > 0.6 * epsilon - 0.1  # a bound of 0 would be above it never
