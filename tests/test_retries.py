"""Requests that are made again, and those that are not."""

import errno
import threading
import time

import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import get_session

from mico_hub.sources import retries
from mico_hub.sources.retries import RequestError, retry


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0.001, 0.001, 0.001))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def answered(status: int, **headers: str) -> HfHubHTTPError:
    """The client's error for an answer."""
    request = get_session().build_request("GET", "http://localhost/")
    response = type("Response", (), {"status_code": status, "headers": headers, "request": request})()
    return HfHubHTTPError(f"{status} message\nmore", response=response)


def made(error: BaseException, retries: int | None = None) -> int:
    """How often a request is made that always fails."""
    count = 0

    def request() -> None:
        nonlocal count
        count += 1
        raise error

    with pytest.raises((RequestError, type(error))):
        retry(request, "asking", retries)
    return count


def test_what_may_pass_is_tried_again() -> None:
    wrapped = RuntimeError("while uploading")
    wrapped.__cause__ = answered(503)
    for error in (
        answered(503),
        answered(429),
        answered(412),
        ConnectionError(),
        FileNotFoundError("offline"),
        wrapped,
    ):
        assert made(error) == 4
    assert made(answered(503), retries=1) == 2


def test_what_is_final_is_not() -> None:
    wrapped = RuntimeError("while uploading")
    wrapped.__cause__ = OSError(errno.ENOENT, "no such file")
    for error in (
        answered(404),
        answered(401),
        PermissionError(errno.EACCES, "no"),
        LocalTokenNotFoundError(),
        wrapped,
    ):
        assert made(error) == 1
    with pytest.raises(RequestError, match=r"^asking: HfHubHTTPError: 404 message$"):
        retry(lambda: (_ for _ in ()).throw(answered(404)), "asking")
    with pytest.raises(RequestError, match=r"the token was refused .*HF_TOKEN"):
        retry(lambda: (_ for _ in ()).throw(answered(403)), "asking")


def test_a_limit_of_the_hub_is_kept_and_a_wait_can_be_ended() -> None:
    stop = threading.Event()
    begun = time.monotonic()
    threading.Timer(0.2, stop.set).start()
    limited = answered(429, ratelimit='"api";r=0;t=55')
    with pytest.raises(RequestError, match="asking: given up"):
        retry(lambda: (_ for _ in ()).throw(limited), "asking", stop=stop)
    assert 0.15 < time.monotonic() - begun < 10
