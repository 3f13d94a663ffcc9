"""A group of models that one worker trains: what it is given, what it gives back. No files."""

import gc
import hashlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch

from mico_hub import checkpoint
from mico_hub.data import BaseDataset
from mico_hub.models import Start
from mico_hub.sgd import Assignment, Runtime, accuracy, train_models

PACKAGES = ("torch", "opacus", "numpy", "transformers", "safetensors")
"""What a model's weights depend on besides its assignment, its data and this package."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

log = logging.getLogger(__name__)


class WorkerError(RuntimeError):
    """Training failed, or where it runs; what was finished before is kept."""

    finished: Sequence["Finished"] = ()
    """What the same job had finished."""


@dataclass(frozen=True, slots=True)
class Common:
    """What all jobs of a suite read: large, and sent once."""

    data: BaseDataset  # that the splits index
    start: Start | None = None  # the weights that training starts from; None: random ones

    @property
    def start_digest(self) -> str | None:
        """Of the weights to start from."""
        return None if self.start is None else self.start.digest


@dataclass(frozen=True, slots=True)
class Job:
    """Some models of a suite."""

    model_ids: tuple[int, ...]
    assignments: tuple[Assignment, ...]  # aligned with `model_ids`
    runtime: Runtime
    versions: Mapping[str, str]  # `installed()` where the suite was begun
    data_digest: str  # of the base dataset
    start_digest: str | None  # of the weights that training starts from

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

Results = Generator[list[Finished], None, None]
"""Finished models as they come; to be closed, for nothing to run on."""


class Workers(Protocol):
    """Where jobs run."""

    @property
    def parallel(self) -> int:
        """How many jobs run at a time."""
        ...

    def run(self, jobs: Iterator[Job], common: Common, progress: Report) -> Results:
        """Runs the jobs and yields their results as they come.

        Args:
            jobs: Taken as there is room for them.
            common: What all of them read.
            progress: Called now and then with the steps done since the last call; negative where work was lost.

        Raises:
            WorkerError: A job failed, or what it runs on. What others had finished by then was yielded before.
        """
        ...


@cache
def installed() -> dict[str, str]:
    """What decides weights here besides what a job carries: this package, by version and content, and `PACKAGES`."""
    package = Path(__file__).parents[1]
    content = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).parts):
        content.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    own = {"mico-hub": f"{version('mico-hub')}+{content.hexdigest()[:12]}"}
    return own | {name: version(name) for name in PACKAGES}


def run_job(job: Job, common: Common, report: Report) -> list[Finished]:
    """Trains a job's models in this process.

    When the device runs out of memory, half the stack and microbatch are tried, once, and that is logged.

    Raises:
        WorkerError: Packages, data or start here are not what the suite was begun with, or memory ran out twice.
    """
    _check(job, common)
    suite, runtime = job.assignments[0].suite, job.runtime
    finished: list[Finished] = []
    for tried in (runtime, smaller := runtime.smaller(suite)):
        try:
            for model in _train(job, len(finished), common, tried, report):
                finished.append(model)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            problem = f"{suite.name}, models {_span(job.model_ids)}: {runtime.device} ran out of memory"
            brief = str(error).split("\n", 1)[0]
        else:
            return finished
        if tried is runtime:
            log.warning("%s: %s; trying again with %s", problem, brief, smaller)
            _free_memory()
            report(len(finished) * suite.steps)  # the others are done again
    failure = WorkerError(
        f"{problem}, also with {smaller}: {brief}; pass a smaller --stack or --microbatch, or fewer --processes"
    )
    failure.finished = finished
    raise failure


def _check(job: Job, common: Common) -> None:
    expected: dict[str, str | None] = dict(job.versions)
    here: dict[str, str | None] = dict(installed())
    expected[f"{common.data.name} with digest"], here[f"{common.data.name} with digest"] = (
        job.data_digest,
        common.data.digest,
    )
    expected["weights to start from with digest"] = job.start_digest
    here["weights to start from with digest"] = common.start_digest
    differing = [
        f"{name} {here.get(name)}, expected {expected.get(name)}"
        for name in {**expected, **here}
        if here.get(name) != expected.get(name)
    ]
    if differing:
        raise WorkerError(f"a worker has {'; '.join(differing)}: its models would be others")


def _out_of_memory(error: RuntimeError) -> bool:
    """Only CUDA raises an error of its own kind."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _free_memory() -> None:
    """Lets go of what a failed try held: a network and opacus' hooks on it refer to each other."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _train(job: Job, first: int, common: Common, runtime: Runtime, report: Report) -> Iterator[Finished]:
    """The job's models from the first-th on."""
    suite = job.assignments[0].suite
    size = runtime.stack_of(suite)
    for start in range(first, len(job.assignments), size):
        group = job.assignments[start : start + size]

        def of_job(steps: int, before: int = start * suite.steps, models: int = len(group)) -> None:
            report(before + steps * models)

        networks = train_models(group, common.data, runtime, of_job, common.start)
        for model_id, each, network in zip(job.model_ids[start:], group, networks, strict=False):
            right = accuracy(network, common.data, each.split.evaluation, runtime.device)
            yield Finished(model_id, checkpoint.serialise(network.cpu(), suite.model), right)


def _span(model_ids: Sequence[int]) -> str:
    return f"{model_ids[0]} to {model_ids[-1]}" if len(model_ids) > 1 else f"{model_ids[0]}"
