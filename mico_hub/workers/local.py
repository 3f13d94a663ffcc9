"""Jobs on this machine: in this process, or in processes of one thread each."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from loky import ProcessPoolExecutor

from mico_hub.data import BaseDataset, load_base
from mico_hub.workers.job import Finished, Job, Report, WorkerError, run_job

POLL_SECONDS = 0.3


def default_processes() -> int:
    """One process for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_this_machine(processes: int | None = None, folder: Path | None = None) -> "ThisProcess | Processes":
    """That many processes (one a core by default), or just this one."""
    number = default_processes() if processes is None else processes
    return ThisProcess() if number == 1 else Processes(number, folder)


@dataclass(frozen=True, slots=True)
class ThisProcess:
    """One job after the other, here."""

    @property
    def parallel(self) -> int:
        """See `Workers.parallel`."""
        return 1

    def run(self, jobs: Iterator[Job], data: BaseDataset, progress: Report) -> Iterator[list[Finished]]:
        """See `Workers.run`."""
        for job in jobs:
            done = 0

            def report(steps: int) -> None:
                nonlocal done
                progress(steps - done)
                done = steps

            yield run_job(job, data, report)


@dataclass(frozen=True, slots=True)
class Processes:
    """Several jobs at a time, each in a process that reads the data for itself."""

    number: int
    folder: Path | None = None  # of the base datasets, see `mico_hub.data.load_base`

    @property
    def parallel(self) -> int:
        """See `Workers.parallel`."""
        return self.number

    def run(self, jobs: Iterator[Job], data: BaseDataset, progress: Report) -> Iterator[list[Finished]]:
        """See `Workers.run`."""
        with tempfile.TemporaryDirectory(prefix="mico-hub-") as scratch:
            board = _Board(Path(scratch) / "steps", 2 * self.number, progress)  # one waits for each that runs
            pool = ProcessPoolExecutor(self.number)
            try:
                yield from self._results(pool, jobs, board)
            except BrokenProcessPool as error:
                raise WorkerError(
                    f"a worker process died, killed from outside or for lack of memory (fewer --processes need less): "
                    f"{error}"
                ) from error
            finally:
                pool.shutdown(wait=True, kill_workers=True)

    def _results(self, pool: ProcessPoolExecutor, jobs: Iterator[Job], board: "_Board") -> Iterator[list[Finished]]:
        running: dict[Future[list[Finished]], tuple[int, Job]] = {}
        free = list(range(board.slots))
        while True:
            for job in islice(jobs, len(free)):
                slot = free.pop()
                running[pool.submit(_in_worker, job, self.folder, board.path, slot, os.getpid())] = slot, job
            if not running:
                return
            done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            board.poll()
            for future in done:
                slot, job = running.pop(future)
                result = future.result()
                board.close(slot, job.steps)
                free.append(slot)
                yield result


class _Board:
    """How far each running job is: a file that is mapped by all processes, one number a slot."""

    def __init__(self, path: Path, slots: int, progress: Report) -> None:
        self.path, self.slots, self._progress = path, slots, progress
        self._steps = np.memmap(path, np.int64, "w+", shape=(slots,))
        self._seen = np.zeros(slots, dtype=np.int64)

    def poll(self) -> None:
        """Tells of the steps since the last time."""
        steps = np.array(self._steps)
        self._progress(int((steps - self._seen).sum()))
        self._seen = steps

    def close(self, slot: int, steps: int) -> None:
        """Frees a slot whose job is done."""
        self._progress(steps - int(self._seen[slot]))
        self._steps[slot] = self._seen[slot] = 0


def _in_worker(job: Job, folder: Path | None, board: Path, slot: int, parent: int) -> list[Finished]:
    steps = np.memmap(board, np.int64, "r+")

    def report(done: int) -> None:
        if os.getppid() != parent:  # it was killed, and no one will take the result
            os._exit(1)
        steps[slot] = done

    return run_job(job, load_base(job.assignments[0].suite.dataset, folder), report)
