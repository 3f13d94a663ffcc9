"""Jobs on a Ray cluster: `pip install 'mico-hub[ray]'` on every node, and the same versions of everything."""

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from mico_hub.workers.dispatch import POLL_SECONDS, LostError, dispatch
from mico_hub.workers.job import Common, Job, Report, Result, Results, WorkerError
from mico_hub.workers.local import default_processes

LOCAL = "local"
CONNECT_SECONDS = 10
BOARD_SECONDS = 5


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
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL and "ray" not in sys.modules:  # which reads these as it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or Ray writes one into the home folder
    try:
        import ray
    except ImportError as error:
        raise WorkerError("Ray is not installed: pip install 'mico-hub[ray]'") from error
    _reach(address)
    with ExitStack() as stack:
        own: dict[str, Any] = {}
        if address == LOCAL:  # what its memory does not hold is written where only this user reads, and then removed
            spilled = stack.enter_context(tempfile.TemporaryDirectory(prefix="mico-hub-", ignore_cleanup_errors=True))
            own = {"include_dashboard": False, "num_cpus": default_processes(), "object_spilling_directory": spilled}
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, logging_level=logging.WARNING, **own)
        except SystemExit:  # what Ray, while it starts, does about SIGTERM
            signal.signal(signal.SIGTERM, on_sigterm)
            signal.raise_signal(signal.SIGTERM)
            raise
        except Exception as error:  # Ray raises a dozen kinds: another version, no such cluster, no room
            raise WorkerError(f"cannot join the Ray cluster at {address}: {error}") from error
        stack.callback(ray.shutdown)
        if signal.getsignal(signal.SIGTERM) is not on_sigterm:  # Ray puts its own there
            signal.signal(signal.SIGTERM, on_sigterm)
        cluster = RayCluster(ray, address, "GPU" if gpu else "CPU")
        if cluster.parallel < 1:
            raise WorkerError(f"the Ray cluster at {address} has no {cluster.resource}")
        yield cluster


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

    @property
    def shares_files(self) -> bool:
        """See `Workers.shares_files`."""
        return False

    def run(self, jobs: Iterator[Job[Result]], common: Common, progress: Report) -> Results[Result]:
        """See `Workers.run`."""
        pool = _RayPool(self, common)
        try:
            yield from dispatch(pool, jobs, progress)
        finally:
            pool.close()


class _RayPool:
    """Tickets are numbers, never used twice.

    Ray itself begins nothing again: what it kills for memory it would begin again without end.
    """

    def __init__(self, cluster: RayCluster, common: Common) -> None:
        self._cluster, self._ray = cluster, (ray := cluster.ray)
        takes = {"num_cpus": 1, "num_gpus": 1 if cluster.resource == "GPU" else 0}
        self._task = ray.remote(_remote_job).options(max_retries=0, **takes)
        with _talking(self._ray):
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=True
            )
            self._board = ray.remote(_Board).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
            self._common = ray.put(common)
        self._references: dict[Hashable, Any] = {}
        self._numbers = count()

    @property
    def room(self) -> int:
        with _talking(self._ray):
            parallel = self._cluster.parallel
        if parallel < 1:
            raise WorkerError(f"the Ray cluster at {self._cluster.address} has lost every {self._cluster.resource}")
        return 2 * parallel  # one waits for each that runs

    def begin(self, job: Job[Any]) -> int:
        number = next(self._numbers)
        with _talking(self._ray):
            self._references[number] = self._task.remote(job, self._common, self._board, number)
        return number

    def ended(self, tickets: Sequence[Hashable]) -> list[Hashable]:
        with _talking(self._ray):
            done, _ = self._ray.wait([self._references[number] for number in tickets], timeout=POLL_SECONDS)
        return [number for number in tickets if self._references[number] in done]

    def result(self, ticket: Hashable) -> Sequence[Any]:
        try:
            finished: Sequence[Any] = self._ray.get(self._references.pop(ticket))
        except self._ray.exceptions.RayTaskError as error:  # which may be an OSError, too: the job's
            raise _as_here(error.cause) from error
        except self._ray.exceptions.RayError as error:  # a node or a worker died, or Ray killed it for memory
            raise LostError(str(error)) from error
        except OSError as error:
            raise _killed(error) from error
        return finished

    def steps(self) -> dict[Hashable, int]:
        """Nothing for the moment where the board was lost; jobs tell it anew."""
        try:
            with _talking(self._ray):
                steps: dict[Hashable, int] = self._ray.get(self._board.all.remote(), timeout=BOARD_SECONDS)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
            return {}
        return steps

    def close(self) -> None:
        with _talking(self._ray):
            for reference in self._references.values():
                self._ray.cancel(reference, force=True)
            self._ray.kill(self._board)


@contextmanager
def _talking(ray: Any) -> Iterator[None]:
    """Around what talks to Ray's processes on this machine.

    Raises:
        WorkerError: The connection broke.
    """
    try:
        yield
    except (OSError, ray.exceptions.RaySystemError) as error:  # Ray's GetTimeoutError is an OSError, too
        if isinstance(error, TimeoutError):
            raise
        raise _killed(error) from error


def _killed(error: Exception) -> WorkerError:
    return WorkerError(
        f"a process of Ray on this machine was killed, from outside or for lack of memory ({error}); "
        "Ray's logs are in /tmp/ray/session_latest/logs"
    )


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


def _remote_job(job: Job[Any], common: Common, board: Any, number: int) -> Sequence[Any]:
    return job.run(common, lambda steps: board.report.remote(number, steps))


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
