"""The signals of a suite folder, computed where the workers are; only what is missing."""

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save
from torch import nn

from mico_hub.cache import atomic_write
from mico_hub.data import BaseDataset, load_base
from mico_hub.models import prepared
from mico_hub.models.records import subset
from mico_hub.progress import Bar
from mico_hub.release import checkpoints
from mico_hub.release.consistency import require_data
from mico_hub.release.folder import PUBLIC, SuiteFolder
from mico_hub.release.format import FORMAT
from mico_hub.release.parquet import FolderError, read_rows
from mico_hub.release.rows import Row
from mico_hub.release.tensors import sha256_of
from mico_hub.signals.files import Floats, Frame, read
from mico_hub.signals.layout import Layout, shown
from mico_hub.signals.names import SignalError, signals_of
from mico_hub.signals.values import HELD_BYTES, Models
from mico_hub.splits import Indices
from mico_hub.suites import Suite
from mico_hub.training import engine
from mico_hub.training.sgd import exact_arithmetic
from mico_hub.workers import Common, ThisProcess, Workers
from mico_hub.workers.job import Report, require_same

AT_ONCE = 4_000  # records; after so many a job tells how far it is


@dataclass(frozen=True, slots=True)
class Computed:
    """A model's signals."""

    model_id: int
    values: dict[str, Floats]  # signal -> (K,)


@dataclass(frozen=True, slots=True)
class SignalJob:
    """Some models of a suite on the same records."""

    model_ids: tuple[int, ...]
    checkpoints: tuple[Path | bytes, ...] = field(repr=False)  # aligned with `model_ids`; the content where no file is
    records: Indices = field(repr=False)  # (K,)
    names: tuple[str, ...]
    device: str
    data_digest: str
    versions: dict[str, str]  # `engine.installed()` where the run is

    @property
    def steps(self) -> int:
        """Records of all its models."""
        return len(self.records) * len(self.model_ids)

    def run(self, common: Common, report: Report) -> list[Computed]:
        """Computes the signals in this process.

        Raises:
            WorkerError: Packages or data here differ from those of the run.
            CheckpointError: A file is not a checkpoint.
        """
        data = f"{common.data.name} with digest"
        require_same({**self.versions, data: self.data_digest}, {**engine.installed(), data: common.data.digest})
        networks = [_load(each) for each in self.checkpoints]
        parts = []
        with exact_arithmetic(self.device):
            models = Models(networks, common.data, self.names, self.device)
            for start in range(0, len(self.records), AT_ONCE):
                held = subset(common.data, self.records[start : start + AT_ONCE], self.device)
                parts.append(models.values(held))
                report(min(start + AT_ONCE, len(self.records)) * len(networks))
        return [
            Computed(model_id, {name: np.concatenate([part[name][k] for part in parts]) for name in self.names})
            for k, model_id in enumerate(self.model_ids)
        ]


