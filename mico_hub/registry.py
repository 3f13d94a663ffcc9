"""Finds what a folder of the package offers: there, a file more is an entry more."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def modules_with(attribute: str, package: str) -> Iterator[ModuleType]:
    """The modules of a package that have an attribute, by name.

    Args:
        attribute: Such as `ARCHITECTURES`.
        package: Its `__name__`; may be called from the package itself.
    """
    for found in iter_modules(import_module(package).__path__):
        module = import_module(f"{package}.{found.name}")
        if hasattr(module, attribute):
            yield module
