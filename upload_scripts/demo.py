"""The whole job on real data: train the digits suites, compute signals, publish to ./mico, load, attack, score, report.

python upload_scripts/demo.py            starts fresh
python upload_scripts/demo.py --resume   continues
"""

import argparse
import itertools
import shutil
import sys
import time
from pathlib import Path

from datasets import disable_progress_bars

import mico_hub
from builders.build import build
from mico_hub import tables
from mico_hub.attacks import ATTACKS
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_models
from mico_hub.release.folder import SuiteFolder
from mico_hub.reporting import page, scorecard
from mico_hub.reporting.findings import conclusions
from mico_hub.reporting.results import Result
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import tracks
from mico_hub.training.suite import train_suite

SUITES, REPOSITORY, REPORT = Path("suites"), Path("mico"), Path("report.html")
TITLE = "MICO digits: what DP-SGD hides"
SHOWN = ("loss", "lira")


def attack_suite(name: str) -> list[Result]:
    """Attacks dev and final of a suite, loaded by name, and scores against its private truth."""
    suite = mico_hub.open_suite(name)
    results = []
    for split, attack in itertools.product(("dev", "final"), SHOWN):
        truth, started = suite.truth(split, SUITES), time.perf_counter()
        predictions = mico_hub.attack(attack, suite.split(split), suite.train)
        seconds = time.perf_counter() - started
        by_model = dict(zip(suite.split(split)["model_id"], predictions, strict=True))
        title = ATTACKS[attack].title
        results.append(Result.of(suite, split, by_model, attack, title=title, truth=truth, seconds=seconds))
    return results


def run(options: argparse.Namespace) -> None:
    """Runs the demo in the current folder."""
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

    with frame.keeping(options, lambda: any(SuiteFolder(SUITES / suite.name).finished() for suite in suites)):
        folders = {suite: train_suite(suite, SUITES / suite.name) for suite in suites}
    for folder in folders.values():
        compute_suite(folder.root)
    build([folder.root for folder in folders.values()], REPOSITORY)
    results = [result for suite in suites for result in attack_suite(suite.name)]

    page.write_report(results, REPORT, TITLE)
    lines = [tables.text(*scorecard.table(results)), "", *conclusions(results)]
    sys.stdout.write("\n" + "\n".join(lines) + "\n\n")
    sys.stdout.write(f"{REPOSITORY.resolve()}: the published folder; {REPORT.resolve()}: the report; ")
    sys.stdout.write(f"{time.perf_counter() - started:.0f} s in all\n")


def main() -> int:
    """Takes what to keep, and how many models to train."""
    parser = frame.script(__doc__, run, "Finished models are kept; resume with --resume.")
    parser.add_argument("--resume", action="store_true", help="keep the models that are trained")
    parser.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
