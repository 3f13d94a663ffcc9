"""The suite folder: what training writes and builders read. This module alone knows its layout.

suites/cifar10_hi/
    suite.json                      recipe, versions, noise multiplier, digest of the data; public
    public/rows.parquet             one row per model, as published
    public/train/model_0.safetensors ...
    public/signals/loss.safetensors ...     made of what is public, see `signals`
    unfinished-signals/             those of some models, until all are there
    private/rows.parquet            the truth for every model
    private/keys.json               the secret keys of the training
    private/opening-dev.json        what opens the commitment to a hidden split's truth, see `commitments`
    private/partial/model_0.json    what was measured of a finished model; with it the model is done
    private/lock                    held while a run works on the folder
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from mico_hub.cache import atomic_path, atomic_write, remove_unfinished
from mico_hub.checkpoint import sha256_of
from mico_hub.commitments import Opening
from mico_hub.data import DATASETS
from mico_hub.disclosure import ACCURACY_DECIMALS, Measured, Row, hidden_splits, reveals
from mico_hub.randomness import Keys
from mico_hub.splits import Split, stored_split
from mico_hub.suites import SPLITS, Optimiser, Suite

_INDICES = pa.list_(pa.int32())
_NAMED = [("suite", pa.string()), ("split", pa.string()), ("model_id", pa.int32())]

PUBLIC_SCHEMA = pa.schema(
    [
        *_NAMED,
        ("checkpoint", pa.string()),
        ("sha256", pa.string()),
        ("num_bytes", pa.int64()),
        ("challenge", _INDICES),
        ("membership", pa.list_(pa.int8())),
        ("training", _INDICES),
        ("accuracy", pa.float64()),
        ("epsilon", pa.float64()),
        ("delta", pa.float64()),
    ]
)
PRIVATE_SCHEMA = pa.schema(
    [*_NAMED, ("challenge", _INDICES), ("membership", pa.list_(pa.int8())), ("training", _INDICES)]
)
_DELTA_ENCODED = ("challenge.list.element", "training.list.element")

PUBLIC, PRIVATE, SIGNALS = "public", "private", "signals"
ROWS_IN_GROUP = 25  # a row of a full suite has up to 60,000 records
_LONGEST = 300  # characters of a text in a manifest


class FolderError(ValueError):
    """A suite folder that is not as it should be; the message lists all problems."""


def checkpoint_path(suite: Suite, model_id: int) -> str:
    """A checkpoint's path relative to the published repository."""
    return f"{suite.name}/{suite.split_of(model_id)}/model_{model_id}.safetensors"


def write_rows(rows: Iterable[Row], schema: pa.Schema, path: Path) -> None:
    """Writes rows as one Parquet file, the same bytes for the same rows; a few rows are held at a time.

    Index columns are delta-encoded and compressed: an ascending list of records then takes little more than its
    entropy, a quarter of what the default encoding takes.
    """
    waiting = iter(rows)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            compression_level=9,
            use_dictionary=False,
            column_encoding={
                column: "DELTA_BINARY_PACKED" for column in _DELTA_ENCODED if column.split(".")[0] in schema.names
            },
            store_schema=False,
        ) as writer,
    ):
        while group := list(islice(waiting, ROWS_IN_GROUP)):
            columns = [_column([row[field.name] for row in group], field.type) for field in schema]
            writer.write_table(pa.table(columns, schema=schema))


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        item = kind.value_type.to_pandas_dtype()
        values = [None if value is None else np.asarray(value, dtype=item) for value in values]
    return pa.array(values, kind)


def each_row(path: Path, schema: pa.Schema) -> Iterator[Row]:
    """Reads what `write_rows` wrote; a few rows are held at a time.

    Raises:
        FolderError: The file is missing or no Parquet file, or its columns are not those of the schema.
    """
    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in schema.names if name not in file.schema_arrow.names]:
                raise FolderError(f"{path}: expected the columns {schema.names}: there is no {', '.join(missing)}")
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=schema.names)
                yield from rows_of(_cast(table.select(schema.names), schema, path))
    except (OSError, pa.ArrowInvalid) as error:
        raise FolderError(f"{path}: expected a Parquet file of rows: {error}") from error


