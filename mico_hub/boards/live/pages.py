"""The pages of a live board, made on the server: they work without scripts."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from mico_hub.boards.live.asked import TAGS, THREAT_MODELS, about_of, own, same_form, submit_soon, track_of
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.store import KeptStore, Participant
from mico_hub.scoring import RANKING

COOKIE = "session"
_REPORT_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_STATIC = {  # name -> package that has it in its templates, and type
    "board.css": ("mico_hub.boards.live", "text/css; charset=utf-8"),
    "icon.svg": ("mico_hub.boards.live", "image/svg+xml"),
    "report.js": ("mico_hub.reporting", "text/javascript; charset=utf-8"),
}
_PAGES: dict[str, Any] = {"include_in_schema": False, "response_class": HTMLResponse}

_ENVIRONMENT = Environment(
    loader=PackageLoader("mico_hub.boards.live"),
    undefined=StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["percent"] = lambda share: f"{100 * share:.2f}%"


def visitor_of(request: Request, board: Board) -> tuple[Participant, str] | None:
    """Who is logged in, with the token of their forms."""
    secret = request.cookies.get(COOKIE)
    return board.store.session(secret) if secret else None


def page(board: Board, name: str, visitor: tuple[Participant, str] | None, status: int = 200, **more: Any) -> Response:
    """A page from its template."""
    text = _ENVIRONMENT.get_template(name).render(
        rules=board.rules,
        tracks=board.present(),
        participant=visitor[0] if visitor else None,
        csrf=visitor[1] if visitor else "",
        version=version("mico-hub"),
        ranking=RANKING,
        status=status,
        **more,
    )
    return HTMLResponse(text, status)


def _where(request: Request) -> dict[str, Any]:
    """The board's address, and whether another site shows it in a frame."""
    framed = request.headers.get("sec-fetch-dest") == "iframe"
    return {"host": str(request.base_url).rstrip("/"), "framed": framed}


@asynccontextmanager
async def _form(request: Request, max_files: int = 0) -> AsyncIterator[FormData]:
    """A request's form. HTTPException 400 where it is none that can be read."""
    try:
        form = await request.form(max_files=max_files, max_fields=20)
    except (UnicodeError, LookupError) as error:
        raise HTTPException(400, "expected a form in UTF-8") from error
    try:
        yield form
    finally:
        await form.close()


def add_pages(app: FastAPI, board: Board) -> None:
    """Adds what everybody may see."""
    store, pages = board.store, _PAGES

    def shown(request: Request, track: str, threat: str | None) -> Response:
        on = board.on(track_of(board, track))
        threat = threat if threat in THREAT_MODELS else None
        return page(
            board, "board.html", visitor_of(request, board), track=track, suites=[*on.suites.values()],
            **_where(request),
            standings=board.standings(track, threat), threat=threat, threats=THREAT_MODELS,
            models=len(next(iter(on.wanted.values())).models["dev"]), max_spent=max(board.spent(track).values()),
            dev=store.phase(on.season.id, "dev"), final=store.phase(on.season.id, "final"),
            season=on.season.id, reports=[
                (each, split, names) for each in store.seasons(track)[::-1] for split in ("final", "dev")
                if (names := store.reports(each.id, split))
            ],
        )  # fmt: skip

    @app.get("/", **pages)
    def first(request: Request, threat: str | None = None) -> Response:
        present = board.present()
        if not present:
            raise HTTPException(404, "there is no board here yet")
        return shown(request, present[0], threat)

    @app.get("/boards/{track}", **pages)
    def of_track(request: Request, track: str, threat: str | None = None) -> Response:
        return shown(request, track, threat)

    @app.get("/boards/{track}/{season}/{split}/{name}", **pages)
    def report(track: str, season: int, split: str, name: str) -> Response:
        known = {each.id for each in store.seasons(track_of(board, track))}
        found = store.report(season, split, name) if season in known else None
        if found is None:
            raise HTTPException(404, f"there is no {name!r:.60} of {split!r:.20}; it comes when the phase is over")
        kind, content = found
        headers = {}
        if kind.startswith("text/html"):  # a page of its own, with its own policy
            policy = _REPORT_POLICY.search(content[:5000].decode(errors="replace"))
            headers["Content-Security-Policy"] = (
                policy[1] if policy else "default-src 'none'"
            ) + "; sandbox allow-scripts"
        else:
            headers["Content-Disposition"] = f'attachment; filename="{track}-{season}-{split}-{name}"'
        return Response(content, media_type=kind, headers=headers)

    @app.get("/rules", **pages)
    def rules(request: Request) -> Response:
        suites = {track: [*board.on(track).suites.values()] for track in board.present()}
        spent = {track: board.spent(track) for track in board.present()}
        given = {track: board.given(track) for track in board.present()}
        return page(board, "rules.html", visitor_of(request, board), suites=suites, spent=spent, given=given)

    @app.get("/api", **pages)
    def api(request: Request) -> Response:
        return page(board, "api.html", visitor_of(request, board), schema=app.openapi(), host=str(request.base_url))

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404, "no such file")
        package, kind = _STATIC[name]
        content = (files(package) / "templates" / name).read_bytes()
        return Response(content, media_type=kind, headers={"Cache-Control": "max-age=300"})


