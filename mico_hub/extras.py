"""What is installed only with an extra, and the one line that says so where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from mico_hub.messages import InputError

EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "sklearn"), "models"),
    **dict.fromkeys(("opacus", "loky", "cryptography"), "train"),
    **dict.fromkeys(("dp_accounting", "scipy"), "audit"),
    **dict.fromkeys(("matplotlib", "jinja2"), "report"),
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
