"""Which records each model has signals on; public rows decide that, and nothing else.

Train models have them on every record that is in any model's challenge or in the population: there each is a shadow
model of all others. Dev and final models have them on their own challenge and on the population; where their other
training records are revealed, also on some of those, and on some records that they have never seen.

The population and the known records are the first ones in an order of all records that is fixed once and for all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mico_hub.release.rows import Row
from mico_hub.splits import Indices, evaluation_records

POPULATION = 2_000
"""Records that stand for the population, or all that there are."""

KNOWN = 2_000
"""Training records, and evaluation records, of a dev or final model that are taken where they are revealed."""


def public_order(num_records: int) -> Indices:
    """All records, in the order that everyone uses."""
    return np.random.RandomState(0).permutation(num_records)


def public_population(num_records: int) -> Indices:
    """The population, ascending."""
    return np.sort(public_order(num_records)[:POPULATION])


def shown(row: Mapping[str, Any]) -> bool:
    """Whether all training records of a row's model are public, as for train models."""
    return row["membership"] is not None and row["training"] is not None


def trained_on(row: Mapping[str, Any]) -> Indices:
    """The n records that a row's model was trained on, all of them shown: members, then the others."""
    members = np.asarray(row["challenge"], dtype=np.int64)[np.asarray(row["membership"]) == 1]
    return np.concatenate([members, np.asarray(row["training"], dtype=np.int64)])


def seen(row: Mapping[str, Any], records: Indices) -> npt.NDArray[np.bool_]:
    """(R,) whether a row's model, whose training records are shown, was trained on each record."""
    trained = trained_on(row)
    there = np.zeros(max(trained.max(initial=0), records.max(initial=0)) + 1, dtype=bool)
    there[trained] = True
    trained_here: npt.NDArray[np.bool_] = there[records]
    return trained_here


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the signals of a suite are on."""

    records: Indices  # (R,) of train models, ascending
    population: Indices  # (Z,) ascending
    order: Indices  # (N,) see `public_order`

    @classmethod
    def of(cls, rows: Iterable[Row], num_records: int) -> "Layout":
        """The layout of a suite.

        Args:
            rows: All public rows; each is looked at once.
            num_records: N, of the base dataset.
        """
        order = public_order(num_records)
        population = np.sort(order[:POPULATION])
        taken = np.zeros(num_records, dtype=bool)
        taken[population] = True
        for row in rows:
            taken[np.asarray(row["challenge"])] = True
        return cls(np.flatnonzero(taken), population, order)

    def parts(self, row: Row) -> dict[str, Indices]:
        """The records of a row's model, by kind."""
        if shown(row):
            return {"records": self.records}
        challenge = np.asarray(row["challenge"], dtype=np.int64)
        parts = {"challenge": challenge, "population": self.population}
        if row["training"] is not None:
            training = np.asarray(row["training"], dtype=np.int64)
            evaluation = evaluation_records(len(self.order), challenge, training)
            parts |= {"training": self._first(training), "evaluation": self._first(evaluation)}
        return parts

    def of_row(self, row: Row) -> Indices:
        """The same in one, (K,); a record that is of two kinds is in it twice."""
        return np.concatenate(list(self.parts(row).values()))

    def _first(self, records: Indices) -> Indices:
        """At most `KNOWN` of them, the first in `order`, ascending."""
        among = np.zeros(len(self.order), dtype=bool)
        among[records] = True
        return np.sort(self.order[among[self.order]][:KNOWN])
