"""The most that any attack can find: TPR at each FPR, and epsilon, for the noise that a suite was trained with.

From a pessimistic privacy loss distribution (PLD) of the composed Poisson-subsampled Gaussian mechanism, by Google's
`dp_accounting`: every figure is an upper bound for the real-valued mechanism. The normal approximation of many steps
(GDP) is none: at FPR 0.001 it gives 0.0059 for sst2_lo, where an attack may reach 0.0088.

Two adjacencies. `add_remove` is that of the claimed epsilon: one data set has a record that the other lacks.
`substitution` is the game that MICO plays: exactly m of 2m challenge records are members, so that a record which is not
a member left its place to another one. Only the ceiling for substitution bounds these scores. For it the mechanism's
pair is taken to be (1-q) N(0, s^2) + q N(1, s^2) against (1-q) N(0, s^2) + q N(-1, s^2): each record is sampled on its
own, and the gradients of the two are opposite and as long as the clipping norm lets them.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution, from_gaussian_mechanism
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr
from scipy.stats import norm

from mico_hub.suites import Suite

FloatArray = NDArray[np.float64]
Adjacency = Literal["add_remove", "substitution"]

_TAIL = 1e-15  # mass of one step's loss that is counted as infinite
_STEP = 1e-4  # of the grid of privacy losses; dp_accounting's default


@dataclass(frozen=True, eq=False)
class Ceiling:
    """What bounds attacks on one mechanism under one adjacency."""

    noise_multiplier: float
    sampling_rate: float
    steps: int
    adjacency: Adjacency

    @cached_property
    def _pld(self) -> PrivacyLossDistribution:
        if self.adjacency == "add_remove":
            one_step = from_gaussian_mechanism(
                self.noise_multiplier, sampling_prob=self.sampling_rate, value_discretization_interval=_STEP,
                use_connect_dots=True,
            )  # fmt: skip
        else:
            one_step = _substitution_step(self.noise_multiplier, self.sampling_rate)
        return one_step.self_compose(self.steps)

    def delta(self, epsilon: ArrayLike) -> FloatArray:
        """The smallest delta for each epsilon, an upper bound; the shape of `epsilon`."""
        flat = np.atleast_1d(np.asarray(epsilon, dtype=np.float64))
        deltas: FloatArray = np.asarray(self._pld.get_delta_for_epsilon(flat), dtype=np.float64)
        return deltas.reshape(np.shape(epsilon))

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon for a delta, an upper bound."""
        return float(self._pld.get_epsilon_for_delta(delta))

    def tpr(self, fpr: ArrayLike) -> FloatArray:
        """The highest TPR of any attack at each FPR, an upper bound; the shape of `fpr`.

        TPR <= min over epsilon of min(e^eps FPR + delta(eps), 1 - e^-eps (1 - delta(eps) - FPR)), which is
        (epsilon, delta)-DP as hypothesis testing (Kairouz, Oh and Viswanath 2015), in both directions.
        """
        rates = np.atleast_1d(np.asarray(fpr, dtype=np.float64))
        highest = self.epsilon(1e-12)
        # Denser near 0, where the small budgets decide.
        epsilons = np.unique(np.concatenate([np.linspace(0, min(highest, 100), 2_000), np.geomspace(1e-3, 100, 500)]))
        deltas, grown = self.delta(epsilons), np.exp(epsilons)
        up = np.min(grown * rates[:, None] + deltas, axis=1)
        down = np.min(1 - (1 - deltas - rates[:, None]) / grown, axis=1)
        highest_tpr: FloatArray = np.clip(np.minimum(up, down), 0, 1)
        return highest_tpr.reshape(np.shape(fpr))


def _substitution_step(noise_multiplier: float, sampling_rate: float) -> PrivacyLossDistribution:
    """One step's PLD for substitution: `connect the dots` (Doroshenko et al. 2022) over its exact delta(epsilon)."""
    sigma, q = noise_multiplier, sampling_rate
    lowest = sigma * norm.ppf(_TAIL) - 1  # below it lies less than _TAIL of either distribution
    largest_loss = float(_loss(np.array([lowest]), sigma, q)[0])
    top = math.ceil(largest_loss / _STEP)
    epsilons = np.arange(-top, top + 1, dtype=np.float64) * _STEP
    deltas = _step_deltas(epsilons, sigma, q)
    pmf = pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(_STEP, -top, top, deltas)
    return PrivacyLossDistribution(pmf)


def _loss(x: FloatArray, sigma: float, q: float) -> FloatArray:
    """The privacy loss ln P(x) / Q(x) with P around -1 and Q around 1, falling in x."""
    stay, go = math.log1p(-q) if q < 1 else -math.inf, math.log(q)
    towards, away = (go + (sign * x - 0.5) / sigma**2 for sign in (-1, 1))
    loss: FloatArray = np.logaddexp(stay, towards) - np.logaddexp(stay, away)
    return loss


def _step_deltas(epsilons: FloatArray, sigma: float, q: float) -> FloatArray:
    """delta(epsilon) = P(x <= t) - e^epsilon Q(x <= t), t where the loss is epsilon: a quadratic equation in e^(t/s^2).

    With k = q e^(-1/(2 s^2)), a = 1 - q, u = e^(t/s^2) and E = e^epsilon: E k u^2 + a (E - 1) u - k = 0.
    """
    log_k, a = math.log(q) - 0.5 / sigma**2, 1 - q
    grown = np.exp(epsilons)
    b = a * np.expm1(epsilons)
    k = math.exp(log_k)
    root = np.sqrt(b**2 + 4 * grown * k**2)
    # Of the two forms of the positive root, the one without cancellation.
    u = np.where(b >= 0, 2 * k / (b + root), (root - b) / (2 * grown * k))
    t = sigma**2 * np.log(u)
    near = a * norm.cdf(t / sigma) + q * norm.cdf((t + 1) / sigma)
    log_far = np.logaddexp(math.log(a) + log_ndtr(t / sigma), math.log(q) + log_ndtr((t - 1) / sigma)) if a > 0 else (
        log_ndtr((t - 1) / sigma)
    )  # fmt: skip
    deltas: FloatArray = np.clip(near - np.exp(epsilons + log_far), 0, 1)
    return np.maximum.accumulate(deltas[::-1])[::-1]  # rounding may make it rise


@cache
def ceiling(noise_multiplier: float, sampling_rate: float, steps: int, adjacency: Adjacency) -> Ceiling:
    """The ceiling of that mechanism, kept for the next call: composing takes seconds.

    Raises:
        ValueError: A setting is out of range.
    """
    if not noise_multiplier > 0 or not 0 < sampling_rate <= 1 or steps < 1:
        raise ValueError(
            f"expected noise multiplier > 0, sampling rate in (0, 1] and steps >= 1, got {noise_multiplier}, "
            f"{sampling_rate} and {steps}"
        )
    if adjacency not in ("add_remove", "substitution"):
        raise ValueError(f"expected the adjacency add_remove or substitution, got {adjacency!r}")
    return Ceiling(noise_multiplier, sampling_rate, steps, adjacency)


def suite_ceiling(suite: Suite, noise_multiplier: float | None, adjacency: Adjacency) -> Ceiling | None:
    """The ceiling of a suite trained with that noise; None without DP or without Poisson sampling."""
    if noise_multiplier is None or suite.order != "poisson":
        return None
    return ceiling(noise_multiplier, suite.sampling_rate, suite.steps, adjacency)
