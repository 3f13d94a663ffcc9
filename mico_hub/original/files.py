"""The competition's files, wherever they are: a repository on the Hub, an extracted folder, an archive (`archive.py`).

All three are read by the paths of the repository on the Hub (`release.Location.path`).
"""

import hashlib
import logging
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from filelock import FileLock
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, parse_ratelimit_headers
from tqdm import tqdm

from mico_hub.cache import atomic_write, cache_dir
from mico_hub.messages import listed
from mico_hub.original.release import CHECKPOINTS, RELEASES, Location, locate
from mico_hub.suites import SPLITS, SUITES

T = TypeVar("T")

SMALL_BYTES = 1 << 16
"""No seed, solution or configuration is larger; a file that is, is refused unread."""
CHECKPOINT_BYTES = 1 << 30
"""No checkpoint is larger (roberta-base takes 500 MB)."""

FORMAT = 1
"""Of what is kept in the cache; another number, and it is made anew."""

AT_ONCE = 16  # small files fetched side by side
CHECKPOINTS_AT_ONCE = 4
ATTEMPTS = 6  # at a request that fails; half a second to wait after the first, twice as long after each further one
ATTEMPTS_AT_CHECKPOINTS = 3  # the client itself tries each several times
FIRST_WAIT = 0.5
LONGEST_WAIT = 600
ATTEMPTS_TO_REACH = 3  # at the first request of all: without a network nobody should wait long to hear so

logger = logging.getLogger("mico_hub")


class OriginalError(ValueError):
    """Files that are not the competition's; the message lists all problems."""


class StoppedError(OSError):
    """A request that is not made again, since nobody waits for it any more."""


_worker = threading.local()
"""Of a thread of `_side_by_side`: `stop`, an event that is set once nobody waits for it."""


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
        places = (self.root / suite, self.root / SUITES[suite].track / suite)
        return next((place for place in places if any(place.glob("*/model_*/seed_challenge"))), None)

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
        path = self._path(location)
        state = path.stat()
        return _digest([str(path), identity(state)])

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
        return _side_by_side(lambda location: use(location, self._path(location)), locations, CHECKPOINTS_AT_ONCE)


