"""Attacks without any model: whether what is public tells members from non-members by itself.

Given everything else, which m of a model's 2m challenge records are its members is a uniformly random choice. So for
any feature that is computed without that model's own membership, the sum of its ranks over the members has, model by
model, a known mean and variance, and summed over models it is normal. A sum that is not says that the splits were not
drawn as they should be, or that order, position or counts give members away: members balanced over models, say.

The error rate is for all tests of one call together, where nothing leaks; it is that of a normal distribution, which a
sum over thousands of points follows closely, not exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from mico_hub.release.rows import Row
from mico_hub.splits import Indices

ERROR_RATE = 1e-6
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Blind:
    """What a feature tells of membership."""

    feature: str
    deviations: float  # of the sum of ranks of the members from its mean, in standard deviations
    points: int
    leaks: bool  # beyond what all tests together exceed with probability `ERROR_RATE`


def attack(
    rows: Sequence[Row],
    truth: Mapping[int, npt.NDArray[np.integer[Any]]],
    num_records: int,
    features: Mapping[str, Values],
) -> list[Blind]:
    """Tries every feature on all models whose membership is known.

    Args:
        rows: The public rows of a suite, by id; those of train show their membership.
        truth: Model id -> hidden membership, as far as it is at hand.
        num_records: N, records of the base dataset.
        features: Of the records themselves, (N,) each: labels, sizes, whatever can be had without a model.
    """
    known = [row for row in rows if row["membership"] is not None or row["model_id"] in truth]
    labels = [
        np.asarray(truth[row["model_id"]] if row["membership"] is None else row["membership"]) == 1 for row in known
    ]
    tables = list(_features(known, labels, rows, num_records, features))
    names = list(tables[0])
    sums = {name: _deviations([table[name] for table in tables], labels) for name in names}
    for name, used in _trained(tables, labels).items():
        sums[name] = _deviations([scores for scores, _ in used], [of_model for _, of_model in used])
    sums["runs of members in a challenge"] = _runs(labels)
    bound = norm.isf(ERROR_RATE / 2 / len(sums))
    points = sum(len(of_model) for of_model in labels)
    return [Blind(name, found, points, abs(found) > bound) for name, found in sums.items()]


def _features(
    known: Sequence[Row],
    labels: Sequence[npt.NDArray[np.bool_]],
    rows: Sequence[Row],
    num_records: int,
    features: Mapping[str, Values],
) -> Iterator[dict[str, Values]]:
    """(2m,) of each feature for each model.

    Counts of members are over the models before it, hidden ones included: no model's own membership is in its
    features, nor a later one's.
    """
    challenged, trained_on = np.zeros(num_records), np.zeros(num_records)
    for row in rows:
        challenged[row["challenge"]] += 1
        if row["training"] is not None:
            trained_on[row["training"]] += 1
    member, nonmember = np.zeros(num_records), np.zeros(num_records)
    for row, of_model in zip(known, labels, strict=True):
        challenge: Indices = np.asarray(row["challenge"])
        yield {
            "position in the challenge": np.arange(len(challenge), dtype=float),
            "record": challenge.astype(float),
            "record, odd or even": (challenge % 2).astype(float),
            "times in a challenge": challenged[challenge],
            "times in a training set": trained_on[challenge],
            "times a member before": member[challenge],
            "times a non-member before": nonmember[challenge],
            "times a member less times a non-member": (member - nonmember)[challenge],
            **{name: values[challenge] for name, values in features.items()},
        }
        member[challenge[of_model]] += 1
        nonmember[challenge[~of_model]] += 1


def _runs(labels: Sequence[npt.NDArray[np.bool_]]) -> float:
    """The number of runs of equal labels, over all models, in standard deviations (Wald and Wolfowitz 1940)."""
    total, variance = 0.0, 0.0
    for member in labels:
        number, inside = len(member), int(member.sum())
        pairs = 2 * inside * (number - inside)
        total += 1 + np.count_nonzero(member[1:] != member[:-1]) - (pairs / number + 1)
        variance += pairs * (pairs - number) / (number**2 * (number - 1))
    return total / np.sqrt(variance) if variance else 0.0


def _deviations(values: Sequence[Values], labels: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Of the sum of the members' ranks within their model; 0 where a feature is the same for all of its points."""
    total, variance = 0.0, 0.0
    for of_model, member in zip(values, labels, strict=True):
        ranks = rankdata(of_model)
        m, number = int(member.sum()), len(ranks)
        total += float(ranks[member].sum() - m * ranks.mean())
        variance += m * (1 - m / number) * float(ranks.var(ddof=1))  # of a sum of m drawn without replacement
    return total / np.sqrt(variance) if variance else 0.0


def _trained(
    tables: Sequence[Mapping[str, Values]], labels: Sequence[npt.NDArray[np.bool_]]
) -> dict[str, list[tuple[Values, npt.NDArray[np.bool_]]]]:
    """Scores of a classifier that learns from the first half of the models, for those of the second.

    It may find what no single feature shows.
    """
    half = len(tables) // 2
    if half < 1:
        return {}
    points = [np.column_stack(list(table.values())) for table in tables]
    classifier = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    with threadpool_limits(1):  # more wait for each other: there is little to do
        classifier.fit(np.concatenate(points[:half]), np.concatenate(labels[:half]))
        scores = [classifier.predict_proba(of_model)[:, 1] for of_model in points[half:]]
    return {"a classifier trained on all of these": list(zip(scores, labels[half:], strict=True))}
