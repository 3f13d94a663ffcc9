"""Fresh interpreters that start in a tenth of a second: each is forked from one that has imported what is slow.

    done = fresh.run("-c", "import mico_hub; print(mico_hub.__version__)", cwd=tmp_path)

Imported are libraries that read no variable of the Hub's, of a cache or of this project, and nothing of the project
itself. A test of what is imported starts an interpreter of its own.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

IMPORTED = (
    "torch.distributed.tensor",
    "opacus",
    "pyarrow.parquet",
    "pandas",
    "scipy.stats",
    "sklearn.datasets",
    "sklearn.metrics",
)
SECONDS = 300  # until a program is killed

_lock = threading.Lock()
_servers: list["subprocess.Popen[str]"] = []


@dataclass(frozen=True)
class Program:
    """A program that was started."""

    arguments: Sequence[str | Path]
    pid: int
    scratch: "TemporaryDirectory[str]"

    def poll(self) -> int | None:
        """The exit code (negative: the signal that killed it); None while it runs."""
        code = _ask("poll", self.pid)
        return None if code is None else int(code)

    @property
    def printed(self) -> str:
        """What it has written to its output so far."""
        return (Path(self.scratch.name) / "out").read_text()

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = SECONDS) -> "subprocess.CompletedProcess[str]":
        """Waits for its end, or kills it; the exit code as of `poll`, and what was written."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
            time.sleep(0.005)
        errors = (Path(self.scratch.name) / "err").read_text()
        return subprocess.CompletedProcess(list(self.arguments), code, self.printed, errors)


def start(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Program:
    """Starts Python in a fresh interpreter.

    Args:
        arguments: As Python takes them: -c CODE, -m MODULE or a script, and what these take.
        cwd: Where.
        env: All variables; those of this process by default. Those that Python itself reads, but for PYTHONPATH, and
            those that an imported library reads when it is imported, have no effect.
    """
    scratch = TemporaryDirectory()
    for name in ("out", "err"):  # to be read before the program has opened them
        (Path(scratch.name) / name).touch()
    environment = dict(os.environ if env is None else env)
    pid = _ask("start", list(map(str, arguments)), str(cwd), environment, scratch.name)
    return Program(arguments, int(pid), scratch)


def run(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Starts Python as `start`, and waits for its end."""
    return start(*arguments, cwd=cwd, env=env).wait()


def _ask(*question: object) -> Any:
    with _lock:
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(question) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())


def _server() -> "subprocess.Popen[str]":
    if not _servers:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        pipe = subprocess.PIPE
        _servers.append(subprocess.Popen([sys.executable, __file__], env=env, stdin=pipe, stdout=pipe, text=True))
    return _servers[0]


def _serve() -> list[str]:
    """Answers each line that is read, to the last; returns only in a fork, with the arguments of what to run."""
    for name in IMPORTED:
        importlib.import_module(name)
    del sys.path[0]  # this folder
    gc.freeze()  # what is shared stays so
    started: set[int] = set()
    codes: dict[int, int] = {}
    for line in sys.stdin:
        kind, *asked = json.loads(line)
        if kind == "start":
            pid = os.fork()
            if pid == 0:
                return _become(*asked)
            started.add(pid)
            answer: int | None = pid
        else:
            (pid,) = asked
            if pid not in codes and (ended := os.waitpid(pid, os.WNOHANG)) != (0, 0):
                codes[pid] = os.waitstatus_to_exitcode(ended[1])
            answer = codes.get(pid)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    for pid in started - codes.keys():
        os.kill(pid, signal.SIGKILL)
    sys.exit()


def _become(arguments: list[str], cwd: str, env: dict[str, str], scratch: str) -> list[str]:
    """Gives this process the folder, variables, files, arguments and path of the program; returns the arguments."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in enumerate((os.devnull, f"{scratch}/out", f"{scratch}/err")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    program = arguments[0]
    sys.argv = [program, *arguments[2:]] if program in ("-c", "-m") else arguments
    first = cwd if program in ("-c", "-m") else str(Path(program).parent)
    sys.path[:0] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    return arguments


def _execute(program: str, *arguments: str) -> None:
    """Does what Python does with these arguments; what it raises ends this process as it would end Python."""
    if program == "-c":
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), main.__dict__)
    elif program == "-m":
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    _execute(*_serve())
