"""Where a suite is read from: a folder in the published layout, or a dataset repository on the Hub.

For the name `mico` the first place that has the suite is taken:

    1. ./mico, a published folder
    2. MICO_HUB_DATASET, a folder or org/name[@revision]
    3. the digits suites: trained into the cache, once
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock
from huggingface_hub import hf_hub_download

from mico_hub import repository
from mico_hub.cache import cache_dir
from mico_hub.folder import Manifest
from mico_hub.suites import SUITES, UnknownSuiteError, get_suite

NAME = "mico"
DATASET_VARIABLE = "MICO_HUB_DATASET"
EMBEDDED = "digits"  # the dataset whose suites can be trained anywhere

logger = logging.getLogger("mico_hub")


class SourceError(LookupError):
    """A suite or a file that no source has; the message lists the places tried."""


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

    def manifest(self, suite: str) -> Manifest:
        """The manifest of a suite it has."""
        path = self.fetch(f"{suite}/{repository.MANIFEST}")
        return Manifest.from_json(path.read_bytes(), f"{self}: {suite}/{repository.MANIFEST}")


def configured() -> Source | None:
    """What MICO_HUB_DATASET names.

    Raises:
        ValueError: It names neither a folder nor a repository.
    """
    text = os.environ.get(DATASET_VARIABLE)
    if not text:
        return None
    try:
        source = Source.parse(text)
    except ValueError as error:
        raise ValueError(f"{DATASET_VARIABLE}: {error}") from error
    if isinstance(source.location, Path) and not source.location.is_dir():
        raise ValueError(f"{DATASET_VARIABLE}: expected a folder, {source.location} is none")
    return source


def local_folder() -> Source | None:
    """`./mico`, if it is a folder."""
    return Source(Path(NAME).resolve()) if Path(NAME).is_dir() else None


def candidates(suite: str) -> Iterator[Source]:
    """The places that have the suite now, best first.

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


@contextmanager
def _reading(source: Source) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{DATASET_VARIABLE}={source}: its card could not be read, so nobody knows what it has: {error}"
        ) from error


def resolve(suite: str) -> Source:
    """The place that the name `mico` stands for, for that suite; an embedded one is trained if it is nowhere yet.

    Raises:
        UnknownSuiteError: No place has it and the table does not know it.
        SourceError: The table knows it, but no place has it.
    """
    for source in candidates(suite):
        logger.info("%s is read from %s", suite, source)
        return source
    if suite not in SUITES:
        raise UnknownSuiteError(suite)
    if SUITES[suite].dataset == EMBEDDED:
        return trained_into_cache(suite)
    raise SourceError(
        f"{suite} was found nowhere. Looked in: ./{NAME} ({_state(local_folder())}); "
        f"{DATASET_VARIABLE} ({_state(configured())}). "
        f"Set {DATASET_VARIABLE} to a folder or to org/name[@revision] that has it; "
        f"{', '.join(available())} can be loaded now."
    )


def _state(source: Source | None) -> str:
    return "not there" if source is None else f"{source}, which has {', '.join(source.suites()) or 'no suite'}"


def available() -> list[str]:
    """The suites that `load_dataset("mico", ...)` finds here and now."""
    found = [name for name, suite in SUITES.items() if suite.dataset == EMBEDDED]
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
    from mico_hub.training import Runtime, default_processes, train_suite

    root = _embedded_root(name)
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / ".lock"):
        if not root.exists():
            logger.warning("%s is not here yet: training it into %s, once", name, root)
            trained = root.parent / "trained"
            folder = train_suite(get_suite(name), trained, Runtime(processes=default_processes()))
            partial = root.parent / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            repository.write_suite(partial, folder, repository.public_rows(folder))
            repository.write_card(partial, f"# {name}\n\nTrained on this machine by mico-hub; see its documentation.")
            partial.rename(root)
    return Source(root)
