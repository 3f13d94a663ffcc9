"""Git LFS pointers in place of files, as a clone without Git LFS has them: each reader says so, in one sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from originals import extract, made

from mico_hub import submissions
from mico_hub.cache import PointerError
from mico_hub.data import load_base
from mico_hub.loading import open_suite
from mico_hub.models import load_start
from mico_hub.release import checkpoints, repository
from mico_hub.release.commitments import Opening
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import read_rows, read_truth
from mico_hub.release.tensors import digest_of_tensors
from mico_hub.signals import read as read_signals
from mico_hub.signals.suite import compute_suite
from mico_hub.sources.original.archive import Archive
from mico_hub.submissions import SubmissionError
from mico_hub.suites import SUITES

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 123456\n" % (b"0" * 64)
ADVICE = "is a Git LFS pointer, not the file itself: run `git lfs pull` there"


def become_pointer(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(POINTER)
    return path


def of_base(name: str, *files: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        for file in files:
            become_pointer(path.parent / file)
        return load_base(name, path.parent)

    return read


@pytest.mark.parametrize(
    "read",
    [
        checkpoints.load,
        digest_of_tensors,
        read_signals,
        read_rows,
        read_truth,
        lambda path: Archive(path, "0" * 32),
        lambda path: Opening.from_json(path.read_bytes(), str(path)),
        lambda path: repository.versions_from(path.read_bytes(), str(path)),
        lambda path: repository.read_manifest(path.parent.parent, path.parent.name),
        lambda path: load_start("roberta", become_pointer(path.parent / "model.safetensors").parent),
        of_base("purchase100", "purchase100/dataset_purchase.tgz"),
        of_base("location30", "location30/location30.npz"),
        of_base("sst2", "SST-2/train.tsv", "SST-2/dev.tsv"),
        of_base("cifar10", *(f"cifar-10-batches-py/{name}" for name in ("test_batch", "data_batch_1"))),
        of_base("cifar10", *(f"cifar-10-batches-bin/{name}.bin" for name in ("test_batch", "data_batch_1"))),
    ],
)
def test_each_reader_says_so(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = become_pointer(tmp_path / "files" / "suite.json")
    with pytest.raises(PointerError) as caught:
        read(path)
    assert str(caught.value).endswith(ADVICE)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def clone(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "clone"))


def test_a_published_folder_says_so(clone: Path) -> None:
    suite = open_suite("digits_hi", clone)
    row = suite.train[0]
    become_pointer(clone / "digits_hi" / "signals" / "margin.safetensors")
    with pytest.raises(PointerError, match=ADVICE):
        suite.signals("margin")
    become_pointer(clone / row["checkpoint"])
    with pytest.raises(LookupError, match=ADVICE):
        suite.model(row)
    with pytest.raises(LookupError, match=ADVICE):
        list(suite.checkpoints([row]))
    become_pointer(clone / "digits_hi" / "dev-00000-of-00001.parquet")
    with pytest.raises(PointerError) as caught:
        open_suite("digits_hi", clone).rows  # noqa: B018
    assert str(caught.value) == f"{clone / 'digits_hi' / 'dev-00000-of-00001.parquet'} {ADVICE}"
    become_pointer(clone / "digits_hi" / "suite.json")
    with pytest.raises(LookupError, match=ADVICE):
        open_suite("digits_hi", clone).manifest  # noqa: B018


def test_a_suite_folder_says_so_and_trains_nothing_again(trained: Path, tmp_path: Path) -> None:
    folder = SuiteFolder(Path(shutil.copytree(trained / "digits_hi", tmp_path / "digits_hi")))
    suite = folder.manifest().suite
    shutil.rmtree(folder.signals)
    become_pointer(folder.checkpoint(suite, 0))
    with pytest.raises(PointerError, match=ADVICE):
        folder.measured(suite, 0)
    with pytest.raises(PointerError, match=ADVICE):
        folder.verify()
    with pytest.raises(PointerError, match=ADVICE):
        compute_suite(folder.root)


def test_an_extracted_archive_of_the_competition_says_so(tmp_path: Path, fresh_cache: Path) -> None:
    root = extract(made("purchase100_hi", {"train": [0]}), tmp_path / "files")
    (weights,) = root.rglob("model.pt")
    become_pointer(weights)
    suite = open_suite("purchase100_hi", root)
    with pytest.raises(LookupError, match=ADVICE):
        suite.model(suite.train[0])
    become_pointer(weights.with_name("seed_training"))
    with pytest.raises((ValueError, OSError), match=ADVICE):
        open_suite("purchase100_hi", root).rows  # noqa: B018
    assert fresh_cache.is_dir()


def test_predictions_say_so_once(tmp_path: Path) -> None:
    suite = SUITES["cifar10_hi"].with_models(2, 3, 1)
    submissions.write(tmp_path / "p", {(suite, "dev"): {i: np.full(200, 0.5) for i in (2, 3, 4)}})
    for path in (tmp_path / "p").rglob("prediction.csv"):
        become_pointer(path)
    for path, names in (
        (tmp_path / "p", "model_2, model_3, model_4: prediction.csv"),
        (become_pointer(tmp_path / "all.parquet"), "all.parquet"),
        (become_pointer(tmp_path / "all.npy"), "all.npy"),
    ):
        with pytest.raises(SubmissionError) as caught:
            submissions.read(path, suite, "dev")
        assert caught.value.problems[-1].startswith(names)
        assert caught.value.problems[-1].endswith(ADVICE)
        assert len(caught.value.problems) == 1
