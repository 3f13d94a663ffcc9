"""LiRA, online: how much likelier is the target's margin if the record was a member than if it was not?

For each record, a normal distribution is fitted to the margins of the shadow models that were trained on it (IN), and
one to those of the others (OUT); the score is log N(phi; mu_in, s_in) - log N(phi; mu_out, s_out).

A record with fewer than two IN or OUT models has no variance of its own on that side; it gets the one pooled within
the records of the target's challenge, and where it has none at all on that side, the mean of all records there.
"""

import logging

import numpy as np
import numpy.typing as npt

from mico_hub.attacks.base import Attack, FloatArray, Points, TooFewShadowsError

FEWEST = 2  # shadow models on a side for a variance of its own

logger = logging.getLogger("mico_hub")


def score(points: Points) -> FloatArray:
    """The log-likelihood ratio, (P,). Source: Carlini et al. 2022, algorithm 1.

    Raises:
        TooFewShadowsError: Over all points together there are fewer than two IN or fewer than two OUT values more than
            records.
    """
    few = (np.minimum(points.member.sum(axis=0), (~points.member).sum(axis=0)) < FEWEST).sum()
    if few:
        logger.warning("lira: %d of %d records have fewer than %d IN or OUT models", few, len(points.target), FEWEST)
    return _log_normal(points.target, *normal(points.shadows, points.member)) - _log_normal(
        points.target, *normal(points.shadows, ~points.member)
    )


def normal(values: FloatArray, chosen: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (ddof 1) for each record over the chosen models.

    Args:
        values: (S, P).
        chosen: (S, P).

    Returns:
        (means, variances), (P,) each, completed as the module says where a record has too few models.
    """
    counts = chosen.sum(axis=0)  # (P,)
    sums = np.where(chosen, values, 0.0).sum(axis=0)
    if counts.sum() - np.count_nonzero(counts) < 1:
        raise TooFewShadowsError(
            f"expected shadow models to fit, got at most {counts.max(initial=0)} that were, or were not, trained on "
            f"any record; at least {FEWEST} are needed"
        )
    means = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())
    squares = np.where(chosen, (values - means) ** 2, 0.0).sum(axis=0)
    pooled = squares.sum() / np.maximum(counts - 1, 0).sum()
    own = squares / np.maximum(counts - 1, 1)
    return means, np.where((counts >= FEWEST) & (own > 0), own, pooled)


def _log_normal(values: FloatArray, means: FloatArray, variances: FloatArray) -> FloatArray:
    """Log density up to a constant that is the same for every normal distribution."""
    log_density: FloatArray = -0.5 * np.log(variances) - (values - means) ** 2 / (2 * variances)
    return log_density


ATTACK = Attack(
    name="lira",
    title="LiRA, online",
    reference="Carlini et al. 2022, Membership Inference Attacks From First Principles",
    signal="margin",
    shadows=True,
    score=score,
)
