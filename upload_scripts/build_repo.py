"""Assembles the folder that is published from suite folders; only their public parts are read.

python upload_scripts/build_repo.py suites/digits_inf suites/digits_hi --out mico
"""

import argparse
import sys
from pathlib import Path

from builders.build import build
from mico_hub.cli import frame
from mico_hub.release.repository import suites_in


def run(options: argparse.Namespace) -> None:
    """Builds the folder."""
    build(options.suites, options.out, options.eval_yaml or "")
    sys.stdout.write(f"{options.out} holds {', '.join(manifest.suite.name for manifest in suites_in(options.out))}\n")


def main() -> int:
    """Builds the folder named on the command line."""
    parser = frame.script(__doc__, run, "The same command completes the folder.")
    parser.add_argument("suites", nargs="+", type=Path, metavar="SUITE_FOLDER")
    parser.add_argument("--out", type=Path, default=Path("mico"), help="the published folder (default: mico)")
    described = "adds eval.yaml: asks the Hub for a board, by an evaluation framework that is on its list"
    parser.add_argument("--eval-yaml", metavar="FRAMEWORK", help=described)
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
