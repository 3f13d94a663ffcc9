"""Publishing, to a Hub on the loopback interface: seconds, and the publisher's memory.

python benchmarks/upload.py                              2,400 small checkpoints: publish, again, resume
MICO_HUB_DATA=DATA python benchmarks/upload.py memory    1 and 4 GB of CIFAR-10 networks: resident peak

The suites have the real shape and random weights: nothing that is measured depends on their values. The command is the
documented one, with its checks; their time is shown apart. The Hub runs in a process of its own.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from builders.build import build
from mico_hub import models, tables
from mico_hub.data import load_base
from mico_hub.progress import Bar
from mico_hub.randomness import Keys
from mico_hub.release import checkpoints
from mico_hub.release.consistency import checkpoint_path
from mico_hub.release.disclosure import Measured, disclose, truth
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.splits import draw
from mico_hub.suites import SUITES, Suite

ROOT = Path(__file__).resolve().parents[1]
SERVER = """
import sys, time
from loopback_hub import LoopbackHub
with LoopbackHub() as hub:
    print(hub.url, hub.token, flush=True)
    while sys.stdin.readline():
        print(sum(method == "PUT" for method, _ in hub.requests), flush=True)
"""
SMALL = ("digits_inf", "digits_hi", "digits_lo")  # 800 models each
LARGE = ("cifar10_inf", "cifar10_hi", "cifar10_lo", "cifar10_ddp")  # 1 GB each, of 268 models
GOAL_MB = 500


def random_suite(suite: Suite, root: Path, accuracy: float = 0.5) -> None:
    """A suite folder as training leaves it, with weights that were never trained."""
    folder = SuiteFolder(root)
    data = load_base(suite.dataset)
    manifest = Manifest(
        suite=suite,
        noise_multiplier=1.0 if suite.private else None,
        data_digest=data.digest,
        data_official=data.official,
        data_note=data.note,
        versions={},
    )
    splits = [draw(len(data), suite.n, suite.m) for _ in range(sum(suite.models))]
    folder.begin(manifest, [truth(suite, i, split) for i, split in enumerate(splits)], [Keys.draw() for _ in splits])
    public = []
    for model_id, split in enumerate(Bar(splits, desc=f"making {suite.name}", unit="model")):
        network = models.initialise(suite.model, os.urandom(16))
        sha256, size = checkpoints.save(network, suite.model, folder.checkpoint(suite, model_id))
        measured = Measured(checkpoint_path(suite, model_id), sha256, size, accuracy, suite.epsilon, suite.delta)
        public.append(disclose(suite, model_id, split, measured)[0])
    folder.finish(public)


@contextmanager
def hub() -> Iterator[tuple[str, str, "subprocess.Popen[str]"]]:
    """(url, token, process) of a Hub of its own; it answers a line with the number of uploads so far."""
    command = [sys.executable, "-c", SERVER]  # which imports from the folder it is started in
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT / "tests", stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        try:
            yield url, token, process
        finally:
            process.stdin.close()
            process.wait()


def uploads(process: "subprocess.Popen[str]") -> int:
    """How many the Hub has got."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def publisher(folder: Path, url: str, token: str) -> "subprocess.Popen[str]":
    """The documented command."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    if data := os.environ.get("MICO_HUB_DATA"):
        environment["MICO_HUB_DATA"] = str(Path(data).resolve())
    command = [sys.executable, str(ROOT / "upload_scripts" / "publish.py"), "mico", "org/mico", "--unofficial-data"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, text=True)


def finish(run: "subprocess.Popen[str]", started: float) -> tuple[float, float]:
    """(seconds, resident peak in MB) of a process without its children, in which the leak check runs."""
    peak = 0.0
    while run.poll() is None:
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{run.pid}/status").read_text())
            peak = float(found[1]) / 1e3 if found else peak
        time.sleep(0.05)
    if run.returncode:
        raise RuntimeError(f"{run.args!r} ended with {run.returncode}")
    return time.monotonic() - started, peak


def checks_alone(folder: Path) -> tuple[float, float]:
    """The same of the leak check."""
    command = [sys.executable, str(ROOT / "upload_scripts" / "check_leaks.py"), "mico"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    run = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, text=True)
    return finish(run, time.monotonic())


def many(folder: Path) -> None:
    """2,400 small checkpoints."""
    for name in SMALL:
        random_suite(SUITES[name].with_models(400, 200, 200), folder / "suites" / name)
    build(sorted((folder / "suites").iterdir()), folder / "mico")
    seconds, peak = checks_alone(folder)
    rows = [("checks alone (check_leaks.py)", f"{seconds:.1f}", f"{peak:.0f}", "-")]
    with hub() as (url, token, server):
        for what in ("publish", "publish again"):
            before = uploads(server)
            seconds, peak = finish(publisher(folder, url, token), time.monotonic())
            rows.append((what, f"{seconds:.1f}", f"{peak:.0f}", f"{uploads(server) - before:,}"))
    with hub() as (url, token, server):
        run = publisher(folder, url, token)
        while uploads(server) < 1_200:
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
        before = uploads(server)
        seconds, peak = finish(publisher(folder, url, token), time.monotonic())
        what = f"resume after a kill at {before:,} uploads"
        rows.append((what, f"{seconds:.1f}", f"{peak:.0f}", f"{uploads(server) - before:,}"))
    size = sum(path.stat().st_size for path in (folder / "mico").rglob("*") if path.is_file())
    sys.stdout.write(f"2,400 checkpoints, {size / 1e6:,.1f} MB\n")
    sys.stdout.write(tables.text(("", "seconds", "resident peak, MB", "uploads"), rows) + "\n")


def memory(folder: Path) -> None:
    """1 and 4 GB, a line each; the whole takes some minutes."""
    for names in (LARGE[:1], LARGE):
        place = folder / str(len(names))
        for name in names:
            random_suite(SUITES[name].with_models(134, 67, 67), place / "suites" / name)
        build(sorted((place / "suites").iterdir()), place / "mico")
        size = sum(path.stat().st_size for path in (place / "mico").rglob("*") if path.is_file())
        with hub() as (url, token, _):
            seconds, peak = finish(publisher(place, url, token), time.monotonic())
        sys.stdout.write(f"{size / 1e9:.2f} GB: {seconds:.0f} s, resident peak {peak:.0f} MB, goal {GOAL_MB} MB\n")
        sys.stdout.flush()
        shutil.rmtree(place)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("many", "memory"), default="many")
    options = parser.parse_args()
    folder = Path(mkdtemp(prefix="mico-hub-benchmark-"))
    try:
        {"many": many, "memory": memory}[options.what](folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
