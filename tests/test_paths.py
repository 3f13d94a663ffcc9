"""A path is a path: folders whose names would be patterns, `run[1]` say."""

import json
import shlex
import shutil
from pathlib import Path

import datasets
import evaluate
import pytest
from originals import PURCHASE, extract, members

import mico_hub
from mico_hub import cli
from mico_hub.release import repository
from mico_hub.release.parquet import read_rows, write_rows


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of such a name, all caches in it."""
    folder = tmp_path / "what? run[1]*"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MICO_HUB_CACHE", str(folder / "cache"))
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    return folder


def test_suites_are_read_from_such_a_folder(odd: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ./mico, as MICO_HUB_DATASET and by its path; the rows are those of any other place."""
    usual = datasets.load_dataset(str(published), "digits_hi")
    shutil.copytree(published, odd / "elsewhere")
    monkeypatch.setenv("MICO_HUB_DATASET", str(odd / "elsewhere"))
    for _ in range(2):
        suite = datasets.load_dataset("mico", "digits_hi")
        assert {split: suite[split][:] for split in suite} == {split: usual[split][:] for split in usual}
        assert suite["train"].features == repository.FEATURES
        assert len(datasets.load_dataset("mico", "digits_hi", split="train[:3]")) == 3
        streamed = datasets.load_dataset("mico", "digits_hi", split="dev", streaming=True)
        assert [row["model_id"] for row in streamed] == [4, 5]
        assert datasets.get_dataset_split_names("mico", "digits_hi") == ["train", "dev", "final"]
        assert len(mico_hub.attack("lira", suite["dev"], suite["train"])) == 2
        mico_hub.load_model(suite["train"][0])
        monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
        if (odd / "elsewhere").exists():
            shutil.move(odd / "elsewhere", odd / "mico")
    assert mico_hub.load_suite("digits_hi", str(odd / "mico"))["dev"][:] == usual["dev"][:]
    mico_hub.load_signals("digits_hi", "loss", odd / "mico")
    metric = evaluate.load("mico_score", cache_dir=str(odd / "metrics"))
    assert metric.compute(predictions=[[0.1, 0.9]], references=[[0, 1]])["AUC"] == 1


def test_an_edited_suite_in_such_a_folder_is_not_read_from_an_old_cache(odd: Path, published: Path) -> None:
    shutil.copytree(published, odd / "mico")
    before = datasets.load_dataset("mico", "digits_hi", split="dev")
    path = odd / "mico" / "digits_hi" / "dev-00000-of-00001.parquet"
    rows = read_rows(path)
    rows[0]["accuracy"] = 0.123
    write_rows(rows, path)
    assert before[0]["accuracy"] != 0.123
    assert datasets.load_dataset("mico", "digits_hi", split="dev")[0]["accuracy"] == 0.123


def test_the_commands_work_in_such_a_folder(
    odd: Path, published: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(published, odd / "mico")
    shutil.copytree(trained / "digits_hi", odd / "suites[1]" / "digits_hi")
    for line in (
        "fetch digits_hi",
        "attack digits_hi --split dev --attack loss --out out[1]",
        "score out[1] --suite digits_hi --split dev --truth suites[1] --json s[1].json --html h[1].html --figures f[1]",
        "audit digits_hi --split dev --attack loss --truth suites[1]",
        "signals suites[1]/digits_hi --signals loss --processes 1",
        "train digits_lo --models 1/0/0 --processes 1 --out suites[1]",
    ):
        code = cli.main(shlex.split(line))
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert json.loads((odd / "s[1].json").read_text())["results"]
    assert (odd / "h[1].html").exists()


def test_the_competitions_files_are_read_in_such_a_folder(odd: Path) -> None:
    """From there and into a cache there."""
    extract(members(PURCHASE), odd / "files[1]")
    rows = mico_hub.load_suite("purchase100_inf", str(odd / "files[1]"))["train"]
    assert rows["model_id"][:] == [0, 1]
    assert mico_hub.load_model(rows[0], str(odd / "files[1]")) is not None
