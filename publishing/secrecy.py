"""The leak check: everything that can be seen of a published folder before it goes online, with the truth at hand.

1. With the checkpoints fixed, swapping hidden membership leaves every public byte the same; swapping what is shown
   does not, or the comparison would see nothing. Commitments, which are drawn once, are fixed too.
2. Rows, card and metadata are rebuilt byte for byte from suite folders without their private part.
3. What is claimed is true, as far as can be computed again (`claims`); signals of some models, drawn each time, are on
   every record what the published checkpoints give.
4. No public file holds hidden labels, records, keys or nonces in the forms that `leaks` and `lists` name, nor paths,
   names or times.
5. Attacks without any model stay at chance (`blind`).
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from builders.build import builder_rows
from mico_hub import signals, tables
from mico_hub.data import DATASETS, BaseDataset
from mico_hub.messages import counted, listed
from mico_hub.models import load_start, prepared
from mico_hub.models.records import subset
from mico_hub.release import checkpoints, repository
from mico_hub.release.disclosure import Measured, disclose, hidden_splits
from mico_hub.release.folder import PRIVATE, SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError
from mico_hub.release.rows import Row, Truth
from mico_hub.signals.values import Models
from mico_hub.splits import stored_split
from mico_hub.suites import SPLITS
from mico_hub.workers import Common
from publishing import blind, claims, leaks
from publishing.check import check
from publishing.fresh import write_fresh
from publishing.lists import Hidden

CHECKPOINTS = "model_*.safetensors"
CHECKPOINT = re.compile(r".*/model_\d+\.safetensors")
SIGNAL_SLACK = 2e-4  # of a signal, between machines: float32

Load = Callable[[str], BaseDataset]
"""A base dataset by its name."""


@dataclass(slots=True)
class Findings:
    """What the leak check found."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was looked at, a line each
    tried: dict[str, list[blind.Blind]] = field(default_factory=dict)  # by suite


def inspect(root: Path, suites: Path, load: Load, *, trial: bool = False, retrain: int = 0) -> Findings:
    """Runs the whole leak check, and looks whether what is claimed is true (`claims`).

    Args:
        root: The published folder.
        suites: The folder with the suite folders that it was built from, private parts included.
        load: Brings base datasets, for features of records and to compute again.
        trial: See `check`.
        retrain: How many models of each suite are trained again, drawn at random.

    Raises:
        FolderError: The folder cannot be published as it is (`check`), or a suite folder is missing or another one.
        DataError: A base dataset was not found.
    """
    with TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        return _inspect(root, fresh, sorted(check(root, fresh, trial=trial)), suites, load, retrain)


def _inspect(root: Path, fresh: Path, paths: Sequence[str], suites: Path, load: Load, retrain: int) -> Findings:
    """As `inspect`, of the files that go online: checkpoints in `root`, all others in `fresh`."""
    every = repository.suites_in(fresh)
    manifests = [manifest for manifest in every if not manifest.origin]
    folders = {manifest.suite.name: _folder_of(manifest, suites) for manifest in manifests}
    found = Findings()
    found.problems += [f"{name}: {problem}" for name, problem in _not_theirs(every, suites)]
    needles = leaks.surroundings(root, suites)
    numbers = {folders[each.suite.name]: DATASETS[each.suite.dataset].num_records for each in manifests}
    found.problems += claims.wrong_keys(numbers)
    lists = list[Hidden]()
    again = list[str]()
    for manifest in manifests:
        name, folder = manifest.suite.name, folders[manifest.suite.name]
        rows = list(repository.each_row_of(fresh, name))
        truth = folder.truth()
        found.problems += [f"{name}: {problem}" for problem in _depending(fresh, manifest, rows, truth)]
        found.problems += [f"{name}: {problem}" for problem in _unopened(folder, manifest, rows)]
        needles += leaks.secrets_of(folder, numbers[folder])
        lists += leaks.hidden_models(folder, numbers[folder])
        hidden = {row["model_id"]: row["membership"] for row in truth if row["split"] in hidden_splits(manifest.suite)}
        data = prepared(load(manifest.suite.dataset), manifest.suite.model)
        if data.digest != manifest.data_digest:
            raise FolderError(
                f"{name}: expected {data.name} with digest {manifest.data_digest}, got the one with {data.digest}"
            )
        found.problems += [f"{name}: {problem}" for problem in claims.wrong_records(folder, manifest, rows)]
        models = _Models(root, fresh, folder, rows, truth, data)
        found.problems += [f"{name}: {problem}" for problem in models.wrong()]
        again.append(f"{name}: {counted(models.looked_at, 'model')}")
        if retrain:
            common = Common(data, load_start(manifest.suite.model))
            for line, same in claims.retrained(
                folder, rows, retrain, common, lambda row: (root / row["checkpoint"]).read_bytes()
            ):
                (found.notes if same else found.problems).append(f"{name}: {line}")
        found.tried[name] = blind.attack(rows, hidden, len(data), record_features(data), manifest.suite.design)
        found.problems += [
            f"{name}: without any model, members differ in: {each.feature} ({each.deviations:+.1f} standard deviations)"
            for each in found.tried[name]
            if each.leaks
        ]
    found.problems += [f"{path}: differs when rebuilt without private/" for path in _not_rebuilt(fresh, folders)]
    online = {(root if CHECKPOINT.fullmatch(path) else fresh) / path: path for path in paths}
    held = leaks.find(online, needles) + leaks.find_lists(online, lists)
    found.problems += [f"{online[path]}: it holds {what}" for path, what in held]
    size = sum(path.stat().st_size for path in online)
    found.notes = [
        *found.notes,
        f"computed again, drawn at random (accuracy, member loss, all signals): {'; '.join(again) or 'nothing'}",
        f"{counted(len(manifests), 'suite')}: hidden membership swapped, and rebuilt without private parts; "
        f"{len(every) - len(manifests)} of the competition's, whose truth nobody has",
        f"{counted(len(paths), 'file')}, {size / 1e6:,.1f} MB, searched for {counted(len(needles), 'secret')}",
        f"{sum(map(len, found.tried.values()))} attacks without a model, each suite's with an error rate of "
        f"{blind.ERROR_RATE:g}",
    ]
    return found


