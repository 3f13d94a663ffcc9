"""What an attack shows of a suite's epsilon, beside what is claimed: certified bounds, and an estimate labelled so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mico_hub import tables
from mico_hub.attacks import Attack, attack_scores, find
from mico_hub.auditing.bounds import HEADERS, Bounds, bound_rows, bounds_json, curve_of, finite
from mico_hub.auditing.ceiling import ADJACENCY_TITLES, adjacency_of, suite_ceiling
from mico_hub.auditing.headroom import suite_headroom
from mico_hub.auditing.one_run import one_run_epsilon
from mico_hub.auditing.pairs import (
    Rights,
    exact_halves,
    guess,
    match,
    pair_differences,
    right_coins,
    right_pairs,
    select_guesses,
)
from mico_hub.messages import counted
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.suites import Design

FloatArray = NDArray[np.float64]

DELTA = 1e-5
"""Of the guarantee that is tested where a suite claims none."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Epsilon as an attack shows it on a split, for substitution or, by coins, for adding or removing a record."""

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
    design: Design = "exact",
) -> Audit:
    """Audits the models of a split with a reference attack, by pairs of a member and a non-member, or by coins.

    How many are guessed is fixed on the train models, each attacked with the others as shadows; the targets are
    attacked with all train models as shadows, each on its own.

    Args:
        name: A key of `ATTACKS`, or an attack. One: the best of several is not certified.
        train: Rows of the train models.
        targets: Rows of dev or final models.
        membership: Of each target, aligned with its challenge.
        nonce: Secret and fixed before the scores were: it draws the pairs, see `Handle.pairs_nonce`.
        source: Where the suite is, as for `load_model`.
        delta: Of the guarantee that is tested.
        design: The suite's: with `coins` each record is a coin of its own, and there are no pairs.

    Raises:
        ValueError: As `attack`; targets are among the train models; or memberships are not of that design.
    """
    both = {(row["suite"], row["model_id"]) for row in train} & {(row["suite"], row["model_id"]) for row in targets}
    if both:
        raise ValueError(
            f"expected other models than those of train, on which guesses are fixed, got {len(both)} of them"
        )
    if design == "coins" and exact_halves(membership):
        raise ValueError("expected members by coins, got as many as non-members in every model: the design is exact")

    def right(rows: Sequence[Row], labels: Sequence[ArrayLike], scores: Sequence[FloatArray]) -> Rights:
        if design == "coins":
            return right_coins(np.concatenate([np.asarray(each) for each in labels]), np.concatenate(scores))
        return right_pairs(pair_differences(scores, match(labels, nonce, [row["model_id"] for row in rows])))

    of_train = right(train, [row["membership"] for row in train], attack_scores(name, train, source=source))  # type: ignore[misc]
    scores = attack_scores(name, targets, train, source)
    of_targets = right(targets, membership, scores)
    guesses = select_guesses(of_train, len(of_targets), delta)
    return Audit(
        attack=find(name).title,
        scores=scores,
        models=len(targets),
        bounds=Bounds.of(guess(of_targets, guesses), delta, curve_of(membership, scores)),
    )


def heading(found: Audit, manifest: Manifest, split: str) -> str:
    """What was audited, with which attack."""
    delta = f"delta {found.bounds.delta:g}"
    return f"{manifest.suite.name} {split}: {counted(found.models, 'model')}, {found.attack}, {delta}"


def table(found: Audit, manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows: what is claimed, the bounds, and the estimate."""
    suite = manifest.suite
    ceiling, adjacency = suite_ceiling(suite, manifest.noise_multiplier), ADJACENCY_TITLES[adjacency_of(suite)]
    most = ("-", "") if ceiling is None else (f"{ceiling.epsilon(found.bounds.delta):.2f}", "by PLD")
    claimed: list[tuple[str, ...]] = [
        ("claimed, add or remove one record", f"{suite.epsilon:g}", ""),
        (f"at most, {adjacency}", *most),
    ]
    return HEADERS, [*claimed, *bound_rows(found.bounds, adjacency)]


def notes(found: Audit, manifest: Manifest) -> list[str]:
    """How members were called, what the bound could have been, and how far the attack is from what could be found."""
    of = found.bounds.guesses
    perfect = one_run_epsilon(of.guesses, of.guesses, of.coins, found.bounds.delta)
    drawn = (
        f"Each record was a member by a fair coin of its own. Of the {of.coins:,} coins, the {of.guesses:,} with the "
        f"highest and the lowest scores are guessed"
        if manifest.suite.design == "coins"
        else f"Each model's members are matched with its non-members at random, by a secret that was drawn before "
        f"training. Of the {of.coins:,} pairs, the {of.guesses:,} with the largest difference are guessed"
    )
    lines = [
        f"{drawn}, a number fixed on the train models. All of them right would certify {perfect:.2f}: a bound below "
        f"the claim does not mean that the claim is loose.",
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
    ceiling = suite_ceiling(suite, manifest.noise_multiplier)
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
