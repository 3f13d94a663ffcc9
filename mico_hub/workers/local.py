"""Jobs on this machine: in this process, or in processes of one thread each."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

import numpy as np
import torch
from loky import get_reusable_executor

from mico_hub.cache import writable
from mico_hub.data import BaseDataset
from mico_hub.models import Start
from mico_hub.workers.dispatch import POLL_SECONDS, dispatch
from mico_hub.workers.job import Common, Job, Report, Result, Results, WorkerError

IDLE_SECONDS = 10


def default_processes() -> int:
    """One process for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_this_machine(processes: int | None = None) -> "ThisProcess | Processes":
    """That many processes (one a core by default), or just this one."""
    number = default_processes() if processes is None else processes
    return ThisProcess() if number == 1 else Processes(number)


@dataclass(frozen=True, slots=True)
class ThisProcess:
    """One job after the other, here."""

    @property
    def parallel(self) -> int:
        """See `Workers.parallel`."""
        return 1

    @property
    def shares_files(self) -> bool:
        """See `Workers.shares_files`."""
        return True

    def run(self, jobs: Iterator[Job[Result]], common: Common, progress: Report) -> Results[Result]:
        """See `Workers.run`."""
        for job in jobs:
            done = 0

            def report(steps: int) -> None:
                nonlocal done
                progress(steps - done)
                done = steps

            try:
                yield list(job.run(common, report))
            except WorkerError as error:
                yield list(error.finished)
                raise


@dataclass(frozen=True, slots=True)
class Processes:
    """Several jobs at a time, each in a process; data and weights to start from are in a file that all of them map.

    The processes are kept for what this thread runs next, and end after `IDLE_SECONDS` without any.
    """

    number: int

    @property
    def parallel(self) -> int:
        """See `Workers.parallel`."""
        return self.number

    @property
    def shares_files(self) -> bool:
        """See `Workers.shares_files`."""
        return True

    def run(self, jobs: Iterator[Job[Result]], common: Common, progress: Report) -> Results[Result]:
        """See `Workers.run`."""
        with tempfile.TemporaryDirectory(prefix="mico-hub-") as scratch:
            pool = _ProcessPool(self.number, common, Path(scratch))
            try:
                yield from dispatch(pool, jobs, progress)
            finally:
                pool.close()


class _ProcessPool:
    """Tickets are slots on a board that all processes map: a file with a number for each, how far its job is."""

    def __init__(self, number: int, common: Common, scratch: Path) -> None:
        self.room = 2 * number  # one waits for each that runs
        self._free, self._futures = list(range(self.room)), dict[Hashable, Future[Sequence[Any]]]()
        self._ended = SimpleQueue[int]()  # which an interruption leaves as it was
        self._board, self._common = scratch / "steps", scratch / "common"
        self._steps = np.memmap(self._board, np.int64, "w+", shape=(self.room,))
        self._data = _write_common(common, self._common)
        with _uninterrupted():
            resource_tracker.ensure_running()  # or the first worker would start it, which lets SIGINT through again
            self._executor = get_reusable_executor(
                number, timeout=IDLE_SECONDS, initializer=_begin, initargs=(os.getpid(),)
            )

    def begin(self, job: Job[Any]) -> int:
        slot = self._free.pop()
        self._steps[slot] = 0
        with _uninterrupted():
            future = self._executor.submit(_in_worker, job, self._data, self._common, self._board, slot)
            self._futures[slot] = future
            future.add_done_callback(lambda _: self._ended.put(slot))
        return slot

    def ended(self, tickets: Sequence[Hashable]) -> list[Hashable]:
        found: list[Hashable] = []
        with suppress(Empty):
            found.append(self._ended.get(timeout=POLL_SECONDS))
            while True:
                found.append(self._ended.get_nowait())
        return found

    def result(self, ticket: Hashable) -> Sequence[Any]:
        self._free.append(cast(int, ticket))
        try:
            return self._futures.pop(ticket).result()
        except BrokenProcessPool as error:
            raise WorkerError(
                f"a worker process was killed, from outside or for lack of memory (use fewer --processes): {error}"
            ) from error

    def steps(self) -> dict[Hashable, int]:
        return {slot: int(self._steps[cast(int, slot)]) for slot in self._futures}

    def close(self) -> None:
        """Ends what still runs, or has not begun."""
        if self._futures:
            with _uninterrupted():
                self._executor.shutdown(wait=True, kill_workers=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Puts SIGINT and SIGTERM off to the end of the block; loky, interrupted in it, would wait for its workers forever.

    What is started in it never gets SIGINT, which a terminal sends to a whole group: workers end with their parent.
    """
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    in_main = threading.current_thread() is threading.main_thread()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if in_main and signal.getsignal(number) is not None:  # None: set outside of Python, for no exception
                before[number] = signal.signal(number, lambda number, _: came.append(number))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _begin(parent: int) -> None:
    """Makes this process a worker, which ends when its parent has, however that ended: no one would take a result."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_worker(job: Job[Any], data: BaseDataset, common: Path, board: Path, slot: int) -> Sequence[Any]:
    steps = np.memmap(board, np.int64, "r+")

    def report(done: int) -> None:
        steps[slot] = done

    return job.run(_read_common(data, common), report)


def _write_common(common: Common, path: Path) -> BaseDataset:
    """Writes what is large; gives the data without it, to go with each job."""
    data, start = common.data, common.start
    raw = list(data.raw) if isinstance(data.raw, tuple) else data.raw
    of_start = None if start is None else (dict(start.configuration), dict(start.state))
    with writable(path), path.open("wb") as file:
        try:
            torch.save({"raw": raw, "labels": data.labels, "start": of_start}, file)
        except RuntimeError as error:  # torch's own words hide that a disk is full
            raise error.__context__ if isinstance(error.__context__, OSError) else error  # noqa: B904
    return replace(data, raw=(), labels=data.labels[:0].clone())


@lru_cache(maxsize=1)
def _read_common(data: BaseDataset, path: Path) -> Common:
    held = torch.load(path, weights_only=True, mmap=True)
    raw = tuple(held["raw"]) if isinstance(held["raw"], list) else held["raw"]
    start = None if held["start"] is None else Start(*held["start"])
    return Common(replace(data, raw=raw, labels=held["labels"]), start)
