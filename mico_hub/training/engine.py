"""What decides results besides a recipe, its data and its keys: numbers of our own code, and versions of packages.

A suite's models must all be of one kind, so training resumes only where all of this is unchanged since it began.
"""

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from mico_hub.suites import Suite

TRAINING = 2
"""Of the code that trains: another number where the same recipe, data and keys may give other weights, in any bit.

`tests/test_engine.py` fails when that code changes, until this number does too or the weights are shown to be the same.
"""

SIGNALS = 3
"""Of the code that computes signals: another number where the same model may get other values."""

PACKAGES = ("torch", "opacus", "numpy", "transformers", "safetensors")
"""Whose versions a suite records."""

NAME = "training engine"
_DECIDING = ("torch", "opacus", "numpy")


@dataclass(frozen=True, slots=True)
class Code:
    """Which state of our repository this is."""

    commit: str | None  # of git, 40 hexadecimal digits; None: not known
    clean: bool | None  # whether no file of the package differs from that commit; None: not known


def versions() -> dict[str, str]:
    """The versions of this package and of `PACKAGES`."""
    return {name: _version(name) for name in ("mico-hub", *PACKAGES)}


_version = cache(metadata.version)  # which reads a file


def deciding(suite: Suite, engine: int | None, recorded: dict[str, str]) -> dict[str, str]:
    """What must stay the same while a suite is trained, by name.

    Args:
        suite: Its recipe; its network may add packages.
        engine: The number that the suite was begun with.
        recorded: The versions that it was begun with.
    """
    from mico_hub.models import MODELS

    packages = (*_DECIDING, *MODELS[suite.model].packages)
    return {NAME: str(engine), **{name: recorded.get(name, "unknown") for name in packages}}


@cache
def installed() -> dict[str, str]:
    """As `versions`, with a digest over all Python files of this package: workers of one run have the same."""
    package = Path(__file__).parents[1]
    content = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).parts):
        content.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    found = versions()
    return found | {"mico-hub": f"{found['mico-hub']}+{content.hexdigest()[:12]}"}


def code() -> Code:
    """The commit that this package is of: of the clone it is in, or as pip recorded it."""
    package = Path(__file__).parents[1]
    if _git(Path(__file__).parent, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return Code(_commit(_recorded_commit()), None)
    changes = _git(package, "status", "--porcelain", "--", ".")
    return Code(_commit(_git(package, "rev-parse", "HEAD")), None if changes is None else not changes)


def _commit(text: str | None) -> str | None:
    """A commit as git names most: by SHA-1."""
    return text if text and re.fullmatch("[0-9a-f]{40}", text) else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it fails, or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _recorded_commit() -> str | None:
    """The commit that a package was installed from, where it came from a repository (PEP 610)."""
    try:
        text = metadata.distribution("mico-hub").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    commit = json.loads(text).get("vcs_info", {}).get("commit_id") if text else None
    return str(commit) if commit else None
