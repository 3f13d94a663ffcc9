"""An audit of anybody's models from the scores of anybody's attack: what was drawn, what was guessed, what that shows.

Three designs, each with its own condition; the bounds of `one_run` hold for all of them:

- `pairs`: of two records exactly one was trained on, by a fair coin, many pairs a model. Turning a coin substitutes one
  record. Models with exactly as many members as non-members, drawn uniformly, become pairs by a random matching.
- `coins`: each record was trained on by a fair coin of its own, many records a model. Turning one adds or removes it.
- `one-per-model`: as `coins`, with one record a model.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from mico_hub import tables
from mico_hub.auditing.bounds import HEADERS, Bounds, Curve, bound_rows, bounds_json, curve_of
from mico_hub.auditing.gaussian import mu_of_auc
from mico_hub.auditing.one_run import one_run_epsilon
from mico_hub.auditing.pairs import exact_halves, guess, match, pair_differences, right_coins, right_pairs
from mico_hub.cache import kept_nonce
from mico_hub.messages import InputError, counted
from mico_hub.scoring import LEVEL, auc

FloatArray = NDArray[np.float64]
Design = Literal["pairs", "coins", "one-per-model"]

SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0)
"""Of coins that are guessed, where the number was not fixed beforehand; each is a test, and pays for it."""
ADJACENCY = {"pairs": "substitution", "coins": "add or remove one", "one-per-model": "add or remove one"}
_LONG = 40  # points, of which two models have the same memberships by chance once in 10^12
_UNFAIR = 1e-6  # a share of members that fair coins give more seldom than this is taken for a mistake


class ScoreAuditError(InputError, ValueError):
    """Memberships that are not what the design says, or scores or numbers that do not fit."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of the models, for the report."""

    epsilon: float | None = None  # at the audit's delta; None: nothing
    adjacency: Literal["add or remove one", "substitution"] = "add or remove one"
    unit: str = "record"  # of privacy: what one coin decides
    accountant: str = "not named"
    attack: str = "not named"


@dataclass(frozen=True, slots=True)
class ScoreAudit:
    """What scores show."""

    design: Design
    claim: Claim
    models: int
    points: int
    members: int
    matched: bool  # whether pairs were drawn here
    tests: int  # numbers of guesses that were tried; 1: it was fixed beforehand
    level: float  # of the bounds, whatever was tried
    bounds: Bounds

    def to_json(self) -> dict[str, Any]:
        """Everything, for a machine; what is infinite is null."""
        return {
            "design": self.design,
            "adjacency": ADJACENCY[self.design],
            "models": self.models,
            "points": self.points,
            "claim": asdict(self.claim),
            "tests": self.tests,
            **bounds_json(self.bounds, self.level),
        }

    def __str__(self) -> str:
        """The audit as a table, what it rests on, and what was not tested."""
        return "\n\n".join([heading(self), tables.text(*table(self)), tables.text(("term", ""), terms(self))])


