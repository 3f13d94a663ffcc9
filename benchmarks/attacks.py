"""The score that every attack gets on the digits suites, trained anew with fresh keys; five minutes on two cores.

make benchmark                  writes tests/golden/expected_scores.json, for the test, and the table of docs/attacks.md
make benchmark ATTACK=name      measures one attack, and leaves the others as they are
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from builders.build import build
from cards import docs
from cards.docs import EXPECTED_SCORES
from mico_hub import loading
from mico_hub.attacks import ATTACKS, Attack, find, prepare, to_predictions
from mico_hub.cache import CACHE_VARIABLE
from mico_hub.cli import frame
from mico_hub.scoring import mico_score
from mico_hub.suites import SUITES, tracks
from mico_hub.training.suite import train_suite
from mico_hub.workers import on_this_machine

DRAWS = 200
TARGETS = 50
"""Models of a suite that attacks with models of their own are run on."""


def measure(name: str, folder: Path, attacks: Sequence[Attack]) -> dict[str, dict[str, Any]]:
    """Attack -> models attacked, TPR at 10% FPR on train, its 95% interval and standard error, by resampling models."""
    train_suite(SUITES[name], folder / "suites" / name, workers=on_this_machine())
    build([folder / "suites" / name], folder / "mico")
    rows = list(loading.load_suite(name, folder / "mico")["train"])
    return scores_of(rows, folder / "mico", attacks)


def attacked(
    rows: list[dict[str, Any]], source: Path, attacks: Sequence[Attack], targets: int = TARGETS
) -> dict[str, tuple[list[Any], list[Any]]]:
    """Attack -> membership and predictions for each model.

    Each model is attacked with the others as shadows; `targets` of them by attacks that train models of their own.
    """
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for trains, models in ((False, rows), (True, rows[:targets])):
        if alike := [attack for attack in attacks if attack.trains == trains]:
            membership = [np.asarray(row["membership"]) for row in models]
            prepared = prepare(alike, models, None, str(source))
            found |= {attack.name: (membership, to_predictions(prepared.scores(attack))) for attack in alike}
    return found


def scores_of(rows: list[dict[str, Any]], source: Path, attacks: Sequence[Attack]) -> dict[str, dict[str, Any]]:
    """As `measure`, of train rows."""
    found = {}
    for name, (membership, predictions) in attacked(rows, source, attacks).items():
        rng = np.random.default_rng(0)
        drawn = [
            tpr([membership[i] for i in selected], [predictions[i] for i in selected])
            for selected in rng.integers(len(membership), size=(DRAWS, len(membership)))
        ]
        low, high = map(float, np.quantile(drawn, (0.025, 0.975)))
        value, error = tpr(membership, predictions), float(np.std(drawn))
        found[name] = {"models": len(membership), "tpr": value, "low": low, "high": high, "error": error}
    return found


def tpr(membership: list[Any], predictions: list[Any]) -> float:
    """TPR at 10% FPR, models pooled."""
    return float(mico_score(np.concatenate(membership), np.concatenate(predictions))["TPR_FPR_1000"])


def run(options: argparse.Namespace) -> None:
    """Measures, and writes what was measured."""
    attacks = [find(options.attack)] if options.attack else list(ATTACKS.values())
    before = json.loads(EXPECTED_SCORES.read_bytes()) if options.attack else {}
    with TemporaryDirectory() as scratch:
        os.environ[CACHE_VARIABLE] = f"{scratch}/cache"
        for suite in tracks()["digits"]:
            found = before.get(suite.name, {}) | measure(suite.name, Path(scratch), attacks)
            before[suite.name] = {name: found[name] for name in ATTACKS if name in found}
    EXPECTED_SCORES.write_text(json.dumps(before, indent=1) + "\n")
    docs.write()
    sys.stdout.write(docs.scores() + "\n")


def main() -> int:
    """Measures what the command line names."""
    parser = frame.script(__doc__, run)
    parser.add_argument("--attack", help="one attack alone (default: all)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
