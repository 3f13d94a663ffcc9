"""`mico-hub audit`, `audit-engine`, `audit-scores`: the epsilon that is shown, beside the claimed one."""

import argparse
import json
import sys
from typing import Any

from mico_hub.attacks import AttackError, to_predictions
from mico_hub.auditing import audit as audits
from mico_hub.cache import atomic_write
from mico_hub.cli import frame
from mico_hub.cli.attack import attacking, attacks_of
from mico_hub.cli.scores_file import read_scores
from mico_hub.cli.trials_file import read_trials, write_trials
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
    with attacking(f"{options.suite} {options.split}", attacks[0].name):
        found = audits.audit(
            attacks[0],
            train,
            targets,
            [truth[row["model_id"]] for row in targets],
            suite.pairs_nonce(options.split, options.truth),
            options.source,
            manifest.suite.delta or audits.DELTA,
            manifest.suite.design,
        )
    _write_json(options, audits.as_json(found, manifest, options.split))
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


def audit_engine(options: argparse.Namespace) -> None:
    """Prints an audit of the training engine on a suite's recipe."""
    from mico_hub.auditing import engine
    from mico_hub.cli.workers import device_of, workers_of
    from mico_hub.data import load_base
    from mico_hub.suites import get_suite
    from mico_hub.training.engine import TRAINING, versions
    from mico_hub.training.sgd import Runtime

    suite = get_suite(options.suite)
    suite = engine.full_batches(suite) if options.full_batches else suite
    device = device_of(options)
    about = {
        "suite": f"{suite}",
        "canary": options.canary,
        "runs": options.runs,
        "engine": TRAINING,
        "versions": versions(),
    }
    if options.keep:
        options.kept = f"Finished trainings are kept in {options.keep}; resume with the same command."
    with workers_of(options, device) as workers:
        found = engine.audit_engine(
            suite,
            load_base(suite.dataset, options.data),
            workers,
            canary=options.canary,
            runs=options.runs,
            runtime=Runtime(device, options.stack, options.microbatch),
            known=read_trials(options.keep, about) if options.keep else (),
            keep=lambda seen: write_trials(options.keep, about, seen) if options.keep else None,
        )
    _write_json(options, engine.as_json(found))
    if options.html is not None:
        from mico_hub.reporting import page  # which draws

        page.write_engine_audit(found, options.html, f"Audit of the training engine: {suite.name}")
    sys.stdout.write(engine.text(found) + "\n")


def audit_scores(options: argparse.Namespace) -> None:
    """Prints an audit of scores that were made elsewhere."""
    from mico_hub.auditing import scores

    given = read_scores(options.file, options.design)
    found = scores.audit_scores(
        given.membership,
        given.scores,
        design=options.design,
        delta=options.delta,
        guesses=options.guesses,
        pairs=given.pairs,
        claim=scores.Claim(options.epsilon, options.adjacency, options.unit, options.accountant, options.attack),
    )
    _write_json(options, found.to_json())
    if options.html is not None:
        from mico_hub.reporting import page  # which draws

        page.write_score_audit(found, options.html, f"Audit of {options.file.name}")
    sys.stdout.write(f"{found}\n")


def _write_json(options: argparse.Namespace, content: dict[str, Any]) -> None:
    if options.json is not None:
        atomic_write(options.json, (json.dumps(content, indent=2) + "\n").encode())