def audit_scores(
    membership: Sequence[ArrayLike] | ArrayLike,
    scores: Sequence[ArrayLike] | ArrayLike,
    *,
    design: Design,
    delta: float,
    guesses: int | None = None,
    pairs: Sequence[ArrayLike] | None = None,
    level: float = LEVEL,
    claim: Claim | None = None,
) -> ScoreAudit:
    """Lower bounds of epsilon from an attack's scores.

    Args:
        membership: A (points,) list of 0 and 1 for each model, or one list for a single model; with `one-per-model` one
            list with a value a model.
        scores: Like `membership`, higher for members; a score may depend on its model and on others that the audit
            does not look at, not on memberships.
        design: How members were drawn, see the module: it is the condition that the bounds rest on.
        delta: Of the guarantee that is tested, the claim's.
        guesses: How many coins are guessed, fixed before the scores were seen. None: eight numbers are tried, and the
            level of each is raised so that all together keep `level`.
        pairs: With `pairs`, a (points,) list of pair numbers for each model, where pairs were drawn before training.
            None: each model's members are matched with its non-members, by a secret that is kept in the cache and
            belongs to these memberships.
        level: Of confidence.
        claim: What is claimed, for the report.

    Raises:
        ScoreAuditError: Memberships are not 0 and 1, or not what the design says; scores are not finite; or shapes,
            `guesses`, `delta` or `level` do not fit.
    """
    labels, values = _checked(membership, scores, design)
    if not 0 <= delta < 1 or not 0 < level < 1:
        raise ScoreAuditError(f"expected delta in [0, 1) and a level in (0, 1), got {delta} and {level}")
    if design == "pairs":
        right = right_pairs(_paired(labels, values, pairs))
    else:
        right = right_coins(np.concatenate(labels), np.concatenate(values))
    if guesses is not None and not 1 <= guesses <= len(right):
        raise ScoreAuditError(f"expected guesses from 1 to {len(right):,}, the coins, got {guesses:,}")
    tried = [guesses] if guesses else sorted({max(1, round(share * len(right))) for share in SHARES})
    each = 1 - (1 - level) / len(tried)
    found = [guess(right, count) for count in tried]
    best = max(found, key=lambda g: one_run_epsilon(g.correct, g.guesses, g.coins, delta, each))
    return ScoreAudit(
        design=design,
        claim=claim or Claim(),
        models=len(labels[0]) if design == "one-per-model" else len(labels),
        points=sum(map(len, labels)),
        members=sum(int(each.sum()) for each in labels),
        matched=design == "pairs" and pairs is None,
        tests=len(tried),
        level=level,
        bounds=Bounds.of(best, delta, _curve(labels, values), each),
    )


def _curve(labels: Sequence[NDArray[Any]], values: Sequence[FloatArray]) -> Curve:
    if len(labels) > 1 and all(0 < of_model.sum() < len(of_model) for of_model in labels):
        return curve_of(labels, values)
    together = np.concatenate(labels)
    area = auc(together, np.concatenate(values)) if 0 < together.sum() < len(together) else 0.5
    return mu_of_auc(area), None


def _checked(
    membership: Sequence[ArrayLike] | ArrayLike, scores: Sequence[ArrayLike] | ArrayLike, design: Design
) -> tuple[list[NDArray[Any]], list[FloatArray]]:
    if design not in get_args(Design):
        raise ScoreAuditError(f"expected a design of {', '.join(get_args(Design))}, got {design!r}")
    labels = [np.asarray(each) for each in _lists(membership)]
    values = [np.asarray(each, dtype=np.float64) for each in _lists(scores)]
    shapes = [[each.shape for each in lists] for lists in (labels, values)]
    if shapes[0] != shapes[1] or any(len(shape) != 1 or 0 in shape for shape in shapes[0]) or not labels:
        raise ScoreAuditError("expected a score for each membership, in lists of the same lengths, one at least")
    if not all(np.isin(each, (0, 1)).all() for each in labels):
        raise ScoreAuditError("expected memberships of 0 and 1, got others")
    if not all(np.isfinite(each).all() for each in values):
        raise ScoreAuditError("expected finite scores, got infinite ones or NaN")
    if design == "one-per-model" and len(labels) > 1:
        raise ScoreAuditError(f"expected one list with a value a model, got {len(labels)} lists: is it `coins`?")
    told = [
        each.tobytes() for each in (np.where(of == of[0], 1, 0).astype(np.int8) for of in labels if len(of) >= _LONG)
    ]
    if len(set(told)) < len(told):
        raise ScoreAuditError(
            "expected memberships that were drawn for each model, got the same (or the opposite) ones in several: "
            "trainings on one split are not independent; keep one of them"
        )
    if design != "pairs":
        members, points = sum(int(each.sum()) for each in labels), sum(map(len, labels))
        if binomtest(members, points).pvalue < _UNFAIR:
            raise ScoreAuditError(f"expected members by fair coins, got {members:,} of {points:,}")
        if exact_halves(labels):
            raise ScoreAuditError("expected members by coins, got as many as non-members in every model: use `pairs`")
    return labels, values


def _lists(given: Any) -> list[Any]:
    """A list for each model, also where there is one list in all."""
    flat = len(given) > 0 and np.ndim(given[0]) == 0
    return [given] if flat else list(given)