class Hub(Files):
    """One of the competition's repositories, at one commit.

    The repository's `main` is looked up once and its commit kept in the cache, so that rows and checkpoints belong
    together whatever happens to the repository. Another revision is taken by naming it.
    """

    def __init__(self, repository: str, revision: str | None = None) -> None:
        self.repository = repository
        self.revision = revision  # None: the commit that `main` was when it was first looked up
        self._commit: str | None = None

    def __str__(self) -> str:
        return self.repository + (f"@{self.revision}" if self.revision else "") + " on the Hub"

    def origin(self, suite: str) -> str:
        """Repository and commit."""
        return f"{self.repository}@{self.commit}"

    @property
    def _folder(self) -> Path:
        return home() / self.repository.replace("/", "--")

    @property
    def commit(self) -> str:
        """The commit that files are read at.

        Raises:
            OSError: It is not known yet and the Hub cannot be asked, or the repository or revision does not exist.
        """
        if self._commit is None:
            self._commit = self._find_commit()
        return self._commit

    def _find_commit(self) -> str:
        """A revision that is named is looked up again, but for one without network: then what it was the last time."""
        if self.revision and re.fullmatch("[0-9a-f]{40}", self.revision):
            return self.revision
        kept = self._folder / (f"revision-{quote(self.revision, safe='')}" if self.revision else "main")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_name(f".{kept.name}.lock")):  # or two could see main at two commits
            if kept.is_file() and (self.revision is None or constants.HF_HUB_OFFLINE):
                return kept.read_text().strip()
            found = _persistently(
                f"{self}",
                lambda: HfApi().dataset_info(self.repository, revision=self.revision, expand=["sha"]),
                ATTEMPTS_TO_REACH,
            )
            atomic_write(kept, f"{found.sha}\n".encode())
            return str(found.sha)

    def has(self, suite: str) -> bool:
        """Whether the suite is of the repository's track; the repository is not asked."""
        return RELEASES[SUITES[suite].track].repository == self.repository

    def listing(self, suite: str) -> list[Entry]:
        """From the Hub, that suite's folder alone."""
        folder, commit = RELEASES[SUITES[suite].track].folder + suite, self.commit
        found = _persistently(
            f"{self}: {folder}",
            lambda: list(
                HfApi().list_repo_tree(self.repository, folder, recursive=True, revision=commit, repo_type="dataset")
            ),
        )
        entries = []
        for file in found:
            location = locate(file.path)
            if isinstance(file, RepoFile) and location is not None and location.suite == suite:
                entries.append(Entry(location, file.size, file.lfs.sha256 if file.lfs else None))
        return entries

    def fingerprint(self, suite: str) -> str:
        """The commit."""
        return f"{self._folder.name}@{self.commit}"

    def key(self, location: Location) -> str:
        """The commit and the path."""
        return f"{self._folder.name}@{self.commit}/{location.path}"

    def read(self, locations: Sequence[Location]) -> dict[Location, bytes]:
        """One request a file; a file is kept in the cache as soon as it is here."""
        wanted = list(locations)
        results = _side_by_side(self._read, wanted, AT_ONCE)
        bar = tqdm(results, desc=f"{self.repository}: small files", total=len(wanted), unit="file", delay=1)
        contents, problems = _settled(bar)
        raise_problems(f"{self}", problems, len(wanted))
        return contents

    def _read(self, location: Location) -> bytes:
        kept = self._folder / self.commit / location.path
        if kept.is_file():
            return kept.read_bytes()
        url = hf_hub_url(self.repository, location.path, repo_type="dataset", revision=self.commit)

        def get() -> bytes:
            headers, timeout = build_hf_headers(), constants.HF_HUB_DOWNLOAD_TIMEOUT
            with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
                hf_raise_for_status(response)
                content = b""
                for part in response.iter_bytes():
                    content = bounded(content + part, location.path)
                return content

        content = _persistently(location.path, get)
        atomic_write(kept, content)
        return content

    def each(
        self, locations: Sequence[Location], use: Callable[[Location, Path], T]
    ) -> Iterator[tuple[Location, T | Exception]]:
        """Downloads, goes on with what was interrupted, and removes each file when it has been used."""
        folder = self._folder / self.commit

        def bring(location: Location) -> T:
            path = folder / location.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f"{path.name}.lock")):  # or another process could remove it under our hands
                _persistently(
                    location.path,
                    lambda: hf_hub_download(
                        self.repository, location.path, repo_type="dataset", revision=folder.name, local_dir=folder
                    ),
                    ATTEMPTS_AT_CHECKPOINTS,
                )
                try:
                    return use(location, path)
                finally:
                    path.unlink(missing_ok=True)

        return _side_by_side(bring, locations, CHECKPOINTS_AT_ONCE)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _side_by_side(
    work: Callable[[Location], T], locations: Sequence[Location], workers: int
) -> Iterator[tuple[Location, T | Exception]]:
    """Each result or failure as it comes; what has not begun when the caller stops asking never begins.

    A failure is an OSError or a ValueError; anything else is a fault of ours, and raised.
    """
    stop = threading.Event()

    def watched(location: Location) -> T:
        _worker.stop = stop
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


def _settled(results: Iterable[tuple[Location, T | Exception]]) -> tuple[dict[Location, T], dict[Location, Exception]]:
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


def _persistently(what: str, call: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """Makes a request again when it fails in passing, with longer and longer waits.

    Raises:
        OSError: It failed for good; the message says what and why.
        OriginalError: The answer is not what it should be.
    """
    for attempt in range(attempts):
        try:
            return call()
        except (OriginalError, *_OUR_FAULTS):
            raise
        except Exception as error:  # the client's errors are of several libraries and change with its versions
            if constants.HF_HUB_OFFLINE or attempt == attempts - 1 or _is_final(error):
                reason = str(error).strip().splitlines()
                raise OSError(f"{what}: {type(error).__name__}: {reason[0] if reason else ''}") from error
            stop: threading.Event = getattr(_worker, "stop", None) or threading.Event()
            if stop.wait(_wait(error, attempt)):
                raise StoppedError(f"{what}: given up") from error
    raise AssertionError("unreachable")


_OUR_FAULTS = (AssertionError, AttributeError, LookupError, MemoryError, NameError, TypeError)


def identity(state: os.stat_result) -> str:
    """What changes when a file does, as far as can be known without reading it."""
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None


def _is_final(error: Exception) -> bool:
    """Whether a request that failed so will fail again: what was asked for is not there, or not for this user."""
    status = _status(error)
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def _wait(error: Exception, attempt: int) -> float:
    """Seconds until the next attempt: as long as the Hub says where it limits the rate of requests."""
    if isinstance(error, HfHubHTTPError) and _status(error) == 429:
        limit = parse_ratelimit_headers(error.response.headers)
        if limit is not None:
            logger.warning("the Hub limits the rate of requests: going on in %d s", limit.reset_in_seconds)
            return min(limit.reset_in_seconds, LONGEST_WAIT) + 1.0
    return FIRST_WAIT * 2.0**attempt
