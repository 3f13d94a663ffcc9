"""The most that any attack can find: TPR at each FPR, and epsilon, for the noise that a suite was trained with.

From a pessimistic privacy loss distribution (PLD) of the composed Poisson-subsampled Gaussian mechanism, by Google's
`dp_accounting`: every figure is an upper bound for the real-valued mechanism. The normal approximation of many steps
(GDP) is no bound: at FPR 0.001 it gives 0.0059 for sst2_lo, where an attack may reach 0.0088.

Two adjacencies. `add_remove` is that of the claimed epsilon: one data set has a record that the other lacks.
`substitution` is the game that MICO plays: exactly m of 2m challenge records are members, so that a record which is not
a member left its place to another one. Only the ceiling for substitution bounds these scores. For it the mechanism's
pair is P = (1-q) N(0, s^2) + q N(1, s^2) against Q = (1-q) N(0, s^2) + q N(-1, s^2): the two records' gradients are
opposite and as long as the clipping norm lets them. No two gradients give more, and no assumption is needed:

- Show the attacker which other records were sampled, and their gradients. What is left of a step is a choice between
  (1-q) N(0) + q N(g) and (1-q) N(0) + q N(g'), with |g|, |g'| <= 1.
- For alpha >= 1 the hockey-stick divergence, with the density of N(g) as the measure, is
  E[(q - (1-q)(alpha-1) exp(Z1 - Var Z1 / 2) - alpha q exp(Z2 - Var Z2 / 2))+], where Z1 and Z2 are Gaussian with
  covariance <vi, vj> / s^2, v1 = -g, v2 = g' - g. Each entry is at most what it is for g' = -g, |g| = 1, and
  x -> (q - x)+ is convex, so that Kahane's inequality (1986) gives that the divergence is, too.
- For alpha < 1, H_alpha(P || Q) = 1 - alpha + alpha H_(1/alpha)(Q || P), and the pair is symmetric. So one pair
  dominates both directions, and dominating pairs compose (Zhu, Dong and Wang 2022).

`dp_accounting` has the same pair as `REPLACE_ONE`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
from dp_accounting import NeighboringRelation
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution, from_gaussian_mechanism
from numpy.typing import ArrayLike, NDArray

from mico_hub.suites import Suite

FloatArray = NDArray[np.float64]
Adjacency = Literal["add_remove", "substitution"]

_RELATIONS = {"add_remove": NeighboringRelation.ADD_OR_REMOVE_ONE, "substitution": NeighboringRelation.REPLACE_ONE}
_STEP = 1e-3  # of the grid of privacy losses; a tenth of it changes no TPR by more than 0.1% and takes ten times longer


@dataclass(frozen=True, eq=False)
class Ceiling:
    """What bounds attacks on one mechanism under one adjacency."""

    noise_multiplier: float
    sampling_rate: float
    steps: int
    adjacency: Adjacency

    @cached_property
    def _pld(self) -> PrivacyLossDistribution:
        one_step = from_gaussian_mechanism(
            self.noise_multiplier,
            sampling_prob=self.sampling_rate,
            value_discretization_interval=_STEP,
            use_connect_dots=True,
            neighboring_relation=_RELATIONS[self.adjacency],
        )
        return one_step.self_compose(self.steps)

    @cached_property
    def _profile(self) -> tuple[FloatArray, FloatArray]:
        """Epsilons, denser near 0 where the small budgets decide, and the delta of each."""
        highest = min(self.epsilon(1e-12), 100)
        epsilons = np.unique(np.concatenate([np.linspace(0, highest, 2_000), np.geomspace(1e-3, 100, 500)]))
        return epsilons, self.delta(epsilons)

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
        epsilons, deltas = self._profile
        grown = np.exp(epsilons)
        up = np.min(grown * rates[:, None] + deltas, axis=1)
        down = np.min(1 - (1 - deltas - rates[:, None]) / grown, axis=1)
        highest_tpr: FloatArray = np.clip(np.minimum(up, down), 0, 1)
        return highest_tpr.reshape(np.shape(fpr))


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
    if adjacency not in _RELATIONS:
        raise ValueError(f"expected the adjacency add_remove or substitution, got {adjacency!r}")
    return Ceiling(noise_multiplier, sampling_rate, steps, adjacency)


ADJACENCY_TITLES: Mapping[Adjacency, str] = MappingProxyType(
    {"add_remove": "add or remove one", "substitution": "substitution"}
)


def adjacency_of(suite: Suite) -> Adjacency:
    """What one membership decides: with coins a record is there or not, else it took another one's place."""
    return "add_remove" if suite.design == "coins" else "substitution"


def suite_ceiling(suite: Suite, noise_multiplier: float | None, adjacency: Adjacency | None = None) -> Ceiling | None:
    """The ceiling of a suite trained with that noise; None without DP or without Poisson sampling.

    Args:
        suite: The recipe.
        noise_multiplier: None without DP.
        adjacency: None: of the game that the suite plays, see `adjacency_of`.
    """
    adjacency = adjacency or adjacency_of(suite)
    if noise_multiplier is None or suite.order != "poisson":
        return None
    return ceiling(noise_multiplier, suite.sampling_rate, suite.steps, adjacency)
