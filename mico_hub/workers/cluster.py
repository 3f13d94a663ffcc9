"""Jobs on a Ray cluster: `pip install 'mico-hub[ray]'` on every node, and the same versions of everything."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from mico_hub.data import BaseDataset
from mico_hub.workers.job import Finished, Job, Report, WorkerError, run_job
from mico_hub.workers.local import POLL_SECONDS, default_processes

LOCAL = "local"
CONNECT_SECONDS = 10
LOST_WORKERS = 5
"""How often a job is begun again because its worker was lost."""


@contextmanager
def ray_cluster(address: str = LOCAL, *, gpu: bool = False) -> Iterator["RayCluster"]:
    """Joins a cluster for the time of the block.

    Args:
        address: HOST:PORT of the head node, `auto` for one that runs on this machine, ray://HOST:PORT for a client's
            connection, or `local`: a cluster of this machine, for this run.
        gpu: Whether each job takes a GPU; else it takes a CPU.

    Raises:
        WorkerError: Ray is not installed, there is no such cluster, or it has no such device.
    """
    try:
        import ray
    except ImportError as error:
        raise WorkerError("Ray is not installed: pip install 'mico-hub[ray]'") from error
    _reach(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {"include_dashboard": False, "num_cpus": default_processes()} if address == LOCAL else {}
    try:
        ray.init(address=address, logging_level=logging.WARNING, **own)
    except Exception as error:  # Ray raises a dozen kinds: another version, no such cluster, no room
        raise WorkerError(f"cannot join the Ray cluster at {address}: {error}") from error
    try:
        cluster = RayCluster(ray, address, "GPU" if gpu else "CPU")
        if cluster.parallel < 1:
            raise WorkerError(f"the Ray cluster at {address} has no {cluster.resource}")
        yield cluster
    finally:
        ray.shutdown()


@dataclass(frozen=True, slots=True)
class RayCluster:
    """As many jobs at a time as the cluster has CPUs or GPUs.

    The base dataset, splits and keys travel through the cluster, checkpoints come back: nodes need no files and no
    common disk, and must be trusted with the secrets. A job whose worker is lost is begun again elsewhere, from its
    models' own keys, so the suite is the same.
    """

    ray: Any  # the module, connected
    address: str
    resource: str  # what a job takes one of

    @property
    def parallel(self) -> int:
        """See `Workers.parallel`."""
        return int(self.ray.cluster_resources().get(self.resource, 0))

    def run(self, jobs: Iterator[Job], data: BaseDataset, progress: Report) -> Iterator[list[Finished]]:
        """See `Workers.run`."""
        ray = self.ray
        takes = {"num_cpus": 1, "num_gpus": 1 if self.resource == "GPU" else 0}
        task = ray.remote(_remote_job).options(max_retries=LOST_WORKERS, **takes)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        board = ray.remote(_Board).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        shared = ray.put(data)
        running: dict[Any, tuple[int, Job]] = {}
        seen: dict[int, int] = {}
        numbers = count()
        try:
            while True:
                for job in islice(jobs, max(0, 2 * self.parallel - len(running))):  # one waits for each that runs
                    number = next(numbers)
                    running[task.remote(job, shared, board, number)] = number, job
                if not running:
                    return
                if self.parallel < 1:
                    raise WorkerError(f"the Ray cluster at {self.address} has lost every {self.resource}")
                done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
                steps = self._steps(board)
                for number, _ in running.values():
                    progress(steps.get(number, 0) - seen.get(number, 0))
                    seen[number] = steps.get(number, 0)
                for reference in done:
                    number, job = running.pop(reference)
                    result = self._result(reference)
                    progress(job.steps - seen.pop(number))
                    yield result
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            ray.kill(board)

    def _steps(self, board: Any) -> dict[int, int]:
        """How far each job is; nothing for the moment when the board was lost, and jobs tell it anew."""
        try:
            steps: dict[int, int] = self.ray.get(board.all.remote())
        except self.ray.exceptions.RayActorError:
            return {}
        return steps

    def _result(self, reference: Any) -> list[Finished]:
        try:
            result: list[Finished] = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise _as_here(error.cause) from error
        except self.ray.exceptions.RayError as error:
            raise WorkerError(f"Ray lost its workers at the same models {LOST_WORKERS + 1} times: {error}") from error
        return result


def _reach(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        WorkerError: It is no address, or nothing answers there.
    """
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise WorkerError(f"expected a Ray address HOST:PORT, ray://HOST:PORT, auto or {LOCAL}, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise WorkerError(
            f"nothing answers at the Ray address {address} ({error}); is the head node running?"
        ) from None


def _as_here(cause: BaseException) -> Exception:
    """What a job raised, as it would have been raised in this process."""
    return cause if isinstance(cause, WorkerError | OSError | ValueError) else WorkerError(f"a job failed: {cause!r}")


def _remote_job(job: Job, data: BaseDataset, board: Any, number: int) -> list[Finished]:
    return run_job(job, data, lambda steps: board.report.remote(number, steps))


class _Board:
    """How far each job is: an actor on the node of the run."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}

    def report(self, number: int, steps: int) -> None:
        """Notes the steps of a job."""
        self._steps[number] = steps

    def all(self) -> dict[int, int]:
        """Steps by job."""
        return self._steps
