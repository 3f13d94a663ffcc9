"""Where jobs run, training above all: this process, processes of this machine, or a Ray cluster.

A job carries all that decides its results, so it does not matter where it runs, or how often it is begun.
"""

from mico_hub.workers.job import Common, Job, WorkerError, Workers
from mico_hub.workers.local import Processes, ThisProcess, on_this_machine

__all__ = [
    "Common",
    "Job",
    "Processes",
    "ThisProcess",
    "WorkerError",
    "Workers",
    "on_this_machine",
]
