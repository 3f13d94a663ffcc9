"""LiRA: how much likelier is the target's margin if the record was a member than if it was not?

For each record, a normal distribution is fitted to the margins of the shadow models that were trained on it (IN), and
one to those of the others (OUT).

    online            log N(phi; mu_in, s_in) - log N(phi; mu_out, s_out)
    offline           (phi - mu_out) / s_out, one-sided; the paper's score is Phi of it, which orders points alike
    fixed variance    online, with one s_in and one s_out for all records of the target, pooled within records
    shrunken effects  fixed variance, with each record's mu_in - mu_out moved towards their mean over the records, the
                      more the less the shadow models tell about it; ours, for few shadow models and for DP-SGD

The paper's code differs from the paper: its offline score is two-sided, its means are medians, and its fixed variance
is over everything, so that differences between records count as variance. Here it is as in the paper.

A record with fewer than two IN or OUT models has no variance of its own on that side; it gets the one pooled within
the records of the target's challenge, and where it has none at all on that side, the mean of all records there.
"""

import numpy as np
import numpy.typing as npt

from mico_hub.attacks.base import FEWEST, Attack, Evidence, FloatArray, Mask, TooFewShadowsError, Values


def online(evidence: Evidence) -> FloatArray:
    """The log-likelihood ratio, (P,). Source: Carlini et al. 2022, algorithm 1.

    Raises:
        TooFewShadowsError: Over all points together there are fewer than two IN or fewer than two OUT values more than
            records.
    """
    phi = evidence.signals["margin"]
    return _log_normal(phi.target, *normal(phi.shadows, evidence.member)) - _log_normal(
        phi.target, *normal(phi.shadows, ~evidence.member)
    )


def offline(evidence: Evidence) -> FloatArray:
    """How many deviations the margin is above that of OUT models, (P,). Source: Carlini et al. 2022, section VI-B.

    Raises:
        TooFewShadowsError: As `online`, of OUT.
    """
    phi = evidence.signals["margin"]
    means, variances = normal(phi.shadows, ~evidence.member)
    above: FloatArray = (phi.target - means) / np.sqrt(variances)
    return above


def fixed_variance(evidence: Evidence) -> FloatArray:
    """As `online` with one variance a side, (P,). Source: Carlini et al. 2022, section VI-C.

    Raises:
        TooFewShadowsError: As `online`.
    """
    phi = evidence.signals["margin"]
    (_, mu_in, _, s_in), (_, mu_out, _, s_out) = (
        _within(phi.shadows, side) for side in (evidence.member, ~evidence.member)
    )
    return _log_normal(phi.target, mu_in, s_in) - _log_normal(phi.target, mu_out, s_out)


def shrunken(evidence: Evidence) -> FloatArray:
    """As `fixed_variance` with shrunken effects, (P,): `shrunken_ratio` of the margin.

    Raises:
        TooFewShadowsError: As `online`; or no record has IN and OUT models.
    """
    return shrunken_ratio(evidence.signals["margin"], evidence.member)


