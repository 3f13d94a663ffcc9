"""`mico-hub audit`: the epsilon that an attack shows, beside the claimed one."""

import argparse
import json
import sys
from typing import Any

from mico_hub.attacks import AttackError, to_predictions
from mico_hub.auditing import audit as audits
from mico_hub.cache import atomic_write
from mico_hub.cli import frame
from mico_hub.cli.attack import attacking, attacks_of
from mico_hub.loading import open_suite
from mico_hub.release.folder import truth_path
from mico_hub.release.rows import as_rows
from mico_hub.reporting.results import Result


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
            suite.pairs_nonce(options.split, options.truth),
            options.source,
            manifest.suite.delta or audits.DELTA,
        )
    if options.json is not None:
        content = audits.as_json(found, manifest, options.split)
        atomic_write(options.json, (json.dumps(content, indent=2) + "\n").encode())
    if options.html is not None:
        from mico_hub.reporting import page  # which draws

        again = frame.command("audit", *[options.suite], split=options.split, attack=attacks[0].name,
                              truth=options.truth, source=options.source)  # fmt: skip
        by_model = {row["model_id"]: of for row, of in zip(targets, to_predictions(found.scores), strict=True)}
        about: Any = {"title": attacks[0].title, "truth": truth, "commands": [again]}
        result = Result.of(suite, options.split, by_model, attacks[0].name, **about)
        title = f"Audit of {options.suite}, {options.split}"
        page.write_report([result], options.html, title, [(found, manifest, options.split)])
    sys.stdout.write(audits.text(found, manifest, options.split) + "\n")
