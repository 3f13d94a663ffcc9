"""Looks for anything hidden in a published folder, with the private parts of its suites at hand.

python upload_scripts/check_leaks.py mico --suites suites

Swaps hidden membership and rebuilds; rebuilds without private parts; searches every byte for labels, records, keys,
nonces, paths, names and times; and attacks without any model. Exit code 3: something leaks.
"""

import argparse
import sys
from pathlib import Path

import datasets

from mico_hub.cli import frame
from mico_hub.data import load_base
from publishing import secrecy

LEAKS = 3  # an exit code that no crash has


def run(options: argparse.Namespace) -> int:
    """Checks, and says what was found."""
    datasets.disable_progress_bars()
    findings = secrecy.inspect(options.folder, options.suites, lambda name: load_base(name, options.data))
    sys.stdout.write(secrecy.text(findings) + "\n")
    return LEAKS if findings.problems else 0


def main() -> int:
    """Checks the folder named on the command line."""
    parser = frame.script(__doc__, run)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the published folder, as build_repo.py made it")
    frame.add_suites(parser)
    frame.add_data(parser)
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
