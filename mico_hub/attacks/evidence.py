"""Brings together what attacks are given: once, for any number of them.

Signals that are published with the suite are read; from them alone no model and no base dataset is needed. Others are
computed from the models.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import DatasetDict

from mico_hub import signals
from mico_hub.attacks.base import FEWEST, Attack, Evidence, FloatArray, Mask, Population, Values
from mico_hub.attacks.own_shadows import OwnShadows, train_shadows
from mico_hub.data import BaseDataset
from mico_hub.handle import Handle
from mico_hub.loading import handle_of, open_suite
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.release.rows import Row, as_rows, name_of
from mico_hub.signals.layout import public_population, seen
from mico_hub.splits import Indices

if TYPE_CHECKING:
    from mico_hub.workers import Workers

logger = logging.getLogger("mico_hub")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Targets, shadow models and their signals."""

    suite: Handle
    rows: Sequence[Row]  # of the targets
    columns: Sequence[Indices]  # for each target where its challenge records are, (2m,), among R records
    population: Indices  # where those of the population are, (Z,)
    signals: Mapping[str, FloatArray]  # signal -> (M, R), of each model once
    targets: Indices  # (T,) which of the M models each is
    shadows: Indices  # (S,) likewise
    member: Mask  # (S, R)
    own_shadows: Sequence[OwnShadows] = ()  # for each target, where an attack asks for them
    data: BaseDataset | None = None  # where an attack asks for records

    def scores(self, attack: Attack) -> list[FloatArray]:
        """(2m,) for each target."""
        return [
            np.asarray(attack.score(self.evidence(target, attack)), dtype=np.float64)
            for target in range(len(self.rows))
        ]

    def evidence(self, target: int, attack: Attack) -> Evidence:
        """What an attack is given of a target."""
        row, at = self.rows[target], self.columns[target]
        if attack.trains:
            own = self.own_shadows[target].signals
            values = {name: Values(self._of_target(name, target, at), own[name]) for name in attack.signals}
        else:
            values = self._compared(target, attack, at)
        population = None
        if "population" in attack.needs:
            of_population = self._compared(target, attack, self.population)
            population = Population(of_population, self.member[:, self.population][self._used(target, attack)])
        return Evidence(
            values,
            self._member(target, attack),
            population,
            row=Row({**row, "membership": None}),
            records=_indices(row["challenge"]),
            **self._from_the_model(row, attack),
        )

    def _used(self, target: int, attack: Attack) -> Mask:
        """(S,) which shadow models an attack compares a target with: never the target itself, whose truth they tell."""
        used: Mask = (self.shadows != self.targets[target]) & attack.uses_shadows
        return used

    def _compared(self, target: int, attack: Attack, at: Indices) -> dict[str, Values]:
        """Signals of a target and of its shadow models on records."""
        used = np.ix_(self.shadows[self._used(target, attack)], at)
        return {name: Values(self._of_target(name, target, at), self.signals[name][used]) for name in attack.signals}

    def _of_target(self, signal: str, target: int, at: Indices) -> FloatArray:
        values: FloatArray = self.signals[signal][self.targets[target], at]
        return values

    def _member(self, target: int, attack: Attack) -> Mask:
        """(S, 2m) which of a target's shadow models were trained on each of its challenge records."""
        if attack.trains:
            return self.own_shadows[target].member
        return self.member[:, self.columns[target]][self._used(target, attack)]

    def _from_the_model(self, row: Row, attack: Attack) -> dict[str, Any]:
        """What needs more than signals; a model is brought here for one target at a time."""
        needs = set(attack.needs)
        model = self.suite.model(row) if needs & {"logits", "model"} else None
        found: dict[str, Any] = {"model": model} if "model" in needs else {}
        if self.data is not None and needs & {"records", "logits"}:
            records = _indices(row["challenge"])
            inputs = self.data.inputs(records)
            if "records" in needs:
                found |= {"inputs": inputs, "labels": self.data.labels.numpy()[records]}
            if model is not None and "logits" in needs:
                found["logits"] = signals.outputs_of(model, inputs)
        return found

    def too_few(self, attack: Attack) -> str:
        """How many records have few IN or OUT models, and what the attack does then; empty where none has."""
        few = total = 0
        for target in range(len(self.rows) if attack.uses_shadows else 0):
            member = self._member(target, attack)
            inside = member.sum(axis=0)
            few += int((np.minimum(inside, len(member) - inside) < FEWEST).sum())
            total += member.shape[1]
        what = f"{few:,} of {total:,} records have fewer than {FEWEST} IN or OUT models: {attack.with_few_shadows}"
        return what if few else ""


