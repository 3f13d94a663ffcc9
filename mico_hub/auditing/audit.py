"""What an attack shows of a suite's epsilon, beside what is claimed: a certified bound, and estimates labelled so."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mico_hub import tables
from mico_hub.attacks import Attack, attack_scores, find
from mico_hub.auditing.ceiling import suite_ceiling
from mico_hub.auditing.empirical import (
    FloatArray,
    Outcomes,
    Rule,
    bayesian_epsilon,
    certified_bound,
    certified_epsilon,
    fix_rule,
    pooled_epsilon,
)
from mico_hub.messages import counted
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.scoring import LEVEL, Interval

DELTA = 1e-5
"""Of the guarantee that is tested where a suite claims none."""
SEED = 0
"""Of the draw of one record a model: always the same, so that nobody can draw until the bound is high."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Epsilon as an attack shows it on a split, all for substitution."""

    attack: str  # title
    scores: Sequence[FloatArray]  # (2m,) for each model
    models: int
    delta: float
    rule: Rule  # fixed on the train models
    certified: float  # lower bound at 95%
    outcomes: Outcomes  # of the one record a model that it is from
    pooled: tuple[float, Interval | None]  # estimate
    bayesian: tuple[float, Interval | None]  # estimate, posterior median


def audit(
    name: str | Attack,
    train: Sequence[Row],
    targets: Sequence[Row],
    membership: Sequence[ArrayLike],
    source: str | None = None,
    delta: float = DELTA,
) -> Audit:
    """Audits the models of a split with a reference attack.

    The threshold and its direction are fixed on the train models, each attacked with the others as shadows; they are
    used on the targets, attacked with all train models as shadows.

    Args:
        name: A key of `ATTACKS`, or an attack.
        train: Rows of the train models.
        targets: Rows of dev or final models.
        membership: Of each target, aligned with its challenge.
        source: Where the suite is, as for `load_model`.
        delta: Of the guarantee that is tested.

    Raises:
        ValueError: As `attack`.
    """
    known = [np.asarray(row["membership"]) for row in train]
    rule = fix_rule(known, attack_scores(name, train, source=source), models=len(targets), delta=delta)
    scores = attack_scores(name, targets, train, source)
    certified, outcomes = certified_epsilon(membership, scores, rule, delta=delta, rng=np.random.default_rng(SEED))
    everything = Outcomes.of(rule, np.concatenate([*map(np.asarray, membership)]), np.concatenate(scores))
    return Audit(
        attack=find(name).title,
        scores=scores,
        models=len(targets),
        delta=delta,
        rule=rule,
        certified=certified,
        outcomes=outcomes,
        pooled=pooled_epsilon(membership, scores, rule, delta=delta, rng=np.random.default_rng(SEED)),
        bayesian=bayesian_epsilon(everything, delta),
    )


HEADERS = ("epsilon", "value", "")


def heading(found: Audit, manifest: Manifest, split: str) -> str:
    """What was audited, with which attack."""
    return f"{manifest.suite.name} {split}: {counted(found.models, 'model')}, {found.attack}, delta {found.delta:g}"


def table(found: Audit, manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows: what is claimed, the bounds, and the estimates."""
    suite = manifest.suite
    ceiling = suite_ceiling(suite, manifest.noise_multiplier, "substitution")
    errors = (
        f"{found.outcomes.false_positives} of {found.outcomes.non_members} false positives, "
        f"{found.outcomes.false_negatives} of {found.outcomes.members} false negatives"
    )
    rows: list[tuple[str, ...]] = [
        ("claimed, add or remove one record", f"{suite.epsilon:g}", ""),
        (
            "at most, substitution",
            *(("-", "") if ceiling is None else (f"{ceiling.epsilon(found.delta):.2f}", "by PLD")),
        ),
        ("at least, substitution", f"{found.certified:.2f}", f"certified at 95%; one record a model: {errors}"),
        ("estimate, no bound", f"{found.pooled[0]:.2f}", f"{_range(found.pooled[1])}, all records, models resampled"),
        ("Bayesian estimate, no bound", f"{found.bayesian[0]:.2f}", f"{_range(found.bayesian[1])}, as if independent"),
    ]
    return HEADERS, rows


def notes(found: Audit) -> list[str]:
    """How members were called, and what the bound could have been."""
    side = "at least" if found.rule.at_least else "at most"
    return [
        f"A record is called a member if its score is {side} {found.rule.threshold:.6g}, fixed on the train models.",
        f"A perfect attack on {counted(found.models, 'model')} certifies {_perfect(found.models, found.delta):.2f}: a "
        "bound far below the claim does not mean that the claim is loose.",
    ]


def text(found: Audit, manifest: Manifest, split: str) -> str:
    """The audit as a table, and which of its figures are bounds."""
    return "\n\n".join([heading(found, manifest, split), tables.text(*table(found, manifest)), "\n".join(notes(found))])


def as_json(found: Audit, manifest: Manifest, split: str) -> dict[str, Any]:
    """Everything in `text`, for a machine; what is infinite is null."""
    suite = manifest.suite
    ceiling = suite_ceiling(suite, manifest.noise_multiplier, "substitution")
    return {
        "suite": suite.name,
        "split": split,
        "attack": found.attack,
        "models": found.models,
        "delta": found.delta,
        "claimed": _finite(suite.epsilon),
        "at_most": None if ceiling is None else _finite(ceiling.epsilon(found.delta)),
        "at_least": found.certified,
        "level": LEVEL,
        "outcomes": asdict(found.outcomes),
        "rule": asdict(found.rule),
        "estimates": {
            name: {"value": _finite(value), "interval": None if interval is None else [*map(_finite, interval)]}
            for name, (value, interval) in {"pooled": found.pooled, "bayesian": found.bayesian}.items()
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _perfect(models: int, delta: float) -> float:
    return certified_bound(Outcomes(0, models // 2, 0, models - models // 2), delta)


def _range(interval: Interval | None) -> str:
    return "no interval" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
