"""What all places with the competition's own models have in common, as places that suites are read from."""

import hashlib
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from huggingface_hub import constants

from mico_hub.cache import refuse_pointer, writable
from mico_hub.release import repository
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.sources.original.files import Entry, OriginalError, T, digest, home
from mico_hub.sources.original.release import (
    CHECKPOINTS,
    CONFIGURATION,
    SUITE_NAMES,
    Location,
    locate,
    original_suite,
)
from mico_hub.sources.original.rows import make_rows
from mico_hub.suites import NAME, SPLITS, SUITES, get_suite

logger = logging.getLogger("mico_hub")


class Original(ABC):
    """The competition's files as a source of suites: rows from seeds, weights converted when they are asked for.

    All kinds of places are read by the paths of the repository on the Hub (`release.Location.path`).
    """

    @property
    @abstractmethod
    def where(self) -> str:
        """What to call it in messages: a path, or a repository."""

    @abstractmethod
    def origin(self, suite: str) -> str:
        """What to call it in public: no path of this machine.

        Raises:
            OSError: The place cannot be read.
        """

    @abstractmethod
    def holds(self, suite: str) -> bool:
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

    def __str__(self) -> str:
        return f"the competition's files in {self.where}"

    def suites(self) -> list[str]:
        """The suites it has, in the table's order."""
        return [name for name in SUITE_NAMES if self.holds(name)]

    def has(self, suite: str) -> bool:
        """Whether it has the suite."""
        return suite in SUITE_NAMES and self.holds(suite)

    def recognises(self, checkpoint: str) -> bool:
        """Whether that is the path of a checkpoint of the competition."""
        location = locate(checkpoint)
        return location is not None and location.file in CHECKPOINTS

    def dataset(self, suite: str) -> dict[str, Any]:
        """See `Place`; the folder that it leads to is made in the cache by the first call.

        Raises:
            UnknownSuiteError: There is no such suite.
            OSError: The files was not found.
            OriginalError: They are not the competition's.
        """
        if get_suite(suite).name not in SUITE_NAMES:
            raise OriginalError(f"{suite} is not one of the competition's suites: {', '.join(SUITE_NAMES)}")
        return repository.loading(self._rows(suite), suite)

    def at(self, revision: str) -> "Original":
        """See `Place`; only the Hub has revisions."""
        raise ValueError(f"revision {revision!r} was asked for, but {self} have none")

    def loadable(self, suite: str) -> bool:
        """Whether the suite's rows can be had as things are: they are in the cache, or the Hub may be asked."""
        if not constants.HF_HUB_OFFLINE:
            return True
        try:
            return self._root(suite).exists()
        except OSError:  # no commit is known
            return False

    def _root(self, suite: str) -> Path:
        recipe = digest([f"{original_suite(suite)}"])[:12]
        return home() / "rows" / self.fingerprint(suite) / f"{suite}-{recipe}" / NAME

    def _rows(self, suite: str) -> Path:
        """The published folder with the suite's rows, made whole or not at all."""
        root = self._root(suite)
        if not root.exists():
            with writable(root.parent):
                root.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(root.with_name(".lock")):
                if not root.exists():
                    partial = root.with_name("partial")
                    self._make_rows(suite, partial)
                    partial.rename(root)
        return root

    def _make_rows(self, suite: str, folder: Path) -> None:
        manifest, rows = make_rows(self, suite)
        if manifest.missing:
            logger.warning(
                "%s: %d of %d models are in %s", suite, manifest.num_models, sum(manifest.suite.models), self.where
            )
        shutil.rmtree(folder, ignore_errors=True)
        repository.write_public(
            folder, manifest, {name: [row for row in rows if row["split"] == name] for name in SPLITS}
        )
        repository.write_card(folder, f"# {suite}\n\nThe competition's own models: {manifest.origin}.")

    def manifest(self, suite: str) -> Manifest:
        """The suite's manifest; its rows are made if they are not yet."""
        return repository.read_manifest(self._rows(suite), suite)

    def signals(self, suite: str, name: str) -> Path | None:
        """None: the competition published none."""
        return None

    def checkpoint(self, row: Row) -> Path:
        """The row's checkpoint as safetensors, brought here and converted where it is not yet.

        Raises:
            OSError: It was not found, or is not the one that the row names.
            CheckpointError: It is not what it should be.
        """
        ((_, result),) = self.checkpoints([row])
        if isinstance(result, Exception):
            raise result
        return result

    def checkpoints(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Path | Exception]]:
        """As `checkpoint` for many rows, several at once; each row with its file or with what went wrong."""
        bring_configurations(self, filter(None, (locate(row["checkpoint"]) for row in rows)))
        wanted: dict[Location, list[Row]] = {}
        targets: dict[Location, Path] = {}
        for row in rows:
            try:
                location = _location_of(row)
                targets[location] = self._kept(location, row["sha256"])
            except (OSError, ValueError) as error:
                yield row, error
                continue
            if targets[location].exists():
                yield row, targets[location]
            else:
                wanted.setdefault(location, []).append(row)

        def use(location: Location, path: Path) -> Path:
            row, out = wanted[location][0], targets[location]
            convert_checkpoint(self, location, path, row["sha256"], row["num_bytes"], out)
            return out

        for location, result in self.each(list(wanted), use):
            for row in wanted[location]:
                yield row, result

    def _kept(self, location: Location, sha256: str | None) -> Path:
        """Where the converted checkpoint is kept: by the content of the file, where that is known, and its network."""
        parts = [sha256 or self.key(location), SUITES[location.suite].model]
        configuration = read_configuration(self, location)
        if configuration is not None:
            parts.append(hashlib.sha256(configuration).hexdigest())
        return home() / "checkpoints" / f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()}.safetensors"


