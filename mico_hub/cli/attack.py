"""`mico-hub attack`: a reference attack, or a user's own, on a suite."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

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
from mico_hub.cli import exports, frame
from mico_hub.loading import open_suite
from mico_hub.messages import counted
from mico_hub.progress import Bar
from mico_hub.release.rows import as_rows
from mico_hub.reporting import scorecard
from mico_hub.reporting.results import Result
from mico_hub.sources import SourceError


@contextmanager
def attacking(options: argparse.Namespace, attack: str) -> Iterator[None]:
    """Says of which suite and attack there are too few shadow models."""
    try:
        yield
    except TooFewShadowsError as error:
        raise SourceError(f"{options.suite} {options.split}: {attack}: {error}") from error


def attack(options: argparse.Namespace) -> None:
    """Runs attacks."""
    attacks = attacks_of(options.attack)
    suite = open_suite(options.suite, options.source)
    targets = as_rows(suite.split(options.split))
    known = all(row["membership"] is not None for row in targets)
    if not known and (asked := exports.asked(options)):
        raise SourceError(
            f"the membership of {options.split} is hidden: keep predictions with --out, then `mico-hub score` writes "
            f"{', '.join(asked)} with --truth"
        )
    if not known and options.out is None:
        raise SourceError(f"the membership of {options.split} is hidden: name a folder with --out to keep predictions")
    results, few, lines = [], dict[str, list[str]](), [scorecard.provenance(suite)]
    prepared = prepare(
        list(attacks.values()), targets, None if options.split == "train" else suite.train, options.source
    )
    for name, each in Bar(attacks.items(), desc="attacks", disable=len(attacks) == 1, leave=False):
        started = time.perf_counter()
        with attacking(options, each.name):
            predictions = to_predictions(prepared.scores(each))
        seconds = time.perf_counter() - started
        few.setdefault(prepared.too_few(each), []).append(each.name)
        by_model = {row["model_id"]: of_model for row, of_model in zip(targets, predictions, strict=True)}
        if options.out is not None:
            out = options.out if len(attacks) == 1 else options.out / each.name
            recipe, ids = suite.manifest.suite, list(by_model)
            written = submissions.write(out, recipe, options.split, by_model, models=ids, fingerprint=suite.fingerprint)
            lines.append(f"{counted(len(by_model), 'prediction')} in {written}")
        if known:
            again = frame.command("attack", options.suite, split=options.split, attack=name, source=options.source)
            about: Any = {"title": each.title, "seconds": seconds, "commands": [again]}
            results.append(Result.of(suite, options.split, by_model, each.name, **about))
    lines += exports.write(results, options, f"MICO {options.suite}, {options.split}")
    if len(results) == 1:
        lines.append(scorecard.card(results[0]))
    elif results:
        lines.append(scorecard.comparison(results))
    lines += [f"{', '.join(names)}: {what}" for what, names in few.items() if what]
    sys.stdout.write("\n".join(lines) + "\n")


def attacks_of(given: Sequence[str]) -> dict[str, Attack]:
    """The attacks that a user names, each once, in that order, by the name or file that stands for it.

    Args:
        given: Names and files, or lists of them with commas; `all` stands for those that train no models.

    Raises:
        AttackError: A name is unknown, or two attacks have the same; all problems are listed.
        OSError: There is no such file.
    """
    found: dict[str, Attack] = {}
    problems = []
    for name in chain.from_iterable([each] if Path(each).is_file() else each.split(",") for each in given):
        try:
            found |= {each.name: each for each in LADDER} if name == "all" else {name.strip(): find(name.strip())}
        except AttackError as error:
            problems.append(f"{error}, or all")
    for own, times in Counter(each.name for each in found.values()).items():
        if times > 1:
            asked = ", ".join(name for name, each in found.items() if each.name == own)
            problems.append(f"expected attacks with names of their own, got {own} for {asked}")
    if problems:
        raise AttackError("\n".join(problems))
    return found
