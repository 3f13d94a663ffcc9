"""`mico-hub score`: predictions against the truth."""

import argparse
import json
import sys
from pathlib import Path

from mico_hub import submissions
from mico_hub.attacks import ATTACKS
from mico_hub.cache import atomic_write
from mico_hub.cli.frame import Commands, add_command, add_split_and_source
from mico_hub.loading import open_suite
from mico_hub.reporting import page, scorecard
from mico_hub.reporting.results import Result
from mico_hub.sources import SourceError
from mico_hub.submissions import SubmissionError
from mico_hub.suites import tracks


def add_commands(commands: Commands) -> None:
    """Adds it."""
    made = add_command(
        commands, "score", _score, "scores predictions", "score predictions --suite digits_hi --html report.html"
    )
    made.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="PREDICTIONS",
        help="a folder or a Parquet file; several are compared",
    )
    made.add_argument("--suite", required=True, help="a suite, or a track for all of its suites")
    made.add_argument(
        "--truth", type=Path, help="for dev and final: the suite's private folder, or the folder of suites"
    )
    made.add_argument("--json", type=Path, help="writes scores and intervals there too")
    made.add_argument("--html", type=Path, help="writes a report there too, one page that needs no network")
    made.add_argument("--figures", type=Path, help="writes the report's pictures into that folder")
    made.add_argument("--format", choices=("png", "svg"), default="png", help="of the pictures (default: %(default)s)")
    add_split_and_source(made)


def _score(options: argparse.Namespace) -> None:
    names = [suite.name for suite in tracks()[options.suite]] if options.suite in tracks() else [options.suite]
    results: list[Result] = []
    problems: list[str] = []
    for name in names:
        suite = open_suite(name, options.source)
        truth = suite.truth(options.split, options.truth)
        for path, attack in _names(options.predictions).items():
            try:
                predictions = submissions.read(path, suite.manifest.suite, options.split, models=list(truth))
            except SubmissionError as error:
                problems.append(str(error))
                continue
            title = ATTACKS[attack].title if attack in ATTACKS else ""
            results.append(Result.of(suite, options.split, predictions, attack, title=title, truth=truth))
    if problems:
        raise SourceError("\n".join(problems))
    for name in names:
        of_suite = [result for result in results if result.suite.name == name]
        for result in of_suite:
            if len(of_suite) > 1:
                sys.stdout.write(f"{result.title}\n")
            sys.stdout.write(scorecard.card(result) + "\n")
        if len(of_suite) > 1:
            sys.stdout.write("\n" + scorecard.comparison(of_suite) + "\n")
    if options.json is not None:
        atomic_write(options.json, (json.dumps(scorecard.as_json(results), indent=2) + "\n").encode())
    if options.html is not None:
        page.write_report(results, options.html, f"MICO {options.suite}, {options.split}")
    if options.figures is not None:
        written = page.save_figures(results, options.figures, options.format)
        sys.stdout.write(f"{len(written)} pictures in {options.figures}\n")


def _names(paths: list[Path]) -> dict[Path, str]:
    """What to call each: its name, or the whole path where two have the same."""
    stems = [path.resolve().stem for path in paths]
    return {path: stem if stems.count(stem) == 1 else str(path) for path, stem in zip(paths, stems, strict=True)}