def prepare(
    attacks: Sequence[Attack],
    targets: Any,
    shadows: Any = None,
    source: str | None = None,
    data: BaseDataset | None = None,
    workers: "Workers | None" = None,
) -> Prepared:
    """Brings together all that some attacks need; what is kept of it is not done again.

    Args:
        attacks: The attacks.
        targets: As of `attack`.
        shadows: Likewise.
        source: Likewise.
        data: The suite's base dataset, if it is at hand.
        workers: Where models of the targets' own are trained; None: processes of this machine.

    Raises:
        ValueError: As `attack`.
    """
    targets = open_suite(targets, source) if isinstance(targets, str) else targets
    rows = _rows(targets, source)
    if not rows:
        raise ValueError("expected at least one model to attack, got none")
    suite = targets if isinstance(targets, Handle) else handle_of(rows[0], source, again=True)
    compared = any("shadows" in attack.needs for attack in attacks)
    return gather(
        attacks, suite, rows, _rows(shadows, source) if compared and shadows is not None else None, data, workers
    )


def gather(
    attacks: Sequence[Attack],
    suite: Handle,
    rows: Sequence[Row],
    shadows: Sequence[Row] | None,
    data: BaseDataset | None = None,
    workers: "Workers | None" = None,
) -> Prepared:
    """As `prepare`, of a suite's rows; shadows None: the targets, of which each is attacked with the others.

    Raises:
        ValueError: As `attack`.
    """
    needs = {need for attack in attacks for need in attack.needs}
    others = _shadow_rows(rows if shadows is None else shadows) if "shadows" in needs else []
    models, which = _distinct([*rows, *others])
    published = {name: suite.find_signals(rows[0], name) for attack in attacks for name in attack.signals}
    population = _indices([])
    if "population" in needs:
        there = next(filter(None, published.values()), None)
        population = public_population(len(data or suite.data())) if there is None else there.population
    records = np.unique(np.concatenate([population, *(_indices(row["challenge"]) for row in rows)]))

    def signals_of(models: Sequence[Row]) -> dict[str, FloatArray]:
        found = {name: _published(signal, models, records) for name, signal in published.items()}
        if missing := [name for name, values in found.items() if values is None]:
            computed = signals.compute(models, records, data or suite.data(), suite.checkpoints, missing)
            found |= {name: values.astype(np.float64) for name, values in computed.items()}
        return {name: values for name, values in found.items() if values is not None}

    return Prepared(
        suite=suite,
        rows=rows,
        columns=[np.searchsorted(records, _indices(row["challenge"])) for row in rows],
        population=np.searchsorted(records, population),
        signals=signals_of(models),
        targets=which[: len(rows)],
        shadows=which[len(rows) :],
        member=np.array([seen(row, records) for row in others], dtype=bool).reshape(-1, len(records)),
        own_shadows=train_shadows(rows, suite.manifest, data or suite.data(), workers)
        if "own_shadows" in needs
        else (),
        data=(data or suite.data()) if needs & {"records", "logits"} else None,
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


def _shadow_rows(rows: Sequence[Row]) -> list[Row]:
    """Each model once.

    Raises:
        ValueError: The training records of some are hidden.
    """
    hidden = [f"{row['split']}/model_{row['model_id']}" for row in rows if row["membership"] is None]
    if hidden:
        raise ValueError(
            f"expected shadow models whose training records are known, got {len(hidden)} whose are hidden "
            f"({', '.join(hidden[:3])}, ...); pass the suite's train split as shadows"
        )
    return _distinct(rows)[0]


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], Indices]:
    """Each model once, and which of them each row is: by its number in the suite, and by its checkpoint.

    Raises:
        ValueError: A number stands for two checkpoints.
    """
    models: list[Row] = []
    known: dict[object, int] = {}
    which = []
    for row in rows:
        names = [name for name in ((row["suite"], row["model_id"]), row["sha256"]) if name is not None]
        which.append(next((known[name] for name in names if name in known), len(models)))
        if which[-1] == len(models):
            models.append(row)
        known |= dict.fromkeys(names, which[-1])
        checkpoints = {models[which[-1]]["sha256"], row["sha256"]} - {None}
        if len(checkpoints) > 1:
            raise ValueError(
                f"{name_of(row)}: expected one checkpoint, got rows with sha256 "
                f"{' and '.join(sorted(map(str, checkpoints)))}: pass rows of one training, from one place"
            )
    return models, _indices(which)


def _published(found: signals.Signals | None, models: Sequence[Row], records: Indices) -> FloatArray | None:
    """(M, R) values as far as an attack asks for them; None where they are not published, or of other models."""
    if found is None:
        return None
    try:
        return found.values(models, records)
    except signals.SignalError as error:
        logger.warning("%s; computed here from the models instead", error)
        return None


def _indices(values: Any) -> Indices:
    return np.asarray(values, dtype=np.int64)
