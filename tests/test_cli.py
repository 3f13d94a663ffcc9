import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mico_hub
from mico_hub import cli, submission
from mico_hub.folder import SuiteFolder
from mico_hub.suites import SUITES


@pytest.fixture
def work(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the published folder as ./mico, and no other source."""
    shutil.copytree(published, tmp_path / "mico")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_suites_lists_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "suites")
    assert code == 0
    assert len(out.splitlines()) == len(SUITES) + 2
    assert all(name in out for name in SUITES)
    widths = {len(line.rstrip()) for line in out.splitlines()}
    assert max(widths) <= 160


@pytest.mark.usefixtures("work")
def test_fetch_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "fetch", "digits_hi", "--split", "dev")
    assert code == 0
    assert out.startswith("2 checkpoints, 0.0 MB, in ")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_attack_writes_what_score_reads(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    code, attacked, _ = run(capsys, "attack", "digits_inf", "--split", split, "--out", "predictions")
    assert code == 0
    assert (work / "predictions" / "digits" / "digits_inf" / split).is_dir()
    truth = ["--truth", str(trained / "digits_inf" / "private")] if split == "dev" else []
    arguments = ["score", "predictions", "--suite", "digits_inf", "--split", split, "--json", "s.json", *truth]
    code, scored, _ = run(capsys, *arguments)
    assert code == 0
    assert "TPR at FPR < 0.1 " in scored
    assert (work / "s.json").exists()
    if split == "train":
        assert attacked.endswith(scored)


@pytest.mark.usefixtures("work")
def test_hidden_truth_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "attack", "digits_inf", "--split", "dev", "--attack", "loss", "--out", "predictions")
    code, _, err = run(capsys, "score", "predictions", "--suite", "digits_inf", "--split", "dev")
    assert code == 2
    assert "the membership of dev is hidden; name the suite's private folder with --truth" in err


def test_the_truth_of_another_training_is_refused(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "attack", "digits_inf", "--split", "dev", "--attack", "loss", "--out", "predictions")
    other = work / "private"
    shutil.copytree(trained / "digits_hi" / "private", other)
    code, _, err = run(capsys, "score", "predictions", "--suite", "digits_inf", "--split", "dev", "--truth", str(other))
    assert code == 2
    assert "2 of 2 models are not there or have another challenge" in err


def test_all_that_is_wrong_with_predictions_is_listed(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = SuiteFolder(work / "mico" / "digits_inf").manifest().suite
    submission.write(work / "predictions", suite, "train", {i: np.full(200, 0.5) for i in range(4)})
    folder = work / "predictions" / "digits" / "digits_inf" / "train"
    shutil.rmtree(folder / "model_0")
    (folder / "model_1" / "prediction.csv").write_text(",".join(["0.5"] * 198))
    (folder / "model_2" / "prediction.csv").write_text(",".join(["0.5"] * 198 + ["nan", "1.2"]))
    code, _, err = run(capsys, "score", "predictions", "--suite", "digits_inf")
    assert code == 2
    for part in ("model_0 missing", "expected 200 predictions, got 198", "position 198 is nan", "position 199 is 1.2"):
        assert part in err


@pytest.mark.parametrize(
    "arguments", [("fetch", "digits_high"), ("attack", "cifar10_hi"), ("score", "x", "--suite", "y")]
)
def test_bad_input_gives_exit_code_2_and_one_message(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("mico-hub: ")
    assert "Traceback" not in err
    assert out == ""


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).parent / "mico-hub"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mico-hub {mico_hub.__version__}\n"


@pytest.mark.parametrize("command", ["suites", "fetch", "attack", "score"])
def test_every_command_has_an_example_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"example: mico-hub {command}" in capsys.readouterr().out
