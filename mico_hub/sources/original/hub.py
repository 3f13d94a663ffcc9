"""The competition's repositories on the Hub: one commit, few requests, tried again when they fail in passing."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from filelock import FileLock
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from mico_hub.cache import atomic_write, writable
from mico_hub.progress import Bar
from mico_hub.sources.original.base import Original
from mico_hub.sources.original.files import (
    CHECKPOINTS_AT_ONCE,
    Entry,
    bounded,
    home,
    raise_problems,
    settled,
    side_by_side,
    worker,
)
from mico_hub.sources.original.release import RELEASES, Location, locate
from mico_hub.sources.retries import retry
from mico_hub.suites import SUITES

T = TypeVar("T")

AT_ONCE = 16  # small files fetched side by side
RETRIES_OF_CHECKPOINTS = 2  # the client itself makes each request several times
RETRIES_TO_REACH = 2  # of the first request of all: without a network nobody should wait long to hear so


class Hub(Original):
    """One of the competition's repositories, at one commit.

    The repository's `main` is looked up once and its commit kept in the cache, so that rows and checkpoints belong
    together whatever happens to the repository. Another revision is taken by naming it.
    """

    def __init__(self, repository: str, revision: str | None = None) -> None:
        self.repository = repository
        self.revision = revision  # None: the commit that `main` was when it was first looked up
        self._commit: str | None = None

    @property
    def where(self) -> str:
        """See `Original`."""
        return self.repository + (f"@{self.revision}" if self.revision else "") + " on the Hub"

    def at(self, revision: str) -> "Hub":
        """See `Place`."""
        return Hub(self.repository, revision)

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
        with writable(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_name(f".{kept.name}.lock")):  # or two could see main at two commits
            if kept.is_file() and (self.revision is None or constants.HF_HUB_OFFLINE):
                return kept.read_text().strip()
            found = retry(
                lambda: HfApi().dataset_info(self.repository, revision=self.revision, expand=["sha"]),
                self.where,
                RETRIES_TO_REACH,
            )
            atomic_write(kept, f"{found.sha}\n".encode())
            return str(found.sha)

    def holds(self, suite: str) -> bool:
        """Whether the suite is of the repository's track; the repository is not asked."""
        return RELEASES[SUITES[suite].track].repository == self.repository

    def listing(self, suite: str) -> list[Entry]:
        """From the Hub, that suite's folder alone."""
        folder, commit = RELEASES[SUITES[suite].track].folder + suite, self.commit
        found = retry(
            lambda: list(
                HfApi().list_repo_tree(self.repository, folder, recursive=True, revision=commit, repo_type="dataset")
            ),
            f"{self.where}: {folder}",
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
        results = side_by_side(self._read, wanted, AT_ONCE)
        bar = Bar(results, desc=f"{self.repository}: small files", total=len(wanted), unit="file", delay=1)
        contents, problems = settled(bar)
        raise_problems(f"{self.where}", problems, len(wanted))
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

        content = retry(get, location.path, stop=worker.stop)
        atomic_write(kept, content)
        return content

    def each(
        self, locations: Sequence[Location], use: Callable[[Location, Path], T]
    ) -> Iterator[tuple[Location, T | Exception]]:
        """Downloads, resumes what was interrupted, and removes each file when it has been used."""
        folder = self._folder / self.commit

        def bring(location: Location) -> T:
            path = folder / location.path
            with writable(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            with (
                writable(path),
                FileLock(path.with_name(f"{path.name}.lock")),
            ):  # or another process could remove it under our hands
                retry(
                    lambda: hf_hub_download(
                        self.repository, location.path, repo_type="dataset", revision=folder.name, local_dir=folder
                    ),
                    location.path,
                    RETRIES_OF_CHECKPOINTS,
                    worker.stop,
                )
                try:
                    return use(location, path)
                finally:
                    path.unlink(missing_ok=True)

        return side_by_side(bring, locations, CHECKPOINTS_AT_ONCE)
