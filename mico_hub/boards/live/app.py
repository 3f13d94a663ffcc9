"""A live board as an ASGI application.

Every answer has a strict content security policy; forms have a token of their session, and forms from elsewhere are
refused by their Origin, too.
"""

import logging
import sqlite3
from importlib.metadata import version

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from mico_hub.boards.live.api import add_api
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.guard import Guard
from mico_hub.boards.live.pages import add_pages, add_taking_part, page, visitor_of
from mico_hub.boards.live.store import RefusedError
from mico_hub.cache import DiskError
from mico_hub.sources.retries import RequestError

logger = logging.getLogger("mico_hub.board")

FORM_BYTES = 100_000
"""Of a form beside the file in it."""


def application(board: Board, frames: str | None = None) -> ASGIApp:
    """The application of a board.

    Args:
        board: The board.
        frames: The one site that may show it in a frame, see `Guard`.
    """
    app = FastAPI(
        title=board.rules.title,
        version=version("mico-hub"),
        description="Predictions for models of which the training set is hidden are scored here.",
        docs_url=None,
        redoc_url=None,
    )
    add_pages(app, board)
    add_taking_part(app, board)
    add_api(app, board)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": error.detail}, error.status_code)
        visitor = await run_in_threadpool(visitor_of, request, board)
        return page(board, "error.html", visitor, error.status_code, detail=error.detail)

    @app.exception_handler(RefusedError)
    async def limited(request: Request, error: RefusedError) -> Response:
        return await refused(request, HTTPException(error.status, str(error)))

    @app.exception_handler(DiskError)
    async def full(request: Request, _: DiskError) -> Response:
        return await refused(request, HTTPException(507, "the board's disk is full; nothing was kept, try again later"))

    @app.exception_handler(RequestError)
    async def not_kept(request: Request, error: RequestError) -> Response:
        logger.warning("%s", error)
        said = "the board's repository was not reached; look at your submissions, and where it is not there, try again"
        return await refused(request, HTTPException(503, said))

    @app.exception_handler(sqlite3.OperationalError)
    async def busy(_: Request, error: sqlite3.OperationalError) -> Response:
        logger.warning("%s", error)
        return JSONResponse({"detail": "the board is busy; nothing was kept, try again in a minute"}, 503)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # to nobody

    return Guard(app, board.rules.most_bytes + FORM_BYTES, frames)
