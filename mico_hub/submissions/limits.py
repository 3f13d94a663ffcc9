"""Limits for a process that reads what a stranger sent: whatever that does to it, only the process ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

SECONDS = 60
CPU_SECONDS = 30
MOST_MEMORY = 2 << 30
_KEPT = ("PATH", "PYTHONPATH", "LANG", "HOME", "SYSTEMROOT")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")


class LimitError(ValueError):
    """It took more time or memory than it may."""


class EndedError(LimitError):
    """The process ended by what is no limit of ours: perhaps the input was at fault, perhaps the machine."""


def run_limited(module: str, arguments: Sequence[str], content: bytes) -> "subprocess.CompletedProcess[bytes]":
    """Runs the `main` of a module in a process of its own, which calls `limit` first.

    Args:
        module: Its name.
        arguments: What `main` takes, as texts.
        content: What comes on its stdin.

    Raises:
        LimitError: It took too long.
        EndedError: It was ended by something else.
    """
    environment = {name: value for name, value in os.environ.items() if name in _KEPT}
    environment |= {**dict.fromkeys(_ONE_THREAD, "1"), "HF_HUB_OFFLINE": "1"}
    code = f"import sys; from {module} import main; sys.exit(main(*sys.argv[1:]))"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],  # -P: nothing is imported from the folder that it runs in
            input=content,
            capture_output=True,
            timeout=SECONDS,
            env=environment,
            check=False,
            start_new_session=True,  # what interrupts the parent does not end what it reads
        )
    except subprocess.TimeoutExpired:
        raise LimitError(f"it took more than {SECONDS} seconds to read") from None
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise LimitError(f"it took more than {CPU_SECONDS} seconds of a processor to read")
    if done.returncode not in (0, REFUSED):
        raise EndedError("it could not be read within the limits of time and memory")
    return done


REFUSED = 3
"""Exit code of a program that says on stderr what is wrong with its input."""


def limit() -> None:
    """Sets the limits of this process, where the system has such."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 5),  # at the hard one it would be killed without a word
        (resource.RLIMIT_AS, MOST_MEMORY, MOST_MEMORY),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with suppress(ValueError, OSError):  # macOS has no limit of the address space
            resource.setrlimit(kind, (soft, hard))
