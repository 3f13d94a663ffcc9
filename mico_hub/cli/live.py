"""`mico-hub board serve` and what maintainers do to a live board; `mico-hub submit`."""

import argparse
import os
import sys

from mico_hub import tables
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.rules import read_rules
from mico_hub.boards.live.store import open_store
from mico_hub.messages import counted, listed
from mico_hub.reporting.scorecard import percent
from mico_hub.scoring import RANKING

HUB = "https://huggingface.co"
"""Shows Spaces, which know themselves by the variable SPACE_ID, in a frame."""


def serve(options: argparse.Namespace) -> None:
    """Runs the server until it is interrupted."""
    import uvicorn

    from mico_hub.boards.live.app import application
    from mico_hub.boards.live.connections import Connection

    board = _board(options, serving=True)
    try:
        for track in board.rules.tracks:
            if track not in board.present():
                board.begin(track, options.source, options.truth)
                sys.stdout.write(f"{track}: a season begins\n")
            board.on(track)
            for name in board.add_baselines(track):
                sys.stdout.write(f"{track}: baseline {name} is on its way to the board\n")
        board.start(options.judges)
        sys.stdout.write(f"{board.rules.title} on http://{options.host}:{options.port}; data in {options.data}\n")
        sys.stdout.flush()
        frames = HUB if os.environ.get("SPACE_ID") else None
        uvicorn.run(
            application(board, frames), host=options.host, port=options.port, http=Connection, log_level="warning",
            server_header=False,
        )  # fmt: skip
    finally:
        board.stop()
        board.store.close()


def participants_add(options: argparse.Namespace) -> None:
    """Adds a participant and prints the token, once."""
    with _opened(options) as board:
        token = board.store.add_participant(options.name)
    sys.stdout.write(f"{token}\n")
    sys.stderr.write(f"This is the token of {options.name}. It is kept nowhere: hand it over now.\n")


def participants_revoke(options: argparse.Namespace) -> None:
    """Revokes a participant's token."""
    with _opened(options) as board:
        board.store.revoke(options.name)
    sys.stdout.write(f"{options.name}: the token is revoked, submissions stay\n")


def participants_list(options: argparse.Namespace) -> None:
    """Lists participants."""
    with _opened(options) as board:
        rows = [(each.name, each.created[:19], (each.revoked or "-")[:19]) for each in board.store.participants()]
    sys.stdout.write(tables.text(("participant", "since", "revoked"), rows) + "\n")


def phase_close(options: argparse.Namespace) -> None:
    """Closes dev of a track."""
    from mico_hub.boards.live.phases import close_dev

    with _opened(options) as board:
        names = close_dev(board, options.track)
    sys.stdout.write(f"{options.track}: dev is closed; shown are {', '.join(names)}\n")


def phase_open(options: argparse.Namespace) -> None:
    """Opens final of a track."""
    from mico_hub.boards.live.phases import open_final

    with _opened(options) as board:
        names = open_final(board, options.track, options.truth)
    sys.stdout.write(f"{options.track}: final is open; shown are {', '.join(names)}\n")


def submit(options: argparse.Namespace) -> None:
    """Sends a submission to a live board and waits for its score."""
    from mico_hub.boards.live import client

    token = os.environ.get(client.TOKEN, "")
    if not token:
        raise client.BoardRefusalError(f"expected your token in the environment variable {client.TOKEN}")
    about = {name: getattr(options, name) or "" for name in ("title", "code", "write_up")}
    tags = tuple(options.tag or ())
    accepted = client.submit(
        options.to, token, options.file, options.track, threat_model=options.threat_model, tags=tags, **about
    )
    sys.stdout.write(f"{accepted['id']}: kept, {counted(accepted['waiting_before'], 'submission')} before it\n")
    sys.stdout.flush()
    found = client.wait(options.to, token, accepted["id"])
    if found["state"] == "refused":
        raise client.BoardRefusalError(listed("not scored; it counts against no limit:", found["problems"]))
    rows = [(suite, percent(told[RANKING], 2)) for suite, told in found["told"].items()]
    rows += [("mean", percent(found["mean"], 2))] if found["mean"] is not None else []
    sys.stdout.write(tables.text(("suite", "TPR at 10% FPR"), rows) + "\n")


def backup(options: argparse.Namespace) -> None:
    """Writes all that a board keeps into one file."""
    from mico_hub.boards.live import archive

    with _opened(options) as board:
        number = archive.backup(board.store, options.out)
    sys.stdout.write(f"{options.out}: {counted(number, 'submission')}. It is a secret: tokens' digests, predictions.\n")


def restore(options: argparse.Namespace) -> None:
    """Makes a board's data from a backup."""
    from mico_hub.boards.live import archive

    number = archive.restore(options.backup, options.data)
    sys.stdout.write(f"{options.data}: {counted(number, 'submission')}\n")


def export(options: argparse.Namespace) -> None:
    """Writes what everybody may see as Parquet and JSON, with where it comes from."""
    from mico_hub.boards.live import archive

    with _opened(options) as board:
        written = archive.export(board, options.out)
    sys.stdout.write(f"{options.out}: {', '.join(written)}\n")


class _opened:  # noqa: N801  # a context, named as one
    """A board that exists, closed in the end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._board = _board(options)

    def __enter__(self) -> Board:
        return self._board

    def __exit__(self, *_: object) -> None:
        self._board.store.close()


def _board(options: argparse.Namespace, *, serving: bool = False) -> Board:
    store = open_store(options.data, new=serving, look=serving)
    try:
        return Board(store, read_rules(options.rules or store.rules()))
    except BaseException:
        store.close()
        raise