def shrunken_ratio(phi: Values, member: Mask, easiness: FloatArray | None = None) -> FloatArray:
    """The log-likelihood ratio of a signal with one variance a side and shrunken effects, (P,).

    Of a record with n_in IN and n_out OUT models, the effect d = mu_in - mu_out is off by v = s_in^2 / n_in +
    s_out^2 / n_out. What effects vary beyond that, tau^2 = max(0, var(d) - mean(v)), is real, and d is replaced by
    c + tau^2 / (tau^2 + v) * (d - c), where c is the mean of d, or a line; the mean over all the record's models stays.
    A record without IN, or without OUT, has the effect c. Source: empirical Bayes by moments, as in Efron and Morris
    1973, Stein's Estimation Rule and Its Competitors.

    Args:
        phi: Of the target and its shadow models.
        member: (S, P).
        easiness: (P,) what the line is in: fitted with weights 1 / (tau^2 + v), then tau^2 is taken about it. None: c
            is the mean.

    Raises:
        TooFewShadowsError: As `online`; or no record has IN and OUT models.
    """
    (n_in, mu_in, _, s_in), (n_out, mu_out, _, s_out) = (_within(phi.shadows, side) for side in (member, ~member))
    both = (n_in > 0) & (n_out > 0)
    if not both.any():
        raise TooFewShadowsError("expected records that some shadow models were trained on and others not, got none")
    found, error = (mu_in - mu_out)[both], s_in / n_in[both] + s_out / n_out[both]
    centre, real = np.full(phi.target.shape, found.mean()), _beyond(found - found.mean(), error, 1)
    if easiness is not None and len(found) > 2 and np.ptp(easiness[both]) > 0:
        line = np.polynomial.Polynomial.fit(easiness[both], found, 1, w=1 / np.sqrt(real + error))
        centre = line(easiness)
        real = _beyond(found - centre[both], error, 2)
    effect = centre.copy()
    effect[both] += real / (real + error) * (found - centre[both])
    mean, share_in = phi.shadows.mean(axis=0), n_in / len(phi.shadows)
    likelihood_in = _log_normal(phi.target, mean + (1 - share_in) * effect, s_in)
    return likelihood_in - _log_normal(phi.target, mean - share_in * effect, s_out)


def _beyond(residuals: FloatArray, error: FloatArray, fitted: int) -> float:
    """How much residuals vary beyond their errors, where so many numbers were fitted."""
    if len(residuals) <= fitted:
        return 0.0
    return max(0.0, float((residuals**2).sum() / (len(residuals) - fitted) - error.mean()))


def normal(values: FloatArray, mask: Mask) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (ddof 1) for each record over the mask models.

    Args:
        values: (S, P).
        mask: (S, P).

    Returns:
        (means, variances), (P,) each, completed as the module says where a record has too few models.
    """
    counts, means, squares, pooled = _within(values, mask)
    own = squares / np.maximum(counts - 1, 1)
    return means, np.where((counts >= FEWEST) & (own > 0), own, pooled)


def _within(values: FloatArray, mask: Mask) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray, float]:
    """How many models were mask, their mean, and the sum of squares about it, (P,) each; and `pooled_variance`."""
    counts = mask.sum(axis=0)
    sums = np.where(mask, values, 0.0).sum(axis=0)
    if counts.sum() - np.count_nonzero(counts) < 1:
        raise TooFewShadowsError(
            f"expected shadow models to fit, got at most {counts.max(initial=0)} that were, or were not, trained on "
            f"any record; at least {FEWEST} are needed"
        )
    means = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())
    squares = np.where(mask, (values - means) ** 2, 0.0).sum(axis=0)
    return counts, means, squares, float(squares.sum() / np.maximum(counts - 1, 0).sum())


def pooled_variance(values: FloatArray, mask: Mask) -> float:
    """The variance within records, over all of them; ({10, 12}, {0, 2}): 2. Arguments as of `normal`."""
    return _within(values, mask)[-1]


def _log_normal(values: FloatArray, means: FloatArray, variances: FloatArray | float) -> FloatArray:
    """Log density up to a constant that is the same for every normal distribution."""
    log_density: FloatArray = -0.5 * np.log(variances) - (values - means) ** 2 / (2 * variances)
    return log_density


_REFERENCE = "Carlini et al. 2022, Membership Inference Attacks From First Principles"
_FEW = "the variance pooled within records; without any model on a side its mean over records"

SHRUNKEN = Attack(
    "lira_shrunken",
    shrunken,
    title="LiRA, shrunken effects",
    reference=f"{_REFERENCE}; effects shrunk as in Efron and Morris 1973",
    with_few_shadows="the variance pooled within records; without any model on a side the mean effect",
)
ATTACKS = (
    Attack("lira_offline", offline, "LiRA, offline", _REFERENCE, with_few_shadows=_FEW),
    Attack("lira_fixed", fixed_variance, "LiRA, fixed variance", _REFERENCE, with_few_shadows=_FEW),
    SHRUNKEN,
    Attack("lira", online, "LiRA, online", _REFERENCE, with_few_shadows=_FEW),
)
