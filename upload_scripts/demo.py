"""The whole job on real data: train the digits suites, compute signals, publish to ./mico, load, attack, score, report.

python upload_scripts/demo.py            starts fresh
python upload_scripts/demo.py --resume   continues
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import evaluate
from datasets import disable_progress_bars, load_dataset

import mico_hub
from builders.build import build
from mico_hub import tables
from mico_hub.attacks import ATTACKS
from mico_hub.cli.train import parse_models
from mico_hub.release.folder import PRIVATE, SuiteFolder
from mico_hub.release.parquet import read_truth
from mico_hub.reporting import page as report
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import Suite, tracks
from mico_hub.training.suite import train_suite
from mico_hub.workers import on_this_machine

SUITES, REPOSITORY, REPORT = Path("suites"), Path("mico"), Path("report.html")
TITLE = "MICO digits: what DP-SGD hides"
SHOWN = ("loss", "lira")


def attack_suite(suite: Suite, folder: SuiteFolder) -> list[report.Result]:
    """Attacks dev and final of a suite, loaded by name, and scores against its private truth."""
    rows = load_dataset("mico", suite.name)
    metric = evaluate.load("mico_score")
    noise = folder.manifest().noise_multiplier
    truth = {row["model_id"]: row["membership"] for row in read_truth(folder.rows_path(PRIVATE))}
    results = []
    for split in ("dev", "final"):
        membership = [truth[row["model_id"]].tolist() for row in rows[split]]
        for attack in (ATTACKS[name] for name in SHOWN):
            started = time.perf_counter()
            predictions = mico_hub.attack(attack.name, rows[split], rows["train"])
            seconds = time.perf_counter() - started
            results.append(
                report.Result(
                    suite=suite,
                    split=split,
                    attack=attack.name,
                    title=attack.title,
                    membership=membership,
                    predictions=predictions,
                    scores=metric.compute(predictions=predictions, references=membership),
                    accuracy=mean(rows[split]["accuracy"]),
                    seconds=seconds,
                    noise_multiplier=noise,
                )
            )
    return results


def main() -> int:
    """Runs the demo in the current folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="keep the models that are trained")
    parser.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    options = parser.parse_args()
    started = time.perf_counter()
    disable_progress_bars()

    suites = tracks()["digits"]
    if options.models is not None:
        suites = [suite.with_models(*options.models) for suite in suites]
    if not options.resume:
        for suite in suites:
            shutil.rmtree(SUITES / suite.name, ignore_errors=True)
        shutil.rmtree(REPOSITORY, ignore_errors=True)
        REPORT.unlink(missing_ok=True)

    workers = on_this_machine()
    folders = {suite: train_suite(suite, SUITES / suite.name, workers=workers) for suite in suites}
    for folder in folders.values():
        compute_suite(folder.root, workers=workers)
    build([folder.root for folder in folders.values()], REPOSITORY)
    results = [result for suite, folder in folders.items() for result in attack_suite(suite, folder)]

    report.write_report(results, REPORT, TITLE)
    lines = [tables.text(*report.table(results)), "", *report.conclusions(results)]
    sys.stdout.write("\n" + "\n".join(lines) + "\n\n")
    sys.stdout.write(f"{REPOSITORY.resolve()}: the published folder; {REPORT.resolve()}: the report; ")
    sys.stdout.write(f"{time.perf_counter() - started:.0f} s in all\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