def _location_of(row: Row) -> Location:
    location = locate(row["checkpoint"])
    if location is None or location.file not in CHECKPOINTS:
        raise FileNotFoundError(f"{row['checkpoint']} is not a checkpoint of the competition")
    return location


def read_configuration(files: Original, location: Location) -> bytes | None:
    """The configuration beside a checkpoint of transformers; None for the networks that need none.

    Raises:
        OSError: It is missing.
    """
    if location.file != "pytorch_model.bin":
        return None
    beside = location.beside(CONFIGURATION)
    return files.read([beside])[beside]


def bring_configurations(files: Original, locations: Iterable[Location]) -> None:
    """Makes `read_configuration` quick for many checkpoints; what was not found, that says for each of them."""
    beside = [location.beside(CONFIGURATION) for location in locations if location.file == "pytorch_model.bin"]
    with suppress(OSError, ValueError):
        files.read(beside)


def convert_checkpoint(
    files: Original, location: Location, path: Path, sha256: str | None, num_bytes: int, out: Path
) -> tuple[str, int]:
    """Checks a checkpoint of the competition and turns it into one of ours.

    Args:
        files: Where its configuration is, if it needs one.
        location: Which it is.
        path: Its bytes.
        sha256: What they should have, where that is known.
        num_bytes: How many there should be.
        out: The safetensors file.

    Returns:
        (sha256 in hexadecimal, size in bytes) of the safetensors file.

    Raises:
        OSError: It is another file.
        CheckpointError: It is not what it should be.
    """
    from mico_hub.release.tensors import CheckpointError, sha256_of
    from mico_hub.sources.original import pickles

    refuse_pointer(path)
    if (size := path.stat().st_size) != num_bytes:
        raise OSError(f"{files.where}: {location.path}: expected {num_bytes:,} bytes, got {size:,}")
    if sha256 is not None and (got := sha256_of(path)) != sha256:
        raise OSError(f"{files.where}: {location.path}: expected sha256 {sha256}, got {got}")
    try:
        return pickles.convert(path, SUITES[location.suite].model, out, read_configuration(files, location))
    except CheckpointError as error:
        raise CheckpointError(f"{files.where}: {location.path}: {error}") from error
