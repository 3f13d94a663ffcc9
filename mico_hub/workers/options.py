"""The command line's way of saying where jobs run: device, processes, or a Ray cluster."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mico_hub.models import default_device
from mico_hub.workers.cluster import LOCAL, ray_cluster
from mico_hub.workers.job import Workers
from mico_hub.workers.local import on_this_machine


def parse_count(text: str) -> int:
    """A number from 1.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def parse_device(text: str, *, on_cluster: bool = False) -> str:
    """The torch device of that name, which is here; on a cluster, whose nodes have devices of their own, the kind.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if on_cluster:
        if text not in ("cpu", "cuda"):
            raise argparse.ArgumentTypeError(f"expected cpu or cuda with --ray, got {text!r}")
        return text
    try:
        return str(torch.empty(0, device=text).device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        first = str(error).split("\n", 1)[0]
        raise argparse.ArgumentTypeError(
            f"expected a device of this machine such as cpu, got {text!r}: {first}"
        ) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--device`, and `--processes` or `--ray`."""
    parser.add_argument("--device", help=f"default: {default_device().type}; with --ray cpu, or cuda for a GPU a job")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--processes", type=parse_count, help="models at a time (default: one a core; one on a GPU)")
    where.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="on a Ray cluster: HOST:PORT of its head, auto, ray://HOST:PORT, or nothing to start one here",
    )


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line with `device` filled in; one that cannot be ends the program."""
    options = parser.parse_args()
    on_cluster = options.ray is not None
    try:
        best = "cpu" if on_cluster else default_device().type
        options.device = parse_device(options.device or best, on_cluster=on_cluster)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --device: {error}")
    return options


@contextmanager
def workers_of(options: argparse.Namespace) -> Iterator[Workers]:
    """Where the command line says that jobs run.

    Raises:
        WorkerError: The Ray cluster cannot be joined.
    """
    if options.ray is None:
        on_cpu = torch.device(options.device).type == "cpu"
        yield on_this_machine(options.processes or (None if on_cpu else 1))
    else:
        with ray_cluster(options.ray, gpu=options.device == "cuda") as cluster:
            yield cluster
