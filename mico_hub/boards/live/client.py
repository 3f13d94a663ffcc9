"""Submits predictions to a live board over its HTTP API, with the standard library alone."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mico_hub.messages import InputError
from mico_hub.progress import Bar

TOKEN = "MICO_HUB_TOKEN"  # noqa: S105  # the name of a variable
SECONDS = 60
POLL_SECONDS = 1.0
_CHUNK = 1 << 16


class BoardRefusalError(InputError):
    """What a board answered instead of a score."""


class BoardUnreachableError(InputError):
    """A board that does not answer."""

    transient = True


def submit(
    board: str,
    token: str,
    file: Path,
    track: str,
    *,
    title: str = "",
    threat_model: str = "black-box",
    code: str = "",
    write_up: str = "",
    tags: Sequence[str] = (),
) -> dict[str, Any]:
    """Sends a zip; gives the board's answer, which is that it is kept.

    Args:
        board: The board's address, such as https://board.example.org.
        token: The participant's.
        file: A zip with all suites of the track.
        track: The track.
        title: Of the attack; the rest is said of it on the board.
        threat_model: black-box or white-box.
        code: Link to its code.
        write_up: Link to a write-up.
        tags: Words of the board's.

    Raises:
        BoardRefusalError: The board refused it, and why.
        BoardUnreachableError: Nothing answered.
        OSError: The file cannot be read.
    """
    asked = [("track", track), ("title", title), ("threat_model", threat_model), ("code", code), ("write_up", write_up)]
    asked += [("tag", tag) for tag in tags]
    content = file.read_bytes()
    bar = Bar(desc=file.name, total=len(content), unit="B", unit_scale=True)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(content), _CHUNK):
            yield content[start : start + _CHUNK]
            bar.update(len(content[start : start + _CHUNK]))

    with bar:
        headers = {"Content-Type": "application/zip", "Content-Length": str(len(content))}
        return _call(board, f"/api/submissions?{urllib.parse.urlencode(asked)}", token, chunks(), headers)


def wait(board: str, token: str, number: str, seconds: float = 600) -> dict[str, Any]:
    """A submission once it has been scored or refused.

    Raises:
        BoardRefusalError: The board does not show it to this token.
        BoardUnreachableError: Nothing answered, or it took longer.
    """
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = _call(board, f"/api/submissions/{urllib.parse.quote(number)}", token)
        if found["state"] in ("scored", "refused"):
            return found
        time.sleep(POLL_SECONDS)
    raise BoardUnreachableError(f"{board}: submission {number} is kept, but was not scored within {seconds:.0f} s")


def _call(board: str, path: str, token: str, data: Any = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    address = urllib.parse.urlsplit(board)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise BoardRefusalError(f"expected a board's address, http(s)://HOST, got {board!r}")
    if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise BoardRefusalError(f"{board}: a token is not sent without encryption; use https://")
    request = urllib.request.Request(  # noqa: S310  # of a scheme that was looked at
        board.rstrip("/") + path, data, {"Authorization": f"Bearer {token}", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            found: dict[str, Any] = json.loads(answer.read(10_000_000))
    except urllib.error.HTTPError as error:
        raise BoardRefusalError(f"{board}: {_detail(error)} ({error.code})") from None
    except (OSError, ValueError) as error:
        raise BoardUnreachableError(f"{board}: no answer of a board: {error}") from error
    return found


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read(100_000))["detail"]
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason
    if isinstance(said, list):  # of fields
        return "; ".join(f"{'.'.join(map(str, each.get('loc', [])))}: {each.get('msg', '')}" for each in said)
    return str(said)
