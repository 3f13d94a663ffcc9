import math

import pytest

from mico_hub.suites import SUITES, get_suite
from mico_hub.training.accounting import calibrate, spent_epsilon

# Noise multipliers of opacus' PRV accountant at q = 1/98, from a search to 1e-5.
REFERENCE = {"cifar10_hi": 0.69742, "cifar10_lo": 1.03424}


@pytest.mark.parametrize("name", ["digits_hi", "digits_lo", "sst2_hi", "sst2_ddp", "cifar10_hi", "cifar10_lo"])
def test_the_noise_spends_at_most_the_claim_and_nearly_all_of_it(name: str) -> None:
    suite = get_suite(name)
    noise_multiplier = calibrate(suite)
    spent = spent_epsilon(suite, noise_multiplier)
    assert 0.99 * suite.epsilon <= spent <= suite.epsilon
    if name in REFERENCE:
        assert noise_multiplier == pytest.approx(REFERENCE[name], rel=0.01)


def test_more_steps_spend_more_and_more_noise_less() -> None:
    suite = SUITES["digits_hi"]
    assert spent_epsilon(suite, 1.5, steps=10) < spent_epsilon(suite, 1.5, steps=100)
    assert spent_epsilon(suite, 2.0, steps=100) < spent_epsilon(suite, 1.5, steps=100)


def test_without_dp_there_is_no_noise_and_no_bound() -> None:
    suite = SUITES["digits_inf"]
    assert calibrate(suite) is None
    assert spent_epsilon(suite, None) == math.inf
    with pytest.raises(ValueError, match="trained without DP"):
        spent_epsilon(suite, 1.0)


@pytest.mark.parametrize("noise_multiplier", [None, 0.0, -1.0, math.nan])
def test_a_private_suite_needs_noise(noise_multiplier: float | None) -> None:
    with pytest.raises(ValueError, match="expected a positive noise multiplier"):
        spent_epsilon(SUITES["digits_hi"], noise_multiplier)
