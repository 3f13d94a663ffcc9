"""What a linear problem would give away of a record: between the best attack and the ceiling, how much could be found.

The last-iterate heuristic of Steinke, Nasr et al. 2024 (arXiv 2410.06186): were the gradient of a record clipped, and
always in the same direction, in which nothing else moves, then training would add sum(lr_t B_t) there, with B_t
Bernoulli(q), to noise of variance sigma^2 sum(lr_t^2), in units of the clipping norm; the final model shows the sum. It
is no bound: other problems may give away more of a record, and most give away less. Rates of Adam are taken as plain
weights.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from mico_hub.suites import Suite

FloatArray = NDArray[np.float64]

_FREQUENCIES = 4_000
_HIGHEST = 9.0  # frequency times the noise's standard deviation, beyond which the noise has damped everything


@dataclass(frozen=True)
class Headroom:
    """The heuristic for one recipe and its noise."""

    rates: tuple[float, ...]  # learning rate of each epoch
    steps_per_epoch: int
    sampling_rate: float
    noise_multiplier: float

    @property
    def noise(self) -> float:
        """Standard deviation of the noise in the direction of the record."""
        weights = self.steps_per_epoch * sum(rate**2 for rate in self.rates)
        return self.noise_multiplier * float(np.sqrt(weights))

    def tpr(self, fpr: ArrayLike) -> FloatArray:
        """TPR of the best test on the final model at each FPR; the shape of `fpr`.

        P(S + N > x) for S = sum(lr_t B_t) and x the noise's quantile, by inverting the characteristic function
        (Gil-Pelaez 1951): exact up to the quadrature, which is of an analytic and rapidly falling integrand.
        """
        rates = np.atleast_1d(np.asarray(fpr, dtype=np.float64))
        frequencies, transform = self._transform
        found = np.where(rates < 1, 0.0, 1.0)
        inside = (rates > 0) & (rates < 1)
        quantiles = ndtri(rates[inside]) * self.noise  # of x, with the other sign
        shifted = np.exp(1j * quantiles[:, None] * frequencies) * transform
        step = frequencies[1] - frequencies[0]
        found[inside] = np.clip(0.5 + np.sum(shifted.imag / frequencies, axis=1) * step / np.pi, 0, 1)
        return found.reshape(np.shape(fpr))

    @cached_property
    def _transform(self) -> tuple[FloatArray, NDArray[np.complex128]]:
        """Frequencies, at the middles of equal steps, and the characteristic function of sum and noise there."""
        middles: FloatArray = np.arange(_FREQUENCIES, dtype=np.float64) + 0.5
        frequencies: FloatArray = middles * np.float64(_HIGHEST / self.noise / _FREQUENCIES)
        logs = np.zeros(_FREQUENCIES, dtype=np.complex128)
        for rate in self.rates:
            logs += np.log(1 + self.sampling_rate * np.expm1(1j * rate * frequencies))
        transform: NDArray[np.complex128] = np.exp(self.steps_per_epoch * logs - (self.noise * frequencies) ** 2 / 2)
        return frequencies, transform

    def sentence(self) -> str:
        """What it says at FPR 10%."""
        return (
            f"Headroom, a heuristic and no bound: if a record's gradients all pointed one way, the final model would "
            f"give it away with a TPR of {float(self.tpr(0.1)):.3f} at FPR 10%."
        )


def suite_headroom(suite: Suite, noise_multiplier: float | None) -> Headroom | None:
    """The heuristic for a suite trained with that noise; None without DP or without Poisson sampling."""
    if noise_multiplier is None or suite.order != "poisson":
        return None
    optimiser = suite.optimiser
    rates = (
        optimiser.learning_rate * optimiser.decay ** (epoch // optimiser.decay_epochs) for epoch in range(suite.epochs)
    )
    return Headroom(tuple(rates), suite.steps_per_epoch, suite.sampling_rate, noise_multiplier)
