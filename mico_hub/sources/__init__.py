"""Where suites are read from, and in which order.

For the name `mico` the first place that has the suite is taken:

    1. ./mico, a published folder
    2. MICO_HUB_DATASET, a folder or org/name[@revision]
    3. the suites on digits and Location-30: trained into the cache, once (`embedded.py`)
    4. the competition's suites: its own repositories on the Hub (`original/`)
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from mico_hub.messages import InputError
from mico_hub.sources import embedded, original
from mico_hub.sources.place import Place, SettingError, SourceError
from mico_hub.sources.published import PublishedFolder
from mico_hub.sources.published_hub import PublishedRepository, known_repository
from mico_hub.suites import NAME, SUITES, UnknownSuiteError, get_suite

__all__ = [
    "DATASET_VARIABLE",
    "Place",
    "PublishedFolder",
    "PublishedRepository",
    "SettingError",
    "SourceError",
    "available",
    "candidates",
    "dataset",
    "named",
    "not_found",
    "parse",
    "places_of",
    "resolve",
    "unreadable",
]

DATASET_VARIABLE = "MICO_HUB_DATASET"

logger = logging.getLogger("mico_hub")


def parse(text: str | Path, *, again: bool = False) -> Place:
    """A published folder, `org/name[@revision]`, or files of the competition (`original.parse`).

    Args:
        text: A folder if there is one of that name or it looks like a path, else a repository.
        again: Whether the Hub is asked at which commit a repository is now, if that was asked before.

    Raises:
        SourceError: It is neither.
        OSError: It is an archive that is not there.
    """
    if (place := original.parse(text)) is not None:
        return place
    if isinstance(text, Path) or text.startswith((".", "/", "~")) or Path(text).is_dir():
        return PublishedFolder(Path(text).expanduser().resolve())
    repository_id, _, revision = text.partition("@")
    if repository_id.count("/") != 1 or not all(repository_id.split("/")):
        raise SourceError(f"expected a folder or org/name[@revision], got {text!r}")
    return known_repository(repository_id, revision or None, again=again)


def named(text: str | Path, suite: str, *, again: bool = False) -> Place:
    """The place that a user names for a suite.

    Args:
        text: As for `parse`.
        suite: The suite.
        again: As for `parse`.

    Raises:
        UnknownSuiteError: The place does not have it and the table does not know it.
        SourceError: It is a folder or an archive without that suite, and the message says what it has; or no place.
        OSError: It cannot be read.
    """
    place = parse(text, again=again)
    if isinstance(place, PublishedRepository) or place.has(suite):  # what a repository has shows on reading
        return place
    get_suite(suite)
    raise SourceError(
        f"{suite} is not in {place}, which has {', '.join(place.suites()) or 'no suite'}. Expected a published folder "
        f"with {suite}/suite.json (build_repo.py makes one of a suite folder), the competition's files as "
        f"{suite}/SPLIT/model_N/ (perhaps below the track's folder), one of its archives[@md5], or org/name[@revision]"
    )


def configured(*, again: bool = False) -> Place | None:
    """What MICO_HUB_DATASET names.

    Raises:
        SettingError: It names neither a folder nor an archive nor a repository.
    """
    text = os.environ.get(DATASET_VARIABLE)
    if not text:
        return None
    try:
        place = parse(text, again=again)
    except (SourceError, ValueError, OSError) as error:
        raise SettingError(f"{DATASET_VARIABLE}: {error}") from error
    if isinstance(place, PublishedFolder) and not place.root.is_dir():
        raise SettingError(f"{DATASET_VARIABLE}: expected a folder, {place} is not one")
    return place


def local_folder() -> Place | None:
    """`./mico`, if it is a folder."""
    return parse(Path(NAME).resolve()) if Path(NAME).is_dir() else None


def candidates(suite: str, *, again: bool = False) -> Iterator[Place]:
    """The places that have the suite, best first; the competition's repository, the last, is not asked.

    Raises:
        SourceError: MICO_HUB_DATASET names a repository that cannot be read.
    """
    for where in (local_folder, lambda: configured(again=again)):
        place = where()
        if place is None:
            continue
        with _reading(place):
            found = place.has(suite)
        if found:
            yield place
    if (trained := embedded.find(suite)) is not None:
        yield trained
    if (competition := original.published_by_the_competition(suite)) is not None:
        yield competition


@contextmanager
def _reading(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        local = isinstance(place, PublishedFolder) and place.root == Path(NAME).resolve()
        raise unreadable(place, f"./{NAME}" if local else f"{DATASET_VARIABLE}={place}", error) from error


def unreadable(place: Place, name: str, error: OSError) -> SourceError:
    """What to say of a place that cannot be asked what it has."""
    what = "its card" if isinstance(place, PublishedRepository) else "it"
    return SourceError(f"{name}: {what} could not be read, so its suites are unknown: {error}")


def places_of(suite: str, *, again: bool = False) -> Iterator[Place]:
    """As `candidates`, one at least: an embedded suite is trained if no place has it.

    Raises:
        UnknownSuiteError: No place has it and the table does not know it.
        SourceError: MICO_HUB_DATASET names a repository that cannot be read.
    """
    places = candidates(suite, again=again)
    first = next(places, None)
    if first is None:
        if suite not in SUITES:
            raise UnknownSuiteError(suite)
        first = embedded.train(suite)
    else:
        logger.info("%s is read from %s", suite, first)
    return chain([first], places)


def resolve(suite: str, *, again: bool = False) -> Place:
    """The place that the name `mico` stands for, for that suite: the first of `places_of`, which see."""
    return next(places_of(suite, again=again))


def dataset(suite: str, revision: str | None = None) -> dict[str, Any]:
    """What `datasets.load_dataset` takes for the suite, beside its name, from wherever `mico` resolves.

    Raises:
        UnknownSuiteError: No place has it and the table does not know it.
        SourceError: The table knows it, but no place has it; the message lists the places tried.
        ValueError: The place has no revisions, or its content is not what it should be.
    """
    place = resolve(suite, again=True)
    try:
        return (place.at(revision) if revision else place).dataset(suite)
    except OSError as error:
        if isinstance(error, InputError):  # it says all that is to be said
            raise
        raise not_found(suite, place, error) from error


def not_found(suite: str, place: Place, error: OSError) -> SourceError:
    """What to say of a suite that the name `mico` led to, and that is not there after all: all places tried."""
    return SourceError(
        f"{suite} was not found. Looked in: ./{NAME} ({_state(local_folder())}); "
        f"{DATASET_VARIABLE} ({_state(configured())}); {place} ({error}). "
        f"Set {DATASET_VARIABLE} to a folder, an archive of the competition or org/name[@revision] that has it; "
        f"{', '.join(embedded.available())} need no download."
    )


def _state(place: Place | None) -> str:
    if place is None:
        return "none"
    try:
        return f"{place}, which has {', '.join(place.suites()) or 'no suite'}"
    except OSError as error:
        return f"{place}, which could not be read: {error}"


def available() -> list[str]:
    """The suites that `load_dataset("mico", ...)` finds here and now."""
    found = embedded.available()
    for name in original.SUITE_NAMES:
        competition = original.published_by_the_competition(name)
        if competition is not None and competition.loadable(name):
            found.append(name)
    for place in (local_folder(), configured()):
        if place is not None:
            with _reading(place):
                found += place.suites()
    return sorted(set(found), key=lambda name: (list(SUITES).index(name) if name in SUITES else len(SUITES), name))
