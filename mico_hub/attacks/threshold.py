"""One threshold for all records: minus a signal of the target, which is lower for members. Needs nothing else.

loss            training lowers it on members (Yeom et al. 2018)
entropy         the modified entropy looks at the other classes, too (Song and Mittal 2021)
gradient_norm   over all parameters; training ends where it is small on members (after Nasr et al. 2019); white-box
"""

from mico_hub.attacks.base import Attack, Evidence, FloatArray


def _attack(name: str, signal: str, title: str, reference: str) -> Attack:
    def score(evidence: Evidence) -> FloatArray:
        return -evidence.signals[signal].target

    return Attack(name, score, title, reference, signals=(signal,), needs=())


ATTACKS = (
    _attack(
        "entropy",
        "modified_entropy",
        "modified entropy",
        "Song and Mittal 2021, Systematic Evaluation of Privacy Risks of Machine Learning Models",
    ),
    _attack(
        "gradient_norm",
        "gradient_norm",
        "gradient norm",
        "Nasr et al. 2019, Comprehensive Privacy Analysis of Deep Learning",
    ),
    _attack("loss", "loss", "loss threshold", "Yeom et al. 2018, Privacy Risk in Machine Learning"),
)
