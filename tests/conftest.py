"""Fixtures, and a run without network: whoever needs the Hub starts one (`loopback_hub.py`)."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many processes as cores run tests; threads would wait for each other

from filelock import FileLock
from hypothesis import settings

from mico_hub.cache import CACHE_VARIABLE
from mico_hub.data import DATA_VARIABLE

# How long an example takes tells how busy the machine is, not whether the code is right.
settings.register_profile("any_machine", parent=settings(), deadline=None)
settings.load_profile("any_machine")

# What runs in the background of a script inherits SIGINT as ignored, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = os.environ.get(DATA_VARIABLE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "long" not in item.keywords)
    if not DATA:
        skip = pytest.mark.skip(reason=f"{DATA_VARIABLE} is not set")
        for item in items:
            if "data" in item.keywords:
                item.add_marker(skip)


@pytest.fixture
def data_folder() -> Path:
    """The folder with the real datasets, for tests marked `data`."""
    assert DATA
    return Path(DATA).resolve()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `MICO_HUB_CACHE`."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder for all processes that run tests, made by the first that wants it. Nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name(f"{name}.unfinished")
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small suites, trained: digits_inf; with signals digits_hi, and digits_lo that reveals its training."""
    from dataclasses import replace

    from mico_hub.signals.suite import compute_suite
    from mico_hub.suites import SUITES
    from mico_hub.training.suite import train_suite

    def train(root: Path) -> None:
        for name in ("digits_inf", "digits_hi", "digits_lo"):
            suite = SUITES[name].with_models(4, 2, 2)
            if name == "digits_lo":
                suite = replace(suite, disclosure="training")
            train_suite(suite, root / name)
            if name != "digits_inf":
                compute_suite(root / name)

    return made_once(tmp_path_factory, "suites", train)


@pytest.fixture(scope="session")
def published(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published folder of the `trained` suites."""
    from builders.build import build

    return made_once(tmp_path_factory, "mico", lambda out: build(sorted(trained.iterdir()), out))


@pytest.fixture(scope="session")
def digits_inf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `MICO_HUB_CACHE` in which digits_inf was trained, as it is for who asks for it first."""
    from mico_hub.loading import load_suite

    def train(home: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(CACHE_VARIABLE, str(home))
            patch.delenv("MICO_HUB_DATASET", raising=False)
            home.mkdir()
            patch.chdir(home)  # away from the ./mico that `make demo` leaves
            load_suite("digits_inf")

    return made_once(tmp_path_factory, "digits_inf", train)