def _not_theirs(manifests: Sequence[Manifest], suites: Path) -> Iterator[tuple[str, str]]:
    """Suites whose manifest names the competition as their origin, and that have a truth or keys here."""
    for manifest in manifests:
        folder = SuiteFolder(suites / manifest.suite.name)
        if manifest.origin and any((folder.root / PRIVATE / name).exists() for name in ("keys.json", "rows.parquet")):
            yield (
                manifest.suite.name,
                f"suite.json names the origin {manifest.origin}, but {folder.root} has keys or a truth of ours",
            )


def _folder_of(manifest: Manifest, suites: Path) -> SuiteFolder:
    folder = SuiteFolder(suites / manifest.suite.name)
    if folder.manifest() != manifest:
        raise FolderError(f"{folder.root}: the suite that is published was trained in another folder")
    if not folder.rows_path(PRIVATE).is_file():
        raise FolderError(f"{folder.root}: expected its private part, with what must not be published")
    return folder


def swapped(truth: Sequence[Truth], splits: Sequence[str]) -> list[Truth]:
    """The truth with members and non-members exchanged in some splits."""
    return [row | {"membership": 1 - row["membership"]} if row["split"] in splits else row for row in truth]


def public_files(manifest: Manifest, rows: Sequence[Row], truth: Sequence[Truth]) -> dict[str, bytes]:
    """A suite's public rows and manifest as they would be if that were its truth; checkpoints and measurements stay.

    Args:
        manifest: The suite's.
        rows: Its public rows, for what was measured.
        truth: Its private rows, by id.
    """
    num_records = DATASETS[manifest.suite.dataset].num_records
    made: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for public, private in zip(rows, truth, strict=True):
        split = stored_split(num_records, private["challenge"], private["membership"], private["training"])
        measured = Measured(
            public["checkpoint"],
            public["sha256"],
            public["num_bytes"],
            public["accuracy"],
            public["epsilon"],
            public["delta"],
        )
        made[public["split"]].append(disclose(manifest.suite, public["model_id"], split, measured)[0])
    with TemporaryDirectory() as scratch:
        repository.write_public(Path(scratch), manifest, made)
        return _small_files(Path(scratch))


def _small_files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.match(CHECKPOINTS)
    }


def _depending(root: Path, manifest: Manifest, rows: Sequence[Row], truth: Sequence[Truth]) -> Iterator[str]:
    """Files that hidden membership has changed."""
    hidden = hidden_splits(manifest.suite)
    shown = [split for split in SPLITS if split not in hidden]
    published = {path: (root / path).read_bytes() for path in public_files(manifest, rows, truth)}
    for what, membership in (("from its truth", truth), ("with hidden membership swapped", swapped(truth, hidden))):
        for path, content in public_files(manifest, rows, membership).items():
            if content != published[path]:
                yield f"{path}: differs when made again {what}"
    if public_files(manifest, rows, swapped(truth, shown)) == published:
        yield "swapping the membership that is shown changes nothing: the comparison sees nothing"


def _unopened(folder: SuiteFolder, manifest: Manifest, rows: Sequence[Row]) -> Iterator[str]:
    """Commitments that what is kept does not open."""
    for split, commitment in manifest.commitments.items():
        path = folder.opening_path(split)
        opening = folder.opening(split)
        truth = [row for row in folder.truth() if row["split"] == split]
        for problem in opening.differences(truth, manifest.suite.design):
            yield f"{path.name}: it is not the suite's truth: {problem}"
        for problem in opening.differences([row for row in rows if row["split"] == split], manifest.suite.design):
            yield f"{path.name}: {problem}"
        if opening.commitment() != commitment:
            yield f"{path.name}: it opens {opening.commitment()}, expected {commitment}"


