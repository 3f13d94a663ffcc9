"""Suites that are small enough to be trained on this machine when they are asked for: into the cache, once.

Those on scikit-learn's digits need nothing; those on Location-30 the file that its authors distribute.
"""

import hashlib
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from mico_hub.cache import cache_dir, writable
from mico_hub.data import DATA_VARIABLE, load_base
from mico_hub.release import repository
from mico_hub.release.format import FORMAT
from mico_hub.signals.names import THERE_ARE
from mico_hub.sources.place import Place, SourceError
from mico_hub.sources.published import PublishedFolder
from mico_hub.suites import NAME, SUITES, get_suite
from mico_hub.training import engine

EMBEDDED = ("digits", "digits_canaries")  # datasets that need no file
DATASETS = (*EMBEDDED, "location30")  # whose suites can be trained anywhere
TRAINED = "trained"  # the suite folder, beside the published one
SUITE_NAMES = tuple(name for name, suite in SUITES.items() if suite.dataset in DATASETS)

logger = logging.getLogger("mico_hub")


def folder_of(suite: str) -> Path:
    """Where an embedded suite is in the cache: by all that it is made of, so that what is stale is never read."""
    made_of = f"{asdict(SUITES[suite])} {FORMAT} {engine.TRAINING} {engine.SIGNALS} {THERE_ARE}"
    key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return cache_dir() / "embedded" / f"{suite}-{key}" / NAME


def available() -> list[str]:
    """The suites whose base dataset is at hand, as far as a look at its folder tells."""
    given = os.environ.get(DATA_VARIABLE)
    there = [name for name in DATASETS if name in EMBEDDED or (given and (Path(given) / name).is_dir())]
    return [name for name in SUITE_NAMES if SUITES[name].dataset in there]


def find(suite: str) -> PublishedFolder | None:
    """The suite as it is in the cache; None: it is not an embedded one, or not trained yet."""
    return PublishedFolder(folder_of(suite)) if suite in SUITE_NAMES and folder_of(suite).exists() else None


def truth(suite: str, place: Place) -> Path | None:
    """Where the truth of an embedded suite is, if the place is the cache that it was trained into."""
    cached = isinstance(place, PublishedFolder) and suite in SUITE_NAMES and place.root == folder_of(suite)
    return folder_of(suite).parent / TRAINED if cached else None


def train(suite: str) -> PublishedFolder:
    """The suite in the cache, trained first if it is not there: in this process, faster than workers would start.

    Raises:
        DataError: Its base dataset was not found.
        SourceError: What is there is not the official one, which the cache takes for granted.
    """
    from mico_hub.signals.suite import compute_suite
    from mico_hub.training.suite import discard_other_versions, train_suite

    root = folder_of(suite)
    with writable(root.parent):
        root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / ".lock"):
        if not root.exists():
            recipe = get_suite(suite)
            data = load_base(recipe.dataset)
            if not data.official:
                raise SourceError(f"{suite}: expected the official {data.name}, got one that is {data.note}")
            logger.warning("%s: training its models on this machine, once; they are kept in %s", suite, root)
            trained = root.parent / TRAINED
            discard_other_versions(trained)
            folder = train_suite(recipe, trained, data=data)
            compute_suite(trained)
            partial = root.parent / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            repository.write_suite(partial, folder, repository.public_rows(folder))
            repository.write_card(partial, f"# {suite}\n\nTrained on this machine by mico-hub; see its documentation.")
            partial.rename(root)
    return PublishedFolder(root)
