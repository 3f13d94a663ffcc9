"""`mico-hub attack`: a reference attack, or a user's own, on a suite."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any

from mico_hub import submissions, tables
from mico_hub.attacks import (
    LADDER,
    Attack,
    AttackError,
    Prepared,
    TooFewShadowsError,
    find,
    ladder,
    prepare,
    to_predictions,
)
from mico_hub.attacks.base import FloatArray
from mico_hub.cli import exports, frame
from mico_hub.handle import Handle
from mico_hub.loading import open_suite
from mico_hub.messages import counted
from mico_hub.progress import Bar
from mico_hub.release.rows import Row, as_rows
from mico_hub.reporting import scorecard
from mico_hub.reporting.ranking import by_suite
from mico_hub.reporting.results import Result
from mico_hub.sources import SourceError
from mico_hub.suites import tracks


@contextmanager
def attacking(where: str, attack: str) -> Iterator[None]:
    """Says of which suite and attack there are too few shadow models."""
    try:
        yield
    except TooFewShadowsError as error:
        raise SourceError(f"{where}: {attack}: {error}") from error


def attack(options: argparse.Namespace) -> None:
    """Runs attacks, on a suite or on all of a track's."""
    attacks = attacks_of(options.attack)
    trains = [name for name, each in attacks.items() if each.trains]
    if not trains and (options.processes or options.ray is not None):
        raise SourceError(f"expected an attack that trains models for --processes and --ray, got {', '.join(attacks)}")
    suites = [open_suite(name, options.source) for name in names_of(options.suite)]
    attacks, left_out = _fitting(options.attack, attacks, suites)
    targets = {(suite.name, split): as_rows(suite.split(split)) for suite in suites for split in options.split}
    _require(options, attacks, [split for (_, split), rows in targets.items() if rows[0]["membership"] is None])
    found: Found = {name: {} for name in attacks}
    results, few = list[Result](), dict[str, list[str]]()
    for (suite, split), prepared in _prepared(options, attacks, suites, targets):
        rows = targets[suite.name, split]
        doing = f"attacks on {suite.name} {split}"
        for name, each in Bar(attacks.items(), desc=doing, disable=len(attacks) == 1, leave=False):
            started = time.perf_counter()
            with attacking(f"{suite.name} {split}", each.name):
                predictions = to_predictions(prepared.scores(each))
            seconds = time.perf_counter() - started
            few.setdefault(prepared.too_few(each), []).append(each.name)
            by_model = {row["model_id"]: of_model for row, of_model in zip(rows, predictions, strict=True)}
            found[name][suite, split] = by_model
            if options.out is not None:
                submissions.write(_out(options, attacks, each), {(suite, split): by_model})
            if rows[0]["membership"] is not None:
                again = frame.command("attack", suite.name, split=split, attack=name, source=options.source)
                about: Any = {"title": each.title, "seconds": seconds, "commands": [again]}
                results.append(Result.of(suite, split, by_model, each.name, **about))
    lines = [*map(scorecard.provenance, suites), *_kept(options, attacks, found)]
    lines += exports.write(results, options, f"MICO {options.suite}, {', '.join(options.split)}")
    lines += [scorecard.card(results[0])] if len(results) == 1 else _tables(results)
    if left_out:
        unread = ", ".join(left_out)
        lines.append(f"left out, for what it reads is not published: {unread}; named, it is computed from the models")
    lines += [f"{', '.join(dict.fromkeys(names))}: {what}" for what, names in few.items() if what]
    sys.stdout.write("\n".join(lines) + "\n")


def _prepared(
    options: argparse.Namespace,
    attacks: Mapping[str, Attack],
    suites: Sequence[Handle],
    targets: Mapping[tuple[str, str], Sequence[Row]],
) -> Iterator[tuple[tuple[Handle, str], Prepared]]:
    """Suite and split, and what attacks are given of it; models of the targets' own are trained where it is said."""
    given = list(attacks.values())
    with ExitStack() as stack:
        workers = None
        if any(each.trains for each in given):
            from mico_hub.cli.workers import workers_of

            options.kept = "Models of finished targets are kept; resume with the same command."
            workers = stack.enter_context(workers_of(options, "cpu"))
        for suite, split in product(suites, options.split):
            shadows = None if split == "train" else suite.train
            found = prepare(given, targets[suite.name, split], shadows, options.source, workers=workers)
            yield (suite, split), found


Found = dict[str, dict[tuple[Handle, str], dict[int, FloatArray]]]
"""Attack as it was named -> (suite, split) -> model id -> (2m,) predictions."""


def names_of(suite_or_track: str) -> list[str]:
    """The suites of a track, or the one suite."""
    known = tracks()
    return [suite.name for suite in known[suite_or_track]] if suite_or_track in known else [suite_or_track]


def _fitting(
    given: Sequence[str], attacks: Mapping[str, Attack], suites: Sequence[Handle]
) -> tuple[dict[str, Attack], list[str]]:
    """The attacks but those that `all` stands for and whose signals are not at hand; and these."""
    asked = {name.strip() for each in given for name in each.split(",")}
    fitting = [set(ladder(suite)) for suite in suites]
    lacking = [
        name
        for name, each in attacks.items()
        if name not in asked and each in LADDER and any(each not in of_suite for of_suite in fitting)
    ]
    return {name: each for name, each in attacks.items() if name not in lacking}, lacking


def _require(options: argparse.Namespace, attacks: Mapping[str, Attack], hidden: Sequence[str]) -> None:
    """Sees to it that what is asked for can be given, before anything is computed."""
    if options.zip is not None and len(attacks) > 1:
        raise SourceError(f"expected one --attack for --zip, got {len(attacks)}: {', '.join(attacks)}")
    if not hidden:
        return
    said = f"the membership of {', '.join(dict.fromkeys(hidden))} is hidden: "
    if asked := exports.asked(options):
        raise SourceError(
            f"{said}keep predictions with --out, then `mico-hub score` writes {', '.join(asked)} with --truth"
        )
    if options.out is None and options.zip is None:
        raise SourceError(f"{said}name a folder with --out, or a zip with --zip, to keep predictions")


def _out(options: argparse.Namespace, attacks: Mapping[str, Attack], one: Attack) -> Path:
    """Where an attack's predictions go."""
    out: Path = options.out if len(attacks) == 1 else options.out / one.name
    return out


def _kept(options: argparse.Namespace, attacks: Mapping[str, Attack], found: Found) -> Iterator[str]:
    """Writes the zip; says where predictions are."""
    for name, each in attacks.items():
        number = sum(map(len, found[name].values()))
        if options.out is not None:
            yield f"predictions for {counted(number, 'model')} in {_out(options, attacks, each)}"
        if options.zip is not None:
            submissions.write(options.zip, found[name])
            yield f"predictions for {counted(number, 'model')} in {options.zip}"


def _tables(results: Sequence[Result]) -> Iterator[str]:
    """Attacks beside each other, suite by suite, and the means that rank them."""
    suites = by_suite(results)
    for of_suite in suites.values():
        yield scorecard.comparison(of_suite) + ("\n" if len(suites) > 1 else "")
    if len(suites) > 1:
        yield tables.text(*scorecard.of_track(results))


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
