"""The command `mico-hub`: what can be done with a suite from a shell.

All commands and their arguments are in `arguments.py`; what they do is a file a group.
"""

import argparse
from collections.abc import Sequence

import mico_hub
from mico_hub.cli import arguments, frame


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; bad input is explained on stderr and gives exit code 2, an interruption 130."""
    return frame.run(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line: every command with a summary and an example."""
    command_line = argparse.ArgumentParser(
        prog="mico-hub",
        description="MICO: membership inference on models trained with and without differential privacy.",
        epilog="example: mico-hub attack digits_inf --attack lira",
    )
    command_line.add_argument("--version", action="version", version=f"mico-hub {mico_hub.__version__}")
    commands = command_line.add_subparsers(required=True, metavar="COMMAND")
    arguments.add_commands(commands)
    return command_line
