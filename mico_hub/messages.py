"""What a user can put right, extras to install too; how an error lists many problems; the name that may be meant."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

SHOWN = 10
"""Problems that are listed before they are only counted."""


class InputError(Exception):
    """Something that a user can put right: the command shows its message alone."""

    transient = False
    """Whether the same command may succeed later."""


def listed(title: str, problems: Sequence[str], shown: int = SHOWN) -> str:
    """The title, then a line for each problem, and how many more there are."""
    more = [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
    return "\n  ".join([title, *problems[:shown], *more])


def printable(text: str) -> str:
    """A text of a stranger's on one line, without what a terminal or a log would act on."""
    return text if text.isprintable() else ascii(text)


def counted(number: int, noun: str) -> str:
    """`1 model`, `200 models`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_are(number: int) -> str:
    """The verb after a number."""
    return "is" if number == 1 else "are"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the nearest known name; empty where none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "sklearn"), "models"),
    **dict.fromkeys(("opacus", "loky", "cryptography"), "train"),
    **dict.fromkeys(("dp_accounting", "scipy"), "audit"),
    **dict.fromkeys(("matplotlib", "jinja2"), "report"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "python_multipart"), "board"),
    "ray": "ray",
}
"""Package that is imported -> the extra that brings it."""


class MissingExtraError(InputError, ImportError):
    """A package is not installed; the message has the command that installs it."""


@contextmanager
def explained() -> Iterator[None]:
    """Names the extra where a package is missing; also a decorator.

    Raises:
        MissingExtraError: A package of `EXTRAS` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingExtraError(
            f"{package} is not installed, and this needs it: pip install 'mico-hub[{EXTRAS[package]}]'"
        ) from error
