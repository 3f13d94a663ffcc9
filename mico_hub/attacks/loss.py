"""Loss threshold: members have a lower loss than others. Needs nothing but the target."""

from mico_hub.attacks.base import Attack, FloatArray, Points


def score(points: Points) -> FloatArray:
    """Minus the loss, one threshold for all records."""
    return -points.signals["loss"].target


ATTACK = Attack(
    name="loss",
    title="loss threshold",
    reference="Yeom et al. 2018, Privacy Risk in Machine Learning",
    signals=("loss",),
    score=score,
)
