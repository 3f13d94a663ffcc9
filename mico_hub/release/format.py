"""The format of what is published and kept: its number, and how readers treat keys that they do not know.

Every file says its format. A reader takes the keys that it knows and ignores others, unless the file lists them under
`requires`. Of a newer format, or of a key that it would have to know, it says which mico-hub reads the file: `reader`.
docs/format.md specifies all of it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from mico_hub.cache import refuse_pointer
from mico_hub.messages import InputError

FORMAT = 1
"""What this version writes, and the newest format that it reads."""

METADATA_KEY = "mico_hub"
"""Of our metadata in safetensors files, one JSON object; two keys would be written in an order that changes."""

FORMAT_KEYS = ("format", "requires", "reader")
"""What every file may have besides its own keys."""

T = TypeVar("T")


class FormatError(InputError, ValueError):
    """A file that this version cannot read; the message says where, what was expected and what to do."""


class NewerFormatError(FormatError):
    """A file that a later version wrote."""


def parse(text: bytes | str, where: str) -> dict[str, Any]:
    """A JSON object; no key twice, no NaN or infinity, in which readers differ.

    Raises:
        FormatError: The text is not JSON.
        PointerError: It is a pointer of Git LFS.
    """
    refuse_pointer(where, text)

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key appears twice")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        values = json.loads(text, object_pairs_hook=object_of, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: expected JSON: {error}") from error
    if not isinstance(values, dict):
        raise FormatError(f"{where}: expected a JSON object, got {type(values).__name__}")
    return values


def stamped(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the number of the format."""
    return {"format": FORMAT, **values}


def known_keys(values: Mapping[str, Any], known: Collection[str], where: str) -> dict[str, Any]:
    """The keys of a file that its reader knows.

    Args:
        values: What the file holds, see `parse`.
        known: The keys that the reader knows; those of an object inside as `suite.n`.
        where: The file, for messages.

    Raises:
        FormatError: It says no format.
        NewerFormatError: It is of a newer one, or requires a key that is not known.
    """
    number, required, reader = (values.get(key) for key in FORMAT_KEYS)
    if type(number) is not int or number < 1:
        raise FormatError(f"{where}: expected its format, a number from 1, got {number!r}; make the file again")
    required = [] if required is None or number > FORMAT else required
    if not isinstance(required, list) or not all(isinstance(key, str) for key in required):
        raise FormatError(f"{where}: expected a list of keys under 'requires', got {required!r}")
    lacking = [key for key in required if key not in known]
    if number > FORMAT or lacking:
        needs = f" and requires {', '.join(lacking)}" if lacking else ""
        newer = f"mico-hub {reader} or newer" if isinstance(reader, str) else "a newer mico-hub"
        raise NewerFormatError(
            f"{where}: it is of format {number}{needs}; mico-hub {version('mico-hub')} reads format {FORMAT}. "
            f"Install {newer} to read it"
        )
    return {key: values[key] for key in values if key in known}


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass from the keys that it has; those with a default may be missing.

    Raises:
        FormatError: Others are missing.
    """
    named = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # of any dataclass
    lacking = [
        name
        for name, field in named.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if lacking:
        raise FormatError(f"{where}: missing: {', '.join(lacking)}")
    return kind(**{name: values[name] for name in named if name in values})


def keys_of(kind: type) -> Iterator[str]:
    """The keys of a dataclass in a file, and those of dataclasses inside as `suite.n`."""
    for field in fields(kind):
        yield field.name
        if isinstance(field.type, type) and is_dataclass(field.type):
            yield from (f"{field.name}.{key}" for key in keys_of(field.type))


def unexpected_keys(values: Mapping[str, Any], known: Collection[str], prefix: str = "") -> list[str]:
    """The keys that no reader of this version knows: nothing is published with them."""
    found = []
    for key, value in values.items():
        if f"{prefix}{key}" not in known and key not in (() if prefix else FORMAT_KEYS[:1]):
            found.append(f"{prefix}{key}")
        elif isinstance(value, dict) and any(name.startswith(f"{prefix}{key}.") for name in known):
            found += unexpected_keys(value, known, f"{prefix}{key}.")
    return found


def canonical(values: Any) -> bytes:
    """The one text of a JSON value that digests are over: sorted keys, no spaces, ASCII; no infinity, no NaN."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
