"""LiRA on the margin and the weights together: what a record does to a model's outputs, and what it leaves in it.

The two signals of a record, `margin` and `gradient_coefficient`, become one number, that which tells IN from OUT best
where both vary alike within records: w . (margin, coefficient) with

    w = S^-1 d    S the covariance within records, of IN and OUT about their own means, pooled over records
                  d the mean of mu_in - mu_out over records, each weighted by n_in n_out / (n_in + n_out)

(Fisher 1936, The Use of Multiple Measurements in Taxonomic Problems). Of that number LiRA's ratio is taken as in
`lira.shrunken`, with effects shrunk towards a line in the record's mean margin over OUT: records that models do badly
on without having seen them gain more by being seen.
"""

import numpy as np

from mico_hub.attacks import lira
from mico_hub.attacks.base import Attack, Evidence, FloatArray, Mask, TooFewShadowsError, Values, mean_over, out_means

SIGNALS = ("margin", "gradient_coefficient")


def joint(evidence: Evidence) -> FloatArray:
    """The log-likelihood ratio, (P,).

    Raises:
        TooFewShadowsError: As `lira.shrunken`.
    """
    of = [evidence.signals[name] for name in SIGNALS]
    shadows = np.stack([values.shadows for values in of], axis=2)  # (S, P, signals)
    weights = discriminant(shadows, evidence.member)
    target = np.stack([values.target for values in of], axis=1) @ weights
    easiness = out_means(evidence.signals["margin"].shadows, evidence.member)
    return lira.shrunken_ratio(Values(target, shadows @ weights), evidence.member, easiness)


def discriminant(shadows: FloatArray, member: Mask) -> FloatArray:
    """(signals,) w, see above.

    Args:
        shadows: (S, P, signals).
        member: (S, P).

    Raises:
        TooFewShadowsError: No record has IN and OUT models, there are no more values than means, or a signal is the
            same in all models. Of two that are the same signal each counts half.
    """
    n_in = member.sum(axis=0)
    n_out = len(member) - n_in
    free = member.size - np.count_nonzero(n_in) - np.count_nonzero(n_out)
    counts = n_in * n_out / np.maximum(n_in + n_out, 1)
    if not counts.any() or free < shadows.shape[2]:
        raise TooFewShadowsError("expected records that some shadow models were trained on and others not, got too few")
    sides = [
        np.stack([mean_over(values, side) for values in np.moveaxis(shadows, 2, 0)], axis=1)
        for side in (member, ~member)
    ]
    within = shadows - np.where(member[..., None], *sides)
    covariance = np.einsum("spi,spj->ij", within, within) / free
    both = counts > 0
    effect = counts[both] @ (sides[0] - sides[1])[both] / counts.sum()
    scale = np.sqrt(np.diag(covariance))
    if not scale.all():
        raise TooFewShadowsError("expected signals that vary between shadow models, got one that does not")
    weights: FloatArray = np.linalg.lstsq(covariance / np.outer(scale, scale), effect / scale, rcond=1e-9)[0] / scale
    return weights


ATTACKS = (
    Attack(
        "lira_joint",
        joint,
        title="LiRA, margin and weights",
        reference="Carlini et al. 2022, Membership Inference Attacks From First Principles; Fisher 1936; ours",
        signals=SIGNALS,
        with_few_shadows="the variance pooled within records; without any model on a side the effect on the line",
    ),
    Attack(
        "distinguisher_joint",
        joint,
        title="LiRA, margin and weights, own models",
        reference="Ye et al. 2022, Enhanced Membership Inference Attacks against Machine Learning Models; ours",
        signals=SIGNALS,
        needs=("own_shadows",),
        with_few_shadows="the variance pooled within records; without any model on a side the effect on the line",
    ),
)
