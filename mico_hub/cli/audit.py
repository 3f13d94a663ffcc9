"""`mico-hub audit`: the epsilon that an attack shows, beside the claimed one."""

import argparse
import sys

from mico_hub.auditing import audit as audits
from mico_hub.cli.attack import attacking
from mico_hub.loading import open_suite
from mico_hub.release.folder import truth_path
from mico_hub.release.rows import as_rows


def audit(options: argparse.Namespace) -> None:
    """Prints the audit of a split."""
    if options.truth is not None:
        truth_path(options.truth, options.suite)  # before anything is trained, fetched or computed
    suite = open_suite(options.suite, options.source)
    manifest = suite.manifest
    targets, train = (as_rows(suite.split(split)) for split in (options.split, "train"))
    truth = suite.truth(options.split, options.truth)
    with attacking(options):
        found = audits.audit(
            options.attack,
            train,
            targets,
            [truth[row["model_id"]] for row in targets],
            options.source,
            manifest.suite.delta or audits.DELTA,
        )
    sys.stdout.write(audits.text(found, manifest, options.split) + "\n")
