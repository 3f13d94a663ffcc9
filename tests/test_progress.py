"""Bars: in a terminal as tqdm draws them, in a log file a line a minute, in a notebook a widget."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import fresh

STEPS = """
import time
from mico_hub.progress import Bar
with Bar(desc="digits_hi", total=300, unit=" records", waiting="starting workers") as bar:
    time.sleep(0.3)
    for _ in range(300):
        bar.update()
        time.sleep(0.002)
for _ in Bar(range(3), desc="others"):
    pass
"""


def in_terminal(code: str) -> str:
    """What a program writes to a terminal."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    program = subprocess.Popen([sys.executable, "-c", code], stderr=terminal)
    os.close(terminal)
    written = b""
    try:
        while part := os.read(controller, 4096):
            written += part
    except OSError:  # it has ended
        pass
    assert program.wait() == 0
    os.close(controller)
    return written.decode()


def test_in_a_log_file_a_bar_is_few_lines(tmp_path: Path) -> None:
    done = fresh.run("-c", STEPS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("digits_hi: starting workers:   0%|")
    assert lines[1].startswith("digits_hi:   0%|")
    assert lines[2].startswith("digits_hi: 100%|")
    assert "300/300" in lines[2]
    assert lines[3].startswith("others:   0%|")
    assert lines[4].startswith("others: 100%|")


def test_in_a_log_file_a_line_comes_a_minute(tmp_path: Path) -> None:
    """A hundred thousand steps, with a clock that says they took an hour."""
    code = """
import tqdm.std
now = 0.0
tqdm.std.time = lambda: now
from mico_hub.progress import Bar
with Bar(total=100_000) as bar:
    for _ in range(100_000):
        now += 0.036
        bar.update()
"""
    done = fresh.run("-c", code, cwd=tmp_path)
    assert 55 <= len(done.stderr.splitlines()) <= 62


def test_in_a_terminal_a_bar_looks_as_tqdms(tmp_path: Path) -> None:
    ours = in_terminal(STEPS)
    assert "digits_hi: starting workers:   0%|" in ours
    plain = STEPS.replace("from mico_hub.progress import Bar", "from tqdm import tqdm as Bar").replace(
        ', waiting="starting workers"', ""
    )

    def form(written: str) -> list[str]:
        frames = [frame.strip() for frame in written.split("\r") if frame.strip()]
        return [re.sub(r"[\d.]+|\?", "0", re.sub(r"[█-▏#]| *\|", "", frame)) for frame in (frames[-4], frames[-1])]

    assert form(ours) == form(in_terminal(plain))
    assert ours.count("\r") > 3


def test_nothing_but_a_step_ends_the_waiting(tmp_path: Path) -> None:
    code = """
from mico_hub.progress import Bar
with Bar(desc="x", total=3, waiting="starting workers") as bar:
    bar.update(0)
    bar.refresh()
    print(bar.desc)
    bar.update(1)
    print(bar.desc)
"""
    done = fresh.run("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines() == ["x: starting workers", "x: "]


def test_training_says_that_workers_start_until_the_first_step(tmp_path: Path) -> None:
    train = ("-m", "mico_hub.cli", "train", "digits_inf", "--models", "2/1/1", "--processes", "2", "--out", tmp_path)
    done = fresh.run(*train, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("digits_inf: starting workers:   0%|")
    assert lines[1].startswith("digits_inf: ")
    assert "starting" not in lines[1]
    assert lines[-1].startswith("digits_inf: 100%|")
    assert "4/4 models" in lines[-1]
    assert len(lines) <= 4
