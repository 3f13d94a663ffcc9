"""What an attack shows of a suite's epsilon, beside what is claimed: certified bounds, and an estimate labelled so."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mico_hub import tables
from mico_hub.attacks import Attack, attack_scores, find
from mico_hub.auditing.ceiling import suite_ceiling
from mico_hub.auditing.gaussian import gdp_epsilon, mu_of_auc
from mico_hub.auditing.headroom import suite_headroom
from mico_hub.auditing.one_run import fdp_epsilon, gdp_one_run_epsilon, one_run_epsilon
from mico_hub.auditing.pairs import Guesses, guess, match, pair_differences, select_guesses
from mico_hub.messages import counted
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.scoring import LEVEL, Interval, estimates

FloatArray = NDArray[np.float64]

DELTA = 1e-5
"""Of the guarantee that is tested where a suite claims none."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds of epsilon from the same guesses, each at 95% by itself, and what the whole curve looks like."""

    guesses: Guesses
    delta: float
    certified: float  # one-run, no assumption
    by_trade_off: float  # f-DP one-run, no assumption
    gaussian: float  # the same, assuming a Gaussian trade-off
    estimate: float  # of the whole curve, assuming a Gaussian trade-off; no bound
    interval: Interval | None  # of the estimate, models resampled

    @classmethod
    def of(cls, guesses: Guesses, delta: float, curve: tuple[float, Interval | None], level: float = LEVEL) -> "Bounds":
        """Everything that follows from the counts.

        Args:
            guesses: Of coins, see `one_run`.
            delta: Of the guarantee that is tested.
            curve: AUC of all scores, with its interval.
            level: Of confidence.
        """
        counts = (guesses.correct, guesses.guesses, guesses.coins, delta, level)
        certified = one_run_epsilon(*counts)
        auc, interval = curve
        value, *ends = (max(gdp_epsilon(mu_of_auc(each), delta), certified) for each in (auc, *(interval or ())))
        return cls(
            guesses=guesses,
            delta=delta,
            certified=certified,
            by_trade_off=fdp_epsilon(*counts),
            gaussian=gdp_one_run_epsilon(*counts),
            estimate=value,
            interval=Interval(*ends) if ends else None,
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """Epsilon as an attack shows it on a split, all for substitution."""

    attack: str  # title
    scores: Sequence[FloatArray]  # (2m,) for each model
    models: int
    bounds: Bounds


def audit(
    name: str | Attack,
    train: Sequence[Row],
    targets: Sequence[Row],
    membership: Sequence[ArrayLike],
    nonce: bytes,
    source: str | None = None,
    delta: float = DELTA,
) -> Audit:
    """Audits the models of a split with a reference attack, by pairs of a member and a non-member.

    How many pairs are guessed is fixed on the train models, each attacked with the others as shadows; the targets are
    attacked with all train models as shadows, each on its own.

    Args:
        name: A key of `ATTACKS`, or an attack. One: the best of several is not certified.
        train: Rows of the train models.
        targets: Rows of dev or final models.
        membership: Of each target, aligned with its challenge.
        nonce: Secret and fixed before the scores were: it draws the pairs, see `Handle.pairs_nonce`.
        source: Where the suite is, as for `load_model`.
        delta: Of the guarantee that is tested.

    Raises:
        ValueError: As `attack`; or a model has not as many members as non-members.
    """
    known = [np.asarray(row["membership"]) for row in train]
    ids, train_ids = ([row["model_id"] for row in rows] for rows in (targets, train))
    pairs = match(membership, nonce, ids)
    of_train = pair_differences(attack_scores(name, train, source=source), match(known, nonce, train_ids))
    guesses = select_guesses(of_train, sum(map(len, pairs)), delta)
    scores = attack_scores(name, targets, train, source)
    auc = estimates(membership, scores)["AUC"]
    return Audit(
        attack=find(name).title,
        scores=scores,
        models=len(targets),
        bounds=Bounds.of(guess(pair_differences(scores, pairs), guesses), delta, (auc.value, auc.interval())),
    )


HEADERS = ("epsilon", "value", "")


def heading(found: Audit, manifest: Manifest, split: str) -> str:
    """What was audited, with which attack."""
    delta = f"delta {found.bounds.delta:g}"
    return f"{manifest.suite.name} {split}: {counted(found.models, 'model')}, {found.attack}, {delta}"


def bound_rows(bounds: Bounds, unit: str) -> list[tuple[str, str, str]]:
    """The rows of a table with bounds and estimate.

    Args:
        bounds: What to show.
        unit: What a coin decides: the name of the adjacency.
    """
    of, interval = bounds.guesses, bounds.interval
    around = "no interval" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}, models resampled"
    return [
        (
            f"at least, {unit}",
            f"{bounds.certified:.2f}",
            f"certified at {LEVEL:.0%}: {of.correct:,} of {of.guesses:,} guesses right, {of.coins:,} coins; one-run",
        ),
        (
            "at least, by trade-off",
            f"{bounds.by_trade_off:.2f}",
            f"certified at {LEVEL:.0%} by f-DP one-run",
        ),
        (
            "at least, if Gaussian",
            f"{bounds.gaussian:.2f}",
            f"at {LEVEL:.0%}; not proved that it is",
        ),
        ("estimate, no bound", f"{bounds.estimate:.2f}", f"{around}; whole curve, as if Gaussian"),
    ]


