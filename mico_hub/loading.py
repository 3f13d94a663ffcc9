"""From a row of the dataset to a model, and to the records it is challenged with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import numpy as np

from mico_hub import sources
from mico_hub.folder import Manifest
from mico_hub.sources import Source, SourceError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mico_hub.data import BaseDataset, Inputs

Row = Mapping[str, Any]


class Challenge(NamedTuple):
    """The records that a model is challenged with, in the order of the row's `challenge`."""

    inputs: "Inputs"  # (2m, ...) float32 as trained; for text `input_ids` and `attention_mask`, (2m, 67) int64
    labels: "torch.Tensor"  # (2m,) int64
    records: "torch.Tensor"  # (2m,) int64, indices into the base dataset


def load_suite(name: str, source: str | Path | None = None) -> datasets.DatasetDict:
    """A suite's rows: split -> Dataset, one row per model.

    Args:
        name: A suite, such as `cifar10_hi`.
        source: A folder or `org/name[@revision]`; None: wherever `mico` resolves.

    Raises:
        KeyError: No such suite; the message has the nearest names.
        SourceError: The suite is known, but is to be had nowhere.
    """
    chosen = sources.resolve(name) if source is None else Source.parse(source)
    loaded: datasets.DatasetDict = datasets.load_dataset(str(chosen.location), name, revision=chosen.revision)
    return loaded


def load_model(row: Row, source: str | Path | None = None) -> "nn.Module":
    """The trained network of a row, on the CPU, in eval mode.

    Args:
        row: A row of a suite.
        source: A folder or `org/name[@revision]`; None: wherever `mico` resolves for that suite.

    Raises:
        SourceError: No source has a file with the row's sha256; the message lists the places tried.
        CheckpointError: The file is right but does not fit its network.
    """
    from mico_hub import checkpoint

    return checkpoint.load(fetch_checkpoint(row, source))


def fetch_checkpoint(row: Row, source: str | Path | None = None) -> Path:
    """The local file of a row's checkpoint, downloaded and cached where the source is on the Hub.

    Raises:
        SourceError: No source has a file with the row's sha256; the message lists the places tried.
    """
    from mico_hub import checkpoint

    tried = []
    for place in _places(row, source):
        try:
            path = place.fetch(row["checkpoint"])
        except OSError as error:
            tried.append(f"{place}: {error}")
            continue
        digest = checkpoint.sha256_of(path)
        if digest == row["sha256"]:
            return path
        tried.append(f"{place}: sha256 {digest}")
    raise SourceError(
        f"{_name(row)}: expected {row['checkpoint']} with sha256 {row['sha256']}. "
        f"Tried: {'; '.join(tried) or 'no source has the suite'}"
    )


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
    from mico_hub.data import DataError, load_base

    manifest = load_manifest(row, source)
    base = load_base(manifest.suite.dataset, None if data is None else Path(data))
    if base.digest != manifest.data_digest:
        raise DataError(
            f"{row['suite']} was trained on {base.name} with digest {manifest.data_digest} "
            f"({manifest.data_note or 'the official data set'}), got one with digest {base.digest} "
            f"({base.note or 'the official data set'}); its record indices mean other records there"
        )
    return base


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


def _places(row: Row, source: str | Path | None) -> Iterator[Source]:
    if source is None:
        yield from sources.candidates(row["suite"])
    else:
        yield Source.parse(source)


def _name(row: Row) -> str:
    return f"{row['suite']}/{row['split']}/model_{row['model_id']}"
