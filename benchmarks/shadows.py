"""How much of an attack's score comes from how many shadow models it has; writes docs/shadows.png.

python benchmarks/shadows.py [--suites 8]     fresh digits_hi suites, each model attacked with some of the others
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

from builders.build import build
from cards.docs import ROOT, mean_and_half
from mico_hub import loading, tables
from mico_hub.attacks import find, prepare, to_predictions
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_count
from mico_hub.progress import Bar
from mico_hub.scoring import mico_score
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import SUITES
from mico_hub.training.suite import train_suite
from mico_hub.workers import on_this_machine

SUITE, MODELS = "digits_hi", 100
SHADOWS = (4, 8, 16, 32, 64, MODELS)
NAMES = ("lira", "lira_offline", "lira_fixed", "lira_shrunken", "classifier", "rmia", "lira_joint")
PICTURE = ROOT / "docs" / "shadows.png"


def measure(names: Sequence[str]) -> dict[tuple[str, int], float]:
    """(attack, shadow models) -> TPR at 10% FPR on one fresh suite; the first so many of its models are shadows."""
    attacks = [find(name) for name in names]
    with TemporaryDirectory() as scratch:
        suites, published = Path(scratch) / "suites", Path(scratch) / "mico"
        train_suite(SUITES[SUITE].with_models(MODELS, 1, 1), suites / SUITE, workers=on_this_machine())
        compute_suite(suites / SUITE, workers=on_this_machine())
        build([suites / SUITE], published)
        rows = list(loading.load_suite(SUITE, published)["train"])
        membership = np.concatenate([row["membership"] for row in rows])
        found = {}
        for number in Bar(SHADOWS, desc="shadow models", leave=False):
            prepared = prepare(attacks, rows, rows[:number], str(published))
            for attack in attacks:
                predictions = np.concatenate(to_predictions(prepared.scores(attack)))
                found[attack.name, number] = mico_score(membership, predictions)["TPR_FPR_1000"]
    return found


def run(options: argparse.Namespace) -> None:
    """Measures, prints and draws."""
    of_suites = [measure(NAMES) for _ in range(options.suites)]
    found = {key: mean_and_half([of_suite[key] for of_suite in of_suites]) for key in of_suites[0]}
    rows = [
        (
            name,
            *(f"{100 * found[name, number][0]:.1f} ± {100 * (found[name, number][1] or 0):.1f}" for number in SHADOWS),
        )
        for name in NAMES
    ]
    sys.stdout.write(tables.markdown(("TPR at 10% FPR, %", *map(str, SHADOWS)), rows) + "\n")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name in NAMES:
        means = [100 * found[name, number][0] for number in SHADOWS]
        halves = [100 * (found[name, number][1] or 0) for number in SHADOWS]
        axes.errorbar(SHADOWS, means, halves, label=name, capsize=2, marker="o", markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SHADOWS, list(map(str, SHADOWS)))
    axes.set_xlabel("shadow models")
    axes.set_ylabel(f"TPR at 10% FPR on {SUITE}, %")
    axes.axhline(10, color="0.5", linestyle=":", label="guessing")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)
    sys.stdout.write(f"{PICTURE}\n")


def main() -> int:
    """Measures as the command line says."""
    parser = frame.script(__doc__, run)
    parser.add_argument("--suites", type=parse_count, default=8, help="fresh suites (default: %(default)s)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
