"""One policy for requests to the Hub: which of them are made again, after how long, and how the others are reported.

The client retries some requests itself, but not all (looking up a commit, committing, an answer that breaks off), and
its waits cannot be interrupted.
"""

import logging
import threading
from collections.abc import Callable
from json import JSONDecodeError
from typing import Any, TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import parse_ratelimit_headers

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between tries, after those of the client itself
LONGEST_PAUSE = 600  # seconds, where the Hub says how long its limit lasts
TEMPORARY = (408, 409, 412, 429)  # statuses below 500: time-out, somebody else's commit (two), too many requests

SILENCE = 60.0  # seconds in which a server has to say something, see `bound_silence`

log = logging.getLogger("mico_hub")

Result = TypeVar("Result")


class RequestError(OSError):
    """A request to the Hub failed for good; the message says which, why, and what to do."""


def bound_silence() -> None:
    """Has the client of this process give up on a Hub that says nothing; by default it waits without end."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def client() -> Any:  # the class is of a library that the client may change
        made = default_client_factory()
        made.timeout = SILENCE
        return made

    set_client_factory(client)


def retry(
    request: Callable[[], Result], doing: str, retries: int | None = None, stop: threading.Event | None = None
) -> Result:
    """Makes a request, again after longer and longer pauses while it fails for reasons that may pass.

    Args:
        request: It can be made again although it may have been done and its answer lost.
        doing: What for, or the file; the messages begin with it.
        retries: At most; None: one after each of `PAUSES`.
        stop: Set by another thread, it ends the wait.

    Raises:
        RequestError: It failed for good.
        OSError: Of this machine: a file cannot be read or written, there is no token.
    """
    for pause in (*PAUSES[:retries], None):
        try:
            return request()
        except RequestError:  # of a request within this one
            raise
        except (HTTPError, OSError, RuntimeError, JSONDecodeError) as error:
            # Where it uploads a file the client wraps what failed.
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            if _is_local(cause):
                raise
            status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 500
            if pause is None or constants.HF_HUB_OFFLINE or (status < 500 and status not in TEMPORARY):
                raise RequestError(f"{doing}: {_reason(cause, status)}") from error
            limit = parse_ratelimit_headers(cause.response.headers) if isinstance(cause, HfHubHTTPError) else None
            wait = min(limit.reset_in_seconds, LONGEST_PAUSE) + 1.0 if status == 429 and limit else pause
            log.warning("%s: %s; trying again in %g s", doing, _reason(cause, status), wait)
            if (stop or threading.Event()).wait(wait):
                raise RequestError(f"{doing}: given up") from error
    raise AssertionError("the last try returns or raises")


def _is_local(error: BaseException) -> bool:
    """Whether the Hub has nothing to do with it: the network's errors have no number, or are of two kinds."""
    if isinstance(error, ConnectionError | TimeoutError) or not isinstance(error, OSError):
        return False
    return error.errno is not None or isinstance(error, LocalTokenNotFoundError)


def _reason(error: BaseException, status: int) -> str:
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    brief = f"{type(error).__name__}: {first}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository, or the token may not see it ({brief})"
    if status in (401, 403):
        return f"the token was refused ({brief}); one that may do this must be in HF_TOKEN or come from `hf auth login`"
    return brief
