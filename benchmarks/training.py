"""Training speed against the competition's loop, on the same core or GPU, in interleaved runs.

MICO_HUB_DATA=DATA python benchmarks/training.py                         samples per core-second, five runs; ten minutes
MICO_HUB_DATA=DATA python benchmarks/training.py --runs 1 --seconds 3    a look
MICO_HUB_DATA=DATA python benchmarks/training.py whole                   whole Purchase-100 models; peak memory
MICO_HUB_DATA=DATA python benchmarks/training.py --device cuda SUITE...  seconds a model, and GPU hours for all suites
                                                                         of the kinds named (text: without the loop)

A core-second is a second of one core of all processes together, data loaders included. The loop is written again from
the competition's training scripts: a Dataset of (tensor, label), DataLoader with four workers, opacus' hooks and
Poisson sampling, BatchMemoryManager of 128, accuracy on numpy copies, `loss.item()`. It is measured for --seconds and
extrapolated; the epsilon that it computes again and again is timed apart. Both run with an allocator that keeps what is
freed (glibc's thresholds, set here): without, the loop spends up to half of its time on page faults.
"""

import argparse
import atexit
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from opacus import PrivacyEngine
from opacus.accountants import PRVAccountant
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from mico_hub import models, tables
from mico_hub.data import BaseDataset, load_base
from mico_hub.randomness import Keys
from mico_hub.splits import Split, draw
from mico_hub.suites import SUITES, Suite
from mico_hub.training.sgd import Assignment, Runtime, train_models

NOISE = 0.7  # for the speed of a step any other would do
LOGGED_EVERY = 10  # batches
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
PHYSICAL_BATCH = 128
TRAIN = (sys.executable, "-m", "mico_hub.cli", "train")
GOALS = {"purchase100_hi": 18.0, "purchase100_inf": 3.0, "cifar10_hi": 1.2, "cifar10_inf": 1.1}
"""Times the loop's samples per core-second."""


class Items(Dataset[Any]):
    """Records one by one, as the competition's datasets gave them."""

    def __init__(self, data: BaseDataset) -> None:
        inputs = data.inputs(np.arange(len(data)))
        assert isinstance(inputs, torch.Tensor)
        self._inputs, self._labels = inputs, data.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._inputs[index], int(self._labels[index])


class Loop:
    """The competition's training loop, a batch at a time."""

    def __init__(self, suite: Suite, items: Items, split: Split, device: str) -> None:
        self._suite, self._device = suite, device
        dataset: Dataset[Any] = ConcatDataset(
            [Subset(items, split.member.tolist()), Subset(items, split.training.tolist())]
        )
        self._network: nn.Module = models.build(suite.model).to(device).train()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[suite.optimiser.name]
        optimiser = kind(self._network.parameters(), lr=suite.optimiser.learning_rate)
        loader = DataLoader(dataset, batch_size=suite.batch_size, num_workers=4, pin_memory=device != "cpu")
        self._optimiser, self._loader = optimiser, loader
        if suite.private:
            self._network, self._optimiser, self._loader = PrivacyEngine().make_private(
                module=self._network,
                optimizer=optimiser,
                data_loader=loader,
                noise_multiplier=NOISE,
                max_grad_norm=suite.clipping_norm,
                poisson_sampling=True,
            )

    def samples_per_second(self, seconds: float) -> float:
        """Samples per core-second (per second on a GPU), over at least so many seconds, loaders' work included."""
        before = _clock(self._device)
        done = 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            done += self._some(until)
        return done / (_clock(self._device) - before)  # the loaders have ended: their time is counted

    def _some(self, until: float) -> int:
        if not self._suite.private:
            return self._epoch(self._loader, until)
        with BatchMemoryManager(
            data_loader=self._loader, max_physical_batch_size=PHYSICAL_BATCH, optimizer=self._optimiser
        ) as loader:
            return self._epoch(loader, until)

    def _epoch(self, loader: Any, until: float) -> int:
        done, losses, accuracies = 0, [], []
        batches = iter(loader)
        for inputs, labels in batches:
            x, y = inputs.to(self._device), labels.to(self._device)
            self._optimiser.zero_grad()
            output = self._network(x)
            loss = nn.functional.cross_entropy(output, y)
            predicted = np.argmax(output.detach().cpu().numpy(), axis=1)
            accuracies.append((predicted == y.detach().cpu().numpy()).mean())
            losses.append(loss.item())
            torch.autograd.backward(loss)
            self._optimiser.step()
            done += len(labels)
            if time.perf_counter() > until:
                break
        del batches  # ends the loaders
        return done


