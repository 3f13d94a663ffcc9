"""Looks for anything hidden in a published folder, and for anything untrue, with the private parts of its suites.

python upload_scripts/check_leaks.py mico --suites suites
python upload_scripts/check_leaks.py mico --retrain 2        trains two models of each suite again, too

Swaps hidden membership and rebuilds; rebuilds without private parts; searches every byte for labels, records, keys,
nonces, paths, names and times; attacks without any model; and computes again what is claimed. Exit code 3: something
leaks or is untrue.
"""

import argparse
import sys
from pathlib import Path

import datasets

from mico_hub.cli import frame
from mico_hub.data import load_base
from publishing import claims, secrecy

LEAKS = 3  # or untrue claims; an exit code that no crash has


def run(options: argparse.Namespace) -> int:
    """Checks, and says what was found."""
    datasets.disable_progress_bars()
    findings = secrecy.inspect(
        options.folder,
        options.suites,
        lambda name: load_base(name, options.data),
        trial=options.trial,
        retrain=options.retrain,
    )
    sys.stdout.write(secrecy.text(findings) + "\n")
    return LEAKS if findings.problems else 0


def main() -> int:
    """Checks the folder named on the command line."""
    parser = frame.script(__doc__, run)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the published folder, as build_repo.py made it")
    frame.add_suites(parser)
    frame.add_data(parser)
    claims.add_options(parser)
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
