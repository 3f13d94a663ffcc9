"""`mico-hub audit`: the epsilon that an attack shows, beside the claimed one."""

import argparse
import sys

from mico_hub.attacks import AttackError
from mico_hub.auditing import audit as audits
from mico_hub.cli.attack import attacking, attacks_of
from mico_hub.loading import open_suite
from mico_hub.release.folder import truth_path
from mico_hub.release.rows import as_rows


def audit(options: argparse.Namespace) -> None:
    """Prints the audit of a split.

    Raises:
        AttackError: No attack has the name, or several are named.
    """
    if len(attacks := list(attacks_of(options.attack).values())) != 1:
        raise AttackError(f"expected one attack to audit with, got {', '.join(each.name for each in attacks)}: the "
                          "best of several is not certified")  # fmt: skip
    if options.truth is not None:
        truth_path(options.truth, options.suite)  # before anything is trained, fetched or computed
    suite = open_suite(options.suite, options.source)
    manifest = suite.manifest
    targets, train = (as_rows(suite.split(split)) for split in (options.split, "train"))
    truth = suite.truth(options.split, options.truth)
    with attacking(options, attacks[0].name):
        found = audits.audit(
            attacks[0],
            train,
            targets,
            [truth[row["model_id"]] for row in targets],
            options.source,
            manifest.suite.delta or audits.DELTA,
        )
    sys.stdout.write(audits.text(found, manifest, options.split) + "\n")
