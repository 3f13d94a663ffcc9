"""A group of models that one worker trains: what it is given, what it gives back. No files."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import torch

from mico_hub import checkpoint
from mico_hub.data import BaseDataset
from mico_hub.sgd import Assignment, Runtime, accuracy, train_models

PACKAGES = ("mico-hub", "torch", "opacus", "numpy", "transformers", "safetensors")
"""What a model's weights depend on besides its assignment."""

log = logging.getLogger(__name__)


class WorkerError(RuntimeError):
    """Training failed, or where it runs; what was finished before is kept."""


@dataclass(frozen=True, slots=True)
class Job:
    """Some models of a suite."""

    model_ids: tuple[int, ...]
    assignments: tuple[Assignment, ...]  # aligned with `model_ids`
    runtime: Runtime
    versions: Mapping[str, str]  # of `PACKAGES`, as the suite is trained with
    data_digest: str  # of the base dataset that the splits index

    @property
    def steps(self) -> int:
        """Steps of all its models together, the unit of progress."""
        return self.assignments[0].suite.steps * len(self.assignments)


@dataclass(frozen=True, slots=True)
class Finished:
    """A trained model."""

    model_id: int
    weights: bytes  # the checkpoint file
    accuracy: float | None  # over the records that no one has seen; None where there are none


Report = Callable[[int], None]
"""Called with how many steps of a job, or how many more steps of all jobs, are done."""


class Workers(Protocol):
    """Where jobs run."""

    @property
    def parallel(self) -> int:
        """How many jobs run at a time."""
        ...

    def run(self, jobs: Iterator[Job], data: BaseDataset, progress: Report) -> Iterator[list[Finished]]:
        """Runs the jobs and yields their results as they come.

        Args:
            jobs: Taken as there is room for them.
            data: The base dataset.
            progress: Called now and then with the steps done since the last call; negative where work was lost.

        Raises:
            WorkerError: A job failed, or what it runs on.
        """
        ...


def installed() -> dict[str, str]:
    """The versions of `PACKAGES` here."""
    return {package: version(package) for package in PACKAGES}


def run_job(job: Job, data: BaseDataset, report: Report) -> list[Finished]:
    """Trains a job's models in this process.

    When the device runs out of memory, half the stack and microbatch are tried, once, and that is logged.

    Raises:
        WorkerError: The packages or the data here are not what the suite was begun with, or memory ran out twice.
    """
    here = installed().items()
    differing = [f"{name} {got}, expected {job.versions[name]}" for name, got in here if job.versions[name] != got]
    if data.digest != job.data_digest:
        differing.append(f"{data.name} with digest {data.digest}, expected {job.data_digest}")
    if differing:
        raise WorkerError(f"a worker has {'; '.join(differing)}: its models would be others")
    suite, runtime = job.assignments[0].suite, job.runtime
    try:
        return list(_train(job, data, runtime, report))
    except torch.OutOfMemoryError as error:
        smaller = runtime.smaller(suite)
        log.warning("%s, models %s: %s; trying again with %s", suite.name, _span(job.model_ids), _brief(error), smaller)
    torch.cuda.empty_cache()
    report(0)  # all of it is done again
    try:
        return list(_train(job, data, smaller, report))
    except torch.OutOfMemoryError as error:
        raise WorkerError(
            f"{suite.name}, models {_span(job.model_ids)}: {runtime.device} ran out of memory, also with {smaller}: "
            f"{_brief(error)}; pass a smaller --stack or --microbatch, or fewer --processes"
        ) from error


def _train(job: Job, data: BaseDataset, runtime: Runtime, report: Report) -> Iterator[Finished]:
    suite = job.assignments[0].suite
    size = runtime.stack_of(suite)
    for start in range(0, len(job.assignments), size):
        group = job.assignments[start : start + size]

        def of_job(steps: int, before: int = start * suite.steps, models: int = len(group)) -> None:
            report(before + steps * models)

        networks = train_models(group, data, runtime, of_job)
        for model_id, each, network in zip(job.model_ids[start:], group, networks, strict=False):
            right = accuracy(network, data, each.split.evaluation, runtime.device)
            yield Finished(model_id, checkpoint.serialise(network.cpu(), suite.model), right)


def _span(model_ids: Sequence[int]) -> str:
    return f"{model_ids[0]} to {model_ids[-1]}" if len(model_ids) > 1 else f"{model_ids[0]}"


def _brief(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
