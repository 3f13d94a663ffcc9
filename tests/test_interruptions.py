"""What ends a run from outside: SIGINT from a terminal or a notebook, SIGTERM, a pipe that nobody reads."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import fresh
import psutil
import pytest

from mico_hub.release.folder import SuiteFolder

TRAIN = """
import os, sys
from mico_hub.cli import main
os.setpgid(0, 0)  # as a shell does
sys.exit(main(["train", "digits_inf", "--models", "60/2/2", "--processes", "2"]))
"""
NOTEBOOK = """
import os, psutil, sys
from dataclasses import replace
from pathlib import Path
from mico_hub.suites import SUITES
from mico_hub.training.suite import train_suite
from mico_hub.workers import Processes

suite = replace(SUITES["digits_inf"], epochs=20_000).with_models(4, 0, 0)
try:
    train_suite(suite, Path("first"), workers=Processes(2))
except KeyboardInterrupt:
    print("stopped", flush=True)
alive = [child for child in psutil.Process().children(recursive=True) if "loky.backend.popen" in str(child.cmdline())]
assert not alive, alive
train_suite(replace(suite, epochs=1), Path("second"), workers=Processes(2))
print("done", flush=True)
"""


def workers_of(pid: int) -> list[psutil.Process]:
    """Its worker processes that have an interpreter by now."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if "loky.backend.popen" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def when_workers_start(run: fresh.Program, workers: int, moment: float) -> list[psutil.Process]:
    """Waits until the run has so many workers, and a moment; gives all of its children."""
    while run.poll() is None and len(workers_of(run.pid)) < workers:
        time.sleep(0.002)
    time.sleep(moment)
    return psutil.Process(run.pid).children(recursive=True)


def semaphores_of(pid: int) -> list[str]:
    shared = Path("/dev/shm")
    return [name.name for name in shared.iterdir() if f"loky-{pid}-" in name.name] if shared.is_dir() else []


def advice_is_true(errors: str, folder: Path) -> bool:
    """Whether an interruption is told of, and that models are kept where some are."""
    kept = any(folder.rglob("partial/model_*.json"))
    advice = ". Finished models are kept; resume with the same command." if kept else ""
    return f"mico-hub: interrupted{advice}\n" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [False, True], ids=["the process", "its group"])
@pytest.mark.parametrize(("workers", "moment"), [(1, 0.0), (2, 0.0), (2, 1.0)])
def test_a_signal_while_workers_start_ends_all_of_them(
    tmp_path: Path, number: signal.Signals, whole_group: bool, workers: int, moment: float
) -> None:
    run = fresh.start("-c", TRAIN, cwd=tmp_path)
    children = when_workers_start(run, workers, moment)
    (os.killpg if whole_group else os.kill)(run.pid, number)
    ended = run.wait(60)
    assert ended.returncode == 128 + number, ended.stderr
    assert advice_is_true(ended.stderr, tmp_path)
    for complaint in ("Traceback", "resource_tracker", "Error"):
        assert complaint not in ended.stderr
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert not semaphores_of(run.pid)


def test_an_attack_that_trains_models_goes_on_where_it_was_interrupted_on_a_cluster_too(
    tmp_path: Path, published: Path
) -> None:
    attack = ("-m", "mico_hub.cli", "attack", "digits_inf", "--attack", "distinguisher", "--source", published)
    env = os.environ | {"MICO_HUB_CACHE": str(tmp_path / "cache")}
    run = fresh.start(*attack, "--processes", "1", cwd=tmp_path, env=env)
    kept = tmp_path / "cache" / "own_shadows"
    while run.poll() is None and not any(kept.glob("*.safetensors")):
        time.sleep(0.002)
    run.send_signal(signal.SIGINT)
    ended = run.wait(60)
    assert ended.returncode == 128 + signal.SIGINT, ended.stderr
    assert "interrupted. Models of finished targets are kept; resume with the same command." in ended.stderr
    done = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert 1 <= len(done) < 4
    again = fresh.run(*attack, "--ray", cwd=tmp_path, env=env)
    assert again.returncode == 0, again.stderr
    assert "digits_inf train: 4 models, 800 points" in again.stdout
    assert len(list(kept.iterdir())) == 4
    assert {path: path.stat().st_mtime_ns for path in done} == done
    refused = fresh.run(*attack[:4], "--attack", "lira", "--processes", "2", cwd=tmp_path, env=env)
    assert refused.returncode == 2
    assert "expected an attack that trains models for --processes and --ray, got lira" in refused.stderr


