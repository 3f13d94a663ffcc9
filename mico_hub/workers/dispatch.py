"""Keeps a pool of workers busy: hands jobs out, yields what comes back, begins again what was lost on the way."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from mico_hub.workers.job import Job, Report, Result, Results, WorkerError

POLL_SECONDS = 0.3
LOST_WORKERS = 5
"""How often a job is begun again because its worker was lost."""


class LostError(Exception):
    """What ran a job is gone; the job may be sound."""


class Pool(Protocol):
    """What runs jobs; a ticket stands for one that was begun."""

    @property
    def room(self) -> int:
        """How many jobs may be under way.

        Raises:
            WorkerError: There will never be any: all workers are lost.
        """
        ...

    def begin(self, job: Job[Any]) -> Hashable:
        """Hands a job out."""
        ...

    def ended(self, tickets: Sequence[Hashable]) -> Sequence[Hashable]:
        """Waits at most `POLL_SECONDS` for one of them to end; those that have."""
        ...

    def result(self, ticket: Hashable) -> Sequence[Any]:
        """What an ended job gave.

        Raises:
            LostError: Its worker was lost.
            Exception: What the job raised.
        """
        ...

    def steps(self) -> Mapping[Hashable, int]:
        """How far each job is, as far as is known."""
        ...


@dataclass(slots=True)
class _Try:
    job: Job[Any]
    losses: int  # of workers, before this one
    seen: int = 0  # steps reported so far


def dispatch(pool: Pool, jobs: Iterator[Job[Result]], progress: Report) -> Results[Result]:
    """See `Workers.run`."""
    under_way: dict[Hashable, _Try] = {}
    failures: list[Exception] = []
    while not failures:
        for job in islice(jobs, max(0, pool.room - len(under_way))):
            under_way[pool.begin(job)] = _Try(job, losses=0)
        if not under_way:
            return
        ended = pool.ended(list(under_way))
        for ticket, steps in pool.steps().items():
            if ticket in under_way:
                progress(steps - under_way[ticket].seen)
                under_way[ticket].seen = steps
        for ticket in ended:  # all of them, though one should fail
            tried = under_way.pop(ticket)
            finished, error = _outcome(pool, ticket)
            progress((tried.job.steps if error is None else 0) - tried.seen)
            if finished:
                yield list(finished)
            if isinstance(error, LostError) and tried.losses < LOST_WORKERS:
                under_way[pool.begin(tried.job)] = _Try(tried.job, tried.losses + 1)
            elif error is not None:
                failures.append(error)
    if isinstance(failures[0], LostError):
        raise WorkerError(f"the workers of the same models were lost {LOST_WORKERS + 1} times: {failures[0]}")
    raise failures[0]


def _outcome(pool: Pool, ticket: Hashable) -> tuple[Sequence[Any], Exception | None]:
    try:
        return pool.result(ticket), None
    except WorkerError as error:
        return error.finished, error
    except Exception as error:
        return (), error
