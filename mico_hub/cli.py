"""The command `mico-hub`: what can be done with a suite from a shell."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from tqdm import tqdm

import mico_hub
from mico_hub import submission, tables
from mico_hub.attacks import ATTACKS, DEFAULT, LADDER, Attack, TooFewShadowsError, find, prepare, to_predictions
from mico_hub.attacks.base import AttackError
from mico_hub.cache import atomic_write
from mico_hub.data import DATASETS, DataError
from mico_hub.loading import open_suite
from mico_hub.release.commitments import CommitmentError, Opening
from mico_hub.release.folder import PRIVATE
from mico_hub.release.format import FormatError
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_truth
from mico_hub.release.rows import Row, as_rows
from mico_hub.reporting import page as report
from mico_hub.reporting import scorecard
from mico_hub.reporting.findings import Result
from mico_hub.scoring import mico_score
from mico_hub.sources import SettingError, SourceError
from mico_hub.sources.original import OriginalError
from mico_hub.submission import SubmissionError
from mico_hub.suites import SPLITS, SUITES, UnknownSuiteError, tracks

EXIT_BAD_INPUT = 2
_BAD_INPUT = (
    *(AttackError, DataError, FormatError, OriginalError, SettingError, SourceError),
    *(SubmissionError, UnknownSuiteError, OSError),
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

    made = command("attacks", _attacks, "lists the reference attacks", "attacks --markdown")
    made.add_argument("--markdown", action="store_true", help="as a Markdown table")

    made = command("fetch", _fetch, "brings a suite's rows and checkpoints here", "fetch cifar10_hi --split dev")
    made.add_argument("suite", metavar="SUITE")
    with_suite(made, "train")

    made = command("attack", _attack, "runs a reference attack", "attack digits_hi --attack lira --out predictions")
    made.add_argument("suite", metavar="SUITE")
    made.add_argument(
        "--attack",
        default=DEFAULT,
        metavar="NAME|FILE.py|all",
        help=f"{', '.join(ATTACKS)}; a file with a function score(points); or all that train no models "
        "(default: %(default)s)",
    )
    made.add_argument(
        "--out",
        type=Path,
        help="writes <out>/<track>/<suite>/<split>/model_N/prediction.csv; with all, below <out>/<attack>",
    )
    made.add_argument("--html", type=Path, help="writes a report there too, where the truth is public")
    with_suite(made, "train")

    made = command("score", _score, "scores predictions", "score predictions --suite digits_hi --html report.html")
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
    with_suite(made, "train")
    made = command("open", _open, "checks a truth that was shown", "open cifar10_hi-dev.json --source org/mico")
    made.add_argument("opening", type=Path, metavar="OPENING", help="the file that opens a split's commitment")
    made.add_argument("--source", help="the published suite, as for the other commands")

    made = command("audit", _audit, "epsilon as an attack shows it", "audit digits_hi --split final --truth suites")
    made.add_argument("suite", metavar="SUITE")
    made.add_argument("--attack", choices=list(ATTACKS), default=DEFAULT, help="default: %(default)s")
    made.add_argument("--truth", type=Path, required=True, help="the suite's private folder, or the folder of suites")
    made.add_argument("--split", choices=SPLITS[1:], default=SPLITS[-1], help="which models (default: %(default)s)")
    made.add_argument("--source", help="as for the other commands")
    return command_line


@contextmanager
def _attacking(options: argparse.Namespace) -> Iterator[None]:
    """Says of which suite and attack there are too few shadow models."""
    try:
        yield
    except TooFewShadowsError as error:
        raise SourceError(f"{options.suite} {options.split}: {options.attack}: {error}") from error


def _audit(options: argparse.Namespace) -> None:
    from mico_hub.auditing import audit  # dp_accounting takes a second to import

    suite = open_suite(options.suite, options.source)
    manifest = suite.manifest
    targets, train = (as_rows(suite.split(split)) for split in (options.split, "train"))
    truth = _truth(options, manifest, targets)
    with _attacking(options):
        found = audit.audit(
            options.attack,
            train,
            targets,
            [truth[row["model_id"]] for row in targets],
            options.source,
            manifest.suite.delta or audit.DELTA,
        )
    sys.stdout.write(audit.text(found, manifest, options.split) + "\n")


def _suites(options: argparse.Namespace) -> None:
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.SUITE_COLUMNS, map(tables.suite_row, SUITES.values())) + "\n")


def _attacks(options: argparse.Namespace) -> None:
    render = tables.markdown if options.markdown else tables.text
    sys.stdout.write(render(tables.ATTACK_COLUMNS, map(tables.attack_row, ATTACKS.values())) + "\n")


def _open(options: argparse.Namespace) -> None:
    try:
        opening = Opening.from_json(options.opening.read_bytes(), str(options.opening))
    except CommitmentError as error:
        raise SourceError(str(error)) from error
    name = f"{opening.suite} {opening.split}"
    suite = open_suite(opening.suite, options.source)
    rows = as_rows(suite.split(opening.split))
    published = suite.manifest.commitments.get(opening.split, "none")
    problems = opening.differences(rows)
    if (found := opening.commitment()) != published:
        problems.insert(0, f"it opens {found}, and the commitment that was published is {published}")
    if problems:
        raise SourceError(
            "\n".join([f"{options.opening} is not the truth of {name} that was committed to:", *problems])
        )
    sys.stdout.write(f"{name}: the truth of {len(rows)} models opens the published commitment {published}\n")


def _fetch(options: argparse.Namespace) -> None:
    suite = open_suite(options.suite, options.source)
    rows = as_rows(suite.split(options.split))
    brought = suite.checkpoints(rows)
    bar = tqdm(brought, desc=f"{options.suite} {options.split}", total=len(rows), unit="model")
    paths = [path for _, path in bar]
    total = sum(path.stat().st_size for path in paths)
    folder = os.path.commonpath([path.parent for path in paths])
    sys.stdout.write(f"{len(paths)} checkpoints, {total / 1e6:,.1f} MB, in {folder}\n")


def _attack(options: argparse.Namespace) -> None:
    chosen = _chosen(options.attack)
    suite = open_suite(options.suite, options.source)
    manifest = suite.manifest
    targets = as_rows(suite.split(options.split))
    shadows = None if options.split == "train" else as_rows(suite.train)
    known = all(row["membership"] is not None for row in targets)
    truth = {row["model_id"]: row["membership"] for row in targets} if known else {}
    if not known and options.html is not None:
        raise SourceError(f"the membership of {options.split} is hidden: `mico-hub score` makes a report with --truth")
    if not known and options.out is None:
        raise SourceError(f"the membership of {options.split} is hidden: name a folder with --out to keep predictions")
    results, few = [], dict[str, list[str]]()
    with _attacking(options):
        prepared = prepare(chosen, targets, shadows, options.source)
        for attack in tqdm(chosen, desc="attacks", disable=len(chosen) == 1, leave=False):
            predictions = to_predictions(prepared.scores(attack))
            few.setdefault(prepared.too_few(attack), []).append(attack.name)
            by_model = {row["model_id"]: of_model for row, of_model in zip(targets, predictions, strict=True)}
            if options.out is not None:
                out = options.out if len(chosen) == 1 else options.out / attack.name
                written = submission.write(out, manifest.suite, options.split, by_model, models=list(by_model))
                sys.stdout.write(f"{len(by_model)} predictions in {written}\n")
            if known:
                results.append(_result(manifest, options.split, attack.title, truth, by_model, targets))
    if len(results) == 1:
        sys.stdout.write(scorecard.card(results[0]) + "\n")
    elif results:
        sys.stdout.write(f"{scorecard.comparison(results)}\n`mico-hub attacks` has the names for --attack.\n")
    for what, names in few.items():
        if what:
            sys.stdout.write(f"{', '.join(names)}: {what}\n")
    if options.html is not None:
        report.write_report(results, options.html, f"MICO {options.suite}, {options.split}")


def _chosen(name: str) -> list[Attack]:
    """The attacks that a user names."""
    try:
        return list(LADDER) if name == "all" else [find(name)]
    except AttackError as error:
        raise AttackError(f"{error}, or all") from error


def _score(options: argparse.Namespace) -> None:
    names = [suite.name for suite in tracks()[options.suite]] if options.suite in tracks() else [options.suite]
    results: list[Result] = []
    problems: list[str] = []
    for name in names:
        suite = open_suite(name, options.source)
        manifest = suite.manifest
        rows = as_rows(suite.split(options.split))
        truth = _truth(options, manifest, rows)
        for path, label in _labels(options.predictions).items():
            try:
                predictions = submission.read(path, manifest.suite, options.split, models=list(truth))
            except SubmissionError as error:
                problems.append(str(error))
                continue
            results.append(_result(manifest, options.split, label, truth, predictions, rows))
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


def _result(
    manifest: Manifest,
    split: str,
    label: str,
    truth: dict[int, Any],
    predictions: Mapping[int, Any],
    rows: list[Row],
) -> Result:
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


def _truth(options: argparse.Namespace, manifest: Manifest, rows: list[Row]) -> dict[int, Any]:
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


if __name__ == "__main__":
    sys.exit(main())
