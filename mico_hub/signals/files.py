"""A file of one signal of one suite, which can be used without anything else of it.

    records         (R,) int32          ascending: every record in any challenge, and the population
    population      (Z,) int32          ascending; see `layout`
    SPLIT.models    (M,) int32          ascending ids
    SPLIT.challenge (M, 2m) int32       record indices, as in the rows

of models whose training records are public, those of train:

    SPLIT.values    (M, R) float32
    SPLIT.trained   (M, R / 8) uint8    whether the model was trained on the record; 8 records a byte, the first highest

of the others:

    SPLIT.values.challenge, .population, .training, .evaluation     (M, K) float32; the last two in `ddp` suites
    SPLIT.records.training, .evaluation                             (M, K) int32

The metadata name suite and signal, and hold a digest over the SHA-256 of the suite's checkpoints and the number of the
code that computed the values, `engine.SIGNALS`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save

from mico_hub.cache import PointerError
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.release.format import METADATA_KEY, FormatError, NewerFormatError, known_keys, parse, stamped
from mico_hub.release.rows import Row
from mico_hub.release.tensors import mapped, metadata_of
from mico_hub.signals.layout import Layout, seen, shown
from mico_hub.signals.names import SignalError
from mico_hub.splits import Indices
from mico_hub.training import engine

Floats = npt.NDArray[np.float32]
Tensors = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Values of models whose training records are public."""

    models: Indices  # (M,) ids
    challenge: Indices  # (M, 2m) record indices
    values: Floats  # (M, R) on `Signals.records`
    trained: npt.NDArray[np.bool_]  # (M, R)


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """Values of models whose membership is hidden."""

    models: Indices  # (M,) ids
    challenge: Indices  # (M, 2m) record indices
    on_challenge: Floats  # (M, 2m)
    on_population: Floats  # (M, Z) on `Signals.population`
    known: Mapping[str, tuple[Indices, Floats]]  # `training`, `evaluation`: (M, K) records and values; empty but in ddp


