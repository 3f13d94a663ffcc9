"""What runs on a Ray cluster, in a process of its own: Ray ends that without a word once a part of Ray was killed."""

import argparse
import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

WATCHED = "MICO_HUB_WATCHED"
"""Environment variable of that process: the file on which it tells its watcher that it ended by itself."""


def train(options: argparse.Namespace) -> int | None:
    """Trains what is missing of suites."""
    return _run("train", options)


def signals(options: argparse.Namespace) -> int | None:
    """Computes what is missing of suites' signals."""
    return _run("signals", options)


def audit_engine(options: argparse.Namespace) -> int | None:
    """Audits the training engine."""
    return _run("audit_engine", options, "audit")


def attack(options: argparse.Namespace) -> int | None:
    """Runs attacks, some of which train models."""
    return _run("attack", options, "attack")


def _run(name: str, options: argparse.Namespace, module: str = "train") -> int | None:
    told = os.environ.pop(WATCHED, None)
    if options.ray is not None and told is None:
        from mico_hub.cli.workers import device_of

        device_of(options)  # which is refused here
        return _watch(name, options)
    if told is not None:
        os.set_inheritable(int(told), False)
        atexit.register(os.write, int(told), b".")
    code: int | None = getattr(import_module(f"mico_hub.cli.{module}"), name)(options)
    return code


def _watch(name: str, options: argparse.Namespace) -> int:
    """Runs the same command in another process; gives its exit code.

    Raises:
        WorkerError: That process was ended from outside, or by Ray.
    """
    listening, told = os.pipe()
    os.set_blocking(listening, False)
    command = [sys.executable, "-m", "mico_hub.cli", *options.command_line]
    environment = os.environ | {WATCHED: f"{told}"}
    watched = subprocess.Popen(command, env=environment, pass_fds=[told], start_new_session=True)
    os.close(told)
    try:
        with _forwarded(watched):
            code = watched.wait()
        if os.read(listening, 1):
            return code
    finally:
        os.close(listening)
    from mico_hub.cli import frame, train
    from mico_hub.workers import WorkerError

    with frame.keeping(options, lambda: train.anything_kept(name, options)):
        raise WorkerError(
            f"a process of Ray on this machine was killed, or this run itself, from outside or for lack of memory "
            f"(exit code {code}); Ray's logs are in /tmp/ray/session_latest/logs"
        )


@contextmanager
def _forwarded(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Has signals that ask this process to end go to the other one, which is in no terminal's foreground."""
    handlers = {
        number: signal.signal(number, lambda number, _: process.send_signal(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
