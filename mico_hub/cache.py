"""The cache folder, files that are either whole or absent, secrets that are kept, and pointers of Git LFS."""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from mico_hub.messages import InputError

CACHE_VARIABLE = "MICO_HUB_CACHE"
"""Environment variable that names the cache folder."""

POINTER = b"version https://git-lfs.github.com/spec/"
"""What a pointer of Git LFS begins with, and nothing that is read here."""

_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.")


class DiskError(InputError, OSError):
    """A file cannot be written; the message says where, why, and which setting names another folder."""

    transient = True


@contextmanager
def writable(path: Path, needed: int | None = None) -> Iterator[None]:
    """Explains a disk that is full and a folder that cannot be written, while the block writes a file or a folder.

    Args:
        path: What is written.
        needed: Bytes, where that is known.

    Raises:
        DiskError: There is no room, or it may not be written.
        OSError: Something else failed.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, InputError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = "" if needed is None else f"{needed:,} bytes are needed and "
            free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.is_dir())).free
            raise DiskError(
                f"{path}: the disk is full, {size}{free:,} are free; make room there, or {_elsewhere(path)}"
            ) from error
        told = Path(error.filename) if isinstance(error.filename, str) else path
        ours = told.is_relative_to(path.parent) or path.is_relative_to(told)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR) and ours:
            raise DiskError(f"{told} cannot be written ({error.strerror}); {_elsewhere(path)}") from error
        raise


def _elsewhere(path: Path) -> str:
    """The setting that decides where a path is."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")).expanduser()
    settings = {CACHE_VARIABLE: cache_dir(), "HF_HOME": home}
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        if os.environ.get(name):
            settings[name] = Path(os.environ[name]).expanduser()
    named = [name for name, folder in settings.items() if path.is_relative_to(folder)]
    return f"set {named[-1]} to a folder elsewhere" if named else "name a folder elsewhere"


class PointerError(InputError, OSError):
    """A file was not brought by Git LFS; the message says which, and the command that brings it."""


def refuse_pointer(where: Path | str, content: bytes | str | None = None) -> None:
    """Sees to it that what is read is the file itself.

    Args:
        where: The file, for the message too.
        content: How it begins, where that was read; None: it is looked at.

    Raises:
        PointerError: It is a pointer of Git LFS.
        OSError: It cannot be read.
    """
    if content is None:
        with Path(where).open("rb") as file:
            content = file.read(len(POINTER))
    start = content[: len(POINTER)]
    if (start.encode(errors="replace") if isinstance(start, str) else start) == POINTER:
        raise PointerError(f"{where} is a Git LFS pointer, not the file itself: run `git lfs pull` there")


def cache_dir() -> Path:
    """The folder for everything that can be made again: `MICO_HUB_CACHE`, else ~/.cache/mico-hub.

    Read at each call, so that a test may change it; the folder need not exist yet.
    """
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "mico-hub"


@contextmanager
def atomic_path(path: Path, needed: int | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block succeeds and removed when it fails.

    Readers therefore see the old file, or the whole new one, whatever interrupts the writer; of several writers the
    last one wins. The temporary name keeps the suffix, for writers that look at it.

    Args:
        path: The file to write. Its folder is made if it is missing.
        needed: Its size in bytes, where that is known.

    Yields:
        The path to write to, a file that does not exist yet.

    Raises:
        DiskError: See `writable`.
    """
    temporary = path.with_name(f".{uuid4().hex}.{path.name}")
    with writable(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
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
    with atomic_path(path, len(data)) as temporary:
        temporary.write_bytes(data)


def kept_nonce(name: str) -> bytes:
    """32 random bytes, drawn when they are asked for the first time and kept in the cache.

    Args:
        name: What they are for.
    """
    path = cache_dir() / "nonces" / hashlib.sha256(name.encode()).hexdigest()
    if not path.is_file():
        atomic_write(path, secrets.token_bytes(32))
    return path.read_bytes()
