"""Gradient norm threshold: training ends where the members' gradients are small. White-box, needs only the target."""

from mico_hub.attacks.base import Attack, FloatArray, Points


def score(points: Points) -> FloatArray:
    """Minus the norm of the record's gradient over all parameters, one threshold for all records."""
    return -points.signals["gradient_norm"].target


ATTACK = Attack(
    name="gradient_norm",
    title="gradient norm",
    reference="Nasr et al. 2019, Comprehensive Privacy Analysis of Deep Learning",
    signals=("gradient_norm",),
    score=score,
    white_box=True,
)
