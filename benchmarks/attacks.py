"""The score that every attack gets on the digits suites, trained anew with fresh keys; five minutes on two cores.

python benchmarks/attacks.py            prints the table of docs/attacks.md
python benchmarks/attacks.py --write    and writes it there, and tests/golden/expected_scores.json, for the test
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from builders.build import build
from mico_hub import loading, tables
from mico_hub.attacks import ATTACKS, LADDER, prepare, to_predictions
from mico_hub.cache import CACHE_VARIABLE
from mico_hub.scoring import mico_score
from mico_hub.suites import SUITES, tracks
from mico_hub.training.suite import train_suite
from mico_hub.workers import on_this_machine

ROOT = Path(__file__).resolve().parents[1]
DOCS, GOLDEN = ROOT / "docs" / "attacks.md", ROOT / "tests" / "golden" / "expected_scores.json"
TRAINING = [attack for attack in ATTACKS.values() if attack.trains]
DRAWS = 200
TARGETS = 50
"""Models of a suite that attacks with models of their own are run on."""


def measure(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Attack -> models attacked, TPR at 10% FPR on train, its 95% interval and standard error, by resampling models."""
    train_suite(SUITES[name], folder / "suites" / name, workers=on_this_machine())
    build([folder / "suites" / name], folder / "mico")
    rows = list(loading.load_suite(name, folder / "mico")["train"])
    return scores_of(rows, folder / "mico")


def attacked(
    rows: list[dict[str, Any]], source: Path, targets: int = TARGETS
) -> dict[str, tuple[list[Any], list[Any]]]:
    """Attack -> membership and predictions for each model.

    Each model is attacked with the others as shadows; `targets` of them by attacks that train models of their own.
    """
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for attacks, models in ((LADDER, rows), (TRAINING, rows[:targets])):
        membership = [np.asarray(row["membership"]) for row in models]
        prepared = prepare(attacks, models, None, str(source))
        found |= {attack.name: (membership, to_predictions(prepared.scores(attack))) for attack in attacks}
    return found


def scores_of(rows: list[dict[str, Any]], source: Path) -> dict[str, dict[str, Any]]:
    """As `measure`, of train rows."""
    found = {}
    for name, (membership, predictions) in attacked(rows, source).items():
        rng = np.random.default_rng(0)
        drawn = [
            tpr([membership[i] for i in chosen], [predictions[i] for i in chosen])
            for chosen in rng.integers(len(membership), size=(DRAWS, len(membership)))
        ]
        low, high = map(float, np.quantile(drawn, (0.025, 0.975)))
        value, error = tpr(membership, predictions), float(np.std(drawn))
        found[name] = {"models": len(membership), "tpr": value, "low": low, "high": high, "error": error}
    return found


def tpr(membership: list[Any], predictions: list[Any]) -> float:
    """TPR at 10% FPR, models pooled."""
    return float(mico_score(np.concatenate(membership), np.concatenate(predictions))["TPR_FPR_1000"])


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Attacks by suites, in Markdown."""
    rows = [
        (name, *(f"{of[name]['tpr']:.1%} ({of[name]['low']:.1%} to {of[name]['high']:.1%})" for of in found.values()))
        for name in ATTACKS
    ]
    return tables.markdown(("attack", *found), rows)


def main() -> None:
    """Measures, and prints or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into the docs and the test's file, too")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        os.environ[CACHE_VARIABLE] = f"{scratch}/cache"
        found = {suite.name: measure(suite.name, Path(scratch)) for suite in tracks()["digits"]}
    sys.stdout.write(table(found) + "\n")
    if options.write:
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
        text = DOCS.read_text()
        marked = re.compile(r"<!-- scores -->.*?<!-- end of scores -->", re.DOTALL)
        DOCS.write_text(marked.sub(lambda _: f"<!-- scores -->\n{table(found)}\n<!-- end of scores -->", text))


if __name__ == "__main__":
    main()
