"""`mico-hub attack`: a reference attack, or a user's own, on a suite."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mico_hub import submissions
from mico_hub.attacks import (
    LADDER,
    Attack,
    AttackError,
    TooFewShadowsError,
    find,
    prepare,
    to_predictions,
)
from mico_hub.loading import open_suite
from mico_hub.messages import counted
from mico_hub.progress import Bar
from mico_hub.release.rows import as_rows
from mico_hub.reporting import scorecard
from mico_hub.reporting.results import Result
from mico_hub.sources import SourceError


@contextmanager
def attacking(options: argparse.Namespace) -> Iterator[None]:
    """Says of which suite and attack there are too few shadow models."""
    try:
        yield
    except TooFewShadowsError as error:
        raise SourceError(f"{options.suite} {options.split}: {options.attack}: {error}") from error


def attack(options: argparse.Namespace) -> None:
    """Runs one attack, or all."""
    attacks = _attacks(options.attack)
    suite = open_suite(options.suite, options.source)
    targets = as_rows(suite.split(options.split))
    known = all(row["membership"] is not None for row in targets)
    if not known and options.html is not None:
        raise SourceError(f"the membership of {options.split} is hidden: `mico-hub score` makes a report with --truth")
    if not known and options.out is None:
        raise SourceError(f"the membership of {options.split} is hidden: name a folder with --out to keep predictions")
    results, few = [], dict[str, list[str]]()
    with attacking(options):
        prepared = prepare(attacks, targets, None if options.split == "train" else suite.train, options.source)
        for each in Bar(attacks, desc="attacks", disable=len(attacks) == 1, leave=False):
            predictions = to_predictions(prepared.scores(each))
            few.setdefault(prepared.too_few(each), []).append(each.name)
            by_model = {row["model_id"]: of_model for row, of_model in zip(targets, predictions, strict=True)}
            if options.out is not None:
                out = options.out if len(attacks) == 1 else options.out / each.name
                written = submissions.write(out, suite.manifest.suite, options.split, by_model, models=list(by_model))
                sys.stdout.write(f"{counted(len(by_model), 'prediction')} in {written}\n")
            if known:
                results.append(Result.of(suite, options.split, by_model, each.name, title=each.title))
    if len(results) == 1:
        sys.stdout.write(scorecard.card(results[0]) + "\n")
    elif results:
        sys.stdout.write(f"{scorecard.comparison(results)}\n`mico-hub attacks` has the names for --attack.\n")
    for what, names in few.items():
        if what:
            sys.stdout.write(f"{', '.join(names)}: {what}\n")
    if options.html is not None:
        from mico_hub.reporting import page

        page.write_report(results, options.html, f"MICO {options.suite}, {options.split}")


def _attacks(name: str) -> list[Attack]:
    """The attacks that a user names."""
    try:
        return list(LADDER) if name == "all" else [find(name)]
    except AttackError as error:
        raise AttackError(f"{error}, or all") from error
