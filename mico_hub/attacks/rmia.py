"""RMIA: is the target better on the record than on records from the population, each measured by what is usual for it?

With p the probability of the label, and P(x) what a model is expected to give x, estimated from the shadow models,

    score(x) = share of population records z with  (p_x / P(x)) / (p_z / P(z)) >= gamma

    online     P(x) = (mean_IN p(x) + mean_OUT p(x)) / 2
    offline    P(x) = ((1 + a) mean_OUT p(x) + (1 - a)) / 2

Source: Zarifzadeh et al. 2024, Low-Cost High-Power Membership Inference Attacks. Online, P(x) is the mean of the two
means and not of all models.
"""

from collections.abc import Callable

import numpy as np

from mico_hub.attacks.base import Attack, Evidence, FloatArray, Mask, Population, mean_over, out_means

GAMMA = 1.0
OFFLINE_SCALE = 0.3  # a; the paper takes it between 0.2 and 1 by data set


def expected_online(shadows: FloatArray, member: Mask) -> FloatArray:
    """P(x), (P,); where there is no IN or no OUT model, the mean of all takes that side's place.

    Args:
        shadows: (S, P) probabilities.
        member: (S, P).
    """
    out = out_means(shadows, member)
    within = mean_over(shadows, member)
    return (np.where(np.isnan(within), out, within) + out) / 2


def expected_offline(shadows: FloatArray, member: Mask, scale: float = OFFLINE_SCALE) -> FloatArray:
    """P(x), (P,), from OUT models; arguments as of `expected_online`."""
    return ((1 + scale) * out_means(shadows, member) + (1 - scale)) / 2


def shares(points: FloatArray, population: FloatArray, gamma: float = GAMMA) -> FloatArray:
    """(P,) share of the population that each point is at least gamma times as good as.

    Args:
        points: (P,) ratios p_x / P(x).
        population: (Z,) ratios p_z / P(z).
        gamma: At least 1.
    """
    ascending = np.sort(population)
    return np.searchsorted(ascending, points / gamma, side="right") / len(ascending)


def _score(evidence: Evidence, online: bool) -> FloatArray:
    if evidence.population is None:
        raise ValueError("expected records from the population, got none")
    expected = expected_online if online else expected_offline

    def ratios(given: Evidence | Population) -> FloatArray:
        loss = given.signals["loss"]
        return np.exp(-loss.target) / expected(np.exp(-loss.shadows), given.member)

    return shares(ratios(evidence), ratios(evidence.population))


def online(evidence: Evidence) -> FloatArray:
    """The share, (P,), with P(x) from IN and OUT models."""
    return _score(evidence, online=True)


def offline(evidence: Evidence) -> FloatArray:
    """The share, (P,), with P(x) from OUT models alone."""
    return _score(evidence, online=False)


def _attack(name: str, score: Callable[[Evidence], FloatArray], title: str) -> Attack:
    return Attack(
        name,
        score,
        title,
        "Zarifzadeh et al. 2024, Low-Cost High-Power Membership Inference Attacks",
        signals=("loss",),
        needs=("shadows", "population"),
        with_few_shadows="without IN or OUT models the mean of all takes their place",
    )


ATTACKS = (_attack("rmia_offline", offline, "RMIA, offline"), _attack("rmia", online, "RMIA, online"))
