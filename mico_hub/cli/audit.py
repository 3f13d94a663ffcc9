"""`mico-hub audit`: the epsilon that an attack shows, beside the claimed one."""

import argparse
import sys
from pathlib import Path

from mico_hub.attacks import ATTACKS, DEFAULT
from mico_hub.cli.attack import attacking
from mico_hub.cli.frame import Commands, add_command, add_source
from mico_hub.loading import open_suite
from mico_hub.release.rows import as_rows
from mico_hub.suites import SPLITS


def add_commands(commands: Commands) -> None:
    """Adds it."""
    made = add_command(
        commands, "audit", _audit, "epsilon as an attack shows it", "audit digits_hi --split final --truth suites"
    )
    made.add_argument("suite", metavar="SUITE")
    made.add_argument("--attack", choices=list(ATTACKS), default=DEFAULT, help="default: %(default)s")
    made.add_argument("--truth", type=Path, required=True, help="the suite's private folder, or the folder of suites")
    made.add_argument("--split", choices=SPLITS[1:], default=SPLITS[-1], help="which models (default: %(default)s)")
    add_source(made)


def _audit(options: argparse.Namespace) -> None:
    from mico_hub.auditing import audit  # dp_accounting takes a second to import

    suite = open_suite(options.suite, options.source)
    manifest = suite.manifest
    targets, train = (as_rows(suite.split(split)) for split in (options.split, "train"))
    truth = suite.truth(options.split, options.truth)
    with attacking(options):
        found = audit.audit(
            options.attack,
            train,
            targets,
            [truth[row["model_id"]] for row in targets],
            options.source,
            manifest.suite.delta or audit.DELTA,
        )
    sys.stdout.write(audit.text(found, manifest, options.split) + "\n")