def _paired(
    labels: Sequence[NDArray[Any]], values: Sequence[FloatArray], pairs: Sequence[ArrayLike] | None
) -> FloatArray:
    """(coins,) the score of each pair's member less that of the other."""
    if pairs is None:
        what = hashlib.sha256(b"".join(each.astype(np.int8).tobytes() + b"|" for each in labels)).hexdigest()
        try:
            return pair_differences(values, match(labels, kept_nonce(f"scores {what}")))
        except ValueError as error:
            raise ScoreAuditError(f"{error}: give the pairs that were drawn, or use `coins`") from error
    found = []
    for model, (of_model, scores, numbers) in enumerate(zip(labels, values, _lists(pairs), strict=True)):
        given = np.asarray(numbers)
        if given.shape != of_model.shape:
            raise ScoreAuditError(f"model {model}: expected a pair's number for each membership, got {given.shape}")
        for number in np.unique(given):
            places = np.flatnonzero(given == number)
            if sorted(of_model[places].tolist()) != [0, 1]:
                raise ScoreAuditError(
                    f"model {model}, pair {number}: expected one member and one non-member, got memberships "
                    f"{of_model[places].tolist()}"
                )
            member, other = places[np.argsort(of_model[places])[::-1]]
            found.append(scores[member] - scores[other])
    return np.array(found)


def heading(found: ScoreAudit) -> str:
    """What was audited."""
    points = counted(found.points, "point")
    return f"{counted(found.models, 'model')}, {points}, design {found.design}, delta {found.bounds.delta:g}"


def table(found: ScoreAudit) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows: what is claimed, the bounds, the estimate."""
    claimed = "-" if found.claim.epsilon is None else f"{found.claim.epsilon:g}"
    return HEADERS, [("claimed", claimed, ""), *bound_rows(found.bounds, ADJACENCY[found.design], found.level)]


def terms(found: ScoreAudit) -> list[tuple[str, str]]:
    """What an evaluator asks of a claim of differential privacy (NIST SP 800-226), and what this audit says of it."""
    tuned = (
        "nothing: the number of guesses was fixed beforehand"
        if found.tests == 1
        else f"{found.tests} numbers of guesses were tried, each at level {1 - (1 - found.level) / found.tests:.4g}"
    )
    conditions = {
        "pairs": "of each pair one record was trained on, by a fair coin of its own",
        "coins": "each record was trained on by a fair coin of its own",
        "one-per-model": "each model's record was trained on by a fair coin, and models were trained on their own",
    }
    certified, claim = found.bounds.certified, found.claim
    if claim.epsilon is None:
        stands = "none was given"
    elif claim.adjacency != ADJACENCY[found.design]:
        stands = f"for {claim.adjacency}: not compared, {ADJACENCY[found.design]} may show more"
    else:
        stands = "refuted" if certified > claim.epsilon else "not refuted; no audit proves it"
    return [
        ("unit of privacy", claim.unit),
        ("adjacency", ADJACENCY[found.design]),
        ("delta", f"{found.bounds.delta:g}"),
        ("accountant of the claim", claim.accountant),
        ("attack", claim.attack),
        ("certified", f"epsilon of at least {certified:.2f} at {found.level:.0%}, if {conditions[found.design]}"),
        ("the claim", stands),
        ("what it could show", f"{_perfect(found):.2f} with a perfect attack and as many guesses"),
        ("what tuning cost", tuned),
        *_doubts(found),
        ("not tested", "other attacks, other records, other trainings; what else the models' training data give away"),
    ]


def _doubts(found: ScoreAudit) -> Iterator[tuple[str, str]]:
    """What the design's condition depends on and no file shows."""
    if found.design == "pairs" and found.matched:
        yield "pairs", "matched at random for these lines in this order; another order or cache is another test"
    if found.design != "pairs" and 2 * found.members == found.points:
        yield "coins", "exactly half are members, as coins seldom give: if half were picked, these are no coins"


def _perfect(found: ScoreAudit) -> float:
    of = found.bounds.guesses
    return one_run_epsilon(of.guesses, of.guesses, of.coins, found.bounds.delta, 1 - (1 - found.level) / found.tests)
