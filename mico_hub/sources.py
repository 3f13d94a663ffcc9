"""Where a suite is read from: a folder in the published layout, or a dataset repository on the Hub.

For the name `mico` the first place that has the suite is taken:

    1. ./mico, a published folder
    2. MICO_HUB_DATASET, a folder or org/name[@revision]
    3. the digits suites: trained into the cache, once
    4. the competition's suites: its own repositories on the Hub (`original/`)
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from filelock import FileLock
from huggingface_hub import hf_hub_download, is_offline_mode
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from mico_hub import original, repository
from mico_hub.cache import cache_dir
from mico_hub.folder import SIGNALS, Manifest
from mico_hub.repository import NAME
from mico_hub.suites import SUITES, UnknownSuiteError, get_suite

DATASET_VARIABLE = "MICO_HUB_DATASET"
EMBEDDED = "digits"  # the dataset whose suites can be trained anywhere

logger = logging.getLogger("mico_hub")


class SourceError(LookupError):
    """A suite or a file that no source has; the message lists the places tried."""


class SettingError(ValueError):
    """A value of MICO_HUB_DATASET that names nothing."""


Row = Mapping[str, Any]


class Place(Protocol):
    """Where suites are read from."""

    def suites(self) -> list[str]:
        """The names of the suites it has."""

    def has(self, suite: str) -> bool:
        """Whether it has the suite."""

    def recognises(self, checkpoint: str) -> bool:
        """Whether a row whose `checkpoint` is that path can be of here."""

    def dataset(self, suite: str, revision: str | None = None) -> tuple[str, str | None]:
        """What `datasets.load_dataset` takes for the suite: (path, revision)."""

    def manifest(self, suite: str) -> Manifest:
        """The manifest of a suite it has."""

    def signals(self, suite: str, name: str) -> Path | None:
        """The local file of a signal of a suite it has; None where there is none."""

    def checkpoint(self, row: Row) -> Path:
        """The local safetensors file of a row."""

    def checkpoints(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Path | Exception]]:
        """As `checkpoint` for many rows, several at once; each row with its file or with what went wrong."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place with suites in the published layout."""

    location: Path | str  # a folder, or a repository on the Hub
    revision: str | None = None  # of the repository; None: its default

    @classmethod
    def parse(cls, text: str | Path) -> "Source":
        """A folder if there is one of that name or it looks like a path, else `org/name[@revision]`.

        Raises:
            ValueError: It is neither.
        """
        if isinstance(text, Path) or text.startswith((".", "/", "~")) or Path(text).is_dir():
            return cls(Path(text).expanduser().resolve())
        repository_id, _, revision = text.partition("@")
        if repository_id.count("/") != 1 or not all(repository_id.split("/")):
            raise ValueError(f"expected a folder or org/name[@revision], got {text!r}")
        return cls(repository_id, revision or None)

    def __str__(self) -> str:
        return f"{self.location}@{self.revision}" if self.revision else str(self.location)

    def suites(self) -> list[str]:
        """The names of the suites it has.

        Raises:
            OSError: The repository cannot be reached, or has no card.
        """
        if isinstance(self.location, Path):
            return [manifest.suite.name for manifest in repository.suites_in(self.location)]
        return repository.configs_of(self.fetch(repository.CARD).read_text(encoding="utf-8"))

    def has(self, suite: str) -> bool:
        """Whether it has the suite.

        Raises:
            OSError: The repository cannot be reached, or has no card.
        """
        if isinstance(self.location, Path):
            return repository.has_suite(self.location, suite)
        return suite in self.suites()

    def recognises(self, checkpoint: str) -> bool:
        """Whether that is the path of a safetensors file."""
        return checkpoint.endswith(".safetensors")

    def dataset(self, suite: str, revision: str | None = None) -> tuple[str, str | None]:
        """The folder or the repository itself.

        Raises:
            ValueError: A revision was asked for, but a folder has none.
        """
        if revision and isinstance(self.location, Path):
            raise ValueError(
                f"revision {str(revision)!r} was asked for, but {suite} is read from the folder {self}, which "
                f"has no revisions; set {DATASET_VARIABLE}=org/name to read from the Hub"
            )
        return str(self.location), revision or self.revision

    def checkpoint(self, row: Row) -> Path:
        """The row's checkpoint, downloaded and cached where the source is on the Hub.

        Raises:
            OSError: There is no such file, or no way to it.
            SourceError: The file has another sha256 than the row says.
        """
        from mico_hub.checkpoint import sha256_of

        path = self.fetch(row["checkpoint"])
        if (digest := sha256_of(path)) != row["sha256"]:
            raise SourceError(f"expected {row['checkpoint']} with sha256 {row['sha256']}, got {digest}")
        return path

    def checkpoints(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Path | Exception]]:
        """As `checkpoint` for many rows, several at once; each row with its file or with what went wrong."""

        def bring(row: Row) -> tuple[Row, Path | Exception]:
            try:
                return row, self.checkpoint(row)
            except (OSError, SourceError) as error:
                return row, error

        with ThreadPoolExecutor(max_workers=8) as pool:
            yield from pool.map(bring, rows)

    def fetch(self, path: str) -> Path:
        """A local path of one of its files, downloaded and cached where the source is on the Hub.

        Raises:
            ValueError: The path leads outside the source.
            OSError: There is no such file, or no way to it.
        """
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path:
            raise ValueError(f"expected a path inside {self}, got {path!r}")
        if isinstance(self.location, Path):
            local = self.location / pure
            if not local.is_file():
                raise FileNotFoundError(f"no file {local}")
            return local
        return Path(hf_hub_download(self.location, path, repo_type="dataset", revision=self.revision))

    def signals(self, suite: str, name: str) -> Path | None:
        """The file of a signal of a suite, downloaded where the source is on the Hub; None where there is none.

        Raises:
            OSError: There is no way to it.
        """
        try:
            return self.fetch(f"{suite}/{SIGNALS}/{name}.safetensors")
        except (FileNotFoundError, EntryNotFoundError) as error:
            if isinstance(error, LocalEntryNotFoundError) and not is_offline_mode():
                raise  # nobody was there to ask
            return None

    def manifest(self, suite: str) -> Manifest:
        """The manifest of a suite it has."""
        path = self.fetch(f"{suite}/{repository.MANIFEST}")
        return Manifest.from_json(path.read_bytes(), f"{self}: {suite}/{repository.MANIFEST}")


