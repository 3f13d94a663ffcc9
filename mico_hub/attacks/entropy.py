"""Modified entropy threshold: as the loss, but it looks at the other classes, too. Needs nothing but the target."""

from mico_hub.attacks.base import Attack, FloatArray, Points


def score(points: Points) -> FloatArray:
    """Minus the modified entropy, one threshold for all records."""
    return -points.signals["modified_entropy"].target


ATTACK = Attack(
    name="entropy",
    title="modified entropy",
    reference="Song and Mittal 2021, Systematic Evaluation of Privacy Risks of Machine Learning Models",
    signals=("modified_entropy",),
    score=score,
)