def _cast(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    try:
        return table.cast(schema)
    except (ValueError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FolderError(f"{path}: expected the columns {schema.names}: {error}") from error


def read_rows(path: Path, schema: pa.Schema) -> list[Row]:
    """All rows of `each_row`.

    Raises:
        FolderError: As there.
    """
    return list(each_row(path, schema))


def rows_of(table: pa.Table) -> list[Row]:
    """The table's rows; lists as numpy arrays, since a full suite holds tens of millions of indices."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_list(column.type):
            columns[name] = [each.values.to_numpy() if each.is_valid else None for each in column]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`suite.json`: all that is public about a suite but its rows."""

    suite: Suite
    noise_multiplier: float | None
    data_digest: str | None  # over all records and labels of the base dataset; None: the official one, digest unknown
    data_official: bool
    data_note: str  # what is known of the base dataset where it is not the official one
    versions: dict[str, str]  # of the packages that trained the suite
    origin: str = ""  # where the models come from if they are the competition's own; empty: trained by this package
    missing: tuple[int, ...] = ()  # models that the origin lacks, by id
    start_digest: str | None = None  # of the weights that training started from; None: random ones, or not known
    randomness: str = ""  # `cpu` or `cuda`, where noise and dropout were drawn; empty: not by this package
    commitments: Mapping[str, str] = field(default_factory=dict)  # to the truth of each hidden split, see `commitments`

    @property
    def num_models(self) -> int:
        """How many models there are."""
        return sum(self.suite.models) - len(self.missing)

    def to_json(self) -> bytes:
        """Stable text: no times, no paths."""
        values = asdict(self)
        if math.isinf(self.suite.epsilon):
            values["suite"]["epsilon"] = None  # JSON has no infinity
        return (json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """The inverse of `to_json`.

        Raises:
            FolderError: It is no such text.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            suite = dict(values.pop("suite"))
            suite["epsilon"] = math.inf if suite["epsilon"] is None else suite["epsilon"]
            suite["optimiser"] = Optimiser(**suite["optimiser"])
            suite["models"] = tuple(suite["models"])
            values["missing"] = tuple(values.get("missing", ()))
            manifest = cls(suite=Suite(**suite), **values)
            if wrong := [name for name, right in manifest._well_formed().items() if not right]:
                raise ValueError(f"not what they should be: {', '.join(wrong)}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FolderError(f"{where}: expected a suite's manifest: {error!r}") from error
        return manifest

    def _well_formed(self) -> dict[str, bool]:
        """Whether each part holds what it is for and nothing longer, in which something else could be written."""
        digests = [*self.commitments.values(), *(each for each in (self.data_digest, self.start_digest) if each)]
        return {
            "digests and commitments": all(re.fullmatch(r"[0-9a-f]{64}", each) for each in digests),
            "names of splits": set(self.commitments) <= set(SPLITS),
            "randomness": self.randomness in ("", "cpu", "cuda"),
            "noise_multiplier": self.noise_multiplier is None or isinstance(self.noise_multiplier, int | float),
            "data_official": isinstance(self.data_official, bool),
            "texts": all(isinstance(each, str) and len(each) <= _LONGEST for each in (self.data_note, self.origin)),
            "versions": all(re.fullmatch(r"[\w.+-]{1,40}", each) for pair in self.versions.items() for each in pair),
            "missing": all(type(each) is int for each in self.missing),
        }


@dataclass(frozen=True, slots=True)
class SuiteFolder:
    """A suite's folder on disk."""

    root: Path

    @property
    def manifest_path(self) -> Path:
        """`suite.json`."""
        return self.root / "suite.json"

    def rows_path(self, part: str) -> Path:
        """The rows of `public` or `private`."""
        return self.root / part / "rows.parquet"

    def checkpoint(self, suite: Suite, model_id: int) -> Path:
        """Where a model's weights are: `checkpoint_path` below `public/`, without the suite's name."""
        return self.root / PUBLIC / suite.split_of(model_id) / f"model_{model_id}.safetensors"

    @property
    def signals(self) -> Path:
        """Where the files of signals are."""
        return self.root / PUBLIC / SIGNALS

    @property
    def unfinished_signals(self) -> Path:
        """Where signals of some models are kept until all are there."""
        return self.root / "unfinished-signals"

    def _partial(self, model_id: int) -> Path:
        return self.root / PRIVATE / "partial" / f"model_{model_id}.json"

    @property
    def _keys_path(self) -> Path:
        return self.root / PRIVATE / "keys.json"

    def opening_path(self, split: str) -> Path:
        """What opens the commitment to the truth of a hidden split."""
        return self.root / PRIVATE / f"opening-{split}.json"

    def exists(self) -> bool:
        """Whether a suite was begun here."""
        return self.manifest_path.exists()

    def complete(self) -> bool:
        """Whether every model is trained and the rows are written."""
        return self.exists() and self.rows_path(PUBLIC).exists()

    def manifest(self) -> Manifest:
        """Reads `suite.json`."""
        try:
            text = self.manifest_path.read_bytes()
        except OSError as error:
            raise FolderError(f"{self.root}: expected a suite folder with suite.json: {error}") from error
        return Manifest.from_json(text, str(self.manifest_path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out of the folder while the block runs, and removes what a killed one left half-written.

        The lock is the operating system's: it ends with the process, however that ends.

        Raises:
            FolderError: Another run has the folder.
        """
        private = self.root / PRIVATE
        private.mkdir(parents=True, exist_ok=True)
        private.chmod(0o700)
        lock = FileLock(private / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise FolderError(f"{self.root}: another run is at work here; wait until it ends, or stop it") from None
        try:
            remove_unfinished(self.root)
            yield
        finally:
            lock.release()

    def begin(self, manifest: Manifest, truth: Sequence[Row], keys: Sequence[Keys]) -> None:
        """Fixes everything that is drawn, before any training; `suite.json`, written last, marks it done.

        Args:
            manifest: Commitments to the hidden truth are added to it.
            truth: The private row of each model, by id.
            keys: Each model's.
        """
        write_rows(truth, PRIVATE_SCHEMA, self.rows_path(PRIVATE))
        commitments = {}
        for split in hidden_splits(manifest.suite):
            opening = Opening.draw(manifest.suite.name, split, [row for row in truth if row["split"] == split])
            atomic_write(self.opening_path(split), opening.to_json())
            commitments[split] = opening.commitment()
        secret = {f"model_{model_id}": model_keys.to_hex() for model_id, model_keys in enumerate(keys)}
        atomic_write(self._keys_path, json.dumps(secret, indent=1).encode())
        self.begin_import(replace(manifest, commitments=commitments))

    def begin_import(self, manifest: Manifest) -> None:
        """As `begin`, for models whose splits and training are not ours: nothing is drawn, there is no truth."""
        atomic_write(self.manifest_path, manifest.to_json())

    def splits(self, num_records: int) -> Iterator[Split]:
        """Each model's split of `num_records` records, by id; made one at a time, all would take much memory."""
        for row in read_rows(self.rows_path(PRIVATE), PRIVATE_SCHEMA):
            yield stored_split(num_records, row["challenge"], row["membership"], row["training"])

    def keys(self) -> list[Keys]:
        """Each model's secret keys, by id."""
        secret: dict[str, dict[str, str]] = json.loads(self._keys_path.read_bytes())
        return [Keys.from_hex(secret[f"model_{model_id}"]) for model_id in range(len(secret))]

    def finish_model(self, model_id: int, measured: Measured, source: str = "") -> None:
        """Marks a model whose checkpoint is written as done.

        Args:
            model_id: Which.
            measured: What is known of it.
            source: What an imported model was made from, by content; with another one it counts as not done.
        """
        atomic_write(self._partial(model_id), json.dumps([asdict(measured), source]).encode())

    def measured(self, suite: Suite, model_id: int, source: str = "", *, hashed: bool = True) -> Measured | None:
        """What was measured of a finished model; None where there is no whole checkpoint of it from that source.

        Args:
            suite: Its suite.
            model_id: Which.
            source: See `finish_model`.
            hashed: Whether the checkpoint is read whole, to see that it is the one that was measured.
        """
        try:
            values, made_from = json.loads(self._partial(model_id).read_bytes())
            measured = Measured(**values)
        except (FileNotFoundError, ValueError, TypeError):  # there is none, or it is none: the model is made again
            return None
        if made_from != source:
            return None
        path = self.checkpoint(suite, model_id)
        return measured if path.exists() and (not hashed or sha256_of(path) == measured.sha256) else None

    def finish(self, public: Sequence[Row]) -> None:
        """Checks the public rows that `disclosure.disclose` made, and writes them; with them the suite is complete.

        Raises:
            FolderError: As `verify`; then nothing is written.
        """
        self._check(self.manifest(), public)
        write_rows(public, PUBLIC_SCHEMA, self.rows_path(PUBLIC))

    def verify(self) -> None:
        """Checks the public part against itself: schema, ids, counts, every checkpoint's sha256 and size.

        Raises:
            FolderError: Something is missing or different; the message lists everything.
        """
        self._check(self.manifest(), read_rows(self.rows_path(PUBLIC), PUBLIC_SCHEMA))

    def _check(self, manifest: Manifest, rows: Sequence[Row]) -> None:
        problems = problems_of(manifest, rows, lambda row: self.checkpoint(manifest.suite, row["model_id"]))
        if problems:
            raise FolderError("\n".join([f"{self.root}: {len(problems)} problems", *problems]))


def problems_of(manifest: Manifest, rows: Iterable[Row], checkpoint: Callable[[Row], Path]) -> list[str]:
    """What is wrong with a suite's public rows and checkpoints, a line each.

    Args:
        manifest: The suite's.
        rows: All of them, by id; each is looked at once.
        checkpoint: Where a row's checkpoint is; every one is read and hashed.
    """
    suite, absent = manifest.suite, set(manifest.missing)
    ids: list[tuple[str, int]] = []
    spent = set()
    problems = []
    for row in rows:
        ids.append((row["split"], row["model_id"]))
        spent.add(row["epsilon"])
        wrong = [*_wrong_values(manifest, row), *_wrong_checkpoint(row, checkpoint(row))]
        problems += [f"{row['split']}/model_{row['model_id']}: {problem}" for problem in wrong]
    expected = [(split, i) for split in SPLITS for i in suite.model_ids[split] if i not in absent]
    if ids != expected:
        problems.insert(0, f"expected the models {_spans(expected)}, got {_spans(ids)}")
    if len(spent) > 1:
        problems.append(f"expected one epsilon for all models, got {len(spent)}")
    return problems


def _wrong_values(manifest: Manifest, row: Row) -> Iterator[str]:
    suite, name = manifest.suite, row["split"]
    if row["suite"] != suite.name:
        yield f"expected a row of {suite.name}, got one of {row['suite']}"
    for part, shown in zip(("membership", "training"), reveals(suite, name), strict=True):
        if (row[part] is not None) != shown:
            yield f"expected {part} to be {'shown' if shown else 'hidden'} in {name}, and it is not"
    if row["checkpoint"] != checkpoint_path(suite, row["model_id"]):
        yield f"expected the checkpoint's path to be {checkpoint_path(suite, row['model_id'])}, got {row['checkpoint']}"
    if row["accuracy"] is not None and round(row["accuracy"], ACCURACY_DECIMALS) != row["accuracy"]:
        yield f"expected an accuracy of {ACCURACY_DECIMALS} decimals, got {row['accuracy']}"
    if not manifest.origin and row["delta"] != suite.delta:
        yield f"expected delta {suite.delta}, got {row['delta']}"
    if row["epsilon"] is not None and not row["epsilon"] <= suite.epsilon:
        yield f"expected at most epsilon {suite.epsilon:g}, got {row['epsilon']}"
    yield from _wrong_records(manifest, row)


def _wrong_records(manifest: Manifest, row: Row) -> Iterator[str]:
    suite, challenge = manifest.suite, row["challenge"]
    membership, training = row["membership"], row["training"]
    if len(challenge) != 2 * suite.m:
        yield f"expected {2 * suite.m} challenge records, got {len(challenge)}"
    if not manifest.origin and (np.diff(challenge) <= 0).any():
        yield "expected an ascending challenge: its order may tell members"
    if membership is not None:
        members = np.count_nonzero(membership)
        if len(membership) != 2 * suite.m or members != suite.m:
            yield f"expected {suite.m} members of {2 * suite.m}, got {members} of {len(membership)}"
        if set(np.unique(membership)) - {0, 1}:
            yield f"expected a membership of 0 and 1, got {np.unique(membership).tolist()}"
    if training is not None:
        if len(training) != suite.n - suite.m:
            yield f"expected {suite.n - suite.m} training records, got {len(training)}"
        if (np.diff(training) <= 0).any():
            yield "expected ascending training records"
    records = np.concatenate([challenge, [] if training is None else training]).astype(np.int64)
    if twice := len(records) - len(np.unique(records)):
        yield f"expected different records in challenge and training, got {twice} of them again"
    limit = DATASETS[suite.dataset].num_records
    if len(records) and (records.min() < 0 or records.max() >= limit):
        yield f"expected records of {suite.dataset} below {limit}, got {records.min()} to {records.max()}"


def _wrong_checkpoint(row: Row, path: Path) -> Iterator[str]:
    if not path.is_file() or path.is_symlink():
        yield f"expected the checkpoint {path}, got no such file"
    elif (size := path.stat().st_size) != row["num_bytes"]:
        yield f"expected a checkpoint of {row['num_bytes']} bytes, got {size}"
    elif (digest := sha256_of(path)) != row["sha256"]:
        yield f"expected a checkpoint with sha256 {row['sha256']}, got {digest}"


def _spans(ids: Sequence[tuple[str, int]]) -> str:
    """`train 0-99, dev 100-149, final 150-199`."""
    spans = []
    for split in dict.fromkeys(split for split, _ in ids):
        of_split = [model_id for other, model_id in ids if other == split]
        spans.append(f"{split} {min(of_split)}-{max(of_split)} ({len(of_split)})")
    return ", ".join(spans) or "none"
