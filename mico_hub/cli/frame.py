"""What the command and the scripts share: how arguments are declared, errors explained, exit codes given."""

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, TypeAlias, cast

from mico_hub.messages import InputError, explained
from mico_hub.suites import SPLITS

BAD_INPUT = (InputError, OSError)
"""What a user can put right: the message is all that is shown."""

EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128  # and the number of the signal: 130 for SIGINT, 143 for SIGTERM

Run: TypeAlias = Callable[[argparse.Namespace], int | None]
"""What a command line does; gives the exit code, None for 0."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What commands are added to."""


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, calls what the parser's default `run` is with them, and gives the exit code.

    Bad input is explained on stderr and gives exit code 2, SIGINT 130 and SIGTERM 143. After these, and where the same
    command may succeed later, the parser's default `kept` is added: which work is kept, and how to resume. Output that
    nobody reads any more, as after `| head`, is dropped, and the work goes on.
    """
    with redirect_stdout(_until_closed(sys.stdout)), redirect_stderr(_until_closed(sys.stderr)):
        try:
            options = parser.parse_args(arguments)
            options.command_line = list(sys.argv[1:] if arguments is None else arguments)
            return _run(options, Path(parser.prog).stem)
        finally:
            sys.stdout.flush()


def _run(options: argparse.Namespace, program: str) -> int:
    with _stopped_by_signals() as came:
        try:
            with explained():
                return _found(options.run)(options) or 0
        except BaseException as error:
            kept = options.kept  # which may have been dropped by now
            if came or isinstance(error, KeyboardInterrupt):  # which an import may have turned into another error
                sys.stderr.write(f"\n{program}: interrupted{f'. {kept}' if kept else ''}\n")
                return EXIT_SIGNAL + (came[0] if came else signal.SIGINT)
            if not isinstance(error, BAD_INPUT):
                raise
            advice = f"\n{kept}" if kept and _may_pass(error) else ""
            sys.stderr.write(f"{program}: {error}{advice}\n")
            return EXIT_BAD_INPUT


class _Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM came. After a KeyboardInterrupt itself Python may forget the exit code, and die of SIGINT."""


@contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Makes SIGINT and SIGTERM raise `_Stopped`, and gives those that came. What is ignored stays ignored."""
    came: list[int] = []

    def stop(number: int, _: Any) -> None:
        came.append(number)
        raise _Stopped

    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    in_main = threading.current_thread() is threading.main_thread()
    replaced = [number for number, handler in usual.items() if in_main and signal.getsignal(number) == handler]
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        for number in replaced:
            signal.signal(number, usual[number])


class _UntilClosed:
    """A stream that is written to until nobody reads it any more, and then to nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _until_closed(stream: TextIO) -> TextIO:
    return cast(TextIO, _UntilClosed(stream))


@contextmanager
def keeping(options: argparse.Namespace, anything: Callable[[], object]) -> Iterator[None]:
    """Drops the sentence on what is kept where the block fails and nothing is.

    Args:
        options: The command line's, with `kept`.
        anything: Tells, by what it gives, whether there is something that the same command would not do again.
    """
    try:
        yield
    except BaseException:
        if not anything():
            options.kept = ""
        raise


def _found(run: Run | str) -> Run:
    """What a command does, imported only now."""
    if not isinstance(run, str):
        return run
    module, _, name = run.partition(":")
    function: Run = getattr(import_module(f"mico_hub.cli.{module}"), name)
    return function


def _may_pass(error: Exception) -> bool:
    """Whether the same command may succeed later: the network or the disk failed, say."""
    if isinstance(error, InputError):
        return error.transient
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def script(doc: str | None, run: Run, kept: str = "") -> argparse.ArgumentParser:
    """The parser of a script, to which it adds its arguments.

    Args:
        doc: The script's docstring, for its help.
        run: What it does.
        kept: As `add_command` takes it.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=run, kept=kept)
    return parser


def add_command(
    commands: Commands, name: str, run: str, summary: str, example: str, kept: str = ""
) -> argparse.ArgumentParser:
    """Adds a command.

    Args:
        commands: Where to.
        name: Its name.
        run: What it does, `module:function` of this package.
        summary: What it does, for the list of commands.
        example: Its arguments, for its help.
        kept: A sentence on what an interruption leaves, and that the same command resumes; empty: no such sentence.
    """
    made = commands.add_parser(name, help=summary, description=summary, epilog=f"example: mico-hub {example}")
    made.set_defaults(run=run, kept=kept)
    return made


def add_group(commands: Commands, name: str, summary: str) -> Commands:
    """Adds a command that has commands of its own; gives what these are added to."""
    made = commands.add_parser(name, help=summary, description=summary)
    return made.add_subparsers(title="commands", required=True, metavar="COMMAND")


def command(name: str, *arguments: str | Path, **options: str | Path | None) -> str:
    """A command line for a shell; options without a value are left out."""
    given = ((f"--{option}", str(value)) for option, value in options.items() if value is not None)
    return shlex.join(["mico-hub", name, *map(str, arguments), *chain.from_iterable(given)])


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data`."""
    parser.add_argument("--data", type=Path, help="folder of the base datasets (default: MICO_HUB_DATA, else the Hub)")


def add_suites(parser: argparse.ArgumentParser, name: str = "--suites") -> None:
    """The folder of suite folders, by default ./suites."""
    parser.add_argument(name, type=Path, default=Path("suites"), help="folder of suite folders (default: suites)")


def add_source(parser: argparse.ArgumentParser) -> None:
    """`--source`."""
    parser.add_argument(
        "--source",
        help="a folder, org/name[@revision], or an archive of the competition[@md5] "
        "(default: wherever `mico` resolves)",
    )


def add_split(parser: argparse.ArgumentParser, choices: Sequence[str] = SPLITS, default: str = SPLITS[0]) -> None:
    """`--split`."""
    parser.add_argument("--split", choices=choices, default=default, help="which models (default: %(default)s)")
