"""Publishes the metric as a Space, for `evaluate.load("org/mico_score")`, and verifies what is online.

python upload_scripts/publish_metric.py org/mico_score
"""

import argparse
import sys

from huggingface_hub import HfApi

from mico_hub.cli import frame
from mico_hub.hooks import METRIC
from publishing.metric import publish_metric


def parse_space(text: str) -> str:
    """`org/mico_score`: the module's file has that name, so the Space must.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    if text.count("/") != 1 or not text.endswith(f"/{METRIC}") or text == f"/{METRIC}":
        raise argparse.ArgumentTypeError(f"expected org/{METRIC}, got {text!r}: evaluate looks for a file of that name")
    return text


def run(options: argparse.Namespace) -> None:
    """Publishes, and says what was done."""
    sys.stdout.write(f"{publish_metric(HfApi(), options.space)}\n")


def main() -> int:
    """Publishes to the Space named on the command line."""
    parser = frame.script(__doc__, run)
    parser.add_argument("space", type=parse_space, metavar=f"ORG/{METRIC}")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