def add_taking_part(app: FastAPI, board: Board) -> None:
    """Adds what participants do: log in, submit, look at what became of it."""
    store, pages = board.store, _PAGES

    @app.get("/submit", **pages)
    def submit(request: Request, track: str | None = None) -> Response:
        visitor = visitor_of(request, board)
        left = {}
        if visitor:
            left = {each: store.left(board.rules, store.season(each), visitor[0]) for each in board.present()}
        return page(
            board, "submit.html", visitor, chosen=track, left=left, threats=THREAT_MODELS, tags=TAGS, wrong="",
            kept=isinstance(store, KeptStore), **_where(request),
        )  # fmt: skip

    @app.post("/submit", **pages)
    async def submitted(request: Request) -> Response:
        visitor = await run_in_threadpool(visitor_of, request, board)
        async with _form(request, max_files=1) as form:
            if visitor is None:
                raise HTTPException(401, "log in first: your session is over")
            same_form(visitor[1], form.get("csrf"))
            file = form.get("file")
            content = await file.read() if isinstance(file, UploadFile) else b""
            about = about_of(
                {name: str(form.get(name) or "") for name in ("title", "threat_model", "code", "write_up")},
                [str(tag) for tag in form.getlist("tag")],
            )
            track = str(form.get("track"))
        if not content:
            raise HTTPException(400, "expected a zip file with predictions, got none")
        accepted = await submit_soon(board, track_of(board, track), visitor[0], content, about)
        return RedirectResponse(f"/submissions/{accepted.id}", 303)

    @app.get("/submissions", **pages)
    def history(request: Request) -> Response:
        visitor = visitor_of(request, board)
        if visitor is None:
            return RedirectResponse("/submit", 303)
        mine = {track: store.submissions(store.season(track).id, visitor[0].name)[::-1] for track in board.present()}
        given = {track: board.given(track, visitor[0].name) for track in board.present()}
        return page(board, "history.html", visitor, mine=mine, given=given)

    @app.get("/submissions/{number}", **pages)
    def one(request: Request, number: str) -> Response:
        visitor = visitor_of(request, board)
        found = own(board, None if visitor is None else visitor[0], number)
        before = store.waiting_before(found) if found.state in ("waiting", "scoring") else 0
        return page(board, "submission.html", visitor, submission=found, before=before)

    @app.post("/login", **pages)
    async def login(request: Request) -> Response:
        async with _form(request) as form:
            token = str(form.get("token") or "").strip()
        participant = await run_in_threadpool(store.participant_of, token)
        if participant is None:
            return page(
                board, "submit.html", None, 401, chosen=None, left={}, threats=THREAT_MODELS, tags=TAGS, kept=False,
                wrong="Nobody has this token. Tokens come from the board's maintainers, and can be revoked.",
            )  # fmt: skip
        secret, _ = await run_in_threadpool(store.begin_session, participant)
        answer = RedirectResponse("/submit", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, secret, max_age=30 * 86_400, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.post("/logout", **pages)
    async def logout(request: Request) -> Response:
        visitor = await run_in_threadpool(visitor_of, request, board)
        async with _form(request) as form:
            if visitor is not None:
                same_form(visitor[1], form.get("csrf"))
                await run_in_threadpool(store.end_session, request.cookies[COOKIE])
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE)
        return answer
