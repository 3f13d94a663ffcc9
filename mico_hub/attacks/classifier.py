"""A classifier that learns from the shadow models what membership looks like, as MICO's second on CIFAR-10 had one.

Its examples are the shadow models on the target's challenge records: of each it is known whether it was trained on
the record. Features are loss, margin and modified entropy, each as it is, and as it compares with the other shadow
models on the same record: less the mean of IN, less the mean of OUT. A shadow model is not compared with itself. The
classifier is a logistic regression on standardised features.
"""

import numpy as np

from mico_hub.attacks.base import Attack, Evidence, FloatArray, Mask, TooFewShadowsError, mean_over

SIGNALS = ("loss", "margin", "modified_entropy")


def score(evidence: Evidence) -> FloatArray:
    """The log-odds of membership, (P,).

    Raises:
        TooFewShadowsError: There are fewer than two shadow models, or all of one kind.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    member = evidence.member
    if len(member) < 2 or member.all() or not member.any():
        raise TooFewShadowsError(f"expected shadow models, some with and some without each record, got {len(member)}")
    examples = np.stack([column for name in SIGNALS for column in _of_shadows(evidence, name)], axis=-1)  # (S, P, F)
    asked = np.stack([column for name in SIGNALS for column in _of_target(evidence, name)], axis=-1)  # (P, F)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    classifier.fit(examples.reshape(-1, examples.shape[-1]), member.ravel())
    scores: FloatArray = classifier.decision_function(asked)
    return scores


def _of_target(evidence: Evidence, name: str) -> list[FloatArray]:
    """The features of the target, (P,) each."""
    values = evidence.signals[name]
    return [values.target, *(values.target - mean for mean in _means(values.shadows, evidence.member))]


def _of_shadows(evidence: Evidence, name: str) -> list[FloatArray]:
    """The same of each shadow model, (S, P) each, compared with the others."""
    values, member = evidence.signals[name].shadows, evidence.member
    features = [values]
    for mask in (member, ~member):
        counts = mask.sum(axis=0) - mask  # (S, P) of the others
        sums = np.where(mask, values, 0.0).sum(axis=0) - np.where(mask, values, 0.0)
        overall = values[mask].mean()
        features.append(values - np.where(counts > 0, sums / np.maximum(counts, 1), overall))
    return features


def _means(values: FloatArray, member: Mask) -> list[FloatArray]:
    sides = [(mean_over(values, mask), values[mask].mean()) for mask in (member, ~member)]
    return [np.where(np.isnan(means), overall, means) for means, overall in sides]


ATTACKS = (
    Attack(
        "classifier",
        score,
        title="trained classifier",
        reference="Shokri et al. 2017, Membership Inference Attacks Against Machine Learning Models",
        signals=SIGNALS,
        with_few_shadows="without IN or OUT models the mean over records takes their place",
    ),
)
