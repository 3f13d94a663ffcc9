"""`mico-hub suites` and `mico-hub attacks`: what there is."""

import argparse
import sys

from mico_hub import tables
from mico_hub.attacks import ATTACKS
from mico_hub.suites import SUITES


def suites(options: argparse.Namespace) -> None:
    """Prints the table of suites."""
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.SUITE_COLUMNS, map(tables.suite_row, SUITES.values())) + "\n")


def attacks(options: argparse.Namespace) -> None:
    """Prints the table of attacks."""
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.ATTACK_COLUMNS, map(tables.attack_row, ATTACKS.values())) + "\n")
