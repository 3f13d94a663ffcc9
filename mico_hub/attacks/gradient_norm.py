"""Gradient norm threshold: training ends where the members' gradients are small. White-box, needs only the target."""

from mico_hub.attacks.base import Attack, Evidence, FloatArray


def score(evidence: Evidence) -> FloatArray:
    """Minus the norm of the record's gradient over all parameters, one threshold for all records."""
    return -evidence.signals["gradient_norm"].target


ATTACKS = (
    Attack(
        "gradient_norm",
        score,
        title="gradient norm",
        reference="Nasr et al. 2019, Comprehensive Privacy Analysis of Deep Learning",
        signals=("gradient_norm",),
        needs=(),
    ),
)
