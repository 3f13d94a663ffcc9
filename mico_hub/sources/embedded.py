"""The embedded suites, on scikit-learn's digits: trained on this machine into the cache, once."""

import hashlib
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from mico_hub.cache import cache_dir, writable
from mico_hub.release import repository
from mico_hub.release.format import FORMAT
from mico_hub.signals.names import THERE_ARE
from mico_hub.sources.place import Place
from mico_hub.sources.published import PublishedFolder
from mico_hub.suites import NAME, SUITES, get_suite
from mico_hub.training import engine

DATASETS = ("digits", "digits_canaries")  # whose suites can be trained anywhere
TRAINED = "trained"  # the suite folder, beside the published one
SUITE_NAMES = tuple(name for name, suite in SUITES.items() if suite.dataset in DATASETS)

logger = logging.getLogger("mico_hub")


def folder_of(suite: str) -> Path:
    """Where an embedded suite is in the cache: by all that it is made of, so that what is stale is never read."""
    made_of = f"{asdict(SUITES[suite])} {FORMAT} {engine.TRAINING} {engine.SIGNALS} {THERE_ARE}"
    key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return cache_dir() / "embedded" / f"{suite}-{key}" / NAME


def find(suite: str) -> PublishedFolder | None:
    """The suite as it is in the cache; None: it is not an embedded one, or not trained yet."""
    return PublishedFolder(folder_of(suite)) if suite in SUITE_NAMES and folder_of(suite).exists() else None


def truth(suite: str, place: Place) -> Path | None:
    """Where the truth of an embedded suite is, if the place is the cache that it was trained into."""
    cached = isinstance(place, PublishedFolder) and suite in SUITE_NAMES and place.root == folder_of(suite)
    return folder_of(suite).parent / TRAINED if cached else None


def train(suite: str) -> PublishedFolder:
    """The suite in the cache, trained first if it is not there: in this process, faster than workers would start."""
    from mico_hub.signals.suite import compute_suite
    from mico_hub.training.suite import discard_other_versions, train_suite

    root = folder_of(suite)
    with writable(root.parent):
        root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / ".lock"):
        if not root.exists():
            logger.warning("%s: training its models on this machine, once; they are kept in %s", suite, root)
            trained = root.parent / TRAINED
            discard_other_versions(trained)
            folder = train_suite(get_suite(suite), trained)
            compute_suite(trained)
            partial = root.parent / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            repository.write_suite(partial, folder, repository.public_rows(folder))
            repository.write_card(partial, f"# {suite}\n\nTrained on this machine by mico-hub; see its documentation.")
            partial.rename(root)
    return PublishedFolder(root)
