"""Loss threshold: members have a lower loss than others. Needs nothing but the target."""

from mico_hub.attacks.base import Attack, Evidence, FloatArray


def score(evidence: Evidence) -> FloatArray:
    """Minus the loss, one threshold for all records."""
    return -evidence.signals["loss"].target


ATTACKS = (
    Attack(
        "loss",
        score,
        title="loss threshold",
        reference="Yeom et al. 2018, Privacy Risk in Machine Learning",
        signals=("loss",),
        needs=(),
    ),
)
