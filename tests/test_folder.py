import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from builders.build import build
from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.format import FormatError
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_rows, read_truth, write_rows
from mico_hub.signals.suite import compute_suite
from mico_hub.splits import draw
from mico_hub.suites import SUITES, Suite


def row(model_id: int) -> Any:
    return {
        "suite": "s",
        "split": "dev",
        "model_id": model_id,
        "challenge": np.array([1, 5, 9]),
        "membership": None,
        "training": np.array([], dtype=np.int64),
        "checkpoint": "s/dev/model_0.safetensors",
        "sha256": "0" * 64,
        "num_bytes": 1,
        "accuracy": None,
        "epsilon": math.inf,
        "delta": None,
    }


def test_rows_come_back_with_their_nulls_and_infinities(tmp_path: Path) -> None:
    write_rows([row(0), row(1)], tmp_path / "rows.parquet")
    rows: Any = read_rows(tmp_path / "rows.parquet")
    first, second = rows
    assert second["model_id"] == 1
    assert first["membership"] is None
    assert first["accuracy"] is None
    assert first["epsilon"] == math.inf
    assert first["challenge"].tolist() == [1, 5, 9]
    assert first["training"].tolist() == []


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows([row(0)], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_rows_without_a_column_are_refused(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(_written(tmp_path)).drop(["training"]), tmp_path / "rows.parquet")
    with pytest.raises(FolderError, match="expected the columns"):
        read_rows(tmp_path / "rows.parquet")


def _written(folder: Path) -> Path:
    write_rows([row(0)], folder / "rows.parquet")
    return folder / "rows.parquet"


def test_a_truncated_file_of_rows_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FolderError, match="expected a Parquet file of rows"):
        read_rows(path)


@pytest.mark.parametrize("name", ["cifar10_hi", "purchase100_ddp"])
def test_the_rows_of_a_full_suite_take_near_their_entropy(tmp_path: Path, name: str) -> None:
    """In purchase100_ddp every model's training records are revealed: the largest rows of all suites."""
    suite = SUITES[name]
    num_records = {"cifar10": 60_000, "purchase100": 197_324}[suite.dataset]
    rows = []
    for model_id in range(200 if suite.disclosure == "training" else 100):
        split = draw(num_records, suite.n, suite.m)
        shown = {"challenge": split.challenge, "membership": split.membership, "training": split.training}
        rows.append(row(model_id) | shown)
    write_rows(rows, tmp_path / "rows.parquet")
    share = suite.n / num_records
    bits = -(share * math.log2(share) + (1 - share) * math.log2(1 - share))
    size = (tmp_path / "rows.parquet").stat().st_size
    assert size < 5e6
    assert size < 1.4 * len(rows) * num_records * bits / 8
    read: Any = read_rows(tmp_path / "rows.parquet")
    training = read[3]["training"]
    assert training.tolist() == records_of(rows[3])


def records_of(entry: Any) -> list[int]:
    training = entry["training"]
    assert isinstance(training, np.ndarray)
    return list(training.tolist())


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_a_manifest_comes_back_for_every_suite(suite: Suite) -> None:
    manifest = Manifest(suite, 1.5 if suite.private else None, "0" * 64, True, "", {"torch": "2"})
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "here: expected JSON"),
        (b"[]", "here: expected a JSON object, got list"),
        (b"{}", "here: expected its format, a number from 1, got None"),
        (b'{"format": 1}', "here: expected an object under 'suite', got None"),
        (b'{"format": 1, "suite": {"optimiser": {"name": "sgd"}}}', "optimiser: missing: learning_rate"),
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Manifest.from_json(text, "here")


def test_a_trained_folder_is_as_it_should_be(trained: Path) -> None:
    for root in trained.iterdir():
        SuiteFolder(root).verify()
        assert (root / "private").stat().st_mode & 0o077 == 0


def test_verify_lists_everything_that_is_wrong(trained: Path, tmp_path: Path) -> None:
    folder = SuiteFolder(tmp_path / "digits_hi")
    shutil.copytree(trained / "digits_hi", folder.root)
    suite = folder.manifest().suite
    folder.checkpoint(suite, 0).unlink()
    folder.checkpoint(suite, 5).write_bytes(b"short")
    damaged = bytearray(folder.checkpoint(suite, 6).read_bytes())
    damaged[-1] ^= 1
    folder.checkpoint(suite, 6).write_bytes(bytes(damaged))
    rows: Any = read_rows(folder.rows_path("public"))
    rows[1]["membership"] = np.ones_like(rows[1]["membership"])
    rows[2]["training"] = rows[2]["training"][1:]
    write_rows(rows[:-1], folder.rows_path("public"))
    with pytest.raises(FolderError) as error:
        folder.verify()
    text = str(error.value)
    assert "6 problems" in text
    for part in (
        "expected the models train 0-3 (4), dev 4-5 (2), final 6-7 (2), got train 0-3 (4), dev 4-5 (2), final 6-6 (1)",
        "train/model_0: expected the checkpoint",
        "train/model_1: expected 100 members of 200, got 200 of 200",
        "train/model_2: expected 300 training records, got 299",
        "dev/model_5: expected a checkpoint of",
        "final/model_6: expected a checkpoint with sha256",
    ):
        assert part in text


def test_the_private_rows_hold_the_truth_of_every_model(trained: Path) -> None:
    folder = SuiteFolder(trained / "digits_hi")
    rows = read_truth(folder.rows_path("private"))
    assert [entry["model_id"] for entry in rows] == list(range(8))
    for split in folder.splits(1_797):
        assert split.membership.sum() == 100
        assert len(split.training) == 300
        assert len(split.evaluation) == 1_797 - 400 - 100


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"expected a suite folder with suite.json"):
        SuiteFolder(tmp_path).manifest()


def test_an_unfinished_suite_says_how_many_models_there_are(trained: Path, tmp_path: Path) -> None:
    folder = SuiteFolder(Path(shutil.copytree(trained / "digits_hi", tmp_path / "digits_hi")))
    folder.rows_path("public").unlink()
    for model_id in range(3, 8):
        (folder.root / "private" / "partial" / f"model_{model_id}.json").unlink()
    uses: list[Callable[[], object]] = [
        folder.verify,
        lambda: build([folder.root], tmp_path / "mico"),
        lambda: repository.public_rows(folder),
        lambda: compute_suite(folder.root),
    ]
    for use in uses:
        with pytest.raises(FolderError) as caught:
            use()
        assert str(caught.value).startswith(f"{folder.root}: 3 of 8 models are trained, and all must be; resume")
    assert not (tmp_path / "mico").exists()


def test_another_number_of_models_is_another_suite() -> None:
    assert replace(SUITES["digits_hi"], models=(4, 2, 2)) == SUITES["digits_hi"].with_models(4, 2, 2)
