"""Signals: how fast they are computed, how fast attacks are with them, and what a user fetches.

MICO_HUB_DATA=DATA python benchmarks/signals.py compute     100 MLPs on 36,000 records against a loop with a DataLoader;
                                                            a CNN against the convolutions alone
python benchmarks/signals.py attack                         LiRA on full-size suites from files: seconds, memory, bytes

One core, except where it says otherwise. Networks have random weights and files random values: no time depends on them.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn import functional

from mico_hub import models, signals, tables
from mico_hub.data import DATASETS, load_base
from mico_hub.models.records import subset
from mico_hub.release import repository
from mico_hub.release.consistency import checkpoint_path
from mico_hub.release.disclosure import Measured, disclose
from mico_hub.release.manifest import Manifest
from mico_hub.signals import OUTPUT_SIGNALS, Frame, Layout
from mico_hub.signals.values import Models
from mico_hub.splits import draw
from mico_hub.suites import SPLITS, SUITES
from mico_hub.training.sgd import exact_arithmetic

MLPS, RECORDS = 100, 36_000
IMAGES, ROUNDS = 512, 5
ATTACKED = ("cifar10_hi", "purchase100_hi", "sst2_hi", "cifar10_ddp")


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of CPU, of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compute() -> None:
    """Both sides in turn, a group of models at a time."""
    rows = []
    with exact_arithmetic("cpu"):
        data = load_base("purchase100")
        records = np.arange(RECORDS)
        ours, loop = 0.0, 0.0
        for _ in range(MLPS // 10):
            networks = [models.initialise("mlp", os.urandom(16)).eval() for _ in range(10)]
            ours += seconds_of(
                lambda networks=networks: signals.values_of(  # type: ignore[misc]
                    networks, data, records, OUTPUT_SIGNALS, "cpu"
                )
            )
            loop += seconds_of(lambda networks=networks: [with_a_loader(each) for each in networks[:2]]) * 5  # type: ignore[misc]
        what = f"{MLPS} MLPs x {RECORDS:,} records (the loop: {MLPS // 5}, times 5)"
        rows.append((what, f"{ours:.1f}", f"{loop:.1f}", f"{loop / ours:.2f}"))
        cifar10 = load_base("cifar10")
        images = subset(cifar10, np.arange(IMAGES), "cpu")
        network = models.initialise("cnn", os.urandom(16)).eval()
        pairs = [
            (seconds_of(lambda: Models([network], cifar10, OUTPUT_SIGNALS, "cpu").values(images)), convolutions())
            for _ in range(ROUNDS)
        ]
        ours, alone = (median(side) for side in zip(*pairs, strict=True))
        what = f"a CNN x {IMAGES} records (its convolutions alone, median of {ROUNDS})"
        rows.append((what, f"{ours:.2f}", f"{alone:.2f}", f"{median(b / a for a, b in pairs):.2f}"))
    sys.stdout.write(tables.text(("three signals", "ours, s", "other, s", "other / ours"), rows) + "\n")


class Items(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Records one at a time, as such loops have them."""

    def __init__(self) -> None:
        """Of Purchase-100."""
        self._data = load_base("purchase100")

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, record: int) -> tuple[torch.Tensor, int]:
        raw = self._data.raw
        assert isinstance(raw, torch.Tensor)
        return raw[record].float(), int(self._data.labels[record])


def with_a_loader(network: torch.nn.Module) -> torch.Tensor:
    """The same signals of one model, by a DataLoader."""
    parts = []
    with torch.no_grad():
        for inputs, labels in torch.utils.data.DataLoader(Items(), batch_size=512):
            parts.append(torch.stack(list(signals.of_outputs(network(inputs), labels).values())))
    return torch.cat(parts, dim=1)


