"""What every base dataset is: its entry in the table, its records by index, the check that it is the right one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mico_hub.cache import refuse_pointer
from mico_hub.messages import InputError, counted

if TYPE_CHECKING:
    import torch

DATA_VARIABLE = "MICO_HUB_DATA"
"""Environment variable that names the folder with local copies of the datasets."""

Inputs: TypeAlias = "torch.Tensor | dict[str, torch.Tensor]"
"""A batch: (B, ...) float32, or for text `input_ids` and `attention_mask`, (B, T) int64 each."""

Bytes = NDArray[np.uint8]

log = logging.getLogger(__name__)


class DataError(InputError, RuntimeError):
    """A base dataset is missing, damaged, or not the one it should be."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Records of a base dataset that are not alone in it; `twins.find` finds them."""

    records: tuple[int, ...] = ()  # those with an exact twin: the same input, whatever the label; ascending
    other_label: int = 0  # how many of them have a twin with another label
    contained: int | None = None  # sentences that are contained in a longer one; None: the records are no sentences


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What is known about a base dataset before it is read."""

    name: str
    title: str
    description: str  # one sentence
    splits: Mapping[str, int]  # its own split -> rows; records are numbered through them in this order
    classes: int
    url: str  # where to get the files
    layout: str  # what is looked for in a local folder, relative to it
    licence: str
    citation: str  # BibTeX
    hub_id: str | None = None  # repository on the Hub; None: not there
    hub_config: str | None = None
    labels_sha256: str | None = None  # of all labels in record order as uint8; None: not known
    known: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Content digest -> what that content is; the empty string is the official dataset."""
    twins: Twins | None = None  # of the official dataset; None: not known

    @property
    def num_records(self) -> int:
        """N."""
        return sum(self.splits.values())

    @property
    def official_digest(self) -> str | None:
        """The content digest of the official dataset, where it is known."""
        return next((digest for digest, note in self.known.items() if not note), None)

    @property
    def expected(self) -> str:
        """Rows and classes, for error messages."""
        parts = ", ".join(f"{split} {rows:,}" for split, rows in self.splits.items())
        split = f" ({parts})" if len(self.splits) > 1 else ""
        return f"{self.num_records:,} rows{split} in {self.classes} classes"

    @property
    def how_to_get(self) -> str:
        """Where the files come from and where to put them, for error messages."""
        return f"get it from {self.url}, so that FOLDER has {self.layout}, and set {DATA_VARIABLE}=FOLDER"


@dataclass(frozen=True, eq=False)
class BaseDataset:
    """A base dataset in memory, by record index."""

    name: str
    raw: torch.Tensor | tuple[str, ...]  # uint8, (N, ...) as distributed; or N sentences
    labels: torch.Tensor  # (N,) int64
    digest: str  # SHA-256 in hex over labels and records, the same whatever source they were read from
    note: str  # how it differs from the official dataset, or why that is not known; empty: it is the official one
    prepare: Callable[[Any], Inputs] | None = field(repr=False)
    """Rows of `raw` -> what the models were trained on; None: sentences, which `models.prepared` has tokenised."""

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseDataset) and (self.name, self.digest) == (other.name, other.digest)

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    @property
    def official(self) -> bool:
        """Whether this is known to be the official dataset, by its digest or by that of the files it was read from."""
        return not self.note

    def inputs(self, records: Sequence[int] | NDArray[np.integer[Any]] | torch.Tensor) -> Inputs:
        """The inputs of some records, as the models were trained on them.

        Args:
            records: (B,) record indices, 0 to N - 1, in any order, repeats allowed.

        Returns:
            cifar10: float32 (B, 3, 32, 32), normalised; purchase100, location30: float32 (B, 600) or (B, 446), 0 or
            1; digits: float32 (B, 64), normalised; sentences: as the tokeniser gives them, for RoBERTa `input_ids` and
            `attention_mask`, each int64 (B, 67).

        Raises:
            IndexError: An index is not a record of this dataset (a negative one is not).
            TypeError: The indices are not integers.
            DataError: The records are sentences, and no network's tokeniser was named.
        """
        return self.prepared(self.subset(records))

    def prepared(self, rows: torch.Tensor | Sequence[str]) -> Inputs:
        """Rows of `raw` as `inputs` gives them."""
        if self.prepare is None:
            raise DataError(
                f"{self.name}: expected a network whose tokeniser makes inputs of sentences, got none; use "
                f"mico_hub.models.prepared(data, NETWORK), or a suite's own `data()`"
            )
        return self.prepare(rows)

    def subset(self, records: Sequence[int] | NDArray[np.integer[Any]] | torch.Tensor) -> torch.Tensor | list[str]:
        """Some rows of `raw`; arguments and errors as of `inputs`."""
        index = self.checked(records)
        return [self.raw[i] for i in index] if isinstance(self.raw, tuple) else self.raw[index]

    def checked(self, records: Sequence[int] | NDArray[np.integer[Any]] | torch.Tensor) -> NDArray[np.int64]:
        """(B,) the same indices, which are records of this dataset.

        Raises:
            IndexError: As `inputs`.
            TypeError: As `inputs`.
        """
        index = np.asarray(records)
        if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
            raise TypeError(f"{self.name}: expected a list of record indices, got {index.dtype} of shape {index.shape}")
        outside = index[(index < 0) | (index >= len(self))]
        if outside.size:
            got = f"{counted(outside.size, 'other')}: {', '.join(map(str, outside[:5]))}"
            raise IndexError(f"{self.name}: expected record indices from 0 to {len(self) - 1:,}, got {got}")
        return index.astype(np.int64)


