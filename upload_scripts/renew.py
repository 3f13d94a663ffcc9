"""Renews a track of a live board: fresh suites are trained, published to a folder and put on the board.

python upload_scripts/renew.py digits --board board.sqlite --out seasons

The season before ends: its dev is closed, its final opened, and its truth shown against the commitments. A server that
runs goes on with the fresh suites at its next request. Their truth stays in OUT/TRACK-N/suites, which is a secret;
OUT/TRACK-N/mico is what participants need, for publish.py to upload.
"""

import argparse
import sys
from pathlib import Path

from builders.build import build
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.phases import close_dev, open_final
from mico_hub.boards.live.rules import read_rules
from mico_hub.boards.live.store import Store, StoreError
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_models
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import tracks
from mico_hub.training.suite import train_suite


def run(options: argparse.Namespace) -> None:
    """Trains, builds, and changes the season."""
    if options.track not in tracks():
        raise StoreError(f"expected a track, {', '.join(tracks())}, got {options.track!r}")
    if not options.board.exists():
        raise StoreError(f"{options.board}: no such board; `mico-hub board serve` makes one")
    board = Board(Store(options.board), read_rules(options.rules))
    try:
        seasons = len(board.store.seasons(options.track)) if options.track in board.present() else 0
        place = options.out / f"{options.track}-{seasons + 1}"
        suites, published = place / "suites", place / "mico"
        for suite in tracks()[options.track]:
            recipe = suite if options.models is None else suite.with_models(*options.models)
            train_suite(recipe, suites / suite.name)
            compute_suite(suites / suite.name)
        build(sorted(suites.iterdir()), published)
        if seasons:
            _end(board, options.track)
        board.begin(options.track, str(published.resolve()), suites)
        list(board.add_baselines(options.track))
        if not options.wait:
            board.score_waiting(board.store.season(options.track).id)
    finally:
        board.store.close()
    sys.stdout.write(f"{options.track}: a fresh season, on {published}; its truth is in {suites}, a secret\n")


def _end(board: Board, track: str) -> None:
    """Ends the season that is on, as far as that was not done."""
    season = board.store.season(track)
    if not board.store.counting(season.id, board.rules.counts):
        return  # nobody is on it
    if board.store.phase(season.id, "dev") == "open":
        close_dev(board, track)
    if board.store.phase(season.id, "final") == "hidden":
        open_final(board, track)


def main() -> int:
    """Renews the track named on the command line."""
    parser = frame.script(__doc__, run, "Finished models are kept; resume with the same command.")
    parser.add_argument("track", metavar="TRACK")
    parser.add_argument("--board", type=Path, default=Path("board.sqlite"), help="its data (default: board.sqlite)")
    parser.add_argument("--rules", type=Path, metavar="FILE.toml", help="(default: the competition's)")
    parser.add_argument("--out", type=Path, default=Path("seasons"), help="folder of all seasons (default: seasons)")
    parser.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    parser.add_argument("--wait", action="store_true", help="leave the baselines for a server to score")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
