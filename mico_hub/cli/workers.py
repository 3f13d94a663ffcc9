"""Where the command line says that jobs run: a device, processes, or a Ray cluster."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mico_hub.messages import InputError
from mico_hub.models import default_device
from mico_hub.workers.cluster import ray_cluster
from mico_hub.workers.job import Workers
from mico_hub.workers.local import on_this_machine


def device_of(options: argparse.Namespace) -> str:
    """The torch device that the command line asks for, or the best one; on a cluster its kind, cpu or cuda.

    Raises:
        InputError: No device has that name.
    """
    if options.ray is not None:
        if options.device not in (None, "cpu", "cuda"):
            raise InputError(f"--device: expected cpu or cuda with --ray, got {options.device!r}")
        return options.device or "cpu"
    try:
        return str(torch.empty(0, device=options.device or default_device()).device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        first = str(error).split("\n", 1)[0]
        raise InputError(
            f"--device: expected a device of this machine such as cpu, got {options.device!r}: {first}"
        ) from None


@contextmanager
def workers_of(options: argparse.Namespace, device: str) -> Iterator[Workers]:
    """Where the command line says that jobs run.

    Raises:
        WorkerError: The Ray cluster cannot be joined.
    """
    if options.ray is None:
        on_cpu = torch.device(device).type == "cpu"
        yield on_this_machine(options.processes or (None if on_cpu else 1))
    else:
        with ray_cluster(options.ray, gpu=device == "cuda") as cluster:
            yield cluster
