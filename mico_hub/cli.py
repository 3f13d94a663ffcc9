"""The command `mico-hub`: what can be done with a suite from a shell."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import mico_hub
from mico_hub import loading, submission, tables
from mico_hub.attacks import ATTACKS, TooFewShadowsError, attack
from mico_hub.checkpoint import CheckpointError
from mico_hub.data import DataError
from mico_hub.folder import PRIVATE, PRIVATE_SCHEMA, FolderError, read_rows
from mico_hub.original import OriginalError
from mico_hub.scoring import mico_score
from mico_hub.sources import SettingError, SourceError
from mico_hub.submission import SubmissionError
from mico_hub.suites import SPLITS, SUITES, Suite, UnknownSuiteError

EXIT_BAD_INPUT = 2
_BAD_INPUT = (
    *(CheckpointError, DataError, FolderError, OriginalError, SettingError, SourceError, SubmissionError),
    *(UnknownSuiteError, OSError),
)
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; bad input is explained on stderr and gives exit code 2, an interruption 130."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except _BAD_INPUT as error:
        sys.stderr.write(f"mico-hub: {error}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("\nmico-hub: interrupted; what is here is kept, the same command goes on from there\n")
        return EXIT_INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: every command with a summary and an example."""
    command_line = argparse.ArgumentParser(
        prog="mico-hub",
        description="MICO: membership inference on models trained with and without differential privacy.",
        epilog="example: mico-hub attack digits_inf --attack lira",
    )
    command_line.add_argument("--version", action="version", version=f"mico-hub {mico_hub.__version__}")
    commands = command_line.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary, epilog=f"example: mico-hub {example}")
        made.set_defaults(run=run)
        return made

    def with_suite(made: argparse.ArgumentParser, split: str) -> None:
        made.add_argument("--split", choices=SPLITS, default=split, help=f"which models (default: {split})")
        made.add_argument(
            "--source",
            help="a folder, org/name[@revision], or an archive of the competition[@md5] "
            "(default: wherever `mico` resolves)",
        )

    made = command("suites", _suites, "lists the suites", "suites --markdown")
    made.add_argument("--markdown", action="store_true", help="as a Markdown table")

    made = command("fetch", _fetch, "brings a suite's rows and checkpoints here", "fetch cifar10_hi --split dev")
    made.add_argument("suite", metavar="SUITE")
    with_suite(made, "train")

    made = command("attack", _attack, "runs a reference attack", "attack digits_hi --attack lira --out predictions")
    made.add_argument("suite", metavar="SUITE")
    made.add_argument("--attack", choices=list(ATTACKS), default=list(ATTACKS)[-1], help="default: %(default)s")
    made.add_argument("--out", type=Path, help="writes <out>/<track>/<suite>/<split>/model_N/prediction.csv")
    with_suite(made, "train")

    made = command("score", _score, "scores predictions", "score predictions --suite digits_hi")
    made.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="a folder, or a Parquet file")
    made.add_argument("--suite", required=True)
    made.add_argument("--truth", type=Path, help="the suite's private folder, for dev and final")
    made.add_argument("--json", type=Path, help="writes the scores there too")
    with_suite(made, "train")
    return command_line


def _suites(options: argparse.Namespace) -> None:
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.SUITE_COLUMNS, map(tables.suite_row, SUITES.values())) + "\n")


def _rows(options: argparse.Namespace, split: str) -> list[dict[str, Any]]:
    suite = loading.load_suite(options.suite, options.source)
    if split not in suite:
        raise SourceError(f"{options.suite}: there is no split {split}, only {', '.join(suite)}")
    return list(suite[split])


def _fetch(options: argparse.Namespace) -> None:
    rows = _rows(options, options.split)
    brought = loading.fetch_checkpoints(rows, options.source)
    bar = tqdm(brought, desc=f"{options.suite} {options.split}", total=len(rows), unit="model")
    paths = [path for _, path in bar]
    total = sum(path.stat().st_size for path in paths)
    folder = os.path.commonpath([path.parent for path in paths])
    sys.stdout.write(f"{len(paths)} checkpoints, {total / 1e6:,.1f} MB, in {folder}\n")


def _attack(options: argparse.Namespace) -> None:
    targets = _rows(options, options.split)
    shadows = None if options.split == "train" else _rows(options, "train")
    try:
        predictions = attack(options.attack, targets, shadows, options.source)
    except TooFewShadowsError as error:
        raise SourceError(f"{options.suite} {options.split}: {options.attack}: {error}") from error
    by_model = {row["model_id"]: of_model for row, of_model in zip(targets, predictions, strict=True)}
    if options.out is not None:
        suite = loading.load_manifest(targets[0], options.source).suite
        written = submission.write(options.out, suite, options.split, by_model, models=list(by_model))
        sys.stdout.write(f"{len(by_model)} predictions in {written}\n")
    if all(row["membership"] is not None for row in targets):
        _print_scores(_pooled_scores({row["model_id"]: row["membership"] for row in targets}, by_model))
    elif options.out is None:
        sys.stdout.write(f"the membership of {options.split} is hidden: name a folder with --out to keep predictions\n")


def _score(options: argparse.Namespace) -> None:
    rows = _rows(options, options.split)
    suite = loading.load_manifest(rows[0], options.source).suite
    models = [row["model_id"] for row in rows]
    predictions = submission.read(options.predictions, suite, options.split, models=models)
    scores = _pooled_scores(_truth(options, suite, rows), predictions)
    _print_scores(scores)
    if options.json is not None:
        options.json.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def _truth(options: argparse.Namespace, suite: Suite, rows: list[dict[str, Any]]) -> dict[int, Any]:
    """Model id -> membership, from the private folder or, where it is public, from the rows."""
    if options.truth is None:
        hidden = [row for row in rows if row["membership"] is None]
        if hidden:
            published = (
                "was never published by the competition"
                if loading.load_manifest(rows[0], options.source).origin
                else f"is hidden; name the suite's {PRIVATE} folder with --truth"
            )
            raise SourceError(f"{suite.name}: the membership of {options.split} {published}, or score --split train")
        return {row["model_id"]: row["membership"] for row in rows}
    path = options.truth / "rows.parquet" if options.truth.is_dir() else options.truth
    if not path.is_file():
        raise FolderError(f"{path}: no such file; expected the truth of {suite.name} as its training wrote it")
    truth = {
        row["model_id"]: row
        for row in read_rows(path, PRIVATE_SCHEMA)
        if (row["suite"], row["split"]) == (suite.name, options.split)
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


def _pooled_scores(truth: dict[int, Any], predictions: dict[int, Any]) -> dict[str, float]:
    ids = sorted(truth)
    return mico_score(np.concatenate([truth[i] for i in ids]), np.concatenate([predictions[i] for i in ids]))


def _print_scores(scores: dict[str, float]) -> None:
    rows = [(_title(name), f"{value:.4f}") for name, value in scores.items()]
    sys.stdout.write(tables.text(("score", "value"), rows) + "\n")


def _title(name: str) -> str:
    if name.startswith("TPR_FPR_"):
        return f"TPR at FPR < {int(name.removeprefix('TPR_FPR_')) / 10_000:g}"
    return {"MIA": "advantage, max(TPR - FPR)", "accuracy": "best balanced accuracy"}.get(name, name)


if __name__ == "__main__":
    sys.exit(main())
