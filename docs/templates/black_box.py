"""A black-box attack: thresholds of their own for each class, after Song and Mittal 2021, section 4.

mico-hub attack digits_hi --attack docs/templates/black_box.py

A margin is high for an easy class, whoever was trained on the record. Of each class the shadow models tell how margins
of records that they were not trained on are spread, and the score is how far above them the target's is.
"""

import numpy as np

SIGNALS = ("margin",)
NEEDS = ("shadows", "records")  # `records`: inputs and labels of the challenge, from the base dataset


def score(evidence):
    """(P,) numbers, higher = more likely a member."""
    margin = evidence.signals["margin"]
    scores = np.empty(margin.target.shape)
    for label in np.unique(evidence.labels):
        of_class = evidence.labels == label
        outside = margin.shadows[:, of_class][~evidence.member[:, of_class]]  # of records not trained on
        scores[of_class] = (margin.target[of_class] - outside.mean()) / outside.std()
    return scores