@dataclass(frozen=True)
class Signals:
    """One signal of a suite; values are mapped into memory and read when they are used."""

    suite: str
    name: str
    checkpoints: str  # digest over the SHA-256 of the suite's checkpoints
    tensors: Mapping[str, npt.NDArray[np.generic]]  # as in the file
    engine: int = engine.SIGNALS  # of the code that computed the values

    @cached_property
    def records(self) -> Indices:
        """(R,) records that train models have values on, ascending."""
        return self._indices("records")

    @cached_property
    def population(self) -> Indices:
        """(Z,) records that stand for the population, ascending."""
        return self._indices("population")

    @cached_property
    def train(self) -> Trained:
        """The shadow models."""
        bits = np.unpackbits(self._tensor(f"{REVEALED_SPLIT}.trained").view(np.uint8), axis=1, count=len(self.records))
        return Trained(
            *self._named(REVEALED_SPLIT), self.floats(f"{REVEALED_SPLIT}.values"), bits.astype(bool, copy=False)
        )

    def attacked(self, split: str) -> Attacked:
        """The models of dev or final.

        Raises:
            SignalError: There are none.
        """
        if f"{split}.values.challenge" not in self.tensors:
            there = [name.split(".")[0] for name in self.tensors if name.endswith(".values.challenge")]
            raise SignalError(
                f"{self.suite}, {self.name}: expected a split whose membership is hidden, {' or '.join(there)}, got "
                f"{split!r}; models of {REVEALED_SPLIT} have values on all records, in `{REVEALED_SPLIT}`"
            )
        known = {
            kind: (self._indices(f"{split}.records.{kind}"), self.floats(f"{split}.values.{kind}"))
            for kind in ("training", "evaluation")
            if f"{split}.records.{kind}" in self.tensors
        }
        on_challenge, on_population = (self.floats(f"{split}.values.{kind}") for kind in ("challenge", "population"))
        return Attacked(*self._named(split), on_challenge, on_population, known)

    def trained_on(self) -> npt.NDArray[np.uint8]:
        """(M, R) what a record is to a train model: 2 a challenge member, 1 a `training` record, 0 neither."""
        train = self.train
        what = train.trained.astype(np.uint8)
        for of_model, challenge in zip(what, train.challenge, strict=True):
            of_model[np.searchsorted(self.records, challenge)] *= 2
        return what

    def values(self, models: Sequence[Mapping[str, Any]], records: Indices) -> npt.NDArray[np.float64]:
        """(M, K) values of rows' models on K records; NaN where an attacked model has none.

        Raises:
            SignalError: A row's model is not here, or has another challenge: these are not its signals. Or a train
                model has no value on a record.
        """
        found = np.full((len(models), len(records)), np.nan)
        for split in dict.fromkeys(row["split"] for row in models):
            at = [number for number, row in enumerate(models) if row["split"] == split]
            rows = [models[number] for number in at]
            places = self._places(split, rows)
            for asked, values in self._parts(split, places):
                for number, of_model, own in zip(at, asked, values, strict=True):
                    where = np.searchsorted(of_model, records).clip(max=len(of_model) - 1)
                    here = of_model[where] == records
                    found[number, here] = own[where[here]]
            if split == REVEALED_SPLIT and np.isnan(found[at]).any():
                raise SignalError(
                    f"{self.suite}, {self.name}: expected values on all {len(records)} records of {split}"
                )
        return found

    def floats(self, name: str) -> Floats:
        """A tensor of values.

        Raises:
            SignalError: It is not there, or not float32.
        """
        tensor = self._tensor(name)
        if tensor.dtype != np.float32:
            raise SignalError(f"{self.suite}, {self.name}: expected {name} as float32, got {tensor.dtype}")
        return tensor.view(np.float32)

    def _places(self, split: str, rows: Sequence[Mapping[str, Any]]) -> Indices:
        models, challenge = self._named(split)
        places = np.searchsorted(models, [row["model_id"] for row in rows])
        for row, place in zip(rows, places, strict=True):
            there = place < len(models) and models[place] == row["model_id"]
            if not there or not np.array_equal(challenge[place], row["challenge"]):
                raise SignalError(
                    f"{self.suite}, {self.name}: expected signals of {split}/model_{row['model_id']} on its challenge; "
                    f"they belong to other models; compute them again"
                )
        return places

    def _parts(self, split: str, places: Indices) -> Iterable[tuple[Sequence[Indices], Sequence[Floats]]]:
        """For each kind of records, those of each model, ascending, and its values."""
        if split == REVEALED_SPLIT:
            values = self.floats(f"{split}.values")
            yield [self.records] * len(places), [values[place] for place in places]
            return
        attacked = self.attacked(split)
        yield [self.population] * len(places), [attacked.on_population[place] for place in places]
        parts = [(attacked.challenge, attacked.on_challenge), *attacked.known.values()]
        for records, of_models in parts:
            orders = [np.argsort(records[place], kind="stable") for place in places]
            yield (
                [records[place][order] for place, order in zip(places, orders, strict=True)],
                [of_models[place][order] for place, order in zip(places, orders, strict=True)],
            )

    def _named(self, split: str) -> tuple[Indices, Indices]:
        return self._indices(f"{split}.models"), self._indices(f"{split}.challenge")

    def _tensor(self, name: str) -> npt.NDArray[np.generic]:
        if name not in self.tensors:
            raise SignalError(f"{self.suite}, {self.name}: expected {name} in the file, got {sorted(self.tensors)}")
        return self.tensors[name]

    def _indices(self, name: str) -> Indices:
        return self._tensor(name).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """All that a suite's files of signals hold but the values: it comes from public rows, the same for every signal."""

    suite: str
    checkpoints: str  # SHA-256 over the digests in the rows, in their order
    tensors: Tensors
    shapes: Mapping[str, tuple[int, int]]  # of the values' tensors, by split and then as `Layout.of_row` has them

    @classmethod
    def of(cls, layout: Layout, rows: Iterable[Row]) -> "Frame":
        """The frame of a suite.

        Args:
            layout: The suite's.
            rows: All public rows, by id; each is looked at once.
        """
        suite, digests = "", list[str]()
        columns: dict[str, list[Any]] = {}
        widths: dict[str, int] = {}
        for row in rows:
            split, suite = row["split"], row["suite"]
            digests.append(row["sha256"] or "")
            more: dict[str, Any] = {"models": row["model_id"], "challenge": row["challenge"]}
            parts = layout.parts(row)
            if shown(row):
                more["trained"] = np.packbits(seen(row, layout.records))
                widths[f"{split}.values"] = len(layout.records)
            else:
                more |= {f"records.{kind}": parts[kind] for kind in ("training", "evaluation") if kind in parts}
                widths |= {f"{split}.values.{kind}": len(records) for kind, records in parts.items()}
            for name, value in more.items():
                columns.setdefault(f"{split}.{name}", []).append(value)
        tensors: Tensors = {
            "records": layout.records.astype(np.int32),
            "population": layout.population.astype(np.int32),
        }
        for name, column in columns.items():
            tensors[name] = np.array(column, dtype=np.uint8 if name.endswith(".trained") else np.int32)
        shapes = {name: (len(columns[f"{name.split('.')[0]}.models"]), width) for name, width in widths.items()}
        return cls(suite, hashlib.sha256("\n".join(digests).encode()).hexdigest(), tensors, shapes)

    def fits(self, found: Signals) -> bool:
        """Whether a file is of these checkpoints and records."""
        return (
            found.suite == self.suite
            and found.checkpoints == self.checkpoints
            and all(
                name in found.tensors
                and found.tensors[name].dtype == tensor.dtype
                and np.array_equal(found.tensors[name], tensor)
                for name, tensor in self.tensors.items()
            )
        )

    def arranged(self, values: Mapping[int, Floats]) -> dict[str, Floats]:
        """The values' tensors.

        Args:
            values: Model id -> (K,) values on `Layout.of_row`.
        """
        arranged: dict[str, Floats] = {}
        for split in dict.fromkeys(name.split(".")[0] for name in self.shapes):
            stacked = np.stack([values[int(model_id)] for model_id in self.tensors[f"{split}.models"]])
            names = [name for name in self.shapes if name.split(".")[0] == split]
            ends = np.cumsum([self.shapes[name][1] for name in names])[:-1]
            arranged |= dict(zip(names, np.split(stacked, ends, axis=1), strict=True))
        return arranged

    def values_of(self, found: Signals) -> dict[str, Floats]:
        """The values' tensors of a file.

        Raises:
            SignalError: One is missing, or has another shape.
        """
        values = {name: found.floats(name) for name in self.shapes}
        expected = list(self.shapes.values())
        if (got := [tensor.shape for tensor in values.values()]) != expected:
            raise SignalError(f"{found.suite}, {found.name}: expected {list(values)} of shapes {expected}, got {got}")
        return values

    def file(self, name: str, values: Mapping[str, Floats], computed_by: int = engine.SIGNALS) -> bytes:
        """The file of a signal; the same bytes for the same values.

        Args:
            name: The signal's.
            values: As `arranged` gives them.
            computed_by: Which `engine.SIGNALS`.
        """
        about = stamped({"suite": self.suite, "signal": name, "checkpoints": self.checkpoints, "engine": computed_by})
        tensors = {key: np.ascontiguousarray(part) for key, part in {**self.tensors, **values}.items()}
        return save(tensors, {METADATA_KEY: json.dumps(about, sort_keys=True)})


ABOUT = ("suite", "signal", "checkpoints", "engine")
"""The keys of the metadata."""


def read(path: Path) -> Signals:
    """Maps a file into memory.

    Raises:
        SignalError: It is no file of signals, or none that this version reads.
    """
    try:
        about = known_keys(parse(metadata_of(path)[METADATA_KEY], str(path)), ABOUT, str(path))
        tensors = mapped(path)
        suite, signal, checkpoints, number = (about[key] for key in ABOUT)
        if not all(isinstance(text, str) for text in (suite, signal, checkpoints)) or type(number) is not int:
            raise TypeError(f"its metadata are {about}")
    except (NewerFormatError, PointerError):
        raise
    except FormatError as error:
        raise SignalError(str(error)) from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise SignalError(f"{path}: expected a file of signals: {error!r}") from error
    return Signals(suite, signal, checkpoints, tensors, number)
