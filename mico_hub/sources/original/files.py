"""What all places with the competition's files share: small files and large ones, several at once, what goes wrong."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from mico_hub.cache import cache_dir, refuse_pointer
from mico_hub.messages import InputError, counted, listed
from mico_hub.release.format import FORMAT
from mico_hub.sources.original.release import Location

T = TypeVar("T")

SMALL_BYTES = 1 << 16
"""No seed, solution or configuration is larger; a file that is, is refused unread."""
CHECKPOINT_BYTES = 1 << 30
"""No checkpoint is larger (roberta-base takes 500 MB)."""

CONVERSION = 1
"""Of how rows and checkpoints are made of the files; another number, and what is in the cache is made anew."""

CHECKPOINTS_AT_ONCE = 4


class OriginalError(InputError, ValueError):
    """Files that are not the competition's; the message lists all problems."""


worker = threading.local()
"""Of a thread of `side_by_side`: `stop`, an event that is set once nobody waits for it."""


def home() -> Path:
    """The folder in the cache for all that is made of the competition's files."""
    return cache_dir() / f"original-{CONVERSION}.{FORMAT}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing."""

    location: Location
    size: int  # bytes
    sha256: str | None = None  # where the source knows it without reading the file


class Readable(Protocol):
    """Where rows are made from: what of a place that needs."""

    @property
    def where(self) -> str:
        """See `Original`."""

    def origin(self, suite: str) -> str:
        """See `Original`."""

    def listing(self, suite: str) -> list[Entry]:
        """See `Original`."""

    def read(self, locations: Sequence[Location]) -> dict[Location, bytes]:
        """See `Original`."""


def bounded(content: bytes, where: Path | str) -> bytes:
    """A small file's content; a larger one is refused, so read `SMALL_BYTES + 1` at most."""
    refuse_pointer(where, content)
    if len(content) > SMALL_BYTES:
        raise OriginalError(f"{where}: expected at most {SMALL_BYTES:,} bytes, got more")
    return content


def digest(lines: Iterable[str]) -> str:
    """SHA-256 in hexadecimal over lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def side_by_side(
    work: Callable[[Location], T], locations: Sequence[Location], workers: int
) -> Iterator[tuple[Location, T | Exception]]:
    """Each result or failure as it comes; what has not begun when the caller stops asking never begins.

    A failure is an OSError or a ValueError; anything else is a fault of ours, and raised.
    """
    stop = threading.Event()

    def watched(location: Location) -> T:
        worker.stop = stop
        return work(location)

    pool = ThreadPoolExecutor(max_workers=workers)
    futures = {pool.submit(watched, location): location for location in locations}
    try:
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, OSError | ValueError):
                raise error
            yield futures[future], future.result() if error is None else error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def settled(results: Iterable[tuple[Location, T | Exception]]) -> tuple[dict[Location, T], dict[Location, Exception]]:
    """What was done, and what went wrong."""
    done: dict[Location, T] = {}
    failed: dict[Location, Exception] = {}
    for location, result in results:
        if isinstance(result, Exception):
            failed[location] = result
        else:
            done[location] = result
    return done, failed


def raise_problems(where: str, problems: Mapping[Location, Exception], total: int) -> None:
    """Raises what went wrong with some of the files, all of it in one message; nothing where there is nothing.

    Raises:
        OriginalError: A file is not as it should be.
        OSError: Files were not found.
    """
    if not problems:
        return
    kind = next((OriginalError for error in problems.values() if isinstance(error, ValueError)), OSError)
    lines = sorted({str(error) for error in problems.values()})
    raise kind(listed(f"{where}: {len(problems)} of {counted(total, 'file')} failed", lines))


def identity(path: Path) -> str:
    """A digest that changes when the file does, as far as can be known without reading it."""
    state = path.stat()
    return digest([str(path), f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"])
