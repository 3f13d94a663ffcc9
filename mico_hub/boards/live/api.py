"""The HTTP API of a live board, in JSON; `openapi.json` describes it."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from pydantic import BaseModel

from mico_hub.boards.live.asked import THREAT_MODELS, about_of, own, submit_soon, track_of
from mico_hub.boards.live.board import Board, Standing
from mico_hub.boards.live.store import REFUSED, SCORED, Participant, Submission


class Row(BaseModel):
    """A participant's place on a board."""

    place: int
    participant: str
    baseline: bool
    submission: str
    received: str
    mean: float
    told: dict[str, dict[str, float]]
    error: dict[str, float]
    about: dict[str, Any]


class BoardAnswer(BaseModel):
    """A track's board, and how much of its truth answers can have given away."""

    track: str
    dev: str
    final: str
    answers: str
    rows: list[Row]
    given_bits: dict[str, float]
    spent: dict[str, float]


class SubmissionAnswer(BaseModel):
    """A submission, as its participant sees it."""

    id: str
    track: str
    state: str
    received: str
    sha256: str
    waiting_before: int
    problems: list[str]
    told: dict[str, dict[str, float]]
    mean: float | None
    bits: dict[str, float]
    about: dict[str, Any]


def add_api(app: FastAPI, board: Board) -> None:
    """Adds the API of a board."""

    def participant(authorization: Annotated[str, Header()] = "") -> Participant:
        kind, _, token = authorization.partition(" ")
        found = board.store.participant_of(token.strip()) if kind.lower() == "bearer" else None
        if found is None:
            raise HTTPException(401, "expected a header Authorization: Bearer TOKEN with a token that is not revoked")
        return found

    who = Annotated[Participant, Depends(participant)]

    @app.get("/api/boards/{track}", summary="A board")
    def of_track(track: str) -> BoardAnswer:
        season = board.store.season(track_of(board, track))
        return BoardAnswer(
            track=track,
            dev=board.store.phase(season.id, "dev"),
            final=board.store.phase(season.id, "final"),
            answers=board.rules.answers,
            rows=[_row(each) for each in board.standings(track)],
            given_bits=board.given(track),
            spent=board.spent(track),
        )

    @app.post(
        "/api/submissions", status_code=202, summary="Submit",
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/zip": {"schema": {"format": "binary"}}}}
        },
    )  # fmt: skip
    async def submit(
        request: Request,
        sender: who,
        track: str,
        title: str = "",
        threat_model: str = THREAT_MODELS[0],
        code: str = "",
        write_up: str = "",
        tag: Annotated[list[str] | None, Query()] = None,
    ) -> SubmissionAnswer:
        """The body is the zip itself. It is kept when this answers; its score comes in a moment, see the next."""
        about = about_of({"title": title, "threat_model": threat_model, "code": code, "write_up": write_up}, tag or [])
        content = await request.body()
        if not content:
            raise HTTPException(400, "expected a zip file with predictions as the body, got none")
        accepted = await submit_soon(board, track_of(board, track), sender, content, about)
        return _answer(board, accepted)

    @app.get("/api/submissions/{number}", summary="A submission of one's own")
    def one(number: str, sender: who) -> SubmissionAnswer:
        return _answer(board, own(board, sender, number))

    @app.get("/api/submissions", summary="All submissions of one's own")
    def mine(track: str, sender: who) -> list[SubmissionAnswer]:
        season = board.store.season(track_of(board, track))
        return [_answer(board, each) for each in board.store.submissions(season.id, sender.name)]


def _row(standing: Standing) -> Row:
    of = standing.submission
    return Row(
        place=standing.place, participant=of.participant, baseline=of.baseline, submission=of.id, received=of.received,
        mean=of.mean or 0.0, told=of.told, error=dict(standing.errors), about=dict(of.about),
    )  # fmt: skip


def _answer(board: Board, of: Submission) -> SubmissionAnswer:
    track = next(t for t in board.present() if any(s.id == of.season for s in board.store.seasons(t)))
    waits = of.state not in (SCORED, REFUSED)
    return SubmissionAnswer(
        id=of.id, track=track, state=of.state, received=of.received, sha256=of.sha256,
        waiting_before=board.store.waiting_before(of) if waits else 0, problems=list(of.problems), told=of.told,
        mean=of.mean, bits=dict(of.bits), about=dict(of.about),
    )  # fmt: skip
