"""`mico-hub score`: predictions against the truth."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mico_hub import submissions, tables
from mico_hub.attacks import ATTACKS
from mico_hub.cli import exports, frame
from mico_hub.cli.attack import names_of
from mico_hub.loading import open_suite
from mico_hub.release.folder import truth_path
from mico_hub.reporting import scorecard
from mico_hub.reporting.results import Result
from mico_hub.sources import SourceError
from mico_hub.submissions import SubmissionError
from mico_hub.suites import tracks


def score(options: argparse.Namespace) -> None:
    """Scores predictions, of one suite or of a track's."""
    names = names_of(options.suite)
    _require(options, names)
    results: list[Result] = []
    problems: list[str] = []
    sources: list[str] = []
    for name in names:
        suite = open_suite(name, options.source)
        truth = suite.truth(options.split, options.truth)
        recipe, models, bare = suite.manifest.suite, list(truth), []
        for path, attack in _names(options.predictions).items():
            try:
                found = submissions.load(path, recipe, options.split, models=models, fingerprint=suite.fingerprint)
            except SubmissionError as error:
                problems.append(str(error))
                continue
            bare += [] if found.fingerprint else [str(path)]
            title = ATTACKS[attack].title if attack in ATTACKS else ""
            again = {"suite": name, "split": options.split, "truth": options.truth, "source": options.source}
            commands = [frame.command("score", path, **again)]
            results.append(
                Result.of(suite, options.split, found.predictions, attack, title=title, truth=truth, commands=commands)
            )
        sources.append(scorecard.provenance(suite) + "\n")
        if bare:
            sources.append(f"{', '.join(bare)}: no fingerprint, so on which models they were made is not known\n")
    if problems:
        raise SourceError("\n".join(problems))
    written = exports.write(results, options, f"MICO {options.suite}, {options.split}")
    sys.stdout.write("".join(sources) + "\n")
    for name in names:
        of_suite = [result for result in results if result.suite.name == name]
        for result in of_suite:
            if len(of_suite) > 1:
                sys.stdout.write(f"{result.label}\n")
            sys.stdout.write(scorecard.card(result) + "\n")
        if len(of_suite) > 1:
            sys.stdout.write("\n" + scorecard.comparison(of_suite) + "\n")
    if len(names) > 1:
        sys.stdout.write("\n" + tables.text(*scorecard.of_track(results)) + "\n")
    sys.stdout.write("".join(f"{line}\n" for line in written))


def check_submission(options: argparse.Namespace) -> None:
    """Checks a submission for a track without its answers."""
    suites, known, models = tracks()[options.track], {}, {}
    if options.source is not None:
        opened = [open_suite(suite.name, options.source) for suite in suites]
        suites, known = [suite.manifest.suite for suite in opened], {suite.name: suite.fingerprint for suite in opened}
        models = {
            (suite.name, split): [row["model_id"] for row in suite.challenges(split)]
            for suite in opened
            for split in suite.rows
        }
    found = submissions.load_all(options.file, suites, options.split or (), fingerprints=known, models=models)
    headers = ("suite", "split", "models", "predictions", "distinct", "fingerprint")
    rows = []
    for (name, split), submission in found.items():
        values = np.concatenate(list(submission.predictions.values()))
        counts = (len(submission.predictions), len(values), len(np.unique(values)))
        rows.append((name, split, *(f"{count:,}" for count in counts), (submission.fingerprint or "-")[:12]))
    splits = " and ".join(dict.fromkeys(split for _, split in found))
    sys.stdout.write(f"{tables.text(headers, rows)}\n\n{options.file}: complete for {splits} of {options.track}\n")


def _require(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Sees to it that what is named is there, before anything is trained, fetched or computed."""
    if absent := [str(path) for path in options.predictions if not path.exists()]:
        raise SourceError(f"no such file or folder of predictions: {', '.join(absent)}")
    if options.truth is not None:
        for name in names:
            truth_path(options.truth, name)


def _names(paths: list[Path]) -> dict[Path, str]:
    """What to call each: its name, or the whole path where two have the same."""
    stems = [path.resolve().stem for path in paths]
    return {path: stem if stems.count(stem) == 1 else str(path) for path, stem in zip(paths, stems, strict=True)}