def convolutions() -> float:
    """Seconds of the CNN's three convolutions on as many records, each at the batch and layout that are best for it."""
    shapes = [((3, 32, 32), (128, 3, 8, 8), 2, 3), ((128, 14, 14), (256, 128, 3, 3), 1, 0)]
    shapes.append(((256, 12, 12), (256, 256, 3, 3), 1, 0))
    total = 0.0
    with torch.inference_mode():
        for shape, kernel, stride, padding in shapes:
            times = []
            for layout in (torch.contiguous_format, torch.channels_last):
                for batch in (32, 128):
                    inputs = torch.randn(batch, *shape).contiguous(memory_format=layout)
                    weight = torch.randn(kernel).contiguous(memory_format=layout)
                    functional.conv2d(inputs, weight, None, stride, padding)

                    def work(inputs: torch.Tensor = inputs, weight: torch.Tensor = weight, batch: int = batch) -> None:
                        for _ in range(IMAGES // batch):
                            functional.conv2d(inputs, weight, None, stride, padding)  # noqa: B023 (called at once)

                    times.append(seconds_of(work))
            total += min(times)
    return total


def publish(name: str, root: Path) -> None:
    """A full-size suite's rows and its margins, without checkpoints."""
    suite = SUITES[name]
    number = DATASETS[suite.dataset].num_records
    manifest = Manifest(suite, 1.0 if suite.private else None, None, True, "", {})
    rows = {split: [] for split in SPLITS}  # type: ignore[var-annotated]
    for model_id in range(sum(suite.models)):
        sha256 = hashlib.sha256(str(model_id).encode()).hexdigest()
        path = checkpoint_path(suite, model_id)
        measured = Measured(path, sha256, 1, 0.5, suite.epsilon, suite.delta)
        rows[suite.split_of(model_id)].append(disclose(suite, model_id, draw(number, suite.n, suite.m), measured)[0])
    every = [row for split in SPLITS for row in rows[split]]
    layout = Layout.of(every, number)
    values = {
        row["model_id"]: np.random.default_rng(row["model_id"]).normal(size=len(layout.of_row(row))).astype(np.float32)
        for row in every
    }
    folder = root / name / "signals"
    folder.mkdir(parents=True)
    frame = Frame.of(layout, every)
    made = frame.file("margin", frame.arranged(values))
    (folder / "margin.safetensors").write_bytes(made)
    repository.write_public(root, manifest, rows)
    repository.write_card(root, name)


def one(name: str, root: Path) -> None:
    """In a process of its own: rows, then LiRA on dev and final."""
    import mico_hub
    from mico_hub.attacks import attack_scores
    from mico_hub.release.rows import as_rows

    started = time.monotonic()
    suite = mico_hub.load_suite(name, str(root))
    rows = {split: as_rows(suite[split]) for split in SPLITS}
    of_rows = time.monotonic() - started
    started = time.monotonic()
    for split in SPLITS[1:]:
        attack_scores("lira", rows[split], rows["train"], str(root))
    of_attack = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    sys.stdout.write(f"{of_rows} {of_attack} {peak}\n")


def attack() -> None:
    """A suite at a time."""
    lines = []
    for name in ATTACKED:
        with TemporaryDirectory() as scratch:
            publish(name, Path(scratch))
            environment = os.environ | {"HF_HOME": f"{scratch}/home", "MICO_HUB_CACHE": f"{scratch}/cache"}
            command = [sys.executable, __file__, "one", name, scratch]
            run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            of_rows, of_attack, peak = map(float, run.stdout.split())
            margin = (Path(scratch) / name / "signals" / "margin.safetensors").stat().st_size
            parquet = sum(path.stat().st_size for path in (Path(scratch) / name).glob("*.parquet"))
        lines.append(
            (name, f"{of_attack:.2f}", f"{of_rows:.2f}", f"{peak:.0f}", f"{margin / 1e6:.1f}", f"{parquet / 1e6:.1f}")
        )
    columns = ("LiRA on dev and final", "seconds", "rows, s", "peak, MB", "margin.safetensors, MB", "rows, MB")
    sys.stdout.write(tables.text(columns, lines) + "\n")


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("compute", "attack", "one"))
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "one":
        one(options.rest[0], Path(options.rest[1]))
    else:
        {"compute": compute, "attack": attack}[options.what]()


if __name__ == "__main__":
    main()
