"""Epsilon from two error rates, of trainings that are independent of each other: pure, from counts.

`two_rates_epsilon` is a lower bound at its level: for one record, trained with and without it, each training on its
own. Points that share a model are not such trainings, whatever their number: their outcomes depend on each other, so
that counts of them are not binomial. For those there is `one_run`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from mico_hub.scoring import LEVEL

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Errors:
    """What a rule, fixed beforehand, decided on trainings without a record and with it."""

    false_positives: int
    without: int  # trainings
    false_negatives: int
    having: int  # trainings with the record


def epsilon_of_rates(fpr: ArrayLike, fnr: ArrayLike, delta: float = 0.0) -> FloatArray:
    """The smallest epsilon for which (epsilon, delta)-DP allows these error rates (Kairouz, Oh and Viswanath 2015).

    max(ln((1 - delta - FNR) / FPR), ln((1 - delta - FPR) / FNR), 0), infinite where an error rate is 0.
    """
    x, y = np.broadcast_arrays(np.asarray(fpr, dtype=np.float64), np.asarray(fnr, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        both = [np.log(np.maximum(1 - delta - other, 0) / rate) for rate, other in ((x, y), (y, x))]
    epsilon: FloatArray = np.fmax(np.fmax(*both), 0.0)
    return epsilon


def clopper_pearson_upper(errors: ArrayLike, trials: ArrayLike, alpha: float) -> FloatArray:
    """The upper end of the exact one-sided interval for an error rate (Clopper and Pearson 1934); 1 without trials."""
    others = np.maximum(np.subtract(trials, errors), 1e-12)
    return np.where(np.greater_equal(errors, trials), 1.0, beta.ppf(1 - alpha, np.add(errors, 1), others))


def upper_rates(errors: Errors, level: float = LEVEL) -> tuple[float, float]:
    """Upper limits of the false positive and the false negative rate that hold together at that level."""
    alpha = (1 - level) / 2
    fpr = clopper_pearson_upper(errors.false_positives, errors.without, alpha)
    fnr = clopper_pearson_upper(errors.false_negatives, errors.having, alpha)
    return float(fpr), float(fnr)


def two_rates_epsilon(errors: Errors, delta: float, level: float = LEVEL) -> float:
    """A lower bound of epsilon from independent trainings: each error rate bounded at half of the error, 1 - level.

    With 1,000 trainings of each kind a perfect attack certifies 5.60 at level 0.95 and delta 0.
    """
    return float(epsilon_of_rates(*upper_rates(errors, level), delta))
