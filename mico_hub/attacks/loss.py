"""Loss threshold: members have a lower loss than others. Needs nothing but the target."""

from mico_hub.attacks.base import Attack, FloatArray, Points


def score(points: Points) -> FloatArray:
    """Minus the loss, one threshold for all records."""
    return -points.target


ATTACK = Attack(
    name="loss",
    title="loss threshold",
    reference="Yeom et al. 2018, Privacy Risk in Machine Learning",
    signal="loss",
    shadows=False,
    score=score,
)
