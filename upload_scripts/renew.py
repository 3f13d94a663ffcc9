"""Renews a track of a live board: fresh suites are trained, published to a folder and put on the board.

python upload_scripts/renew.py digits --board board.sqlite --out seasons

The season before ends: its dev is closed, its final opened, and its truth shown against the commitments. A server that
runs goes on with the fresh suites at its next request. Their truth stays in OUT/TRACK-N/suites, which is a secret;
OUT/TRACK-N/mico is what participants need. A board that is kept in a repository of the Hub has them published first,
with publish.py, and gets their truth:

python upload_scripts/renew.py digits --board hf://datasets/org/board --to org/mico-2
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from builders.build import build
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.phases import close_dev, open_final
from mico_hub.boards.live.rules import read_rules
from mico_hub.boards.live.store import KeptStore, StoreError, open_store
from mico_hub.boards.live.store.repository import TRUTH
from mico_hub.cache import atomic_write
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_models
from mico_hub.loading import open_suite
from mico_hub.release import repository
from mico_hub.release.folder import PRIVATE, truth_path
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import tracks
from mico_hub.training.suite import train_suite

DONE = "done"
"""In a season's folder: it is on the board, its baselines too."""


def run(options: argparse.Namespace) -> None:
    """Trains, builds, and changes the season."""
    if options.track not in tracks():
        raise StoreError(f"expected a track, {', '.join(tracks())}, got {options.track!r}")
    store = open_store(options.board)
    try:
        if isinstance(store, KeptStore) and not options.to:
            raise StoreError(f"{options.board}: expected --to ORG/NAME, for its server reads suites from the Hub")
        board = Board(store, read_rules(options.rules or store.rules()))
        seasons = len(board.store.seasons(options.track)) if options.track in board.present() else 0
        begun = options.out / f"{options.track}-{seasons}"
        if not _is_unfinished(board, options.track, begun):
            begun = options.out / f"{options.track}-{seasons + 1}"
            _begin(board, begun, options)
        list(board.add_baselines(options.track))
        if not options.wait:
            board.score_waiting(board.store.season(options.track).id)
        atomic_write(begun / DONE, b"")
        source = board.store.season(options.track).source
    finally:
        store.close()
    sys.stdout.write(f"{options.track}: a fresh season, on {source}; its truth is in {begun / 'suites'}, a secret\n")


def _begin(board: Board, place: Path, options: argparse.Namespace) -> None:
    """Makes suites in a folder, ends the season that is on, and begins one with them."""
    suites, published = place / "suites", place / "mico"
    for suite in tracks()[options.track]:
        recipe = suite if options.models is None else suite.with_models(*options.models)
        train_suite(recipe, suites / suite.name)
        compute_suite(suites / suite.name)
    build(sorted(suites.iterdir()), published)
    source = _publish(published, suites, options) if options.to else str(published.resolve())
    if options.track in board.present():
        _end(board, options.track)
    if isinstance(board.store, KeptStore):
        board.begin(options.track, source, None, dict(_truth(suites)))
    else:
        board.begin(options.track, source, suites)


def _is_unfinished(board: Board, track: str, place: Path) -> bool:
    """Whether the season that is on is of a folder's suites, and an earlier run was interrupted after it began."""
    if not (place / "mico").is_dir() or (place / DONE).exists():
        return False
    prints = {suite.name: open_suite(suite.name, place / "mico").fingerprint for suite in tracks()[track]}
    return prints == dict(board.store.season(track).fingerprints)


def _publish(published: Path, suites: Path, options: argparse.Namespace) -> str:
    """Uploads fresh suites; where they are, as `open_suite` takes it."""
    sys.stdout.flush()
    script = Path(__file__).with_name("publish.py")
    trial = [] if options.models is None else ["--trial"]
    command = [sys.executable, str(script), str(published), options.to, "--suites", str(suites), *trial]
    if subprocess.run(command, check=False).returncode:
        raise StoreError(f"{published} was not published, and the board is as it was; publish.py says why")
    return f"{options.to}@{repository.versions(published)[-1].tag}"


def _truth(suites: Path) -> Iterator[tuple[str, Path]]:
    """Where the truth and what opens its commitments go in a board's repository."""
    for suite in sorted(suites.iterdir()):
        yield f"{TRUTH}/{suite.name}/{PRIVATE}/rows.parquet", truth_path(suites, suite.name)
        for path in sorted((suite / PRIVATE).glob("opening-*.json")):
            yield f"{TRUTH}/{suite.name}/{PRIVATE}/{path.name}", path


def _end(board: Board, track: str) -> None:
    """Ends the season that is on, as far as that was not done."""
    season = board.store.season(track)
    if not board.store.counting(season.id, board.rules.counts):
        return  # nobody is on it
    if not board.store.reports(season.id, "dev"):
        close_dev(board, track)
    if board.store.phase(season.id, "final") == "hidden":
        open_final(board, track)


def main() -> int:
    """Renews the track named on the command line."""
    parser = frame.script(__doc__, run, "Finished models are kept; resume with the same command.")
    parser.add_argument("track", metavar="TRACK")
    parser.add_argument("--board", default="board.sqlite", metavar="DATA", help="its data (default: board.sqlite)")
    parser.add_argument("--to", metavar="ORG/NAME", help="a dataset repository to publish them to (default: none)")
    parser.add_argument("--rules", type=Path, metavar="FILE.toml", help="(default: the competition's)")
    parser.add_argument("--out", type=Path, default=Path("seasons"), help="folder of all seasons (default: seasons)")
    parser.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    parser.add_argument("--wait", action="store_true", help="leave the baselines for a server to score")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
