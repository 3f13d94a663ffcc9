"""From a suite's name to its rows, and from a row to a model and to the records that it is challenged with.

`open_suite` finds out once where a suite is, and gives a handle to all of it; the functions beside it are short for
one thing of a handle.
"""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets

from mico_hub import sources
from mico_hub.handle import Challenge, Handle, places_having
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import as_row, name_of
from mico_hub.sources import PublishedRepository, SourceError

if TYPE_CHECKING:
    from torch import nn

    from mico_hub.data import BaseDataset
    from mico_hub.signals import Signals


def open_suite(name: str, source: str | Path | None = None, revision: str | None = None) -> Handle:
    """A handle to a suite: where it is, and at which revision, is found out here and stays.

    Args:
        name: A suite, such as `cifar10_hi`.
        source: A folder, `org/name[@revision]`, or an archive of the competition; None: wherever `mico` resolves.
        revision: Of a repository on the Hub, instead of `@revision`.

    Raises:
        KeyError: No such suite; the message has the nearest names.
        SourceError: The suite is known, but was not found anywhere.
        ValueError: The source cannot be one, or has no revisions.
    """
    if source is None:
        places = sources.places_of(name, again=True)
        return Handle(name, chain([next(places).at(revision)], places) if revision else places, by_name=True)
    place = sources.named(source, name, again=True)
    place = place.at(revision) if revision else place
    try:
        found = place.has(name)
    except OSError as error:
        raise sources.unreadable(place, str(place), error) from error
    if not found:
        raise SourceError(f"{name} is not in {place}, which has {', '.join(place.suites()) or 'no suite'}")
    return Handle(name, [place])


def handle_of(row: Any, source: str | Path | None = None, *, again: bool = False) -> Handle:
    """A handle to the suite of a row, from where it was found before in this process.

    Args:
        row: Of the suite.
        source: As for `open_suite`.
        again: Whether the Hub is asked at which commit a repository is now.

    Raises:
        SourceError: No source has it.
    """
    found = as_row(row)
    name = found["suite"]
    if source is not None:
        return Handle(name, [sources.named(source, name, again=again)])
    places = places_having(found, sources.candidates(name, again=again))
    if (first := next(places, None)) is None:
        raise SourceError(f"{name_of(found)}: no source has it; name the one that the row was loaded from")
    return Handle(name, chain([first], places))


def load_suite(name: str, source: str | Path | None = None) -> datasets.DatasetDict:
    """A suite's rows: split -> Dataset, one row per model.

    Args:
        name: A suite, such as `cifar10_hi`.
        source: As for `open_suite`.

    Raises:
        KeyError: No such suite; the message has the nearest names.
        SourceError: The suite is known, but was not found anywhere.
    """
    return open_suite(name, source).rows


def load_model(row: Any, source: str | Path | None = None) -> "nn.Module":
    """The trained network of a row, on the CPU, in eval mode: `Handle.model`.

    Args:
        row: A row of a suite, as a dataset in any format gives it.
        source: As for `open_suite`; None: wherever `mico` resolves for that suite.

    Raises:
        SourceError: No source has a file with the row's sha256; the message lists the places tried.
        CheckpointError: The file is right but does not fit its network, or holds anything but tensors.
    """
    suite = handle_of(row, source)
    try:
        return suite.model(row)
    except SourceError:
        if not isinstance(suite.place, PublishedRepository):
            raise
        newer = handle_of(row, source, again=True)  # the repository may have moved on since it was looked up
        if isinstance(newer.place, PublishedRepository) and newer.place.commit == suite.place.commit:
            raise
        return newer.model(row)


def load_challenge(row: Any, source: str | Path | None = None, data: str | Path | None = None) -> Challenge:
    """The records that a row's model is challenged with: `Handle.challenge`.

    Args:
        row: A row of a suite, as a dataset in any format gives it.
        source: Where the suite is, as for `load_model`.
        data: Folder of the base datasets; None: `MICO_HUB_DATA`, else the Hub.

    Raises:
        DataError: The base dataset was not found, or is not the one that the suite was trained on.
    """
    return handle_of(row, source).challenge(row, data)


def load_data(row: Any, source: str | Path | None = None, data: str | Path | None = None) -> "BaseDataset":
    """The base dataset of a row's suite, checked against the digest that it was trained with: `Handle.data`.

    Raises:
        DataError: It was not found, or differs.
    """
    return handle_of(row, source).data(data)


def load_manifest(row: Any, source: str | Path | None = None) -> Manifest:
    """The recipe, noise multiplier and data digest of a row's suite: `Handle.manifest`.

    Raises:
        SourceError: No source has it; the message lists the places tried.
    """
    return handle_of(row, source).manifest


def load_signals(name: str, signal: str, source: str | Path | None = None) -> "Signals":
    """A published signal of a suite, mapped into memory: `Handle.signals`.

    Args:
        name: A suite, such as `cifar10_hi`.
        signal: Such as `margin`; see `mico_hub.signals`.
        source: As for `open_suite`.

    Raises:
        KeyError: No such suite.
        SourceError: The suite was not found anywhere.
        SignalError: There is no such signal where the suite is.
    """
    return open_suite(name, source).signals(signal)
