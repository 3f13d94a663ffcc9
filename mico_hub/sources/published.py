"""A folder in the published layout, and what a repository in that layout shares with it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from mico_hub.cache import refuse_pointer
from mico_hub.release import repository
from mico_hub.release.folder import SIGNALS
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.sources.place import SourceError

AT_ONCE = 8  # checkpoints


class Published(ABC):
    """A place in the published layout, however its files come."""

    @abstractmethod
    def fetch(self, path: str) -> Path:
        """A local path of one of its files.

        Raises:
            ValueError: The path leads outside the place.
            OSError: There is no such file, or no way to it.
        """

    def recognises(self, checkpoint: str) -> bool:
        """Whether that is the path of a safetensors file."""
        return checkpoint.endswith(".safetensors")

    def manifest(self, suite: str) -> Manifest:
        """See `Place`."""
        path = self.fetch(f"{suite}/{repository.MANIFEST}")
        return Manifest.from_json(path.read_bytes(), f"{self}: {suite}/{repository.MANIFEST}")

    def signals(self, suite: str, name: str) -> Path | None:
        """See `Place`."""
        try:
            return self.fetch(f"{suite}/{SIGNALS}/{name}.safetensors")
        except FileNotFoundError:
            return None

    def checkpoint(self, row: Row) -> Path:
        """See `Place`; the SHA-256 of the file is compared."""
        from mico_hub.release.tensors import sha256_of

        path = self.fetch(row["checkpoint"])
        if (digest := sha256_of(path)) != row["sha256"]:
            raise SourceError(f"expected {row['checkpoint']} with sha256 {row['sha256']}, got {digest}")
        return path

    def checkpoints(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Path | Exception]]:
        """See `Place`."""

        def bring(row: Row) -> tuple[Row, Path | Exception]:
            try:
                return row, self.checkpoint(row)
            except (OSError, SourceError) as error:
                return row, error

        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            yield from pool.map(bring, rows)


class PublishedFolder(Published):
    """A folder as build_repo.py makes one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def suites(self) -> list[str]:
        """See `Place`."""
        return [manifest.suite.name for manifest in repository.suites_in(self.root)]

    def has(self, suite: str) -> bool:
        """See `Place`."""
        return repository.has_suite(self.root, suite)

    def at(self, revision: str) -> "PublishedFolder":
        """See `Place`.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"revision {revision!r} was asked for, but {self} is a folder, which has no revisions; name a repository "
            f"on the Hub, org/name@revision, to read one"
        )

    def dataset(self, suite: str) -> dict[str, Any]:
        """See `Place`."""
        for path in repository.parquet_files(self.root, suite):
            refuse_pointer(path)
        return repository.loading(self.root, suite)

    def fetch(self, path: str) -> Path:
        """See `Published`."""
        local = self.root / inside(path, str(self))
        if not local.is_file():
            raise FileNotFoundError(f"no file {local}")
        return local


def inside(path: str, place: str) -> PurePosixPath:
    """A path that a row names, relative to its place.

    Raises:
        ValueError: It leads outside.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise ValueError(f"expected a path inside {place}, got {path!r}")
    return pure
