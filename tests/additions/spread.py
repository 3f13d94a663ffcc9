"""An attack: the margin, less its median over the shadow models."""

import numpy as np

from mico_hub.attacks.base import Attack, Evidence, FloatArray


def score(evidence: Evidence) -> FloatArray:
    """(P,)."""
    margin = evidence.signals["margin"]
    return np.asarray(margin.target - np.median(margin.shadows, axis=0))


ATTACKS = (Attack("spread", score, "less the median", "nobody 2026, A Test", with_few_shadows="nothing"),)
