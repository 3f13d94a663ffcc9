"""A piece of a suite's work that one worker does: what it is given, what it gives back. No files."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mico_hub.data import BaseDataset
from mico_hub.messages import InputError
from mico_hub.models import Start

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class WorkerError(InputError, RuntimeError):
    """A job failed, or where it runs; what was finished before is kept."""

    transient = True

    finished: Sequence[Any] = ()
    """What the same job had finished."""


@dataclass(frozen=True, slots=True)
class Common:
    """What all jobs of a suite read: large, and sent once."""

    data: BaseDataset  # that the jobs' records index
    start: Start | None = None  # the weights that training starts from; None: random ones

    @property
    def start_digest(self) -> str | None:
        """Of the weights to start from."""
        return None if self.start is None else self.start.digest


Report = Callable[[int], object]
"""Called with how many steps of a job, or how many more steps of all jobs, are done."""


class Job(Protocol[Result_co]):
    """Something to do for some models of a suite; it can be begun anywhere, any number of times."""

    @property
    def steps(self) -> int:
        """All of its steps, the unit of progress."""
        ...

    def run(self, common: Common, report: Report) -> Sequence[Result_co]:
        """Does it, in this process.

        Raises:
            WorkerError: What is here is not what the job was made for, or it failed; it holds what was finished.
        """
        ...


Results = Generator[list[Result], None, None]
"""What jobs give, as it comes; to be closed, for nothing to run on."""


class Workers(Protocol):
    """Where jobs run."""

    @property
    def parallel(self) -> int:
        """How many jobs run at a time."""
        ...

    @property
    def shares_files(self) -> bool:
        """Whether jobs see the files of this machine."""
        ...

    def run(self, jobs: Iterator[Job[Result]], common: Common, progress: Report) -> Results[Result]:
        """Runs the jobs and yields their results as they come.

        Args:
            jobs: Taken as there is room for them.
            common: What all of them read.
            progress: Called now and then with the steps done since the last call; negative where work was lost.

        Raises:
            WorkerError: A job failed, or what it runs on. What others had finished by then was yielded before.
        """
        ...


def require_same(expected: dict[str, str | None], here: dict[str, str | None]) -> None:
    """Sees to it that what a worker has is what a job was made for, by name.

    Raises:
        WorkerError: It is not; all differences are listed.
    """
    differing = [
        f"{name} {here.get(name)}, expected {expected.get(name)}"
        for name in {**expected, **here}
        if here.get(name) != expected.get(name)
    ]
    if differing:
        raise WorkerError(f"a worker has {'; '.join(differing)}; results differ between versions")
