"""`mico-hub export`: what other platforms take."""

import argparse
import sys

from mico_hub import submissions
from mico_hub.attacks import ATTACKS, AttackError
from mico_hub.cli.attack import names_of
from mico_hub.loading import open_suite
from mico_hub.messages import counted
from mico_hub.reporting.results import Result
from mico_hub.suites import tracks


def codabench(options: argparse.Namespace) -> None:
    """Writes the bundle of a competition."""
    from mico_hub.boards.codabench import Dates, write_bundle  # which draws a logo

    suites = [open_suite(suite.name, options.source) for suite in tracks()[options.track]]
    dates = Dates.of(options.start, options.final)
    names = [name.strip() for name in options.baselines.split(",") if name.strip()]
    if unknown := [name for name in names if name not in ATTACKS]:
        raise AttackError(f"expected reference attacks as --baselines, got {', '.join(unknown)}")
    write_bundle(options.out, suites, dates, truth=options.truth, baselines=names, source=options.source)
    phases = ", ".join(f"{split} from {begins}" for split, begins in dates.phases.items())
    size = options.out.stat().st_size / 1e6
    sys.stdout.write(
        f"{options.out}, {size:.1f} MB: {phases}, UTC. It holds the truth of {' and '.join(dates.phases)}.\n"
    )


def eval_results(options: argparse.Namespace) -> None:
    """Writes results for the Hub's own boards."""
    from mico_hub.boards.eval_results import write_results

    suites = [open_suite(name, options.source) for name in names_of(options.suite)]
    truth = {suite.name: suite.truth(options.split, options.truth) for suite in suites}
    attack = options.predictions.resolve().stem
    results = []
    for suite in suites:
        found = submissions.load(
            options.predictions,
            suite.manifest.suite,
            options.split,
            models=list(truth[suite.name]),
            fingerprint=suite.fingerprint,
        )
        results.append(Result.of(suite, options.split, found.predictions, attack, truth=truth[suite.name]))
    written = write_results(results, suites, options.out, dataset=options.dataset, source=options.source_url)
    sys.stdout.write(f"{counted(len(written), 'file')} in {written[0].parent}\n")
