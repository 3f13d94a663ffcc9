"""A place that has the competition's own models, for everyone who reads suites."""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from huggingface_hub import constants

from mico_hub import repository
from mico_hub.folder import Manifest
from mico_hub.original.archive import SUFFIXES, Archive, split_md5
from mico_hub.original.files import Files, Folder, OriginalError, home
from mico_hub.original.hub import Hub
from mico_hub.original.release import CHECKPOINTS, CONFIGURATION, RELEASES, SUITE_NAMES, Location, locate
from mico_hub.original.rows import make_rows
from mico_hub.repository import NAME
from mico_hub.suites import SPLITS, SUITES, get_suite

logger = logging.getLogger("mico_hub")


class Original:
    """The competition's files as a source of suites: rows from seeds, weights converted when they are asked for."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __str__(self) -> str:
        return f"the competition's files in {self.files}"

    def suites(self) -> list[str]:
        """The suites it has, in the table's order."""
        return [name for name in SUITE_NAMES if self.files.has(name)]

    def has(self, suite: str) -> bool:
        """Whether it has the suite."""
        return suite in SUITE_NAMES and self.files.has(suite)

    def recognises(self, checkpoint: str) -> bool:
        """Whether that is the path of a checkpoint of the competition."""
        location = locate(checkpoint)
        return location is not None and location.file in CHECKPOINTS

    def dataset(self, suite: str, revision: str | None = None) -> tuple[str, str | None]:
        """What `datasets.load_dataset` reads the suite's rows from: (folder, None).

        The folder is made in the cache by the first call.

        Raises:
            UnknownSuiteError: There is no such suite.
            ValueError: A revision was asked for, but only the Hub has them.
            OSError: The files cannot be had.
            OriginalError: They are not the competition's.
        """
        if get_suite(suite).name not in SUITE_NAMES:
            raise OriginalError(f"{suite} is none of the competition's suites: {', '.join(SUITE_NAMES)}")
        return str(self.at(suite, revision)._rows(suite)), None

    def at(self, suite: str, revision: str | None) -> "Original":
        """The same place at another revision."""
        if not revision:
            return self
        if not isinstance(self.files, Hub):
            raise ValueError(f"revision {revision!r} was asked for, but {suite} is read from {self}, which has none")
        return Original(Hub(self.files.repository, revision))

    def loadable(self, suite: str) -> bool:
        """Whether the suite's rows can be had as things are: they are in the cache, or the Hub may be asked."""
        if not constants.HF_HUB_OFFLINE:
            return True
        try:
            return self._root(suite).exists()
        except OSError:  # no commit is known
            return False

    def _root(self, suite: str) -> Path:
        return home() / "rows" / self.files.fingerprint(suite) / suite / NAME

    def _rows(self, suite: str) -> Path:
        """The published folder with the suite's rows, made whole or not at all."""
        root = self._root(suite)
        if not root.exists():
            root.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(root.with_name(".lock")):
                if not root.exists():
                    partial = root.with_name("partial")
                    self._make_rows(suite, partial)
                    partial.rename(root)
        return root

    def _make_rows(self, suite: str, folder: Path) -> None:
        manifest, rows = make_rows(self.files, suite)
        if manifest.missing:
            logger.warning(
                "%s: %d of %d models are in %s", suite, manifest.num_models, sum(manifest.suite.models), self.files
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

    def checkpoint(self, row: Mapping[str, Any]) -> Path:
        """The row's checkpoint as safetensors, brought here and converted where it is not yet.

        Raises:
            OSError: It cannot be had, or is another one than the row names.
            CheckpointError: It is not what it should be.
        """
        ((_, result),) = self.checkpoints([row])
        if isinstance(result, Exception):
            raise result
        return result

    def checkpoints(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Path | Exception]]:
        """As `checkpoint` for many rows, several at once; each row with its file or with what went wrong."""
        bring_configurations(self.files, filter(None, (locate(row["checkpoint"]) for row in rows)))
        wanted: dict[Location, list[Mapping[str, Any]]] = {}
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
            convert_checkpoint(self.files, location, path, row["sha256"], row["num_bytes"], out)
            return out

        for location, result in self.files.each(list(wanted), use):
            for row in wanted[location]:
                yield row, result

    def _kept(self, location: Location, sha256: str | None) -> Path:
        """Where the converted checkpoint is kept: by the content of the file, where that is known, and its network."""
        parts = [sha256 or self.files.key(location), SUITES[location.suite].model]
        configuration = read_configuration(self.files, location)
        if configuration is not None:
            parts.append(hashlib.sha256(configuration).hexdigest())
        return home() / "checkpoints" / f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()}.safetensors"


def _location_of(row: Mapping[str, Any]) -> Location:
    location = locate(row["checkpoint"])
    if location is None or location.file not in CHECKPOINTS:
        raise FileNotFoundError(f"{row['checkpoint']} is no checkpoint of the competition")
    return location


def read_configuration(files: Files, location: Location) -> bytes | None:
    """The configuration beside a checkpoint of transformers; None for the networks that need none.

    Raises:
        OSError: It is missing.
    """
    if location.file != "pytorch_model.bin":
        return None
    beside = location.beside(CONFIGURATION)
    return files.read([beside])[beside]


def bring_configurations(files: Files, locations: Iterable[Location]) -> None:
    """Makes `read_configuration` quick for many checkpoints; what cannot be had, that says for each of them."""
    beside = [location.beside(CONFIGURATION) for location in locations if location.file == "pytorch_model.bin"]
    with suppress(OSError, ValueError):
        files.read(beside)


def convert_checkpoint(
    files: Files, location: Location, path: Path, sha256: str | None, num_bytes: int, out: Path
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
    from mico_hub.checkpoint import CheckpointError, sha256_of
    from mico_hub.original import pickles

    if (size := path.stat().st_size) != num_bytes:
        raise OSError(f"{files}: {location.path}: expected {num_bytes:,} bytes, got {size:,}")
    if sha256 is not None and (got := sha256_of(path)) != sha256:
        raise OSError(f"{files}: {location.path}: expected sha256 {sha256}, got {got}")
    try:
        return pickles.convert(path, SUITES[location.suite].model, out, read_configuration(files, location))
    except CheckpointError as error:
        raise CheckpointError(f"{files}: {location.path}: {error}") from error


def parse(text: str | Path) -> Original | None:
    """The competition's files at an archive (`cifar10.zip[@md5]`), a folder, or `org/name[@revision]`.

    Returns:
        None where the text names nothing of the competition's.

    Raises:
        OSError: The archive is not there.
        OriginalError: The archive is not known and its md5 was not given.
    """
    path, md5 = split_md5(str(text))
    if path.endswith(SUFFIXES):
        return Original(Archive(Path(path).expanduser().absolute(), md5))
    folder = Path(text).expanduser()
    if folder.is_dir():
        files = Folder(folder.resolve())
        published = any(folder.glob(f"*/{repository.MANIFEST}"))
        return Original(files) if not published and any(map(files.has, SUITE_NAMES)) else None
    name, _, revision = str(text).partition("@")
    for release in RELEASES.values():
        if release.repository.lower() == name.lower():
            return Original(Hub(release.repository, revision or None))
    return None


def published_by_the_competition(suite: str) -> Original | None:
    """The competition's own repository on the Hub that has the suite; None: it is none of the competition's."""
    return Original(Hub(RELEASES[SUITES[suite].track].repository)) if suite in SUITE_NAMES else None
