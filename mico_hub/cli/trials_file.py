"""The file of `mico-hub audit-engine --keep`: what was seen of finished trainings, so that an audit can be resumed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mico_hub.cache import atomic_write
from mico_hub.messages import InputError


class TrialsFileError(InputError, ValueError):
    """A file that is of another audit, or of none."""


def read_trials(path: Path, about: Mapping[str, Any]) -> list[tuple[bool, float]]:
    """What was seen, of the same audit; nothing where there is no file yet.

    Raises:
        TrialsFileError: It is of another audit, or not such a file.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_bytes())
        held, seen = content["about"], [(bool(having), float(value)) for having, value in content["seen"]]
    except (ValueError, KeyError, TypeError) as error:
        raise TrialsFileError(
            f"{path}: expected the trainings of an audit, as --keep writes them, got {error!r}"
        ) from error
    asked = json.loads(json.dumps(about))
    if held != asked:
        other = ", ".join(key for key in asked if held.get(key) != asked[key])
        raise TrialsFileError(f"{path}: the trainings of another audit, with another {other}; name another file")
    return seen


def write_trials(path: Path, about: Mapping[str, Any], seen: Sequence[tuple[bool, float]]) -> None:
    """Writes the file, whole."""
    atomic_write(path, (json.dumps({"about": about, "seen": seen}) + "\n").encode())
