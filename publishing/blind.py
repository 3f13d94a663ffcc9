"""Attacks without any model: whether what is public tells members from non-members by itself.

Given everything else, which m of a model's 2m challenge records are its members is a uniformly random choice. So of
any feature that is computed without that model's own membership, the sum of its ranks over the members has, model by
model, a known distribution; and so has the number of runs of equal labels, and of pairs of places with equal labels.
What deviates says that the splits were not drawn as they should be, or that order, position, time or counts give
members away.

The error rate is for all tests of one call together, where nothing leaks, by proof (`log_evidence`): no normal
approximation, and no independence of the tests.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from mico_hub.release.rows import Row
from mico_hub.splits import Indices
from mico_hub.suites import Design

ERROR_RATE = 1e-6
TILTS = tuple(sign * size for size in (3.0, 6.0, 12.0, 24.0, 48.0) for sign in (1, -1))
"""What a sum is multiplied by in the exponent, over its standard deviation without ties: each is a test of its own."""
WINDOWS = {"": (0.0, 1.0), ", first half of the models": (0.0, 0.5), ", last half of the models": (0.5, 1.0),
           **{f", quarter {i + 1} of the models": (i / 4, (i + 1) / 4) for i in range(4)}}  # fmt: skip
"""Where in the order of models a test is made, as shares of them."""

_SIZES = tuple(sorted({last - first for first, last in WINDOWS.values()}))

Values = npt.NDArray[np.float64]
Labels = Sequence[npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Blind:
    """What a feature tells of membership."""

    feature: str
    deviations: float  # of the sum from its mean, in standard deviations
    points: int
    log_p: float  # of this and all other tests of the call together, an upper bound, natural logarithm; may be above 0

    @property
    def leaks(self) -> bool:
        """Whether that is below `ERROR_RATE`."""
        return self.log_p < math.log(ERROR_RATE)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """A number for each model whose distribution is known where nothing leaks, given the models before it."""

    found: Values  # (K,) less its mean
    variances: Values  # (K,)
    scale: float  # of one model: the standard deviation of the usual feature, which has no ties
    log_mgf: "npt.NDArray[np.float64]"  # (K, S, T) log E exp(t x), for each size of a window and each of `TILTS`


def attack(
    rows: Sequence[Row],
    truth: Mapping[int, npt.NDArray[np.integer[Any]]],
    num_records: int,
    features: Mapping[str, Values],
    design: Design = "exact",
) -> list[Blind]:
    """Tries every feature on all models whose membership is known.

    Args:
        rows: The public rows of a suite, by id; those of train show their membership.
        truth: Model id -> hidden membership, as far as it is at hand.
        num_records: N, records of the base dataset.
        features: Of the records themselves, (N,) each: labels, sizes, whatever can be had without a model.
        design: With `coins` the number of members is random, too, and looked at.
    """
    known = [row for row in rows if row["membership"] is not None or row["model_id"] in truth]
    labels = [
        np.asarray(truth[row["model_id"]] if row["membership"] is None else row["membership"]) == 1 for row in known
    ]
    tables = list(_features(known, labels, rows, num_records, features))
    sums = {name: rank_sums([table[name] for table in tables], labels) for name in tables[0]}
    sums |= {name: counted(counts, labels) for name, counts in _COUNTS.items()}
    if design == "coins":
        sums["number of members"] = coin_sums(labels)
    trained = {
        name: (rank_sums([scores for scores, _ in used], [of_model for _, of_model in used]), len(used))
        for name, used in _trained(tables, labels).items()
    }
    asked = [(name + what, of, number, round(first * len(labels)), round(last * len(labels)))
             for name, of in sums.items() for number, (what, (first, last)) in enumerate(WINDOWS.items())]  # fmt: skip
    asked += [(name, of, 0, 0, models) for name, (of, models) in trained.items()]
    sizes = [len(of_model) for of_model in labels]
    return [
        Blind(
            name,
            _deviations(of.found[start:end], of.variances[start:end]),
            sum(sizes[start:end]),
            math.log(len(asked)) - log_evidence(of, number, start, end),
        )
        for name, of, number, start, end in asked
        if end > start
    ]


def log_evidence(of: Sums, window: int, start: int, end: int) -> float:
    """How much some models say against chance: chance gives this or more with probability at most exp(-it).

    For a fixed t the product over models of exp(t x) / E[exp(t x) | the models before] has expectation 1, whatever
    later models' distributions depend on. So by Markov's inequality it exceeds T / p with probability at most p /
    T, and the largest over T = len(TILTS) such t exceeds it with probability at most p (Ville 1939; Chernoff 1952
    for independent x).

    Args:
        of: The sums.
        window: Which of `WINDOWS` it is, and so which t.
        start: The first model.
        end: After the last one.
    """
    first, last = list(WINDOWS.values())[window]
    size = _SIZES.index(last - first)
    tilts = tilts_of(of.scale, len(of.found))[size]
    exponents = tilts * of.found[start:end].sum() - of.log_mgf[start:end, size].sum(axis=0)
    return float(exponents.max()) - math.log(len(TILTS))


def tilts_of(scale: float, models: int) -> Values:
    """(S, T) for windows of each size."""
    tilts: Values = np.array(TILTS) / (scale * np.sqrt(np.maximum(1.0, np.array(_SIZES) * models)))[:, None]
    return tilts


def _deviations(found: Values, variances: Values) -> float:
    total = float(variances.sum())
    return float(found.sum()) / math.sqrt(total) if total else 0.0


def rank_sums(values: Sequence[Values], labels: Labels) -> Sums:
    """The members' ranks within their model, from -1/2 to 1/2, summed: of all choices of as many records.

    E exp(t x) over all choices of m of M numbers c is the m-th elementary symmetric polynomial of exp(t c) over the
    number of choices.
    """
    centred = [(rankdata(of_model) - (len(of_model) + 1) / 2) / len(of_model) for of_model in values]
    found = np.array([ranks[member].sum() for ranks, member in zip(centred, labels, strict=True)])
    inside = np.array([int(member.sum()) for member in labels])
    number = np.array([len(ranks) for ranks in centred])
    spread = np.array([ranks.var(ddof=1) if len(ranks) > 1 else 0.0 for ranks in centred])
    scale = math.sqrt(float((inside * (1 - inside / number) / 12).max())) or 1.0
    tilts = tilts_of(scale, len(values))
    log_mgf = np.zeros((len(values), *tilts.shape))
    kinds: dict[tuple[int, bytes], list[int]] = {}
    for i, ranks in enumerate(centred):
        kinds.setdefault((int(inside[i]), np.sort(ranks).tobytes()), []).append(i)
    by_size: dict[tuple[int, int], list[list[int]]] = {}
    for (m, ranked), models in kinds.items():
        by_size.setdefault((m, len(ranked)), []).append(models)
    for (m, _), groups in by_size.items():
        numbers = np.stack([np.sort(centred[models[0]]) for models in groups])
        for models, of_kind in zip(groups, log_choices(numbers, m, tilts.ravel()), strict=True):
            log_mgf[models] = of_kind.reshape(tilts.shape)
    return Sums(found, inside * (1 - inside / number) * spread, scale, log_mgf)


def log_choices(numbers: Values, m: int, tilts: Values) -> Values:
    """The log of E exp(t x), x the sum of m of M numbers without replacement: (U, M) numbers and (T,) t -> (U, T)."""
    models, number = numbers.shape
    terms = np.exp(numbers[:, None, :] * tilts[:, None])  # (U, T, M)
    sums = np.zeros((models, len(tilts), m + 1))
    sums[..., 0] = 1
    logs = np.zeros((models, len(tilts)))
    for k in range(number):
        sums[..., 1:] += terms[..., k, None] * sums[..., :-1]
        if k % 16 == 15:  # no term grows beyond what a double holds
            largest = sums.max(axis=2)
            sums /= largest[..., None]
            logs += np.log(largest)
    with np.errstate(divide="ignore"):
        found: Values = logs + np.log(sums[..., m]) - _log_choose(number, m)
    return found


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Any:
    """The log of n over k; minus infinity where that is 0."""
    n, k = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(k, dtype=float))
    inside = (k >= 0) & (k <= n)
    n, k = np.where(inside, n, 0.0), np.where(inside, k, 0.0)
    return np.where(inside, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)


@dataclass(frozen=True, slots=True)
class Count:
    """A number of labels that are alike, and how it is distributed for m members of M."""

    of: Any  # (M,) labels -> int
    log_pmf: Any  # m, M -> (values, log probabilities)


def _runs(member: npt.NDArray[np.bool_]) -> int:
    """Of equal labels (Wald and Wolfowitz 1940)."""
    return 1 + int(np.count_nonzero(member[1:] != member[:-1]))


def _of_runs(m: int, number: int) -> tuple[Values, Values]:
    values = np.arange(1, number + 1)
    half, others = values // 2, number - m
    even = math.log(2) + _log_choose(m - 1, half - 1) + _log_choose(others - 1, half - 1)
    odd = np.logaddexp(
        _log_choose(m - 1, half) + _log_choose(others - 1, half - 1),
        _log_choose(m - 1, half - 1) + _log_choose(others - 1, half),
    )
    if 0 < m < number:
        return values.astype(float), np.where(values % 2 == 0, even, odd) - _log_choose(number, m)
    return values.astype(float), np.where(values == 1, 0.0, -np.inf)


def _of_pairs(m: int, number: int) -> tuple[Values, Values]:
    """Pairs of two members; the last of an odd number of places has no partner."""
    pairs = number // 2
    values, single = np.arange(pairs + 1), number % 2
    ways = [
        _log_choose(pairs, values)
        + _log_choose(pairs - values, m - alone - 2 * values)
        + (m - alone - 2 * values) * math.log(2)
        for alone in range(single + 1)
    ]
    return values.astype(float), np.logaddexp.reduce(np.stack(ways)) - _log_choose(number, m)


def _neighbours(member: npt.NDArray[np.bool_]) -> int:
    end = len(member) // 2 * 2
    return int(np.count_nonzero(member[:end:2] & member[1:end:2]))


def _halves(member: npt.NDArray[np.bool_]) -> int:
    half = len(member) // 2
    return int(np.count_nonzero(member[:half] & member[half : 2 * half]))


def _mirrored(member: npt.NDArray[np.bool_]) -> int:
    half = len(member) // 2
    return int(np.count_nonzero(member[:half] & member[::-1][:half]))


_COUNTS = {
    "runs of members in a challenge": Count(_runs, _of_runs),
    "pairs of neighbours": Count(_neighbours, _of_pairs),
    "pairs of a place and the one m later": Count(_halves, _of_pairs),
    "pairs of a place and its mirror image": Count(_mirrored, _of_pairs),
}


def counted(count: Count, labels: Labels) -> Sums:
    """A count of each model, less its mean."""
    kinds = {(int(member.sum()), len(member)) for member in labels}
    known = {kind: count.log_pmf(*kind) for kind in kinds}
    moments = {}
    for kind, (values, logs) in known.items():
        mean = float(values @ np.exp(logs))
        moments[kind] = mean, float(((values - mean) ** 2) @ np.exp(logs))
    scale = math.sqrt(max(variance for _, variance in moments.values())) or 1.0
    tilts = tilts_of(scale, len(labels))
    mgf = {
        kind: np.logaddexp.reduce(tilts[..., None] * (values - moments[kind][0]) + logs, axis=2)
        for kind, (values, logs) in known.items()
    }
    of = [(int(member.sum()), len(member)) for member in labels]
    return Sums(
        np.array([count.of(member) - moments[kind][0] for member, kind in zip(labels, of, strict=True)]),
        np.array([moments[kind][1] for kind in of]),
        scale,
        np.stack([mgf[kind] for kind in of]),
    )


def coin_sums(labels: Labels) -> Sums:
    """The number of members of each model less its mean, where each record is one by a fair coin."""
    number = np.array([len(member) for member in labels], dtype=float)
    scale = math.sqrt(float(number.max()) / 4) or 1.0
    tilts = tilts_of(scale, len(labels))
    # E exp(t (x - M / 2)) = cosh(t / 2)^M, whose logarithm is that of a sum of two exponentials.
    log_mgf = number[:, None, None] * (np.logaddexp(tilts / 2, -tilts / 2) - math.log(2))
    return Sums(np.array([member.sum() for member in labels]) - number / 2, number / 4, scale, log_mgf)


def _features(
    known: Sequence[Row], labels: Labels, rows: Sequence[Row], num_records: int, features: Mapping[str, Values]
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
    longest = max(map(len, labels))
    before, at_place = [np.zeros(longest), np.zeros(longest)], np.zeros(longest)
    for row, of_model in zip(known, labels, strict=True):
        challenge: Indices = np.asarray(row["challenge"])
        number = len(challenge)
        place = np.arange(number, dtype=float)
        yield {
            "position in the challenge": place,
            "position, odd or even": place % 2,
            "position, first or second half": (place >= number / 2).astype(float),
            "record": challenge.astype(float),
            "record, odd or even": (challenge % 2).astype(float),
            "times in a challenge": challenged[challenge],
            "times in a training set": trained_on[challenge],
            "times a member before": member[challenge],
            "times a non-member before": nonmember[challenge],
            "times a member less times a non-member": (member - nonmember)[challenge],
            "label at the position one model before": before[-1][:number],
            "label at the position two models before": before[-2][:number],
            "times the position was a member's before": at_place[:number].copy(),
            **{name: values[challenge] for name, values in features.items()},
        }
        member[challenge[of_model]] += 1
        nonmember[challenge[~of_model]] += 1
        before.append(np.pad(of_model.astype(float), (0, longest - number)))
        at_place += before[-1]


def _trained(
    tables: Sequence[Mapping[str, Values]], labels: Labels
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
