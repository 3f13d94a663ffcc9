"""Assembles the Space that is published as the metric: the module, all that it imports, its card and a small app.

python upload_scripts/build_metric.py --out mico_score
"""

import argparse
import sys
from pathlib import Path

from mico_hub.cli import frame
from mico_hub.hooks import METRIC
from publishing.metric import build_metric


def run(options: argparse.Namespace) -> None:
    """Builds the folder."""
    build_metric(options.out, options.name)
    sys.stdout.write(f"{options.out} is ready: a Space for evaluate.load({options.name!r})\n")


def main() -> int:
    """Builds the folder named on the command line."""
    parser = frame.script(__doc__, run)
    parser.add_argument("--out", type=Path, default=Path(METRIC), help="the Space's folder (default: %(default)s)")
    parser.add_argument("--name", default=METRIC, help="org/mico_score, for the card (default: %(default)s)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
