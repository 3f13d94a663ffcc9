"""The competition's files, wherever they are: an extracted folder, the Hub (`hub.py`), an archive (`archive.py`).

All three are read by the paths of the repository on the Hub (`release.Location.path`).
"""

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mico_hub.cache import cache_dir
from mico_hub.messages import listed
from mico_hub.original.release import CHECKPOINTS, Location, locate
from mico_hub.suites import SPLITS, SUITES

T = TypeVar("T")

SMALL_BYTES = 1 << 16
"""No seed, solution or configuration is larger; a file that is, is refused unread."""
CHECKPOINT_BYTES = 1 << 30
"""No checkpoint is larger (roberta-base takes 500 MB)."""

FORMAT = 1
"""Of what is kept in the cache; another number, and it is made anew."""

CHECKPOINTS_AT_ONCE = 4


class OriginalError(ValueError):
    """Files that are not the competition's; the message lists all problems."""


worker = threading.local()
"""Of a thread of `side_by_side`: `stop`, an event that is set once nobody waits for it."""


def home() -> Path:
    """The folder in the cache for all that is made of the competition's files."""
    return cache_dir() / f"original-{FORMAT}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing."""

    location: Location
    size: int  # bytes
    sha256: str | None = None  # where the source knows it without reading the file


class Files(ABC):
    """One place with files of the competition."""

    @abstractmethod
    def origin(self, suite: str) -> str:
        """What to call it in public: no path of this machine.

        Raises:
            OSError: The place cannot be read.
        """

    @abstractmethod
    def has(self, suite: str) -> bool:
        """Whether it holds files of that suite; a repository is not asked but taken at its name."""

    @abstractmethod
    def listing(self, suite: str) -> list[Entry]:
        """The suite's files, in no particular order; other files are passed over.

        Raises:
            OSError: The place cannot be read.
            OriginalError: It is damaged, or cannot be trusted.
        """

    @abstractmethod
    def fingerprint(self, suite: str) -> str:
        """A file name's worth of text that changes when the suite's small files do.

        Raises:
            OSError: The place cannot be read.
        """

    @abstractmethod
    def key(self, location: Location) -> str:
        """A relative path that changes when the file does, known without reading it.

        Raises:
            OSError: There is no such file, or the place cannot be read.
        """

    @abstractmethod
    def read(self, locations: Sequence[Location]) -> dict[Location, bytes]:
        """The content of small files.

        Raises:
            OSError: One of them is not there, or the place cannot be read; what was read before is not read again.
            OriginalError: One of them is larger than any of the competition's.
        """

    @abstractmethod
    def each(
        self, locations: Sequence[Location], use: Callable[[Location, Path], T]
    ) -> Iterator[tuple[Location, T | Exception]]:
        """Brings large files here and hands each to `use`, several at once where that is quicker.

        The path is good until `use` returns. What goes wrong with one file, here or in `use`, keeps no other from
        being brought.

        Yields:
            The file, and what `use` returned or what went wrong, in any order.
        """


def bounded(content: bytes, where: str) -> bytes:
    """A small file's content, refused if it is none; read `SMALL_BYTES + 1` at most to find out."""
    if len(content) > SMALL_BYTES:
        raise OriginalError(f"{where}: expected at most {SMALL_BYTES:,} bytes, got more")
    return content


class Folder(Files):
    """An extracted archive, or a copy of the repository: `<suite>/` or `<track>/<suite>/` below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[str, Path] = {}  # suite -> its folder, looked for once and not for each of its files

    def __str__(self) -> str:
        return str(self.root)

    def origin(self, suite: str) -> str:
        """By the content of the small files; does not name the folder, whose path is this machine's."""
        small = sorted(
            (entry.location for entry in self.listing(suite) if entry.location.file not in CHECKPOINTS),
            key=lambda location: location.path,
        )
        contents = self.read(small)
        digest = _digest(f"{location.path} {contents[location]!r}" for location in small)
        return f"an extracted folder (sha256 over its small files {digest})"

    def _suite(self, suite: str) -> Path | None:
        for place in (self.root / suite, self.root / SUITES[suite].track / suite):
            if suite not in self._found and any(place.glob("*/model_*/seed_challenge")):
                self._found[suite] = place
        return self._found.get(suite)

    def has(self, suite: str) -> bool:
        """Whether a model of it is there."""
        return self._suite(suite) is not None

    def listing(self, suite: str) -> list[Entry]:
        """From the folders themselves."""
        base = self._suite(suite)
        if base is None:
            raise FileNotFoundError(f"{self.root}: expected {suite}/SPLIT/model_N/seed_challenge, got none")
        entries = []
        for path in (path for split in SPLITS for path in base.glob(f"{split}/model_*/*")):
            location = locate(f"{suite}/{path.relative_to(base).as_posix()}")
            if location is not None and path.is_file():
                entries.append(Entry(location, path.stat().st_size))
        return entries

    def fingerprint(self, suite: str) -> str:
        """Over the paths, sizes and times of its files."""
        return _digest(sorted(self.key(entry.location) for entry in self.listing(suite)))

    def key(self, location: Location) -> str:
        """Over path, size and time of last change."""
        return identity(self._path(location))

    def _path(self, location: Location) -> Path:
        base = self._suite(location.suite)
        if base is None:
            raise FileNotFoundError(f"no folder {location.suite} in {self.root}")
        return base / location.split / f"model_{location.model_id}" / location.file

    def read(self, locations: Sequence[Location]) -> dict[Location, bytes]:
        """Straight from the folder."""
        contents = {}
        for location in locations:
            with self._path(location).open("rb") as file:
                contents[location] = bounded(file.read(SMALL_BYTES + 1), location.path)
        return contents

    def each(
        self, locations: Sequence[Location], use: Callable[[Location, Path], T]
    ) -> Iterator[tuple[Location, T | Exception]]:
        """Straight from the folder."""
        return side_by_side(lambda location: use(location, self._path(location)), locations, CHECKPOINTS_AT_ONCE)


def _digest(lines: Iterable[str]) -> str:
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
        OSError: Files could not be had.
    """
    if not problems:
        return
    kind = next((OriginalError for error in problems.values() if isinstance(error, ValueError)), OSError)
    lines = sorted({str(error) for error in problems.values()})
    raise kind(listed(f"{where}: {len(problems)} of {total} files failed", lines))


def identity(path: Path) -> str:
    """A digest that changes when the file does, as far as can be known without reading it."""
    state = path.stat()
    return _digest([str(path), f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"])