WHILE_STARTED = """
import os
from multiprocessing.process import BaseProcess
from threading import Thread
started = []
def signalling(start):
    def start_and_signal(what):
        start(what)
        if isinstance(what, BaseProcess) or what.name == "ExecutorManagerThread":
            started.append(what)
            if len(started) == {parts}:
                os.kill(os.getpid(), {number})
    return start_and_signal
BaseProcess.start, Thread.start = signalling(BaseProcess.start), signalling(Thread.start)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_signal_while_the_executor_starts_ends_it(tmp_path: Path, number: signal.Signals, parts: int) -> None:
    """One or both of its workers are there, or the thread that watches over them too, which waits for them at exit."""
    ended = fresh.start("-c", WHILE_STARTED.format(parts=parts, number=int(number)) + TRAIN, cwd=tmp_path).wait(60)
    assert ended.returncode == 128 + number, ended.stderr
    assert advice_is_true(ended.stderr, tmp_path)
    assert "resource_tracker" not in ended.stderr


@pytest.mark.parametrize(("workers", "moment"), [(1, 0.0), (2, 0.5)])
def test_a_notebook_that_is_stopped_lives_on(tmp_path: Path, workers: int, moment: float) -> None:
    """Its workers are gone, and the next training has new ones."""
    run = fresh.start("-c", NOTEBOOK, cwd=tmp_path)
    when_workers_start(run, workers, moment)
    run.send_signal(signal.SIGINT)
    ended = run.wait(120)
    assert (ended.returncode, ended.stdout) == (0, "stopped\ndone\n"), ended.stderr
    assert "resource_tracker" not in ended.stderr


CLOSED = """
import os, sys
read, write = os.pipe()
os.close(read)
for number in {closed}:
    os.dup2(write, number)
os.close(write)
from mico_hub.cli import main
sys.exit(main({arguments}))
"""


def with_closed(closed: tuple[int, ...], arguments: list[str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Runs the command as a shell does before `| head` that has read all that it wants."""
    return fresh.run("-c", CLOSED.format(closed=closed, arguments=arguments), cwd=cwd)


@pytest.mark.parametrize("closed", [(1,), (1, 2)], ids=["| head", "2>&1 | head"])
def test_files_are_written_though_nobody_reads_the_output(
    tmp_path: Path, published: Path, closed: tuple[int, ...]
) -> None:
    shutil.copytree(published, tmp_path / "mico")
    attack = ["attack", "digits_hi", "--attack", "loss", "--out", "loss", "--html", "a.html"]
    score = ["score", "loss", "--suite", "digits_hi", "--json", "s.json", "--html", "s.html", "--figures", "figures"]
    for arguments in (attack, score, ["suites"], ["attacks"], ["fetch", "digits_hi"], ["score", "--help"]):
        done = with_closed(closed, arguments, tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
        assert "Broken pipe" not in done.stderr
    assert json.loads((tmp_path / "s.json").read_text())["results"]
    assert all((tmp_path / name).read_text().endswith("</html>") for name in ("a.html", "s.html"))
    assert len(list((tmp_path / "figures").iterdir())) == 4


@pytest.mark.parametrize("closed", [(1,), (1, 2)], ids=["| head", "2>&1 | head"])
def test_training_goes_on_though_nobody_reads_the_output(tmp_path: Path, closed: tuple[int, ...]) -> None:
    arguments = ["train", "digits_inf", "--models", "2/1/1", "--processes", "1", "--out", "suites"]
    assert with_closed(closed, arguments, tmp_path).returncode == 0
    assert SuiteFolder(tmp_path / "suites" / "digits_inf").complete()
