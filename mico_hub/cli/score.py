"""`mico-hub score`: predictions against the truth."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from mico_hub import submission
from mico_hub.attacks import ATTACKS
from mico_hub.cache import atomic_write
from mico_hub.cli.frame import Commands, add_command, add_split_and_source
from mico_hub.data import DATASETS
from mico_hub.loading import open_suite
from mico_hub.release.folder import PRIVATE
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_truth
from mico_hub.release.rows import Row, as_rows
from mico_hub.reporting import page as report
from mico_hub.reporting import scorecard
from mico_hub.reporting.findings import Result
from mico_hub.scoring import mico_score
from mico_hub.sources import SourceError
from mico_hub.submission import SubmissionError
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
        manifest = suite.manifest
        rows = as_rows(suite.split(options.split))
        truth = truth_of(options, manifest, rows)
        for path, label in _labels(options.predictions).items():
            try:
                predictions = submission.read(path, manifest.suite, options.split, models=list(truth))
            except SubmissionError as error:
                problems.append(str(error))
                continue
            results.append(result_of(manifest, options.split, label, truth, predictions, rows))
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
        report.write_report(results, options.html, f"MICO {options.suite}, {options.split}")
    if options.figures is not None:
        written = report.save_figures(results, options.figures, options.format)
        sys.stdout.write(f"{len(written)} pictures in {options.figures}\n")


def _labels(paths: list[Path]) -> dict[Path, str]:
    """What to call each: its name, or the whole path where two have the same."""
    stems = [path.resolve().stem for path in paths]
    names = {path: stem if stems.count(stem) == 1 else str(path) for path, stem in zip(paths, stems, strict=True)}
    return {path: ATTACKS[name].title if name in ATTACKS else name for path, name in names.items()}


def result_of(
    manifest: Manifest,
    split: str,
    label: str,
    truth: dict[int, Any],
    predictions: Mapping[int, Any],
    rows: list[Row],
) -> Result:
    """The scores of an attack on a split, with what the report says beside them."""
    ids = sorted(truth)
    membership, values = [np.asarray(truth[i]) for i in ids], [np.asarray(predictions[i]) for i in ids]
    known = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    twins = DATASETS[manifest.suite.dataset].twins if manifest.data_official else None
    challenge = {row["model_id"]: row["challenge"] for row in rows}
    return Result(
        suite=manifest.suite,
        split=split,
        attack=label,
        title=label,
        membership=membership,
        predictions=values,
        scores=mico_score(np.concatenate(membership), np.concatenate(values)),
        accuracy=mean(known) if known else None,
        seconds=None,
        noise_multiplier=manifest.noise_multiplier,
        twin=[np.isin(challenge[i], twins.records) for i in ids] if twins else None,
    )


def truth_of(options: argparse.Namespace, manifest: Manifest, rows: list[Row]) -> dict[int, Any]:
    """Model id -> membership, from the private folder or, where it is public, from the rows."""
    suite = manifest.suite
    if options.truth is None:
        hidden = [row for row in rows if row["membership"] is None]
        if hidden:
            published = (
                "was never published by the competition"
                if manifest.origin
                else f"is hidden; name the suite's {PRIVATE} folder with --truth"
            )
            raise SourceError(f"{suite.name}: the membership of {options.split} {published}, or score --split train")
        return {row["model_id"]: row["membership"] for row in rows}
    places = [options.truth, options.truth / "rows.parquet", options.truth / suite.name / PRIVATE / "rows.parquet"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FolderError(
            f"{options.truth}: expected the truth of {suite.name} as its training wrote it, rows.parquet or "
            f"{suite.name}/{PRIVATE}/rows.parquet, got no such file"
        )
    truth = {
        row["model_id"]: row for row in read_truth(path) if (row["suite"], row["split"]) == (suite.name, options.split)
    }
    strange = [
        row["model_id"]
        for row in rows
        if row["model_id"] not in truth or not np.array_equal(truth[row["model_id"]]["challenge"], row["challenge"])
    ]
    if strange:
        raise FolderError(
            f"{path}: expected the truth of {suite.name} {options.split}; {len(strange)} of {len(rows)} models are not "
            f"there or have another challenge (model_{strange[0]}, ...): it belongs to another training of the suite"
        )
    return {model_id: row["membership"] for model_id, row in truth.items()}
