"""The maintainer's scripts, end to end, from a folder that is not the project's."""

import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import fresh
import pytest

ROOT = Path(__file__).parents[1]
COMMAND = ("-m", "mico_hub.cli")


def script(name: str, cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return fresh.run(ROOT / "upload_scripts" / name, *arguments, cwd=cwd)


def command(cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return fresh.run(*COMMAND, *arguments, cwd=cwd)


@pytest.mark.long
def test_the_demo_does_the_whole_job_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    done = script("demo.py", tmp_path, "--models", "6/3/3")
    assert done.returncode == 0, done.stderr[-3000:]
    for suite in ("digits_inf", "digits_hi", "digits_lo"):
        for split in ("dev", "final"):
            for attack in ("loss threshold", "LiRA, online"):
                assert re.search(rf"^{suite} +{split} +[\d-]+ +{attack} \(\w+\) +\d", done.stdout, re.M), done.stdout
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert "digits_hi" in done.stderr  # a progress bar
    assert not list((tmp_path / "mico").rglob("private"))
    checkpoint = tmp_path / "suites" / "digits_hi" / "public" / "train" / "model_0.safetensors"
    before = checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns
    assert script("demo.py", tmp_path, "--models", "6/3/3", "--resume").returncode == 0
    assert (checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns) == before


@pytest.mark.long
def test_a_competition_is_rehearsed_and_the_same_command_goes_on(
    published: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    arguments = ("rehearse.py", tmp_path, "--source", str(published), "--truth", str(trained))
    for _ in range(2):
        done = script(*arguments)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
        scored = re.findall(r"^(dev|final): average_TPR_FPR_1000 0\.\d+; 3 scores, at most 0 from", done.stdout, re.M)
        assert scored == ["dev", "final"]
        assert "nothing is wrong" in done.stdout
        assert "it came out" in done.stdout
    assert "digits/lira: is there" in done.stdout
    made = tmp_path / "rehearsal"
    assert "starting kit" in (made / "site" / "index.html").read_text()
    assert len(list((made / "attack" / ".eval_results").iterdir())) == 3


def test_scripts_explain_bad_input(tmp_path: Path) -> None:
    unknown = command(tmp_path, "train", "digits_high")
    assert unknown.returncode == 2
    assert "Did you mean 'digits_hi'?" in unknown.stderr
    counts = command(tmp_path, "train", "digits_hi", "--models", "0/2")
    assert counts.returncode == 2
    assert "expected TRAIN/DEV/FINAL, such as 4/2/2, got '0/2'" in counts.stderr
    empty = script("build_repo.py", tmp_path, "nowhere")
    assert empty.returncode == 2
    assert "expected a suite folder with suite.json" in empty.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_no_traceback_and_the_next_run_goes_on(tmp_path: Path) -> None:
    train = ("train", "digits_inf", "--models", "30/2/2", "--processes", "1")
    running = fresh.start(*COMMAND, *train, cwd=tmp_path)
    partial = tmp_path / "suites" / "digits_inf" / "private" / "partial"
    deadline = time.monotonic() + 60
    while not list(partial.glob("model_*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    ended = running.wait()
    assert ended.returncode == 130, ended.stderr
    assert "mico-hub: interrupted. Finished models are kept; resume with the same command." in ended.stderr
    assert "Traceback" not in ended.stderr
    kept = len(list(partial.glob("model_*.json")))
    assert 0 < kept < 34
    done = command(tmp_path, *train)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{kept}/34" in done.stderr
    assert "digits_inf is complete in suites/digits_inf" in done.stdout


def test_the_wheel_does_all_that_a_user_needs(tmp_path: Path, published: Path) -> None:
    """Unpacked where nothing else of the project is: no builders, no cards, no tests."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        archive.extractall(tmp_path / "site")
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mico_hub"}
    code = f"""
import sys
import evaluate, mico_hub
from datasets import load_dataset
assert mico_hub.__file__.startswith({str(tmp_path)!r}), mico_hub.__file__
row = load_dataset("mico", "digits_hi")["train"][0]
mico_hub.load_model(row)
mico_hub.load_challenge(row)
scores = evaluate.load("mico_score").compute(predictions=[[0.5] * 200], references=[row["membership"]])
from mico_hub.models.roberta import tokenizer
from mico_hub.reporting.page import write_report
print(scores["AUC"], tokenizer()("Hello world!").input_ids)
assert not {{"builders", "cards", "publishing"}} & sys.modules.keys()
"""
    environment = {
        "PYTHONPATH": str(tmp_path / "site"),
        "MICO_HUB_DATASET": str(published),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HOME": str(tmp_path),
        "PATH": "",
    }
    done = fresh.run("-c", code, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "0.5 [0, 31414, 232, 328, 2]"
