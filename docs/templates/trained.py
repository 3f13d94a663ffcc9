"""A trained attack: quantile regression.

After Bertran et al. 2023, Scalable Membership Inference Attacks via Quantile Regression (arXiv 2307.03694).

mico-hub attack digits_hi --attack docs/templates/trained.py

What margin does a record have that a model was not trained on? A regression learns its upper quantile from what records
look like, on the shadow models' records outside their training sets, and has an answer for a record, too, of which
there is no such model. The score is how far the target's margin is above it.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

SIGNALS = ("margin",)
NEEDS = ("shadows", "records")
QUANTILE = 0.9


def score(evidence):
    """(P,) numbers, higher = more likely a member."""
    margin = evidence.signals["margin"]
    pixels = np.asarray(evidence.inputs).reshape(len(evidence.labels), -1)
    looks = np.column_stack([pixels, evidence.labels])  # (P, features)
    models, records = np.nonzero(~evidence.member)  # OUT: a model and a record that it was not trained on
    regression = HistGradientBoostingRegressor(loss="quantile", quantile=QUANTILE, max_iter=30, random_state=0)
    regression.fit(looks[records], margin.shadows[models, records])
    return margin.target - regression.predict(looks)