def parse(text: str | Path) -> Place:
    """A published folder, `org/name[@revision]`, or files of the competition (`original.parse`).

    Raises:
        ValueError: It is neither.
        OSError: It is an archive that is not there.
    """
    return original.parse(text) or Source.parse(text)


def named(text: str | Path, suite: str) -> Place:
    """The place that a user names for a suite.

    Raises:
        UnknownSuiteError: The place does not have it and the table does not know it.
        SourceError: It is a folder or an archive without that suite; the message says what it has.
        ValueError: The text names no place.
        OSError: It cannot be read.
    """
    place = parse(text)
    on_the_hub = isinstance(place, Source) and not isinstance(place.location, Path)
    if on_the_hub or place.has(suite):  # a repository is asked by whoever reads from it
        return place
    get_suite(suite)
    raise SourceError(
        f"{suite} is not in {place}, which has {', '.join(place.suites()) or 'no suite'}. Expected a published folder "
        f"with {suite}/suite.json (build_repo.py makes one of a suite folder), the competition's files as "
        f"{suite}/SPLIT/model_N/ (perhaps below the track's folder), one of its archives[@md5], or org/name[@revision]"
    )


def configured() -> Place | None:
    """What MICO_HUB_DATASET names.

    Raises:
        SettingError: It names neither a folder nor an archive nor a repository.
    """
    text = os.environ.get(DATASET_VARIABLE)
    if not text:
        return None
    try:
        place = parse(text)
    except (ValueError, OSError) as error:
        raise SettingError(f"{DATASET_VARIABLE}: {error}") from error
    if isinstance(place, Source) and isinstance(place.location, Path) and not place.location.is_dir():
        raise SettingError(f"{DATASET_VARIABLE}: expected a folder, {place.location} is none")
    return place


