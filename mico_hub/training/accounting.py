"""Noise and budget of DP-SGD: the Poisson-subsampled Gaussian mechanism, composed numerically (PRV).

Adjacency is to add or remove one record. The figures hold for the real-valued mechanism; noise drawn in float32 has
only about 2**23 different values an octave, which no accountant covers.

Source: Gopi, Lee, Wutschitz 2021, Numerical Composition of Differential Privacy, as implemented by opacus, which takes
longer to import than torch and is imported where it is used: training without DP, and workers, do without it.
"""

import math
import warnings
from functools import cache

from mico_hub.suites import Suite

CALIBRATION_GAP = 0.005  # the spent epsilon may stay below the claimed one by this share of it
_MOST_TRIALS = 30


@cache
def calibrate(suite: Suite) -> float | None:
    """The noise multiplier that spends at most `suite.epsilon`, and at least 99.5% of it; None without DP.

    The noise multiplier is the standard deviation of the noise on the sum of clipped gradients over the clipping norm.

    A root finder would end on either side of the claim, which must not be passed. opacus bisects with this accountant
    too, on the right side, but over a range in which it takes 1.5 to 4 times as long: here three or four trials do.
    """
    if not suite.private:
        return None
    least, most = (1 - CALIBRATION_GAP) * suite.epsilon, suite.epsilon
    noise_multiplier = _estimate(suite)
    slope, tried = 2.0, (math.nan, math.nan)  # log epsilon falls about linearly in the log of the noise multiplier
    for _ in range(_MOST_TRIALS):
        spent = spent_epsilon(suite, noise_multiplier)
        if least <= spent <= most:
            return noise_multiplier
        point = math.log(noise_multiplier), math.log(spent)
        if (found := (tried[1] - point[1]) / (point[0] - tried[0])) > 0:
            slope = found
        tried = point
        noise_multiplier *= (spent / math.sqrt(least * most)) ** (1 / slope)
    raise ArithmeticError(f"{suite.name}: found no noise multiplier that spends from {least:g} to {most:g} of epsilon")


def _estimate(suite: Suite) -> float:
    """The noise multiplier by the central limit theorem, which holds for many steps with much noise; takes no time.

    Source: Bu, Dong, Long, Su 2020, Deep Learning with Gaussian Differential Privacy, corollary 4.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    assert suite.delta is not None  # it is a suite with DP

    def delta(mu: float) -> float:
        beyond = suite.epsilon / mu
        return float(norm.cdf(mu / 2 - beyond) - math.exp(suite.epsilon + norm.logcdf(-mu / 2 - beyond)))

    mu = brentq(lambda mu: delta(mu) - suite.delta, 1e-6, 100 + suite.epsilon)
    return 1 / math.sqrt(math.log1p((mu / suite.sampling_rate) ** 2 / suite.steps))


def spent_epsilon(suite: Suite, noise_multiplier: float | None, steps: int | None = None) -> float:
    """The epsilon spent at `suite.delta` after `steps` steps (all of the recipe's by default); inf without DP.

    Returns:
        The accountant's upper bound, not its estimate.

    Raises:
        ValueError: A suite with DP needs a positive noise multiplier, and one without has none.
    """
    return epsilon(suite, noise_multiplier, suite.sampling_rate, suite.steps if steps is None else steps)


@cache
def epsilon(suite: Suite, noise_multiplier: float | None, sampling_rate: float, steps: int) -> float:
    """As `spent_epsilon`, for another sampling rate than the recipe's."""
    if not suite.private:
        if noise_multiplier is not None:
            raise ValueError(f"{suite.name} is trained without DP, got noise multiplier {noise_multiplier}")
        return math.inf
    if noise_multiplier is None or not noise_multiplier > 0:
        raise ValueError(f"{suite.name}: expected a positive noise multiplier, got {noise_multiplier}")
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # opacus warns of rounding in the tails that its upper bound covers
        return float(accountant.get_epsilon(delta=suite.delta))
