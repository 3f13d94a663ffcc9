"""The handle to a suite where it is: rows, models, challenges, truth and signals come when they are used."""

import importlib.util
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

from mico_hub import sources
from mico_hub.cache import kept_nonce, writable
from mico_hub.messages import InputError, counted, explained, is_are, listed
from mico_hub.release.commitments import Opening
from mico_hub.release.folder import PRIVATE, opening_name, truth_path
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_truth
from mico_hub.release.rows import Row, as_row, as_rows, fingerprint, name_of
from mico_hub.sources import Place, SourceError
from mico_hub.suites import SPLITS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mico_hub.data import BaseDataset, Inputs
    from mico_hub.signals import Signals


class Challenge(NamedTuple):
    """The records that a model is challenged with, in the order of the row's `challenge`."""

    inputs: "Inputs"  # (2m, ...) float32 as trained; for text `input_ids` and `attention_mask`, (2m, 67) int64
    labels: "torch.Tensor"  # (2m,) int64
    records: "torch.Tensor"  # (2m,) int64, indices into the base dataset


class Handle:
    """A suite where it is, made by `open_suite`: rows, models, challenges and signals come when they are used."""

    def __init__(self, name: str, places: Iterable[Place], *, by_name: bool = False) -> None:
        """Of places that have the suite, best first.

        Args:
            name: The suite.
            places: One at least. The first has rows and manifest; others are looked for when it lacks a checkpoint.
            by_name: Whether the first is where `mico` led to, and nobody named it.
        """
        self.name, self._by_name = name, by_name
        self._others = iter(places)
        self._found = [next(self._others)]
        self._challenges: dict[str, list[dict[str, Any]]] = {}

    @property
    def place(self) -> Place:
        """Where the suite is."""
        return self._found[0]

    def _places(self) -> Iterator[Place]:
        """All places that have the suite, found as they are needed."""
        yield from self._found
        for place in self._others:
            self._found.append(place)
            yield place

    def __repr__(self) -> str:
        return f"<{self.name} from {self.place}>"

    @cached_property
    def manifest(self) -> Manifest:
        """Recipe, noise multiplier, digest of the base dataset, commitments.

        Raises:
            SourceError: No place has it; the message lists the places tried.
            FormatError: It is not a manifest, or of a newer format.
        """
        tried = []
        for place in self._places():
            try:
                return place.manifest(self.name)
            except OSError as error:
                tried.append(f"{place}: {error}")
        raise SourceError(f"{self.name}: no manifest of the suite. Tried: {'; '.join(tried)}")

    @cached_property
    def rows(self) -> datasets.DatasetDict:
        """Split -> Dataset, one row for each model.

        Raises:
            SourceError: The suite is not there after all.
        """
        try:
            arguments = self.place.dataset(self.name)
        except OSError as error:
            if isinstance(error, InputError):  # it says all that is to be said
                raise
            if self._by_name:
                raise sources.not_found(self.name, self.place, error) from error
            raise SourceError(f"{self.name} could not be read from {self.place}: {error}") from error
        with writable(Path(datasets.config.HF_DATASETS_CACHE)):
            loaded: datasets.DatasetDict = datasets.load_dataset(name=self.name, **arguments)
        return loaded

    def split(self, split: str) -> datasets.Dataset:
        """The rows of train, dev or final.

        Raises:
            SourceError: The suite has no such split.
        """
        if split not in self.rows:
            raise SourceError(f"{self.name}: there is no split {split}, only {', '.join(self.rows)}")
        return self.rows[split]

    @property
    def train(self) -> datasets.Dataset:
        """The rows of the models whose membership is public."""
        return self.split("train")

    @property
    def dev(self) -> datasets.Dataset:
        """The rows of the models that a live board ranks."""
        return self.split("dev")

    @property
    def final(self) -> datasets.Dataset:
        """The rows of the models that the final ranking is of."""
        return self.split("final")

    def challenges(self, split: str) -> list[dict[str, Any]]:
        """Of each model of a split `model_id`, `challenge`, `membership` (None: hidden) and `accuracy`."""
        if split not in self._challenges:
            columns = ["model_id", "challenge", "membership", "accuracy"]
            self._challenges[split] = list(self.split(split).select_columns(columns))
        return self._challenges[split]

    def truth(self, split: str, folder: Path | None = None) -> dict[int, NDArray[np.int8]]:
        """Model id -> (2m,) membership, aligned with its challenge.

        Args:
            split: `train`, `dev` or `final`.
            folder: Where it is hidden, see `truth_path`; None: in the cache, where the suite was trained there.

        Raises:
            SourceError: It is hidden, no folder is named, and it was not trained into the cache.
            FolderError: The folder has no truth of this suite, or that of another training.
        """
        rows = self.challenges(split)
        path = self._truth_path(split, folder)
        if path is None:
            return {row["model_id"]: np.asarray(row["membership"]) for row in rows}
        truth = {row["model_id"]: row for row in read_truth(path) if (row["suite"], row["split"]) == (self.name, split)}
        wrong = [
            row["model_id"]
            for row in rows
            if row["model_id"] not in truth or not np.array_equal(truth[row["model_id"]]["challenge"], row["challenge"])
        ]
        if wrong:
            raise FolderError(
                f"{path}: expected the truth of {self.name} {split}; {len(wrong)} of {counted(len(rows), 'model')} "
                f"{is_are(len(rows))} missing or of another challenge (model_{wrong[0]}, ...): it belongs to another "
                f"training of the suite"
            )
        return {model_id: np.asarray(row["membership"]) for model_id, row in truth.items()}

    def pairs_nonce(self, split: str, folder: Path | None = None) -> bytes:
        """The secret that draws the pairs of an audit, see `auditing.pairs`: the same at each call.

        That of the commitment to the split's truth, which is beside it and was drawn before training; where there is
        none, one that is drawn now and kept in the cache.

        Args:
            split: `train`, `dev` or `final`.
            folder: As for `truth`.

        Raises:
            SourceError: As `truth`.
            FolderError: As `truth`.
        """
        path = self._truth_path(split, folder)
        if path is not None and (opening := path.parent / opening_name(split)).is_file():
            return Opening.from_json(opening.read_bytes(), str(opening)).nonce
        return kept_nonce(f"{self.fingerprint} {split}")

    def _truth_path(self, split: str, folder: Path | None) -> Path | None:
        """The file with the truth of a split; None where it is public."""
        hidden = any(row["membership"] is None for row in self.challenges(split))
        if folder is None and hidden:
            folder = sources.embedded.truth(self.name, self.place)
        if folder is not None:
            return truth_path(folder, self.name)
        if hidden:
            published = (
                "was never published by the competition"
                if self.manifest.origin
                else f"is hidden; name the suite's {PRIVATE} folder with --truth"
            )
            raise SourceError(f"{self.name}: the membership of {split} {published}, or score --split train")
        return None

    @cached_property
    def fingerprint(self) -> str:
        """Which models these are, for predictions to carry: see `release.rows.fingerprint`."""
        every = (row for split in SPLITS if split in self.rows for row in as_rows(self.rows[split]))
        return fingerprint(self.name, every, original=bool(self.manifest.origin))

    @explained()
    def model(self, row: Any) -> "nn.Module":
        """The trained network of a row, on the CPU, in eval mode.

        Raises:
            SourceError: No place has a file with the row's sha256; the message lists the places tried.
            CheckpointError: The file is right but does not fit its network, or holds anything but tensors.
        """
        from mico_hub.release import checkpoints

        return checkpoints.load(self.checkpoint(row))

    def checkpoint(self, row: Any) -> Path:
        """The local safetensors file of a row's checkpoint: downloaded, converted and cached where that is needed.

        Raises:
            SourceError: No place has a file with the row's sha256; the message lists the places tried.
            CheckpointError: A checkpoint of the competition holds anything but the network's tensors.
        """
        row = self._own(row)
        tried = []
        for place in places_having(row, self._places()):
            try:
                return place.checkpoint(row)
            except (OSError, SourceError) as error:
                tried.append(f"{place}: {error}")
        known = f" with sha256 {row['sha256']}" if row["sha256"] else " (name the source that the row was loaded from)"
        raise SourceError(
            f"{name_of(row)}: expected {row['checkpoint']}{known}. Tried: {'; '.join(tried) or 'no source has it'}"
        )

    def checkpoints(self, rows: Any) -> Iterator[tuple[Row, Path]]:
        """The checkpoints of many rows, brought here several at once; those that are here stay as they are.

        Yields:
            Each row with its local safetensors file, as they come.

        Raises:
            SourceError: Some were not found, though all were tried; the message lists them.
        """
        wanted = [self._own(row) for row in as_rows(rows)]
        missing, tried = list(wanted), dict[str, list[str]]()
        for place in places_having(wanted[0], self._places()) if wanted else ():
            failed = []
            for row, result in place.checkpoints(missing):
                if isinstance(result, Exception):
                    failed.append(row)
                    tried.setdefault(name_of(row), []).append(f"{result}")
                else:
                    yield row, result
            missing = failed
            if not missing:
                return
        if missing:
            lines = [f"{name_of(row)}: {'; '.join(tried.get(name_of(row), ['no source has it']))}" for row in missing]
            raise SourceError(listed(f"{len(missing)} of {counted(len(wanted), 'checkpoint')} failed", lines))

    def _own(self, row: Any) -> Row:
        found = as_row(row)
        if found["suite"] != self.name:
            raise ValueError(f"expected a row of {self.name}, got one of {found['suite']}")
        return found

    @explained()
    def challenge(self, row: Any, data: str | Path | None = None) -> Challenge:
        """The records that a row's model is challenged with.

        Args:
            row: A row of the suite.
            data: Folder of the base datasets; None: `MICO_HUB_DATA`, else the Hub.

        Raises:
            DataError: The base dataset was not found, or is not the one that the suite was trained on.
        """
        import torch

        base, records = self.data(data), self._own(row)["challenge"].astype(np.int64)
        indices = torch.from_numpy(records)
        return Challenge(base.inputs(records), base.labels[indices], indices)

    @explained()
    def data(self, folder: str | Path | None = None) -> "BaseDataset":
        """The base dataset, checked against the digest that the suite was trained with.

        Args:
            folder: Of the base datasets; None: `MICO_HUB_DATA`, else the Hub.

        Raises:
            DataError: It was not found, or differs.
        """
        from mico_hub.data import load_base
        from mico_hub.models import prepared
        from mico_hub.release.consistency import require_data

        suite = self.manifest.suite
        base = load_base(suite.dataset, None if folder is None else Path(folder))
        require_data(self.manifest, base)
        return prepared(base, suite.model)

    def signals(self, name: str) -> "Signals":
        """A published signal of the suite, mapped into memory.

        Args:
            name: Such as `margin`; see `mico_hub.signals`.

        Raises:
            SignalError: There is no such signal where the suite is.
        """
        from mico_hub import signals

        if not signals.is_signal(name):
            raise signals.SignalError(f"unknown signal {name!r}; there are: {signals.THERE_ARE}")
        if (found := self._signals_in(self.place, name)) is None:
            raise signals.SignalError(
                f"{self.place} has no signal {name} of {self.name}; `mico-hub signals` computes it from the models"
            )
        return found

    def at_hand(self, name: str) -> bool:
        """Whether a signal is of every suite, is published with this one, or is to be computed as none is published."""
        from mico_hub import signals

        if name in signals.SIGNALS or self._signals_in(self.place, name) is not None:
            return True
        if self._signals_in(self.place, "margin") is not None or importlib.util.find_spec("torch") is None:
            return False
        return name in signals.signals_of(self.manifest.suite.model)

    def find_signals(self, row: Row, name: str) -> "Signals | None":
        """As `signals`, from the places that a row can be of; None where none has them."""
        for place in places_having(row, self._places()):
            if (found := self._signals_in(place, name)) is not None:
                return found
        return None

    def _signals_in(self, place: Place, name: str) -> "Signals | None":
        from mico_hub import signals

        path = place.signals(self.name, name)
        return None if path is None else signals.read(path)


def places_having(row: Row, places: Iterable[Place]) -> Iterator[Place]:
    """The places that a row can be of."""
    for place in places:
        if place.recognises(row["checkpoint"]):
            yield place
            if row["sha256"] is None:
                return  # nothing could tell whether another place has the same model
