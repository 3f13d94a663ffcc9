"""From a row of the dataset to a model, and to the records it is challenged with."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import numpy as np

from mico_hub import sources
from mico_hub.folder import Manifest
from mico_hub.messages import listed
from mico_hub.sources import Place, SourceError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mico_hub.data import BaseDataset, Inputs
    from mico_hub.signals import Signals

Row = Mapping[str, Any]

logger = logging.getLogger("mico_hub")


class Challenge(NamedTuple):
    """The records that a model is challenged with, in the order of the row's `challenge`."""

    inputs: "Inputs"  # (2m, ...) float32 as trained; for text `input_ids` and `attention_mask`, (2m, 67) int64
    labels: "torch.Tensor"  # (2m,) int64
    records: "torch.Tensor"  # (2m,) int64, indices into the base dataset


def load_suite(name: str, source: str | Path | None = None) -> datasets.DatasetDict:
    """A suite's rows: split -> Dataset, one row per model.

    Args:
        name: A suite, such as `cifar10_hi`.
        source: A folder, `org/name[@revision]`, or an archive of the competition; None: wherever `mico` resolves.

    Raises:
        KeyError: No such suite; the message has the nearest names.
        SourceError: The suite is known, but is to be had nowhere.
    """
    path, revision = sources.dataset(name) if source is None else sources.named(source, name).dataset(name)
    loaded: datasets.DatasetDict = datasets.load_dataset(path, name, revision=revision)
    return loaded


_LISTS = ["challenge", "membership", "training"]


def rows_of(rows: Iterable[Row]) -> list[Row]:
    """The rows; of a `Dataset`, lists become arrays: a full suite has millions of indices."""
    if isinstance(rows, datasets.Dataset) and set(_LISTS) <= set(rows.column_names):
        rows = rows.with_format("numpy", columns=_LISTS, output_all_columns=True)
    return list(rows)


def load_model(row: Row, source: str | Path | None = None) -> "nn.Module":
    """The trained network of a row, on the CPU, in eval mode.

    Args:
        row: A row of a suite.
        source: As for `load_suite`; None: wherever `mico` resolves for that suite.

    Raises:
        SourceError: No source has a file with the row's sha256; the message lists the places tried.
        CheckpointError: The file is right but does not fit its network, or holds anything but tensors.
    """
    from mico_hub import checkpoint

    return checkpoint.load(fetch_checkpoint(row, source))


def fetch_checkpoint(row: Row, source: str | Path | None = None) -> Path:
    """The local safetensors file of a row's checkpoint: downloaded, converted and cached where that is needed.

    Raises:
        SourceError: No source has a file with the row's sha256; the message lists the places tried.
        CheckpointError: A checkpoint of the competition holds anything but the network's tensors.
    """
    tried = []
    for place in _places(row, source):
        try:
            return place.checkpoint(row)
        except (OSError, SourceError) as error:
            tried.append(f"{place}: {error}")
    known = f" with sha256 {row['sha256']}" if row["sha256"] else " (name the source that the row was loaded from)"
    raise SourceError(
        f"{_name(row)}: expected {row['checkpoint']}{known}. Tried: {'; '.join(tried) or 'no source has the suite'}"
    )


def fetch_checkpoints(rows: Sequence[Row], source: str | Path | None = None) -> Iterator[tuple[Row, Path]]:
    """The checkpoints of rows of one suite, brought here several at once; those that are here stay as they are.

    Args:
        rows: Rows of one suite.
        source: As for `load_model`.

    Yields:
        Each row with its local safetensors file, as they come.

    Raises:
        SourceError: Some could not be had, though all were tried; the message lists them.
    """
    missing, tried = list(rows), dict[str, list[str]]()
    for place in _places(rows[0], source) if rows else ():
        failed = []
        for row, result in place.checkpoints(missing):
            if isinstance(result, Exception):
                failed.append(row)
                tried.setdefault(_name(row), []).append(f"{result}")
            else:
                yield row, result
        missing = failed
        if not missing:
            return
    if missing:
        lines = [f"{_name(row)}: {'; '.join(tried.get(_name(row), ['no source has the suite']))}" for row in missing]
        raise SourceError(listed(f"{len(missing)} of {len(rows)} checkpoints failed", lines))


