"""Noise and budget of DP-SGD: the Poisson-subsampled Gaussian mechanism, composed numerically (PRV).

Adjacency is to add or remove one record. The figures hold for the real-valued mechanism; noise drawn in float32 has
only about 2**23 different values an octave, which no accountant covers.

Source: Gopi, Lee, Wutschitz 2021, Numerical Composition of Differential Privacy, as implemented by opacus.
"""

import math
import warnings

from opacus.accountants import PRVAccountant
from opacus.accountants.utils import get_noise_multiplier

from mico_hub.suites import Suite

CALIBRATION_GAP = 0.005  # the spent epsilon may stay below the claimed one by this share of it


def calibrate(suite: Suite) -> float | None:
    """The noise multiplier that spends at most `suite.epsilon`, and at least 99.5% of it; None without DP.

    The noise multiplier is the standard deviation of the noise on the sum of clipped gradients over the clipping norm.
    """
    if not suite.private:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # opacus warns of rounding in the tails that its upper bound covers
        return float(
            get_noise_multiplier(
                target_epsilon=suite.epsilon,
                target_delta=suite.delta,
                sample_rate=suite.sampling_rate,
                steps=suite.steps,
                accountant="prv",
                epsilon_tolerance=CALIBRATION_GAP * suite.epsilon,
            )
        )


def spent_epsilon(suite: Suite, noise_multiplier: float | None, steps: int | None = None) -> float:
    """The epsilon spent at `suite.delta` after `steps` steps (all of the recipe's by default); inf without DP.

    Returns:
        The accountant's upper bound, not its estimate.

    Raises:
        ValueError: A suite with DP needs a positive noise multiplier, and one without has none.
    """
    return epsilon(suite, noise_multiplier, suite.sampling_rate, suite.steps if steps is None else steps)


def epsilon(suite: Suite, noise_multiplier: float | None, sampling_rate: float, steps: int) -> float:
    """As `spent_epsilon`, for another sampling rate than the recipe's."""
    if not suite.private:
        if noise_multiplier is not None:
            raise ValueError(f"{suite.name} is trained without DP, got noise multiplier {noise_multiplier}")
        return math.inf
    if noise_multiplier is None or not noise_multiplier > 0:
        raise ValueError(f"{suite.name}: expected a positive noise multiplier, got {noise_multiplier}")
    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta=suite.delta))
