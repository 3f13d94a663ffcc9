"""One threshold for all records: a signal of the target, which training changes in the same way on every member.

loss            training lowers it on members (Yeom et al. 2018)
entropy         the modified entropy looks at the other classes, too (Song and Mittal 2021)
gradient_norm   over all parameters (after Nasr et al. 2019); white-box. Training ends where it is small on members, but
                not everywhere: whether it is lower or higher on them is what the shadow models say
"""

import numpy as np

from mico_hub.attacks.base import Attack, Evidence, FloatArray, TooFewShadowsError, mean_over


def loss(evidence: Evidence) -> FloatArray:
    """Minus the loss, (P,)."""
    return -evidence.signals["loss"].target


def entropy(evidence: Evidence) -> FloatArray:
    """Minus the modified entropy, (P,)."""
    return -evidence.signals["modified_entropy"].target


def gradient_norm(evidence: Evidence) -> FloatArray:
    """The norm, or minus it where it is lower on IN than on OUT, by the mean over records that have both, (P,).

    Raises:
        TooFewShadowsError: No record has both.
    """
    norm, member = evidence.signals["gradient_norm"], evidence.member
    effects = mean_over(norm.shadows, member) - mean_over(norm.shadows, ~member)
    if np.isnan(effects).all():
        raise TooFewShadowsError("expected records that some shadow models were trained on and others not, got none")
    return norm.target if np.nanmean(effects) > 0 else -norm.target


ATTACKS = (
    Attack(
        "entropy",
        entropy,
        "modified entropy",
        "Song and Mittal 2021, Systematic Evaluation of Privacy Risks of Machine Learning Models",
        signals=("modified_entropy",),
        needs=(),
    ),
    Attack("loss", loss, "loss threshold", "Yeom et al. 2018, Privacy Risk in Machine Learning", ("loss",), needs=()),
    Attack(
        "gradient_norm",
        gradient_norm,
        "gradient norm",
        "Nasr et al. 2019, Comprehensive Privacy Analysis of Deep Learning",
        signals=("gradient_norm",),
        with_few_shadows="the sign is that of the others",
    ),
)
