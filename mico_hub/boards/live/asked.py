"""What pages and API have in common: which board and submission is meant, and what may be said of one."""

from collections.abc import Mapping
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException

from mico_hub.boards.entry import LINK
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.store import Participant, Submission

THREAT_MODELS = ("black-box", "white-box")
_SUBMITTING = CapacityLimiter(200)
TAGS = ("shadow models trained", "side information")


def track_of(board: Board, track: str) -> str:
    """The track, if it is on the board. HTTPException 404 if not."""
    if track not in board.present():
        raise HTTPException(404, f"there is no board {track!r:.60}; there are: {', '.join(board.present())}")
    return track


def own(board: Board, participant: Participant | None, number: str) -> Submission:
    """A submission of the participant's own; another's is as if it were not. HTTPException 404 where there is none."""
    try:
        found = board.store.submission(number)
    except KeyError:
        found = None
    if participant is None or found is None or found.participant != participant.name:
        raise HTTPException(404, "there is no such submission of yours")
    return found


async def submit_soon(
    board: Board, track: str, participant: Participant, content: bytes, about: Mapping[str, Any]
) -> Submission:
    """`Board.submit` on a thread of its own kind, for it may wait: pages are answered meanwhile."""
    return await to_thread.run_sync(board.submit, track, participant, content, about, limiter=_SUBMITTING)


def same_form(csrf: str, given: object) -> None:
    """HTTPException 403 where a form is not of the session."""
    if given != csrf:
        raise HTTPException(403, "this form is not of your session; load the page again")


def about_of(texts: Mapping[str, str], tags: list[str]) -> dict[str, Any]:
    """What is said of a submission. HTTPException 422 names everything that is wrong."""
    problems = []
    if len(texts["title"]) > 80 or not (texts["title"].isprintable() or not texts["title"]):
        problems.append("title: expected a line of at most 80 characters")
    if texts["threat_model"] not in THREAT_MODELS:
        problems.append(f"threat_model: expected {' or '.join(THREAT_MODELS)}")
    problems += [
        f"{name}: expected a link, https://" for name in ("code", "write_up")
        if texts[name] and not LINK.fullmatch(texts[name])
    ]  # fmt: skip
    if any(tag not in TAGS for tag in tags):
        problems.append(f"tag: expected some of {', '.join(TAGS)}")
    if problems:
        raise HTTPException(422, "; ".join(problems))
    return {**texts, "tags": sorted(set(tags))}