@dataclass(slots=True)
class _Models:
    """Published checkpoints, of which some are computed again: what training measured of them, and their signals."""

    root: Path
    fresh: Path
    folder: SuiteFolder
    rows: Sequence[Row]
    truth: Sequence[Truth]
    data: BaseDataset
    looked_at: int = 0

    def wrong(self) -> Iterator[str]:
        """What does not come out as it is published."""
        files = [signals.read(path) for path in repository.signal_files(self.fresh, self.rows[0]["suite"])]
        layout = signals.Layout.of(self.rows, len(self.data))
        known = {row["model_id"]: row for row in self.truth}
        for row in claims.sampled(self.rows):
            self.looked_at += 1
            network = checkpoints.load(self.root / row["checkpoint"])
            private = known[row["model_id"]]
            split = stored_split(len(self.data), private["challenge"], private["membership"], private["training"])
            yield from claims.wrong_model(self.folder, row, network, split, self.data)
            if files:
                yield from self._wrong_signals(files, layout, row, network)

    def _wrong_signals(
        self, files: Sequence[signals.Signals], layout: signals.Layout, row: Row, network: torch.nn.Module
    ) -> Iterator[str]:
        """Signals of a model that are not what its checkpoint gives, on every record that has one."""
        models = Models([network], self.data, [file.name for file in files], "cpu")
        for kind, records in layout.parts(row).items():
            again = models.values(subset(self.data, records, "cpu"))
            for file in files:
                published, recomputed = file.values([row], records)[0], again[file.name][0]
                if not (close := np.isclose(published, recomputed, rtol=SIGNAL_SLACK, atol=SIGNAL_SLACK / 10)).all():
                    first, wrong = int(np.argmin(close)), int(np.count_nonzero(~close))
                    yield (
                        f"{file.name}.safetensors, {row['split']}/model_{row['model_id']}: {wrong:,} of "
                        f"{len(records):,} values on {kind} are not what its checkpoint gives: of record "
                        f"{records[first]} {published[first]:.6g}, recomputed {recomputed[first]:.6g}"
                    )


def _not_rebuilt(fresh: Path, folders: Mapping[str, SuiteFolder]) -> Iterator[str]:
    """Files that come out otherwise where suite folders have no private part; checkpoints are not copied."""
    with TemporaryDirectory() as scratch:
        bare, again, rebuilt = (Path(scratch) / name for name in ("suites", "mico", "fresh"))
        shutil.copytree(fresh, again)
        for name, folder in folders.items():
            shutil.copytree(
                folder.root, bare / name, ignore=shutil.ignore_patterns(PRIVATE, CHECKPOINTS), symlinks=True
            )
            for old in (again / name).rglob("*"):
                if old.is_file():
                    old.unlink()
            repository.write_signals(again, SuiteFolder(bare / name))
            repository.write_public(again, folder.manifest(), builder_rows(SuiteFolder(bare / name)))
        write_fresh(again, rebuilt)
        made = _small_files(rebuilt)
        for path, content in _small_files(fresh).items():
            if made.get(path) != content:
                yield path


def record_features(data: BaseDataset) -> dict[str, npt.NDArray[np.float64]]:
    """What is known of each record without a model: its class, its size, and where it lies along four directions."""
    labels = {"class": data.labels.numpy().astype(float)}
    if not isinstance(data.raw, torch.Tensor):
        lengths = np.array([len(sentence) for sentence in data.raw], dtype=float)
        return labels | {"length": lengths, "words": np.array([len(text.split()) for text in data.raw], dtype=float)}
    flat = data.raw.flatten(1)
    directions = torch.randn(flat.shape[1], 4, generator=torch.Generator().manual_seed(0))
    values = torch.cat([part.float() @ directions for part in torch.split(flat, 4_096)]).double().numpy()
    sums = torch.cat([part.float().sum(dim=1) for part in torch.split(flat, 4_096)]).double().numpy()
    return labels | {"sum": sums, **{f"projection {i}": values[:, i] for i in range(values.shape[1])}}


def text(findings: Findings) -> str:
    """What was looked at, and what was found."""
    columns = ("suite", "without any model", "standard deviations", "points")
    rows = [
        (suite, each.feature, f"{each.deviations:+.2f}", f"{each.points:,}")
        for suite, tried in findings.tried.items()
        for each in sorted(tried, key=lambda each: -abs(each.deviations))[:3]
    ]
    lines = [*findings.notes, "", "the three that deviate most of each suite:", tables.text(columns, rows), ""]
    lines.append(
        listed(f"{counted(len(findings.problems), 'problem')}:", findings.problems)
        if findings.problems
        else "no leak found, and nothing that is untrue"
    )
    return "\n".join(lines)
