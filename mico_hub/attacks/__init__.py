"""Reference attacks, one a file, and how they are run on a suite."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import DatasetDict

from mico_hub import signals
from mico_hub.attacks import calibrated, classifier, distinguisher, entropy, gradient_norm, lira, loss, own, rmia
from mico_hub.attacks.base import (
    FEWEST,
    Attack,
    AttackError,
    Chosen,
    FloatArray,
    Points,
    Population,
    Seen,
    TooFewShadowsError,
)
from mico_hub.data import BaseDataset
from mico_hub.loading import Handle, handle_of, open_suite
from mico_hub.messages import did_you_mean
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.release.rows import Row, as_rows
from mico_hub.signals.layout import public_population, seen
from mico_hub.splits import Indices

ATTACKS: Mapping[str, Attack] = MappingProxyType(
    {
        attack.name: attack
        for attack in (
            *(loss.ATTACK, entropy.ATTACK, gradient_norm.ATTACK),
            *(calibrated.DIFFICULTY, calibrated.REFERENCE, *calibrated.WINNERS),
            *(classifier.ATTACK, rmia.OFFLINE, rmia.ONLINE),
            *(lira.OFFLINE, lira.FIXED, lira.SHRUNKEN, lira.ONLINE),
            distinguisher.ATTACK,
        )
    }
)
"""Name -> attack, weakest first as far as is known beforehand; the last one trains models, so it is run by name."""

DEFAULT = lira.ONLINE.name
LADDER = tuple(attack for attack in ATTACKS.values() if not attack.trains)
"""The attacks that need published models only."""

logger = logging.getLogger("mico_hub")


def attack(name: str | Attack, targets: Any, shadows: Any = None, source: str | None = None) -> list[FloatArray]:
    """Attacks models with a reference attack, or with one of your own.

    Args:
        name: A key of `ATTACKS`, a file of your own, `mine.py`, or an `Attack`.
        targets: The models to attack: a `Dataset` in any format, rows, or one row; of a suite's name, a suite
            (`open_suite`) or all of its splits (`load_dataset`) the train models.
        shadows: Models whose training records are known, in the same forms, usually the suite's train split. None: the
            targets themselves, each attacked with the others (leave one model out), so their membership must be known.
        source: Where the suite is, as for `load_model`.

    Returns:
        For each target (2m,) predictions in [0, 1], in the order of its `challenge`, higher = member: the attack's
        scores by their rank among all points of all targets.

    Raises:
        ValueError: No such attack; no targets; a shadow model whose training records are hidden.
        TypeError: The targets are nothing of a suite.
        KeyError: No such suite.
        OSError: No such file.
    """
    return to_predictions(attack_scores(name, targets, shadows, source))


def attack_scores(name: str | Attack, targets: Any, shadows: Any = None, source: str | None = None) -> list[FloatArray]:
    """As `attack`, but the scores themselves: (2m,) for each target on any scale, from it and its shadows alone."""
    chosen = find(name)
    prepared = prepare([chosen], targets, shadows, source)
    if few := prepared.few(chosen):
        logger.warning("%s: %s", chosen.name, few)
    return prepared.scores(chosen)


def find(name: str | Attack) -> Attack:
    """The attack of that name, or in a file of that name.

    Raises:
        AttackError: There is none, or the file has none.
        OSError: There is no such file.
    """
    if isinstance(name, Attack):
        return name
    if name.endswith(".py"):
        return own.load(Path(name))
    if name not in ATTACKS:
        hint = did_you_mean(name, ATTACKS)
        raise AttackError(f"unknown attack {name!r}.{hint} There are: {', '.join(ATTACKS)}, or a file NAME.py")
    return ATTACKS[name]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Targets, shadow models and their signals: computed once, for any number of attacks."""

    columns: Sequence[Indices]  # for each target where its challenge records are, (2m,), among R records
    population: Indices  # where those of the population are, (Z,)
    targets: Mapping[str, FloatArray]  # signal -> (T, R)
    shadows: Mapping[str, FloatArray]  # signal -> (S, R)
    member: Chosen  # (S, R)
    leave_out: bool  # whether the targets are the shadow models, each attacked with the others
    own: Sequence[distinguisher.OwnShadows] = ()  # for each target, where an attack asks for them

    def _used(self, target: int, chosen: Attack) -> Chosen:
        """(S,) which shadow models an attack on a target uses."""
        used = np.full(len(self.member), bool(chosen.shadows))
        if self.leave_out and chosen.shadows:
            used[target] = False
        return used

    def points(self, target: int, chosen: Attack) -> Points:
        """What an attack is given of a target."""
        if chosen.trains:
            own, margins = self.own[target], self.targets["margin"][target, self.columns[target]]
            return Points({"margin": Seen(margins, own.margins)}, self._member(target, chosen))
        used = self._used(target, chosen)

        def said(at: Indices) -> dict[str, Seen]:
            return {
                name: Seen(self.targets[name][target, at], self.shadows[name][:, at][used]) for name in chosen.signals
            }

        of_population = self.population
        population = Population(said(of_population), self.member[:, of_population][used]) if chosen.population else None
        return Points(said(self.columns[target]), self._member(target, chosen), population)

    def _member(self, target: int, chosen: Attack) -> Chosen:
        """(S, 2m) which of a target's shadow models were trained on each of its challenge records."""
        if chosen.trains:
            return self.own[target].member
        return self.member[:, self.columns[target]][self._used(target, chosen)]

    def scores(self, chosen: Attack) -> list[FloatArray]:
        """(2m,) for each target."""
        return [
            np.asarray(chosen.score(self.points(target, chosen)), dtype=np.float64)
            for target in range(len(self.columns))
        ]

    def few(self, chosen: Attack) -> str:
        """How many records have few IN or OUT models, and what the attack does then; empty where it is none."""
        if not chosen.shadows:
            return ""
        few = total = 0
        for target in range(len(self.columns)):
            member = self._member(target, chosen)
            inside = member.sum(axis=0)
            few += int((np.minimum(inside, len(member) - inside) < FEWEST).sum())
            total += member.shape[1]
        return f"{few:,} of {total:,} records have fewer than {FEWEST} IN or OUT models: {chosen.few}" if few else ""


