"""Modified entropy threshold: as the loss, but it looks at the other classes, too. Needs nothing but the target."""

from mico_hub.attacks.base import Attack, Evidence, FloatArray


def score(evidence: Evidence) -> FloatArray:
    """Minus the modified entropy, one threshold for all records."""
    return -evidence.signals["modified_entropy"].target


ATTACKS = (
    Attack(
        "entropy",
        score,
        title="modified entropy",
        reference="Song and Mittal 2021, Systematic Evaluation of Privacy Risks of Machine Learning Models",
        signals=("modified_entropy",),
        needs=(),
    ),
)
