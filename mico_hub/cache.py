"""The cache folder, and files that are either whole or absent."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

CACHE_VARIABLE = "MICO_HUB_CACHE"
"""Environment variable that names the cache folder."""

_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.")


def cache_dir() -> Path:
    """The folder for everything that can be made again: `MICO_HUB_CACHE`, else ~/.cache/mico-hub.

    Read at each call, so that a test may change it; the folder need not exist yet.
    """
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "mico-hub"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block succeeds and removed when it fails.

    Readers therefore see the old file, or the whole new one, whatever interrupts the writer; of several writers the
    last one wins. The temporary name keeps the suffix, for writers that look at it.

    Args:
        path: The file to write. Its folder is made if it is missing.

    Yields:
        The path to write to, a file that does not exist yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what writers that were killed left of `atomic_path`; only for a folder that no one else writes to."""
    for path in folder.rglob(".*"):
        if _UNFINISHED.match(path.name) and path.is_file():
            path.unlink()


def atomic_write(path: Path, data: bytes) -> None:
    """Writes `data` to `path` so that no reader ever sees a part of it; makes the folder if it is missing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
