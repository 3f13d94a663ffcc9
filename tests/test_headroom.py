"""The last-iterate heuristic against a simulation, against what is known exactly, and below the ceiling."""

import numpy as np
import pytest
from scipy.stats import norm

from mico_hub.auditing.ceiling import suite_ceiling
from mico_hub.auditing.headroom import Headroom, suite_headroom
from mico_hub.suites import SUITES, Suite
from mico_hub.training.accounting import calibrate

FPRS = np.array([0.001, 0.01, 0.1, 0.5])
PRIVATE = [suite for suite in SUITES.values() if suite.private and suite.order == "poisson"]


@pytest.mark.parametrize("suite", PRIVATE, ids=lambda suite: suite.name)
def test_every_dp_suite_has_the_headroom_that_a_simulation_shows(suite: Suite) -> None:
    noise = calibrate(suite)
    found = suite_headroom(suite, noise)
    assert found is not None
    rates = found.tpr(FPRS)
    rng, draws = np.random.default_rng(0), 200_000
    total = sum(rate * rng.binomial(found.steps_per_epoch, found.sampling_rate, draws) for rate in found.rates)
    seen = total + found.noise * rng.normal(size=draws)
    simulated = [np.mean(seen > -found.noise * norm.ppf(fpr)) for fpr in FPRS]
    assert rates == pytest.approx(simulated, abs=0.005)
    ceiling = suite_ceiling(suite, noise, "add_remove")
    assert ceiling is not None
    assert (rates <= ceiling.tpr(FPRS) + 1e-9).all()


def test_full_batches_are_one_gaussian() -> None:
    """Without sampling each step adds its rate: the sum is known."""
    rates = (1.0, 0.5, 0.25)
    found = Headroom(rates, steps_per_epoch=4, sampling_rate=1.0, noise_multiplier=5.0)
    moved = 4 * sum(rates) / found.noise
    assert found.noise == pytest.approx(5 * np.sqrt(4 * (1 + 0.25 + 0.0625)))
    assert found.tpr(FPRS) == pytest.approx(norm.cdf(norm.ppf(FPRS) + moved), abs=1e-9)
    assert found.tpr([0.0, 1.0]).tolist() == [0, 1]
    assert float(found.tpr(0.1)) == pytest.approx(norm.cdf(norm.ppf(0.1) + moved), abs=1e-9)


def test_without_noise_or_with_another_sampling_there_is_none() -> None:
    assert suite_headroom(SUITES["digits_inf"], None) is None
    assert suite_headroom(SUITES["cifar10_inf"], None) is None