def local_folder() -> Place | None:
    """`./mico`, if it is a folder."""
    return parse(Path(NAME).resolve()) if Path(NAME).is_dir() else None


def candidates(suite: str) -> Iterator[Place]:
    """The places that have the suite, best first; the competition's repository, the last, is not asked.

    Raises:
        SourceError: MICO_HUB_DATASET names a repository that cannot be read.
    """
    for source in (local_folder(), configured()):
        if source is None:
            continue
        with _reading(source):
            found = source.has(suite)
        if found:
            yield source
    if _embedded_root(suite).exists():
        yield Source(_embedded_root(suite))
    if competition := original.published_by_the_competition(suite):
        yield competition


@contextmanager
def _reading(source: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{DATASET_VARIABLE}={source}: {'its card' if isinstance(source, Source) else 'it'} could not be read, so "
            f"nobody knows what it has: {error}"
        ) from error


def resolve(suite: str) -> Place:
    """The place that the name `mico` stands for, for that suite; an embedded one is trained if it is nowhere yet.

    Raises:
        UnknownSuiteError: No place has it and the table does not know it.
        SourceError: MICO_HUB_DATASET names a repository that cannot be read.
    """
    for place in candidates(suite):
        logger.info("%s is read from %s", suite, place)
        return place
    if suite not in SUITES:
        raise UnknownSuiteError(suite)
    return trained_into_cache(suite)


def dataset(suite: str, revision: str | None = None) -> tuple[str, str | None]:
    """What `datasets.load_dataset` takes for the suite, from wherever `mico` resolves: (path, revision).

    Raises:
        UnknownSuiteError: No place has it and the table does not know it.
        SourceError: The table knows it, but no place has it; the message lists the places tried.
        ValueError: The place has no revisions, or its content is not what it should be.
    """
    place = resolve(suite)
    try:
        return place.dataset(suite, revision)
    except OSError as error:
        raise SourceError(
            f"{suite} was found nowhere. Looked in: ./{NAME} ({_state(local_folder())}); "
            f"{DATASET_VARIABLE} ({_state(configured())}); {place} ({error}). "
            f"Set {DATASET_VARIABLE} to a folder, an archive of the competition or org/name[@revision] that has it; "
            f"{', '.join(name for name, row in SUITES.items() if row.dataset == EMBEDDED)} need no download."
        ) from error


def _state(source: Place | None) -> str:
    return "none" if source is None else f"{source}, which has {', '.join(source.suites()) or 'no suite'}"


def available() -> list[str]:
    """The suites that `load_dataset("mico", ...)` finds here and now."""
    found = [name for name, suite in SUITES.items() if suite.dataset == EMBEDDED]
    for name in original.SUITE_NAMES:
        place = original.published_by_the_competition(name)
        if place is not None and place.loadable(name):
            found.append(name)
    for source in (local_folder(), configured()):
        if source is not None:
            with _reading(source):
                found += source.suites()
    return sorted(set(found), key=lambda name: (list(SUITES).index(name) if name in SUITES else len(SUITES), name))


def _embedded_root(suite: str) -> Path:
    """Each has a published folder of its own, so that it can appear whole."""
    return cache_dir() / "embedded" / suite / NAME


def trained_into_cache(name: str) -> Source:
    """The embedded suite in the cache, trained first if it is not there (under a minute on two cores)."""
    from mico_hub.signals.suite import compute_suite
    from mico_hub.training import discard_other_versions, train_suite
    from mico_hub.workers import on_this_machine

    root = _embedded_root(name)
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / ".lock"):
        if not root.exists():
            logger.warning("%s is not here yet: training it into %s, once", name, root)
            trained = root.parent / "trained"
            discard_other_versions(trained)
            folder = train_suite(get_suite(name), trained, workers=on_this_machine())
            compute_suite(trained)
            partial = root.parent / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            repository.write_suite(partial, folder, repository.public_rows(folder))
            repository.write_card(partial, f"# {name}\n\nTrained on this machine by mico-hub; see its documentation.")
            partial.rename(root)
    return Source(root)
