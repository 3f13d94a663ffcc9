"""The job of training some models."""

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mico_hub.release import checkpoints
from mico_hub.training.engine import installed
from mico_hub.training.sgd import Assignment, Runtime, accuracy, mean_loss, train_models
from mico_hub.workers.job import Common, Report, WorkerError, require_same

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A trained model."""

    model_id: int
    weights: bytes  # the checkpoint file
    accuracy: float | None  # over the records that no one has seen; None where there are none
    member_loss: float  # mean over the member challenges; never public


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Some models of a suite, to be trained; it carries all that decides their weights."""

    model_ids: tuple[int, ...]
    assignments: tuple[Assignment, ...]  # aligned with `model_ids`
    runtime: Runtime
    versions: Mapping[str, str]  # `engine.installed()` where the run is
    data_digest: str  # of the base dataset
    start_digest: str | None  # of the weights that training starts from

    @property
    def steps(self) -> int:
        """Steps of all its models together."""
        return self.assignments[0].suite.steps * len(self.assignments)

    def run(self, common: Common, report: Report) -> list[Finished]:
        """Trains the models in this process.

        When the device runs out of memory, half the stack and microbatch are tried, once, and that is logged.

        Raises:
            WorkerError: Packages, data or start here are not what the suite was begun with, or memory ran out twice.
        """
        self._check(common)
        suite, runtime = self.assignments[0].suite, self.runtime
        finished: list[Finished] = []
        smaller = runtime.smaller(suite)
        less = f"--stack {smaller.stack} --microbatch {smaller.microbatch}"
        for tried in (runtime, smaller):
            try:
                for model in self._train(len(finished), common, tried, report):
                    finished.append(model)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                problem = f"{suite.name}, models {_span(self.model_ids)}: {runtime.device} ran out of memory"
                brief = str(error).split("\n", 1)[0]
            else:
                return finished
            if tried is runtime:
                log.warning("%s: %s; trying again with %s", problem, brief, less)
                _free_memory()
                report(len(finished) * suite.steps)  # the others are done again
        failure = WorkerError(
            f"{problem}, also with {less}: {brief}; pass a smaller --stack or --microbatch, or fewer --processes"
        )
        failure.finished = finished
        raise failure

    def _check(self, common: Common) -> None:
        data, start = f"{common.data.name} with digest", "weights to start from with digest"
        require_same(
            {**self.versions, data: self.data_digest, start: self.start_digest},
            {**installed(), data: common.data.digest, start: common.start_digest},
        )

    def _train(self, first: int, common: Common, runtime: Runtime, report: Report) -> Iterator[Finished]:
        """The models from the first-th on."""
        suite = self.assignments[0].suite
        size = runtime.stack_of(suite)
        for start in range(first, len(self.assignments), size):
            group = self.assignments[start : start + size]

            def of_job(steps: int, before: int = start * suite.steps, models: int = len(group)) -> None:
                report(before + steps * models)

            networks = train_models(group, common.data, runtime, of_job, common.start)
            for model_id, each, network in zip(self.model_ids[start:], group, networks, strict=False):
                right = accuracy(network, common.data, each.split.evaluation, runtime.device)
                loss = mean_loss(network, common.data, each.split.member, runtime.device)
                yield Finished(model_id, checkpoints.serialise(network.cpu(), suite.model), right, loss)


def _out_of_memory(error: RuntimeError) -> bool:
    """Only CUDA raises an error of its own kind."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _free_memory() -> None:
    """Lets go of what a failed try held: a network and opacus' hooks on it refer to each other."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _span(model_ids: Sequence[int]) -> str:
    return f"{model_ids[0]} to {model_ids[-1]}" if len(model_ids) > 1 else f"{model_ids[0]}"
