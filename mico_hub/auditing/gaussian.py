"""Gaussian differential privacy: trade-offs between two normal distributions of unit variance, mu apart.

Source: Dong, Roth and Su 2022, Gaussian Differential Privacy. That a mechanism's trade-off is one of these is an
assumption: DP-SGD comes close to it after many steps, and nobody has proved it of any training.
"""

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

_MOST = 200.0  # the largest epsilon and mu that are looked for


def gdp_delta(mu: float, epsilon: float) -> float:
    """The smallest delta for which mu-GDP gives (epsilon, delta)-DP (Corollary 2.13); stable in its tail."""
    if mu <= 0:
        return 0.0
    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return math.exp(first) * -math.expm1(min(second - first, 0.0))


def gdp_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon for which mu-GDP gives (epsilon, delta)-DP; infinite for delta 0 and mu above 0."""
    if gdp_delta(mu, 0.0) <= delta:
        return 0.0
    if delta <= 0 or gdp_delta(mu, _MOST) > delta:
        return math.inf
    return float(brentq(lambda epsilon: gdp_delta(mu, epsilon) - delta, 0.0, _MOST, xtol=1e-9))


def gdp_mu(epsilon: float, delta: float) -> float:
    """The inverse of `gdp_epsilon` in `mu`."""
    return float(brentq(lambda mu: gdp_delta(mu, epsilon) - delta, 0.0, _MOST, xtol=1e-9))


def mu_of_rates(fpr: float, fnr: float) -> float:
    """The mu at which these two error rates lie on the trade-off; below 0 for worse than guessing."""
    return float(-ndtri(fpr) - ndtri(fnr))


def mu_of_tpr(fpr: float, tpr: float) -> float:
    """The mu at which the trade-off has that true positive rate; infinite for 1."""
    return mu_of_rates(fpr, 1 - tpr)


def mu_of_auc(auc: float) -> float:
    """The mu whose whole curve has that area below it, Phi(mu / sqrt 2); below 0 for less than 0.5."""
    return math.sqrt(2) * float(ndtri(auc))


def lowest_probability(raised: float, mu: float) -> float:
    """The least that an event's probability can be where a neighbour's is `raised`: f-DP's blow-up, inverted."""
    return float(ndtr(ndtri(raised) - mu))