def prepare(
    chosen: Sequence[Attack],
    targets: Any,
    shadows: Any = None,
    source: str | None = None,
    data: BaseDataset | None = None,
) -> Prepared:
    """Brings together all that some attacks need; arguments as of `attack`, and the suite's data if they are at hand.

    Signals that are published with the suite are read; from them alone no model and no base dataset is needed. Others
    are computed from the models.

    Raises:
        ValueError: As `attack`.
    """
    rows = _rows(targets, source)
    if not rows:
        raise ValueError("expected at least one model to attack, got none")
    suite = targets if isinstance(targets, Handle) else handle_of(rows[0], source, again=True)
    leave_out = shadows is None
    others: list[Row] = []
    if any(each.shadows and not each.trains for each in chosen):
        others = _shadow_rows(rows if shadows is None else _rows(shadows, source))
    asked = dict.fromkeys(name for each in chosen for name in each.signals)
    published = {name: suite.find_signals(rows[0], name) for name in asked}
    population = _indices([])
    if any(each.population for each in chosen):
        there = next(filter(None, published.values()), None)
        population = public_population(len(data or suite.data())) if there is None else there.population
    records = np.unique(np.concatenate([population, *(_indices(row["challenge"]) for row in rows)]))

    def of(models: Sequence[Row]) -> dict[str, FloatArray]:
        if not models:
            return {name: np.empty((0, len(records))) for name in published}
        found = {name: _published(signal, models, records) for name, signal in published.items()}
        if missing := [name for name, values in found.items() if values is None]:
            computed = signals.compute(models, records, data or suite.data(), suite.checkpoints, missing)
            found |= {name: values.astype(np.float64) for name, values in computed.items()}
        return {name: values for name, values in found.items() if values is not None}

    of_targets = of(rows)
    return Prepared(
        columns=[np.searchsorted(records, _indices(row["challenge"])) for row in rows],
        population=np.searchsorted(records, population),
        targets=of_targets,
        shadows=of_targets if leave_out and others else of(others),
        member=np.array([seen(row, records) for row in others], dtype=bool).reshape(-1, len(records)),
        leave_out=leave_out and bool(others),
        own=_own(rows, suite, data) if any(each.trains for each in chosen) else (),
    )


def _rows(given: Any, source: str | None) -> list[Row]:
    """The models that a caller means."""
    if isinstance(given, str):
        given = open_suite(given, source)
    if isinstance(given, Handle):
        given = given.train
    if isinstance(given, DatasetDict):
        if REVEALED_SPLIT not in given:
            raise ValueError(
                f"expected a suite with a split {REVEALED_SPLIT}, got {', '.join(given)}: pass one of them"
            )
        given = given[REVEALED_SPLIT]
    return as_rows(given)


def _own(rows: Sequence[Row], suite: Handle, data: BaseDataset | None) -> Sequence[distinguisher.OwnShadows]:
    return distinguisher.train_shadows(rows, suite.manifest, data or suite.data())


def _published(found: signals.Signals | None, models: Sequence[Row], records: Indices) -> FloatArray | None:
    """(M, R) values as far as an attack asks for them; None where they are not published, or of other models."""
    if found is None:
        return None
    try:
        return found.values(models, records)
    except signals.SignalError as error:
        logger.warning("%s; computed here from the models instead", error)
        return None


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


def _shadow_rows(rows: list[Row]) -> list[Row]:
    hidden = [f"{row['split']}/model_{row['model_id']}" for row in rows if row["membership"] is None]
    if hidden:
        raise ValueError(
            f"expected shadow models whose training records are known, got {len(hidden)} whose are hidden "
            f"({', '.join(hidden[:3])}, ...); pass the suite's train split as shadows"
        )
    return rows


__all__ = [
    "ATTACKS",
    "DEFAULT",
    "LADDER",
    "Attack",
    "AttackError",
    "Points",
    "Prepared",
    "TooFewShadowsError",
    "attack",
    "attack_scores",
    "find",
    "prepare",
    "to_predictions",
]
