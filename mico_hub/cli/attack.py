"""`mico-hub attack`: a reference attack, or a user's own, on a suite."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from mico_hub import submissions
from mico_hub.attacks import (
    ATTACKS,
    DEFAULT,
    LADDER,
    Attack,
    AttackError,
    TooFewShadowsError,
    find,
    prepare,
    to_predictions,
)
from mico_hub.cli.frame import Commands, add_command, add_split_and_source
from mico_hub.loading import open_suite
from mico_hub.release.rows import as_rows
from mico_hub.reporting import page, scorecard
from mico_hub.reporting.results import Result
from mico_hub.sources import SourceError


def add_commands(commands: Commands) -> None:
    """Adds it."""
    made = add_command(
        commands, "attack", _attack, "runs a reference attack", "attack digits_hi --attack lira --out predictions"
    )
    made.add_argument("suite", metavar="SUITE")
    made.add_argument(
        "--attack",
        default=DEFAULT,
        metavar="NAME|FILE.py|all",
        help=f"{', '.join(ATTACKS)}; a file with a function score(evidence); or all that train no models "
        "(default: %(default)s)",
    )
    made.add_argument(
        "--out",
        type=Path,
        help="writes <out>/<track>/<suite>/<split>/model_N/prediction.csv; with all, below <out>/<attack>",
    )
    made.add_argument("--html", type=Path, help="writes a report there too, where the truth is public")
    add_split_and_source(made)


@contextmanager
def attacking(options: argparse.Namespace) -> Iterator[None]:
    """Says of which suite and attack there are too few shadow models."""
    try:
        yield
    except TooFewShadowsError as error:
        raise SourceError(f"{options.suite} {options.split}: {options.attack}: {error}") from error


def _attack(options: argparse.Namespace) -> None:
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
        for attack in tqdm(attacks, desc="attacks", disable=len(attacks) == 1, leave=False):
            predictions = to_predictions(prepared.scores(attack))
            few.setdefault(prepared.too_few(attack), []).append(attack.name)
            by_model = {row["model_id"]: of_model for row, of_model in zip(targets, predictions, strict=True)}
            if options.out is not None:
                out = options.out if len(attacks) == 1 else options.out / attack.name
                written = submissions.write(out, suite.manifest.suite, options.split, by_model, models=list(by_model))
                sys.stdout.write(f"{len(by_model)} predictions in {written}\n")
            if known:
                results.append(Result.of(suite, options.split, by_model, attack.name, title=attack.title))
    if len(results) == 1:
        sys.stdout.write(scorecard.card(results[0]) + "\n")
    elif results:
        sys.stdout.write(f"{scorecard.comparison(results)}\n`mico-hub attacks` has the names for --attack.\n")
    for what, names in few.items():
        if what:
            sys.stdout.write(f"{', '.join(names)}: {what}\n")
    if options.html is not None:
        page.write_report(results, options.html, f"MICO {options.suite}, {options.split}")


def _attacks(name: str) -> list[Attack]:
    """The attacks that a user names."""
    try:
        return list(LADDER) if name == "all" else [find(name)]
    except AttackError as error:
        raise AttackError(f"{error}, or all") from error