def table(found: Audit, manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows: what is claimed, the bounds, and the estimate."""
    suite = manifest.suite
    ceiling = suite_ceiling(suite, manifest.noise_multiplier, "substitution")
    most = ("-", "") if ceiling is None else (f"{ceiling.epsilon(found.bounds.delta):.2f}", "by PLD")
    claimed: list[tuple[str, ...]] = [
        ("claimed, add or remove one record", f"{suite.epsilon:g}", ""),
        ("at most, substitution", *most),
    ]
    return HEADERS, [*claimed, *bound_rows(found.bounds, "substitution")]


def notes(found: Audit, manifest: Manifest) -> list[str]:
    """How members were called, what the bound could have been, and how far the attack is from what could be found."""
    of = found.bounds.guesses
    perfect = one_run_epsilon(of.guesses, of.guesses, of.coins, found.bounds.delta)
    lines = [
        f"Each model's members are matched with its non-members at random, by a secret that was drawn before training. "
        f"Of the {of.coins:,} pairs, the {of.guesses:,} with the largest difference are guessed, a number fixed on the "
        f"train models. All of them right would certify {perfect:.2f}: a bound below the claim does not mean that the "
        f"claim is loose.",
        "This is one test: another attack on the same truth is another one, and the best of several is not certified.",
    ]
    headroom = suite_headroom(manifest.suite, manifest.noise_multiplier)
    if headroom is not None:
        lines.append(headroom.sentence())
    return lines


def text(found: Audit, manifest: Manifest, split: str) -> str:
    """The audit as a table, and which of its figures are bounds."""
    parts = [heading(found, manifest, split), tables.text(*table(found, manifest)), "\n".join(notes(found, manifest))]
    return "\n\n".join(parts)


def as_json(found: Audit, manifest: Manifest, split: str) -> dict[str, Any]:
    """Everything in `text`, for a machine; what is infinite is null."""
    suite = manifest.suite
    ceiling = suite_ceiling(suite, manifest.noise_multiplier, "substitution")
    headroom = suite_headroom(suite, manifest.noise_multiplier)
    return {
        "suite": suite.name,
        "split": split,
        "attack": found.attack,
        "models": found.models,
        "claimed": finite(suite.epsilon),
        "at_most": None if ceiling is None else finite(ceiling.epsilon(found.bounds.delta)),
        "headroom": None if headroom is None else {"TPR_FPR_1000": float(headroom.tpr(0.1)), "heuristic": True},
        **bounds_json(found.bounds),
    }


def bounds_json(bounds: Bounds) -> dict[str, Any]:
    """Bounds and estimate for a machine."""
    interval = bounds.interval
    return {
        "delta": bounds.delta,
        "level": LEVEL,
        "guesses": asdict(bounds.guesses),
        "at_least": bounds.certified,
        "at_least_by_trade_off": bounds.by_trade_off,
        "if_gaussian": finite(bounds.gaussian),
        "estimate": {
            "value": finite(bounds.estimate),
            "interval": None if interval is None else [*map(finite, interval)],
        },
    }


def finite(value: float) -> float | None:
    """The number, or null for JSON where it is infinite."""
    return value if math.isfinite(value) else None
