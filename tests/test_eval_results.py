"""The Hub's own boards: a dataset that asks for one, results of attacks, and both together on a Hub."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from loopback_hub import LoopbackHub, run_client

from builders.build import build
from mico_hub.cli import main
from mico_hub.release.parquet import FolderError
from publishing.check import check
from publishing.eval_yaml import framework_of
from upload_scripts import build_repo

NAMES = ("digits_inf", "digits_hi", "digits_lo")


@pytest.fixture
def asking(trained: Path, published: Path, tmp_path: Path) -> Path:
    """A published folder that asks for a board."""
    out = tmp_path / "mico"
    build(sorted(trained.iterdir()), out, "mico-hub")
    return out


def test_a_dataset_asks_for_a_board_if_its_maintainer_wants_one(
    asking: Path, published: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not (published / "eval.yaml").exists()
    said = yaml.safe_load((asking / "eval.yaml").read_bytes())
    assert [*said] == ["name", "description", "evaluation_framework", "tasks"]
    assert said["evaluation_framework"] == "mico-hub"
    assert {(task["config"], task["split"]) for task in said["tasks"]} == {
        (name, split) for name in NAMES for split in ("train", "dev", "final")
    }
    assert len({task["id"] for task in said["tasks"]}) == 9
    for task in said["tasks"]:
        assert task["id"] == f"{task['config']}_{task['split']}"

    (tmp_path / "fresh").mkdir()
    checked = check(asking, tmp_path / "fresh", trial=True)
    assert "eval.yaml" in checked
    assert (tmp_path / "fresh" / "eval.yaml").read_bytes() == (asking / "eval.yaml").read_bytes()

    monkeypatch.setattr("sys.argv", ["build_repo.py", str(trained / "digits_hi"), "--out", str(tmp_path / "other")])
    assert build_repo.main() == 0
    assert framework_of(tmp_path / "other") == ""
    monkeypatch.setattr("sys.argv", [*sys.argv, "--eval-yaml", "mico-hub"])
    assert build_repo.main() == 0
    build([trained / "digits_lo"], tmp_path / "other")  # which keeps it, and adds its tasks
    assert len(yaml.safe_load((tmp_path / "other" / "eval.yaml").read_bytes())["tasks"]) == 6


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"evaluation_framework: mico-hub\n", "eval.yaml: differs from what the suites give; build the folder again"),
        (b"evaluation_framework: 'x y'\n", "expected a line evaluation_framework: NAME"),
        (b"", "expected a line evaluation_framework: NAME"),
    ],
)
def test_another_file_is_not_published(asking: Path, tmp_path: Path, content: bytes, problem: str) -> None:
    (asking / "eval.yaml").write_bytes(content)
    (tmp_path / "fresh").mkdir()
    with pytest.raises(FolderError, match=re.escape(problem)):
        check(asking, tmp_path / "fresh", trial=True)


def test_a_framework_has_a_name(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="expected an evaluation framework's name, such as mico-hub, got 'a: b'"):
        build([trained / "digits_hi"], tmp_path / "mico", "a: b")


def attacked(folder: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes to a folder and writes predictions for the track there."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MICO_HUB_DATASET", str(published))
    monkeypatch.setenv("MICO_HUB_CACHE", str(folder / "cache"))
    assert main(["attack", "digits", "--attack", "loss", "--zip", "loss.zip"]) == 0


def test_results_say_what_was_scored_where(
    published: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attacked(tmp_path, published, monkeypatch)
    command = ["export", "eval-results", "loss.zip", "--suite", "digits", "--out", "attack"]
    assert main(command) == 2
    assert "expected org/name[@revision] of the dataset on the Hub as --dataset, got ''" in capsys.readouterr().err
    assert main([*command, "--dataset", "org/mico", "--source-url", "javascript:1"]) == 2
    assert "expected a link, https://" in capsys.readouterr().err
    assert not (tmp_path / "attack").exists()

    revision = "5" * 40
    assert main([*command, "--dataset", f"org/mico@{revision}", "--source-url", "https://example.org/loss"]) == 0
    assert capsys.readouterr().out == f"3 files in {Path('attack') / '.eval_results'}\n"
    main(["score", "loss.zip", "--suite", "digits", "--json", "scores.json"])
    scores = {each["suite"]: each["scores"] for each in json.loads((tmp_path / "scores.json").read_text())["results"]}
    for name in NAMES:
        (entry,) = yaml.safe_load((tmp_path / "attack" / ".eval_results" / f"{name}_train.yaml").read_bytes())
        assert entry["dataset"] == {"id": "org/mico", "task_id": f"{name}_train", "revision": revision}
        assert entry["value"] == pytest.approx(100 * scores[name]["TPR_FPR_1000"], abs=1e-4)
        assert entry["source"] == {"url": "https://example.org/loss", "name": "loss"}
        assert re.search(r"4 models of train, fingerprint [0-9a-f]{12}, mico-hub \d", entry["notes"])
        if hasattr(huggingface_hub, "parse_eval_result_entries"):
            (parsed,) = huggingface_hub.parse_eval_result_entries([entry])
            assert (parsed.dataset_id, parsed.dataset_revision) == ("org/mico", revision)


@pytest.mark.skipif(
    not hasattr(huggingface_hub.HfApi, "get_dataset_leaderboard"), reason="this huggingface_hub reads no boards"
)
def test_a_result_is_on_the_board_of_the_dataset(
    asking: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploaded and read by the Hub's own client."""
    attacked(tmp_path, published, monkeypatch)
    assert main(["export", "eval-results", "loss.zip", "--suite", "digits", "--dataset", "org/mico", "--out", "a"]) == 0
    code = """
        from huggingface_hub import HfApi
        api = HfApi()
        for name, kind, folder in (("org/mico", "dataset", "mico"), ("org/loss", "model", "a")):
            api.create_repo(name, repo_type=kind)
            api.upload_folder(repo_id=name, repo_type=kind, folder_path=folder)
        for each in api.get_dataset_leaderboard("org/mico"):
            print(each.rank, each.model_id, each.filename, each.value)
    """
    with LoopbackHub() as hub:
        done = run_client(code, hub.environment(tmp_path) | {"HF_TOKEN": hub.token}, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [[str(rank), "org/loss"] for rank in (1, 2, 3)]
    assert {line[2] for line in lines} == {f".eval_results/{name}_train.yaml" for name in NAMES}
    values: list[Any] = [float(line[3]) for line in lines]
    assert values == sorted(values, reverse=True)
