"""Trainings with a canary and without it, by the engine itself, and what an auditor sees of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mico_hub import models
from mico_hub.auditing.canaries import Canary, norm_of
from mico_hub.models.records import on_device
from mico_hub.progress import Bar
from mico_hub.randomness import Keys
from mico_hub.splits import Split
from mico_hub.suites import Suite
from mico_hub.training import sgd
from mico_hub.training.gradients.base import record_losses
from mico_hub.training.sgd import Assignment, Runtime
from mico_hub.workers.job import Common, Report, Workers

FloatArray = NDArray[np.float64]

Seen = tuple[bool, float]
"""Of a training: whether it had the canary, and what was seen of it."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What an auditor saw of trainings, higher where a canary was more likely."""

    without: FloatArray  # (runs,)
    having: FloatArray  # (runs,)


@dataclass(frozen=True, slots=True)
class TrialJob:
    """Some trainings, to be run by one worker."""

    suite: Suite
    having: tuple[bool, ...]
    keys: tuple[Keys, ...]  # aligned with `having`
    noise_multiplier: float
    direction: tuple[torch.Tensor, ...] | None  # see `Canary`
    runtime: Runtime

    @property
    def steps(self) -> int:
        """Steps of all its trainings together."""
        return self.suite.steps * len(self.having)

    def run(self, common: Common, report: Report) -> Sequence[Seen]:
        """Trains, and gives of each whether it had the canary and what was seen."""
        records, size = len(common.data), self.runtime.stack_of(self.suite)
        seen: list[Seen] = []
        for first in range(0, len(self.having), size):
            having = self.having[first : first + size]
            assignments = [
                Assignment(self.suite, split_of(records, with_canary=each), keys, self.noise_multiplier)
                for each, keys in zip(having, self.keys[first : first + size], strict=True)
            ]

            def of_job(steps: int, before: int = len(seen), models: int = len(having)) -> None:
                report(before * self.suite.steps + steps * models)

            watch = None if self.direction is None else Watch(self.suite, self.noise_multiplier, self.direction)
            networks = sgd.train_models(assignments, common.data, self.runtime, of_job, common.start, watch)
            found = final(networks, common) if watch is None else watch.found.tolist()
            seen += list(zip(having, found, strict=True))
        return seen


class Watch:
    """The log of the likelihood ratio of all steps, along the canary's gradient: what tells the two apart best."""

    def __init__(self, suite: Suite, noise_multiplier: float, direction: Sequence[torch.Tensor]) -> None:
        self._suite, self._noise = suite, noise_multiplier
        self._parts = direction
        self._share = norm_of(direction)
        self.found = np.zeros(1)

    def __call__(self, gradients: Sequence[torch.Tensor]) -> None:
        """Takes a step into account."""
        along = sum(
            (gradient.cpu().double() * part.double()).flatten(1).sum(dim=1)
            for gradient, part in zip(gradients, self._parts, strict=True)
        )
        assert isinstance(along, torch.Tensor)
        suite = self._suite
        # In units of the clipping norm: `share` with probability q if the canary is there, noise in any case.
        projected = along.numpy() / self._share * suite.expected_batch_size / (suite.clipping_norm or 1.0)
        self.found = self.found + step_evidence(projected, self._share, suite.sampling_rate, self._noise)


def step_evidence(projected: FloatArray, share: float, sampling_rate: float, noise_multiplier: float) -> FloatArray:
    """log((1 - q) + q N(y; share, sigma^2) / N(y; 0, sigma^2)) of a step's projection y."""
    ratio = (projected * share - share**2 / 2) / noise_multiplier**2
    absent = np.log1p(-sampling_rate) if sampling_rate < 1 else -np.inf
    evidence: FloatArray = np.logaddexp(absent, np.log(sampling_rate) + ratio)
    return evidence


@torch.no_grad()
def final(networks: Sequence[torch.nn.Module], common: Common) -> list[float]:
    """What outputs of final models say of the canary, higher where it was more likely there.

    With natural initial weights, less its loss. With crafted ones the margin of its label, less that of a record of
    zeros: the first weights' part of it, where the canary's gradients are.
    """
    inputs, labels = on_device(common.data, "cpu").take(torch.tensor([len(common.data) - 1]))
    assert isinstance(inputs, torch.Tensor)
    label, nothing = int(labels[0]), torch.zeros_like(inputs)
    if common.start is None:
        return [-float(record_losses(network, inputs, labels)) for network in networks]
    return [_margin(network, inputs, label) - _margin(network, nothing, label) for network in networks]


def _margin(network: torch.nn.Module, inputs: torch.Tensor, label: int) -> float:
    outputs = models.logits(network, inputs)[0].tolist()
    return float(outputs.pop(label) - np.mean(outputs))


def split_of(records: int, *, with_canary: bool) -> Split:
    """All records, the last one only where it is asked for."""
    nobody = np.zeros(0, dtype=np.int64)
    trained = np.arange(records if with_canary else records - 1, dtype=np.int64)
    return Split(nobody, np.zeros(0, dtype=np.int8), trained, nobody)


def run_trials(
    canary: Canary,
    noise_multiplier: float,
    runs: int,
    runtime: Runtime,
    workers: Workers,
    known: Sequence[Seen] = (),
    keep: Callable[[Sequence[Seen]], object] = lambda seen: None,
) -> Trials:
    """Trains half of the runs with the canary and half without, in turns, each with fresh keys, with a bar.

    Args:
        canary: The problem.
        noise_multiplier: Of the engine that is audited.
        runs: Trainings, half of each kind.
        runtime: How.
        workers: Where.
        known: What was seen of earlier trainings of the same problem, which count.
        keep: Called with what was seen so far, those included, after each job.
    """
    seen = [each for kind in (False, True) for each in [old for old in known if old[0] == kind][: _half(runs, kind)]]
    missing = {kind: _half(runs, kind) - sum(old[0] == kind for old in seen) for kind in (False, True)}
    order = sorted((number, kind) for kind, count in missing.items() for number in range(count))
    size = max(1, min(runtime.stack_of(canary.suite), len(order) // max(workers.parallel, 1)))

    def jobs() -> Iterator[TrialJob]:
        for first in range(0, len(order), size):
            having = tuple(kind for _, kind in order[first : first + size])
            keys = tuple(Keys.draw() for _ in having)
            yield TrialJob(canary.suite, having, keys, noise_multiplier, canary.direction, runtime)

    steps = canary.suite.steps
    form: dict[str, Any] = {"total": runs * steps, "initial": len(seen) * steps, "unit": " steps", "unit_scale": True}
    with (
        Bar(desc=f"{canary.suite.name}: trainings", **form) as bar,
        closing(workers.run(jobs(), Common(canary.data, canary.start), bar.update)) as results,
    ):
        for each in results:
            seen += each
            keep(seen)
    having = np.array([each for each, _ in seen])
    values = np.array([value for _, value in seen])
    return Trials(values[~having], values[having])


def _half(runs: int, kind: bool) -> int:
    return runs // 2 if kind else runs - runs // 2
