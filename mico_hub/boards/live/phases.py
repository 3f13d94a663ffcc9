"""The ends of phases: what everybody may see once nothing can be learned from answers any more."""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mico_hub import submissions
from mico_hub.boards.live.board import Board, BoardError, season_suites
from mico_hub.boards.live.store import Submission
from mico_hub.handle import Handle
from mico_hub.release.folder import opening_name, truth_path
from mico_hub.reporting import page
from mico_hub.reporting.results import Result
from mico_hub.reporting.scores import Scores
from mico_hub.suites import tracks

_FORMULA = ("=", "+", "-", "@", "|", "%")


def close_dev(board: Board, track: str) -> list[str]:
    """Closes dev: nothing is accepted any more, and intervals, curves and all scores are shown.

    Returns:
        Names of the reports.

    Raises:
        BoardError: It is closed already, submissions wait to be scored, or nobody is on the board.
    """
    season = board.store.season(track)
    if board.store.reports(season.id, "dev"):
        raise BoardError(f"{track}: dev is closed already")
    before = board.store.phase(season.id, "dev")
    board.store.set_phase(season.id, "dev", "closed", {})  # what comes from now on is refused
    try:
        board.score_waiting(season.id)
        reports = _reports(board, track, "dev", board.truth_of(season))
    except BaseException:
        board.store.set_phase(season.id, "dev", before, {})
        raise
    board.store.set_phase(season.id, "dev", "closed", reports)
    return sorted(reports)


def open_final(board: Board, track: str, truth: Path | None = None) -> list[str]:
    """Opens final: each counting submission is scored on it, once, and its truth is shown against the commitment.

    Args:
        board: The board.
        track: One of its tracks.
        truth: Where final's hidden membership is; None: where the season's is.

    Returns:
        Names of the reports.

    Raises:
        BoardError: Dev is still open, final is open already, or nobody has predictions for final.
        SourceError: The truth was not found.
    """
    season = board.store.season(track)
    if not board.store.reports(season.id, "dev"):
        raise BoardError(f"{track}: dev is still open; `board phase close {track}` first")
    if board.store.phase(season.id, "final") == "opened":
        raise BoardError(f"{track}: final is open already")
    folder = board.truth_of(season) if truth is None else truth
    reports = _reports(board, track, "final", folder)
    for suite in tracks()[track]:
        opening = None if folder is None else truth_path(folder, suite.name).parent / opening_name("final")
        if opening is not None and opening.is_file():
            reports[f"opening-{suite.name}.json"] = ("application/json", opening.read_bytes())
    board.store.set_phase(season.id, "final", "opened", reports)
    return sorted(reports)


def _reports(board: Board, track: str, split: str, truth: Path | None) -> dict[str, tuple[str, bytes]]:
    """Name -> type and content: the page, and all numbers."""
    season = board.store.season(track)
    counting = [each.submission for each in board.standings(track)]
    scored = [each for each in counting if split in each.splits]
    if not scored:
        raise BoardError(f"{track}: nobody is on the board with predictions for {split}")
    results: list[Result] = []
    for handle in season_suites(season):
        labels = handle.truth(split, truth)
        results += [_result(board, handle, split, each, labels) for each in scored]
    scores = Scores(tuple(results))
    about = {
        each.participant: {"submission": each.id, "sha256": each.sha256, "received": each.received, **each.about}
        for each in scored
    }
    numbers = {**scores.to_json(), "entries": about, "fingerprints": dict(season.fingerprints)}
    title = f"{board.rules.title}: {track}, {split}"
    return {
        "report.html": ("text/html; charset=utf-8", page.html(results, title).encode()),
        "scores.json": ("application/json", json.dumps(numbers, indent=1).encode()),
        "scores.csv": ("text/csv; charset=utf-8", harmless(scores.to_frame()).to_csv(index=False).encode()),
    }


def harmless(table: pd.DataFrame) -> pd.DataFrame:
    """A table of which a spreadsheet takes no cell for a formula: such texts get an apostrophe, as OWASP says."""
    return table.map(lambda cell: f"'{cell}" if isinstance(cell, str) and _first(cell) in _FORMULA else cell)


def _first(text: str) -> str:
    """Its first character that is no space, in its usual width."""
    return unicodedata.normalize("NFKC", text).lstrip()[:1]


def _result(board: Board, handle: Handle, split: str, of: Submission, labels: Mapping[int, object]) -> Result:
    found = submissions.read(
        board.store.upload(of.id), handle.manifest.suite, split, models=list(labels), fingerprint=handle.fingerprint
    )
    title = of.about.get("title") or of.participant
    return Result.of(handle, split, found, of.participant, title=title, truth=labels, commands=None)  # type: ignore[arg-type]
