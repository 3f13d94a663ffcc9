"""What holds for every request and answer: size, time, origin, headers."""

import asyncio
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD_SECONDS = 60
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors {frames}",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def _from_here(origin: str | None, host: str | None) -> bool:
    try:
        return origin is None or urlsplit(origin).netloc == host
    except ValueError:
        return False


class Guard:
    """Bounds a request's size and time, refuses forms from elsewhere, and sets headers on every answer."""

    def __init__(self, app: ASGIApp, most_bytes: int, frames: str | None = None) -> None:
        """Guards an application.

        Args:
            app: The application.
            most_bytes: Of a request.
            frames: The one site that may show its pages in a frame; None: none may. A session's cookie is not sent
                from there, so nothing can be done in such a frame.
        """
        self._app, self._most = app, most_bytes
        told = {name: value.format(frames=frames or "'none'") for name, value in _HEADERS.items()}
        self._headers = [(name.encode(), value.encode()) for name, value in told.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                more = [header for header in self._headers if header[0] not in there]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        refusal = self._refusal(scope["method"], given)
        if refusal is not None:
            await refusal(scope, receive, guarded)
        else:
            await self._app(scope, self._bounded(receive), guarded)

    def _refusal(self, method: str, given: dict[str, str]) -> JSONResponse | None:
        if method == "POST" and not _from_here(given.get("origin"), given.get("host")):
            return JSONResponse({"detail": "this form is from another site"}, 403)
        length = given.get("content-length", "0")
        if length.isdecimal() and int(length) > self._most:
            return JSONResponse({"detail": self._too_large()}, 413, {"connection": "close"})
        return None

    def _too_large(self) -> str:
        return f"expected at most {self._most / 1e6:.1f} MB"

    def _bounded(self, receive: Receive) -> Receive:
        """Gives no more than a request may have, in the time that it may take."""
        got, whole = 0, False
        ends = asyncio.get_running_loop().time() + UPLOAD_SECONDS

        async def bounded() -> Message:
            nonlocal got, whole
            if whole:  # now it waits for the other side to hang up
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), ends - asyncio.get_running_loop().time())
            except TimeoutError:
                raise HTTPException(408, f"the request took more than {UPLOAD_SECONDS} seconds") from None
            got += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if got > self._most:
                raise HTTPException(413, self._too_large())
            return message

        return bounded