def compute_suite(
    root: Path,
    names: Sequence[str] | None = None,
    workers: Workers | None = None,
    *,
    device: str = "cpu",
    data: BaseDataset | None = None,
    announce: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Computes what is missing of a suite's signals, with a bar, and writes a file for each.

    Values of finished models are kept until the files are whole, so a run that is interrupted loses the models that it
    was at. Private files are not read.

    Args:
        root: The suite's folder, complete.
        names: Of `signals_of` its network; None: all.
        workers: Where; in this process by default.
        device: Where models run.
        data: What records index; the suite's base dataset by default.
        announce: Called with the name of each signal that was computed.

    Returns:
        The files.

    Raises:
        FolderError: The suite is not complete, or another run is at work in it.
        SignalError: Its network has no such signals.
        DataError: The base dataset was not found, or is not the one that the suite was trained on.
        WorkerError: A worker failed.
    """
    workers = workers or ThisProcess()
    folder = SuiteFolder(root)
    folder.require_complete()
    manifest = folder.manifest()
    suite = manifest.suite
    wanted = _wanted(suite.model, names)
    data = prepared(data or load_base(suite.dataset), suite.model)
    require_data(manifest, data)
    with folder.locked():
        rows = read_rows(folder.rows_path(PUBLIC))
        layout = Layout.of(rows, len(data))
        frame = Frame.of(layout, rows)
        missing = [name for name in wanted if not _is_whole(_path(folder, name), frame)]
        if missing:
            values = _compute(_Work(folder, suite, rows, layout, tuple(missing), device, data), workers)
            for name in missing:
                arranged = frame.arranged({model_id: of_model[name] for model_id, of_model in values.items()})
                atomic_write(_path(folder, name), frame.file(name, arranged))
                announce(name)
            shutil.rmtree(folder.unfinished_signals, ignore_errors=True)
    return [_path(folder, name) for name in wanted]


def _compute(work: "_Work", workers: Workers) -> dict[int, dict[str, Floats]]:
    """Model id -> signal -> values of all models."""
    values = work.done_before()
    sizes = {row["model_id"]: work.size_of(row) for row in work.rows}
    bar = Bar(
        desc=f"{work.suite.name}, signals",
        total=sum(sizes.values()),
        initial=sum(sizes[model_id] for model_id in values),
        unit=" records",
        unit_scale=True,
        waiting="starting workers",
    )

    rows = {row["model_id"]: row for row in work.rows}
    with bar, closing(workers.run(work.jobs(values, workers), Common(work.data), bar.update)) as results:
        for computed in results:
            for model in computed:
                work.keep(rows[model.model_id], model)
                values[model.model_id] = model.values
    return values


def _path(folder: SuiteFolder, name: str) -> Path:
    return folder.signals / f"{name}.safetensors"


def _wanted(network: str, names: Sequence[str] | None) -> list[str]:
    there = signals_of(network)
    if unknown := [name for name in names or () if name not in there]:
        raise SignalError(f"no signals {', '.join(unknown)}; there are: {', '.join(there)}")
    return list(dict.fromkeys(names or there))


def _is_whole(path: Path, frame: Frame) -> bool:
    """Whether the file is there, of these checkpoints and records, computed as it would be now."""
    try:
        return path.exists() and (found := read(path)).engine == engine.SIGNALS and frame.fits(found)
    except SignalError:  # damaged; a newer format is another error, and stays
        return False


def _load(weights: Path | bytes) -> nn.Module:
    return checkpoints.load(weights) if isinstance(weights, Path) else checkpoints.deserialise(weights)


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What is to be computed of a suite, and what is kept of it on the way."""

    folder: SuiteFolder
    suite: Suite
    rows: Sequence[Row]
    layout: Layout
    names: tuple[str, ...]
    device: str
    data: BaseDataset

    def size_of(self, row: Row) -> int:
        """How many records a row's model is computed on."""
        return sum(map(len, self.layout.parts(row).values()))

    def done_before(self) -> dict[int, dict[str, Floats]]:
        """Model id -> values, of models that an earlier run finished with the same code, weights and records."""
        found = {}
        for row in self.rows:
            path = self._kept(row)
            if path.exists():
                found[row["model_id"]] = load_file(path)
        return found

    def keep(self, row: Row, model: Computed) -> None:
        """Keeps a model's values until all are there.

        Raises:
            SignalError: They are not all finite.
        """
        for name, values in model.values.items():
            if not np.isfinite(values).all():
                raise SignalError(f"{self.folder.root}: {name} of model_{model.model_id} is not finite everywhere")
        atomic_write(self._kept(row), save(model.values))

    def _kept(self, row: Row) -> Path:
        packages = [f"{name} {number}" for name, number in sorted(engine.versions().items()) if name != "mico-hub"]
        made_of = [f"{FORMAT}", f"{engine.SIGNALS}", f"{row['sha256']}", *self.names, *packages, self.device]
        key = hashlib.sha256("\n".join(made_of).encode() + self.layout.of_row(row).tobytes()).hexdigest()[:16]
        return self.folder.unfinished_signals / f"model_{row['model_id']}-{key}.safetensors"

    def jobs(self, done: Mapping[int, object], workers: Workers) -> Iterator[SignalJob]:
        """The missing models: those with public training records in groups, for they share their records."""
        missing = [row for row in self.rows if row["model_id"] not in done]
        shared = [row for row in missing if shown(row)]
        size = max(1, min(HELD_BYTES // self.rows[0]["num_bytes"], math.ceil(len(shared) / workers.parallel)))
        yield from (self._job(group, workers) for group in _groups(shared, size))
        yield from (self._job([row], workers) for row in missing if not shown(row))

    def _job(self, rows: Sequence[Row], workers: Workers) -> SignalJob:
        paths = [self.folder.checkpoint(self.suite, row["model_id"]) for row in rows]
        for row, path in zip(rows, paths, strict=True):
            if sha256_of(path) != row["sha256"]:
                raise FolderError(f"{path}: expected a checkpoint with sha256 {row['sha256']}, it has changed")
        return SignalJob(
            tuple(row["model_id"] for row in rows),
            tuple(path if workers.shares_files else path.read_bytes() for path in paths),
            self.layout.of_row(rows[0]),
            self.names,
            self.device,
            self.data.digest,
            engine.installed(),
        )


def _groups(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