def load_challenge(row: Row, source: str | Path | None = None, data: str | Path | None = None) -> Challenge:
    """The records that a row's model is challenged with.

    Args:
        row: A row of a suite.
        source: Where the suite is, as for `load_model`.
        data: Folder of the base datasets; None: `MICO_HUB_DATA`, else the Hub.

    Raises:
        DataError: The base dataset cannot be had, or is not the one that the suite was trained on.
    """
    import torch

    base = load_data(row, source, data)
    records = np.asarray(row["challenge"], dtype=np.int64)
    indices = torch.from_numpy(records)
    return Challenge(base.inputs(records), base.labels[indices], indices)


def load_data(row: Row, source: str | Path | None = None, data: str | Path | None = None) -> "BaseDataset":
    """The base dataset of a row's suite, checked against the digest that the suite was trained with.

    Raises:
        DataError: It cannot be had, or differs.
    """
    from mico_hub.data import load_base

    manifest = load_manifest(row, source)
    base = load_base(manifest.suite.dataset, None if data is None else Path(data))
    require_data_of(manifest, base)
    return base


def require_data_of(manifest: Manifest, base: "BaseDataset") -> None:
    """Sees to it that a base dataset is the one that a suite was trained on.

    Raises:
        DataError: It is not, or nobody can tell.
    """
    from mico_hub.data import DATASETS, DataError

    name = manifest.suite.name
    if manifest.data_digest is None and DATASETS[base.name].labels_sha256 is not None:
        if base.note:  # the labels are in the official order, or it would not have been loaded
            _warn_once(f"{name} was trained on the official {base.name}; this one: {base.note}")
    elif not base.official if manifest.data_digest is None else base.digest != manifest.data_digest:
        raise DataError(
            f"{name} was trained on {base.name} with digest {manifest.data_digest or 'not known'} "
            f"({manifest.data_note or 'the official data set'}), got one with digest {base.digest} "
            f"({base.note or 'the official data set'}); its record indices mean other records there"
        )


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def load_signals(name: str, signal: str, source: str | Path | None = None) -> "Signals":
    """A published signal of a suite, mapped into memory.

    Args:
        name: A suite, such as `cifar10_hi`.
        signal: Such as `margin`; see `mico_hub.signals`.
        source: As for `load_suite`.

    Raises:
        KeyError: No such suite.
        SourceError: The suite is to be had nowhere.
        SignalError: There is no such signal where the suite is.
    """
    from mico_hub import signals

    if not signals.is_signal(signal):
        raise signals.SignalError(f"unknown signal {signal!r}; there are: {signals.THERE_ARE}")
    place = sources.resolve(name) if source is None else sources.named(source, name)
    if (found := _signals_in(place, name, signal)) is None:
        raise signals.SignalError(
            f"{place} has no signal {signal} of {name}; upload_scripts/compute_signals.py computes it from the models"
        )
    return found


def find_signals(row: Row, signal: str, source: str | Path | None = None) -> "Signals | None":
    """As `load_signals`, of the suite and from where a row is; None where there are none."""
    for place in _places(row, source):
        if (found := _signals_in(place, row["suite"], signal)) is not None:
            return found
    return None


def _signals_in(place: Place, name: str, signal: str) -> "Signals | None":
    from mico_hub import signals

    path = place.signals(name, signal)
    return None if path is None else signals.read(path)


def load_manifest(row: Row, source: str | Path | None = None) -> Manifest:
    """The recipe, noise multiplier and data digest of a row's suite.

    Raises:
        SourceError: No source has it; the message lists the places tried.
    """
    tried = []
    for place in _places(row, source):
        try:
            return place.manifest(row["suite"])
        except OSError as error:
            tried.append(f"{place}: {error}")
    raise SourceError(f"{_name(row)}: no manifest of the suite. Tried: {'; '.join(tried) or 'no source has it'}")


def _places(row: Row, source: str | Path | None) -> Iterator[Place]:
    if source is not None:
        yield sources.named(source, row["suite"])
        return
    for place in sources.candidates(row["suite"]):
        if place.recognises(row["checkpoint"]):
            yield place
            if row["sha256"] is None:
                return  # nothing could tell whether another place has the same model


def _name(row: Row) -> str:
    return f"{row['suite']}/{row['split']}/model_{row['model_id']}"
