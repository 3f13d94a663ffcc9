"""What the command and the scripts share: how arguments are declared, errors explained, exit codes given."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from mico_hub.extras import explained
from mico_hub.messages import InputError
from mico_hub.suites import SPLITS

BAD_INPUT = (InputError, OSError)
"""What a user can put right: the message is all that is shown."""

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

Run: TypeAlias = Callable[[argparse.Namespace], int | None]
"""What a command line does; gives the exit code, None for 0."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What commands are added to."""


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, calls what the parser's default `run` is with them, and gives the exit code.

    Bad input is explained on stderr and gives exit code 2, an interruption 130. After an interruption, and where the
    same command may succeed later, the parser's default `kept` is added: which work is kept, and how to resume.
    """
    options = parser.parse_args(arguments)
    options.command_line = list(sys.argv[1:] if arguments is None else arguments)
    program = Path(parser.prog).stem
    try:
        with explained():
            code = _found(options.run)(options)
    except BAD_INPUT as error:
        advice = f"\n{options.kept}" if options.kept and _may_pass(error) else ""
        sys.stderr.write(f"{program}: {error}{advice}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{program}: interrupted{f'. {options.kept}' if options.kept else ''}\n")
        return EXIT_INTERRUPTED
    return code or 0


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