def sha256(*parts: bytes | Bytes) -> str:
    """SHA-256 in hex over the parts one after the other."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part if isinstance(part, bytes) else part.data)
    return hasher.hexdigest()


def content_digest(name: str, labels: Bytes, records: bytes | Bytes) -> str:
    """The digest that says which dataset this is: SHA-256 over name, labels and records.

    Args:
        name: The dataset's name.
        labels: (N,) uint8.
        records: All records in index order, in the one byte form that the dataset's module lays down.
    """
    return sha256(f"{name}\n".encode(), labels, records)


def assemble(
    info: DatasetInfo,
    labels: Bytes,
    records: bytes | Bytes,
    *,
    raw: Bytes | tuple[str, ...],
    prepare: Callable[[Any], Inputs] | None,
    source: str,
    note: Callable[[], str],
) -> BaseDataset:
    """Checks the labels, takes the digest, and says what the content is.

    Args:
        info: What it should be.
        labels: (N,) uint8.
        records: All records in the form that `content_digest` takes.
        raw: The same records, as `BaseDataset` holds them.
        prepare: See `BaseDataset`.
        source: Where it was read from, for messages.
        note: Called only where `info.known` lacks the digest: describes the content; empty: it is official.

    Raises:
        DataError: The number of rows, the classes or the order of the labels is wrong.
    """
    found = np.unique(labels).tolist()
    problems = []
    if len(labels) != info.num_records:
        problems.append(f"expected {info.expected}, got {counted(len(labels), 'row')}")
    if found != list(range(info.classes)):
        problems.append(f"expected each of the classes 0 to {info.classes - 1}, got {_shorten(found)}")
    if not problems and info.labels_sha256 not in (None, got := sha256(labels)):
        problems.append(
            f"the labels are not {info.title}'s in the competition's order: expected SHA-256 {info.labels_sha256} over "
            f"all of them, got {got}"
        )
    if problems:
        raise DataError(f"{info.title} from {source}: {'; '.join(problems)}; {info.how_to_get}")
    import torch  # only now: what is known of base datasets needs none of it

    digest = content_digest(info.name, labels, records)
    content = info.known[digest] if digest in info.known else note()
    log.info("%s from %s: %s", info.title, source, content or "the official dataset")
    rows = raw if isinstance(raw, tuple) else torch.from_numpy(raw)
    return BaseDataset(info.name, rows, torch.from_numpy(labels.astype(np.int64)), digest, content, prepare)


def as_float(rows: torch.Tensor) -> torch.Tensor:
    """The same numbers as float32."""
    return rows.float()


def _shorten(values: list[int]) -> str:
    return f"{len(values)} classes from {values[0]} to {values[-1]}" if len(values) > 5 else f"{values}"


def require_files(info: DatasetInfo, paths: Sequence[Path], sizes: Mapping[Path, int] | None = None) -> None:
    """Sees to it that files are there, and of the right size where that is known.

    Raises:
        DataError: Some are not; the message names all of them.
        PointerError: One is a pointer of Git LFS.
    """
    problems = []
    for path in paths:
        if not path.is_file():
            problems.append(f"{path}: no such file")
            continue
        refuse_pointer(path)
        if sizes and path.stat().st_size != sizes[path]:
            problems.append(f"{path}: expected {sizes[path]:,} bytes, got {path.stat().st_size:,}")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise DataError(f"{info.title} (expected {info.expected}): {info.how_to_get}{listed}")


def missing(info: DatasetInfo, folder: Path | None, hub_error: str = "") -> DataError:
    """The error for a dataset that no source has: what was looked for, where to get it, what is expected."""
    looked = f"in {folder}: no {info.layout}" if folder else f"in no local folder: {DATA_VARIABLE} is not set"
    lines = [f"{info.title} not found.", f"looked {looked}"]
    if info.hub_id:
        lines.append(f"and on the Hub: {' '.join(filter(None, (info.hub_id, info.hub_config)))}: {hub_error}")
    lines += [f"expected: {info.expected}", f"to do: {info.how_to_get}"]
    return DataError("\n  ".join(lines))
