"""`mico-hub suites` and `mico-hub attacks`: what there is."""

import argparse
import sys

from mico_hub import tables
from mico_hub.attacks import ATTACKS
from mico_hub.cli.frame import Commands, add_command
from mico_hub.suites import SUITES


def add_commands(commands: Commands) -> None:
    """Adds both."""
    made = add_command(commands, "suites", _suites, "lists the suites", "suites --markdown")
    made.add_argument("--markdown", action="store_true", help="as a Markdown table")

    made = add_command(commands, "attacks", _attacks, "lists the reference attacks", "attacks --markdown")
    made.add_argument("--markdown", action="store_true", help="as a Markdown table")


def _suites(options: argparse.Namespace) -> None:
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.SUITE_COLUMNS, map(tables.suite_row, SUITES.values())) + "\n")


def _attacks(options: argparse.Namespace) -> None:
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.ATTACK_COLUMNS, map(tables.attack_row, ATTACKS.values())) + "\n")
