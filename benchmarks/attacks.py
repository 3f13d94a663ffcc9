"""The score that every attack gets on fresh digits suites, eight of each: a score of one suite moves by its own luck.

make benchmark                  writes tests/golden/expected_scores.json, and the tables of docs/attacks.md
make benchmark ATTACK=name      measures one attack, on suites of its own, and leaves the others as they are

Each suite has 100 models, trained anew with fresh keys, each attacked with the others as shadows; attacks that train
models of their own have 10 of them as targets. An hour on two cores. What a suite gave is kept in --out, and resumed.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from builders.build import build
from cards import docs
from cards.docs import EXPECTED_SCORES
from mico_hub import loading
from mico_hub.attacks import ATTACKS, Attack, find, prepare, to_predictions
from mico_hub.cache import CACHE_VARIABLE, atomic_write
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_count
from mico_hub.scoring import mico_score
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import SUITES, tracks
from mico_hub.training import engine
from mico_hub.training.suite import train_suite
from mico_hub.workers import on_this_machine

MODELS = 100
TARGETS = 10
"""Models of a suite that attacks with models of their own are run on."""
BESIDE = "lira_shrunken"
"""The attack that others are compared with, on the same models."""


def measure(name: str, attacks: Sequence[Attack]) -> dict[str, dict[str, Any]]:
    """Attack -> what it scores on one fresh suite, see `scores_of`."""
    with TemporaryDirectory() as scratch, own_cache(Path(scratch) / "cache"):
        suites, published = Path(scratch) / "suites", Path(scratch) / "mico"
        train_suite(SUITES[name].with_models(MODELS, 1, 1), suites / name, workers=on_this_machine())
        compute_suite(suites / name, workers=on_this_machine())
        build([suites / name], published)
        return scores_of(list(loading.load_suite(name, published)["train"]), published, attacks)


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """A cache for models of suites that are gone in a moment."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(CACHE_VARIABLE)
        if before is not None:
            os.environ[CACHE_VARIABLE] = before


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
    """Attack -> models attacked, TPR at 10% and 1% FPR on train, and by how much it is ahead of `BESIDE` at 10%."""
    found = {}
    by_attack = attacked(rows, source, list({attack.name: attack for attack in (*attacks, find(BESIDE))}.values()))
    beside = by_attack[BESIDE]
    for attack in attacks:
        membership, predictions = by_attack[attack.name]
        models = len(membership)
        value = tpr(membership, predictions)
        ahead = value - tpr(beside[0][:models], beside[1][:models])
        found[attack.name] = {
            "models": models, "tpr": value, "tpr_1": tpr(membership, predictions, "TPR_FPR_100"), "ahead": ahead,
        }  # fmt: skip
    return found


def tpr(membership: list[Any], predictions: list[Any], key: str = "TPR_FPR_1000") -> float:
    """TPR at 10% FPR, models pooled, or another of the competition's scores."""
    return float(mico_score(np.concatenate(membership), np.concatenate(predictions))[key])


def run(options: argparse.Namespace) -> None:
    """Measures, and writes what was measured."""
    attacks = [find(options.attack)] if options.attack else list(ATTACKS.values())
    before = json.loads(EXPECTED_SCORES.read_bytes()) if options.attack else {}
    names = [suite.name for suite in tracks()["digits"]]
    code = engine.installed()["mico-hub"]  # with what runs here, a file of one's own too
    made_of = hashlib.sha256(f"{code} {[attack.name for attack in attacks]}".encode()).hexdigest()[:8]
    kept = {}
    for number in range(options.suites):
        for name in names:
            path = options.out / f"{name}-{number}-{made_of}.json"
            if not path.exists():
                atomic_write(path, json.dumps(measure(name, attacks), indent=1).encode())
            kept[name, number] = json.loads(path.read_bytes())
            sys.stdout.write(f"{name}, suite {number + 1} of {options.suites}\n")
            sys.stdout.flush()
    for name in names:
        found = before.get(name, {})
        for attack in attacks:
            of_suites = [kept[name, number][attack.name] for number in range(options.suites)]
            columns = {key: [of_suite[key] for of_suite in of_suites] for key in ("tpr", "tpr_1", "ahead")}
            found[attack.name] = {"models": of_suites[0]["models"], **columns}
        before[name] = {attack: found[attack] for attack in ATTACKS if attack in found}
    EXPECTED_SCORES.write_text(json.dumps(before, indent=1) + "\n")
    docs.write()
    sys.stdout.write(docs.scores() + "\n")


def main() -> int:
    """Measures what the command line names."""
    parser = frame.script(__doc__, run, "Finished suites are kept; resume with the same command.")
    parser.add_argument("--attack", help="one attack alone (default: all)")
    parser.add_argument("--suites", type=parse_count, default=8, help="fresh suites of each (default: %(default)s)")
    described = "folder for what each suite gave (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("fresh"), help=described)
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