def _clock(device: str) -> float:
    """Seconds of all cores used by this process and its ended children; on a GPU seconds of the wall clock."""
    if device != "cpu":
        torch.cuda.synchronize()
        return time.perf_counter()
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def ours(suite: Suite, data: BaseDataset, device: str, seconds: float) -> float:
    """Samples per core-second of `train_models`, for that many seconds; a GPU trains as many at a time as it would."""
    runtime = Runtime(device)
    start = models.load_start(suite.model, _random_weights(suite.model))
    count = runtime.stack_of(suite)
    split, noise = draw(len(data), suite.n, suite.m), NOISE if suite.private else None
    given = [Assignment(suite, split, Keys.draw(), noise) for _ in range(count)]
    done = 0

    def report(steps: int) -> None:
        nonlocal done
        done = steps
        if time.perf_counter() > until:
            raise _EnoughError

    before, until = _clock(device), time.perf_counter() + seconds
    with suppress(_EnoughError):
        train_models(given, data, runtime, report, start)
    return done * count * suite.n / suite.steps_per_epoch / (_clock(device) - before)


@cache
def _random_weights(model: str) -> str | None:
    """A folder with weights to start from where a network starts from pretrained ones: others are as fast."""
    if models.MODELS[model].load_start is None:
        return None
    folder = tempfile.mkdtemp(prefix="mico-hub-benchmark-")
    atexit.register(shutil.rmtree, folder)
    cast(Any, models.build(model)).save_pretrained(folder)
    return folder


class _EnoughError(Exception):
    """Ends a training."""


def peak(seconds: float = 2) -> float:
    """The machine's float32 matrix product, GFLOP a core-second."""
    a = torch.randn(1_024, 1_024)
    rates = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.process_time()
        for _ in range(10):
            a @ a
        rates.append(10 * 2 * 1_024**3 / (time.process_time() - started) / 1e9)
    return statistics.median(rates)


def compare(names: list[str], device: str, runs: int, seconds: float) -> None:
    """Both, interleaved, and what the GPU hours of all suites would be."""
    unit = "samples per core-s" if device == "cpu" else "samples per s"
    machine_peak = peak() if device == "cpu" else None
    measured: dict[str, tuple[list[float], list[float]]] = {}
    for name in names:
        suite = SUITES[name]
        data = models.prepared(load_base(suite.dataset), suite.model)
        items = Items(data) if not isinstance(data.raw, tuple) else None
        split = draw(len(data), suite.n, suite.m)
        loop: list[float] = []
        own: list[float] = []
        ours(suite, data, device, 1)  # what is imported and compiled once
        for _ in range(runs):
            if items is not None:
                loop.append(Loop(suite, items, split, device).samples_per_second(seconds))
            own.append(ours(suite, data, device, seconds))
            shown = f"{loop[-1]:,.0f}" if loop else "-"
            sys.stderr.write(f"{name}: loop {shown}, mico-hub {own[-1]:,.0f}\n")
        measured[name] = loop, own
    rows = []
    for name, (loop, own) in measured.items():
        suite = SUITES[name]
        rate = statistics.median(own)
        flops = 3 * models.MODELS[suite.model].flops - (_first_layer(suite))  # no gradient by the inputs
        seconds_a_model = suite.n * suite.epochs / rate
        rows.append(
            [
                name,
                f"{statistics.median(loop):,.0f}" if loop else "-",
                f"{rate:,.0f}",
                f"{min(own):,.0f} to {max(own):,.0f}",
                f"{statistics.median(a / b for a, b in zip(own, loop, strict=True)):.2f}" if loop else "-",
                f"{GOALS[name]:g}" if name in GOALS and device == "cpu" else "-",
                f"{rate * flops / machine_peak / 1e9:.0%}"
                if machine_peak and loop
                else "-",  # sentences differ in length
                f"{seconds_a_model:,.0f}",
            ]
        )
    header = ["suite", f"loop, {unit}", "mico-hub", "range", "ratio", "goal", "of peak", "seconds a model"]
    _say(tables.text(header, rows))
    if machine_peak:
        _say(f"peak: {machine_peak:.0f} GFLOP per core-second, float32 matrix product of 1,024")
    else:
        _say(f"device: {torch.cuda.get_device_name()}; {_all_hours(measured):.1f} hours for the suites of all tracks")


def _first_layer(suite: Suite) -> float:
    """Operations of the gradient by the records themselves, which no one needs."""
    return {"mlp": 2 * 600 * 128, "cnn": 2 * 256 * 192 * 128}.get(suite.model, 0)


