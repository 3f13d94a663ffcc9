"""Where models are trained: this process, processes of this machine, or a Ray cluster.

A job carries all that decides its models' weights, so it does not matter where it runs, or how often it is begun.
"""

from mico_hub.workers.job import Common, Finished, Job, WorkerError, Workers, installed
from mico_hub.workers.local import Processes, ThisProcess, on_this_machine

__all__ = [
    "Common",
    "Finished",
    "Job",
    "Processes",
    "ThisProcess",
    "WorkerError",
    "Workers",
    "installed",
    "on_this_machine",
]
