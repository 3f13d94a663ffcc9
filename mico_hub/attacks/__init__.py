"""Reference attacks, one a file, and how they are run on a suite."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mico_hub import signals
from mico_hub.attacks import lira, loss
from mico_hub.attacks.base import Attack, FloatArray, Points, TooFewShadowsError
from mico_hub.loading import load_data
from mico_hub.splits import Indices

ATTACKS: Mapping[str, Attack] = MappingProxyType({attack.name: attack for attack in (loss.ATTACK, lira.ATTACK)})
"""Name -> attack, weakest first."""

Row = Mapping[str, Any]


def attack(
    name: str, targets: Iterable[Row], shadows: Iterable[Row] | None = None, source: str | None = None
) -> list[FloatArray]:
    """Attacks models with a reference attack.

    Args:
        name: A key of `ATTACKS`.
        targets: Rows of the models to attack.
        shadows: Rows of models whose training records are known, usually the suite's `train` split. None: the targets
            themselves, each attacked with the others (leave one model out), so their membership must be known.
        source: Where the suite is, as for `load_model`.

    Returns:
        For each target (2m,) predictions in [0, 1], in the order of its `challenge`, higher = member: the attack's
        scores by their rank among all points of all targets.

    Raises:
        ValueError: No such attack; no targets; a shadow model whose training records are hidden.
    """
    return to_predictions(attack_scores(name, targets, shadows, source))


def attack_scores(
    name: str, targets: Iterable[Row], shadows: Iterable[Row] | None = None, source: str | None = None
) -> list[FloatArray]:
    """As `attack`, but the scores themselves: (2m,) for each target on any scale, from it and its shadows alone."""
    if name not in ATTACKS:
        raise ValueError(f"unknown attack {name!r}; there are: {', '.join(ATTACKS)}")
    chosen = ATTACKS[name]
    rows = list(targets)
    if not rows:
        raise ValueError("expected at least one model to attack, got none")
    others = _shadow_rows(rows if shadows is None else list(shadows)) if chosen.shadows else []
    records = np.unique(np.concatenate([_indices(row["challenge"]) for row in rows]))
    column = np.full(records.max() + 1, -1)
    column[records] = np.arange(len(records))

    data = load_data(rows[0], source)
    of_targets = signals.compute(rows, records, data, source)[chosen.signal].astype(np.float64)
    reuse = shadows is None
    if not others:
        of_shadows = np.empty((0, len(records)))
    elif reuse:
        of_shadows = of_targets
    else:
        of_shadows = signals.compute(others, records, data, source)[chosen.signal].astype(np.float64)
    member = np.array([np.isin(records, _trained_on(row)) for row in others], dtype=bool).reshape(-1, len(records))

    scores = []
    for position, row in enumerate(rows):
        at = column[_indices(row["challenge"])]
        used = np.array([not reuse or other != position for other in range(len(others))], dtype=bool)
        scores.append(chosen.score(Points(of_targets[position, at], of_shadows[used][:, at], member[used][:, at])))
    return scores


def to_predictions(scores: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    """Maps scores to [0, 1] by their rank among all of them: strictly monotone, and no new tie.

    A sigmoid would make ties where it saturates.

    Args:
        scores: One array for each model, finite.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    arrays = [np.asarray(of_model, dtype=np.float64) for of_model in scores]
    pooled = np.concatenate(arrays)
    if not np.isfinite(pooled).all():
        raise ValueError(f"expected finite scores, got {(~np.isfinite(pooled)).sum()} of {len(pooled)} that are not")
    distinct = np.unique(pooled)
    return [(np.searchsorted(distinct, of_model) + 0.5) / len(distinct) for of_model in arrays]


def _indices(values: Any) -> Indices:
    return np.asarray(values, dtype=np.int64)


def _trained_on(row: Row) -> Indices:
    """All n records that a revealed model was trained on."""
    challenge, membership = _indices(row["challenge"]), np.asarray(row["membership"])
    return np.concatenate([challenge[membership == 1], _indices(row["training"])])


def _shadow_rows(rows: list[Row]) -> list[Row]:
    hidden = [f"{row['split']}/model_{row['model_id']}" for row in rows if row["membership"] is None]
    if hidden:
        raise ValueError(
            f"expected shadow models whose training records are known, got {len(hidden)} whose are hidden "
            f"({', '.join(hidden[:3])}, ...); pass the suite's train split as shadows"
        )
    return rows


__all__ = ["ATTACKS", "Attack", "Points", "TooFewShadowsError", "attack", "attack_scores", "to_predictions"]