def _all_hours(measured: dict[str, tuple[list[float], list[float]]]) -> float:
    """Of all of the table's suites whose recipe was measured: those of one dataset with DP cost the same."""
    rate = {(SUITES[name].dataset, SUITES[name].private): statistics.median(own) for name, (_, own) in measured.items()}
    return sum(
        suite.n * suite.epochs * sum(suite.models) / rate[suite.dataset, suite.private] / 3_600
        for suite in SUITES.values()
        if (suite.dataset, suite.private) in rate
    )


def whole() -> None:
    """Whole models by the documented command, in a process of its own, and the loop extrapolated."""
    rows = []
    for name, goal, ratio_goal in (("purchase100_hi", 45, 25), ("purchase100_inf", 35, 2.5)):
        suite = SUITES[name]
        data = models.prepared(load_base(suite.dataset), suite.model)
        items, split = Items(data), draw(len(data), suite.n, suite.m)
        rate = Loop(suite, items, split, "cpu").samples_per_second(60)
        expected = suite.n * suite.epochs / rate + (_epsilon_seconds(suite) if suite.private else 0)
        with tempfile.TemporaryDirectory() as folder:
            used, _ = _run([name, "--models", "1/0/0", "--processes", "1", "--out", folder])
        rows.append([name, f"{expected:,.0f}", f"{used:.1f}", f"{goal}", f"{expected / used:.1f}", f"{ratio_goal:g}"])
    header = ["suite", "loop, core-s (extrapolated)", "mico-hub, core-s", "goal", "ratio", "goal of it"]
    _say(tables.text(header, rows))
    rows = []
    for name, models_wanted, stack, goal_gb in (("purchase100_hi", "8/0/0", "8", 2), ("cifar10_hi", "1/0/0", "1", 3)):
        with tempfile.TemporaryDirectory() as folder:
            command = [name, "--models", models_wanted, "--processes", "1", "--stack", stack, "--out", folder]
            _, peak_bytes = _run(command, stop_after=120)
        rows.append([name, stack, f"{peak_bytes / 1e6:,.0f} MB", f"{goal_gb} GB"])
    _say(tables.text(["suite", "stack", "peak memory, first two minutes", "goal"], rows))


def _epsilon_seconds(suite: Suite) -> float:
    """What the loop spends on epsilon, from the time of one evaluation with its error bounds.

    It counts logical batches and looks at the count in every physical one, so it evaluates at every tenth logical batch
    once for each physical batch in it: about 4,014 times for Purchase-100.
    """
    accountant = PRVAccountant()
    accountant.history = [(NOISE, suite.sampling_rate, suite.steps // 2)]
    times = []
    for _ in range(5):
        started = time.process_time()
        accountant.get_epsilon(delta=suite.delta, eps_error=0.1, delta_error=1e-9)
        times.append(time.process_time() - started)
    sizes = np.random.default_rng(0).binomial(suite.n, suite.sampling_rate, 10_000)
    evaluations = suite.steps / LOGGED_EVERY * np.ceil(sizes / PHYSICAL_BATCH).mean()
    sys.stderr.write(f"{suite.name}: epsilon {evaluations:,.0f} times {statistics.median(times):.3f} s\n")
    return float(evaluations * statistics.median(times))


def _run(arguments: list[str], stop_after: float | None = None) -> tuple[float, int]:
    """Core-seconds and peak memory of the training script, start, data and accounting included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    usual = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}  # as a maintainer has it
    process = subprocess.Popen([*TRAIN, *arguments, "--device", "cpu"], stdout=sys.stderr, env=usual)
    largest = 0
    started = time.perf_counter()
    for _ in _every_second(process):
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = [line for line in status.splitlines() if line.startswith("VmHWM")]
        largest = max(largest, int(found[0].split()[1]) * 1_024 if found else 0)
        if stop_after is not None and time.perf_counter() - started > stop_after:
            process.terminate()
    if stop_after is None and process.returncode:
        raise SystemExit(f"training {arguments[0]} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, largest


def _every_second(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    while True:
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            yield
        else:
            return


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=list(GOALS), metavar="SUITE", help="suites, or `whole`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12, help="for each run of each")
    options = parser.parse_args()
    if not set(KEEP_MEMORY) <= set(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)  # noqa: S606 (read at start)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    _say(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    if options.what == ["whole"]:
        whole()
    else:
        compare(options.what, options.device, options.runs, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
