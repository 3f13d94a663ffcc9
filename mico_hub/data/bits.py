"""Tables of bits as Shokri et al. distribute them: an archive with one text, a line per record, a label and bits.

Records are packed, eight bits to a byte, the first the highest, and kept in the cache, for parsing takes a while.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mico_hub.cache import atomic_path, cache_dir, refuse_pointer
from mico_hub.data.base import Bytes, DataError, DatasetInfo, missing, sha256
from mico_hub.messages import counted
from mico_hub.progress import Bar

CHUNK = 1 << 22  # bytes of text parsed at once
LABEL = 3  # digits, at most

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """What the authors' files are called, and how long a record is."""

    bits: int
    folder: str  # in the folder of all datasets
    text: str
    archive: str
    blob: str  # what `git hash-object` gives for the authors' archive

    @property
    def layout(self) -> str:
        """For `DatasetInfo.layout`."""
        return f"{self.folder}/{self.archive} (or {self.folder}/{self.text}, unpacked)"


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """What was read."""

    packed: Bytes  # (N, bytes)
    labels: Bytes  # (N,), from 0
    path: Path
    official: bool  # whether it is the authors' archive


def read(info: DatasetInfo, form: Form, folder: Path | None) -> Table:
    """Reads the authors' archive, else the text inside it; from the cache after the first time.

    Raises:
        DataError: It is not there (no Hub has it), or it is damaged.
    """
    files = [folder / form.folder / name for name in (form.archive, form.text)] if folder else []
    path = next(filter(Path.exists, files), None)
    if path is None:
        raise missing(info, folder)
    refuse_pointer(path)
    packed, labels, blob = _cached(info, form, path)
    return Table(packed, labels, path, official=blob == form.blob)


def _cached(info: DatasetInfo, form: Form, path: Path) -> tuple[Bytes, Bytes, str]:
    """Packed bits (N, bytes), labels (N,), and the archive's git blob id (empty for a text), parsed or cached."""
    status = path.stat()
    key = sha256(f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}".encode())
    cache = cache_dir() / "data" / f"{info.name}-{key[:16]}.safetensors"
    if cache.exists():
        try:
            with safe_open(cache, framework="numpy") as stored:
                packed, labels = stored.get_tensor("bits"), stored.get_tensor("labels")
                metadata = stored.metadata() or {}
            if sha256(packed, labels) == metadata["sha256"]:
                return packed, labels, metadata["blob"]
            log.warning("%s: damaged; it is replaced from the original file", cache)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            log.warning("%s: damaged (%s); it is replaced from the original file", cache, error)
    if path.suffix == ".tgz":
        blob = git_blob(path)
        with _member(info, form, path) as (stream, size):
            packed, labels = parse(info, form, stream, size, f"{path}:{form.text}")
    else:
        blob = ""
        with path.open("rb") as stream:
            packed, labels = parse(info, form, stream, status.st_size, str(path))
    try:
        with atomic_path(cache) as temporary:
            save_file({"bits": packed, "labels": labels}, temporary, {"sha256": sha256(packed, labels), "blob": blob})
    except (OSError, SafetensorError) as error:
        log.warning("%s: not written (%s); the next load parses the text again", cache, error)
    return packed, labels, blob


def git_blob(path: Path) -> str:
    """The id that `git hash-object` gives for a file."""
    header = b"blob %d\0" % path.stat().st_size
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.sha1(header, usedforsecurity=False)).hexdigest()


@contextmanager
def _member(info: DatasetInfo, form: Form, path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The archive's one regular file of that name and its size, read as a stream; nothing is unpacked.

    Raises:
        DataError: The archive is damaged, or has no such file of a plausible size.
    """
    limit = info.num_records * (2 * form.bits + LABEL + 3)
    try:
        with tarfile.open(path, "r|gz") as archive:
            found = next((m for m in archive if posixpath.normpath(m.name) == form.text), None)
            stream = archive.extractfile(found) if found and found.isreg() and found.size <= limit else None
            if not found or not stream:
                got = f"{found.size:,} bytes of type {found.type!r}" if found else "none"
                raise DataError(
                    f"{path}: expected a regular file {form.text} of at most {limit:,} bytes in it, got {got}; "
                    f"{info.how_to_get}"
                )
            yield stream, found.size
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path} ({path.stat().st_size:,} bytes): expected a whole .tgz archive, "
            f"got {type(error).__name__}: {error}; {info.how_to_get}"
        ) from error


def parse(info: DatasetInfo, form: Form, stream: IO[bytes], size: int, name: str) -> tuple[Bytes, Bytes]:
    """Reads the text in bounded memory: per line a label from 1, in quotes or not, and bits, comma-separated.

    Args:
        info: Gives the number of rows and classes to expect.
        form: Gives the number of bits.
        stream: The text.
        size: Its length in bytes, for the progress bar.
        name: What to call it in messages.

    Returns:
        Packed bits (N, bytes) and labels from 0 (N,), both uint8.

    Raises:
        DataError: Lines are malformed, or too few or many; the message has the numbers of the first ones.
    """
    packed: list[Bytes] = []
    labels: list[Bytes] = []
    problems: list[str] = []
    rows = bad = 0
    for text in _whole_lines(info, stream, size):
        more, more_labels, wrong = _parse_lines(text, info.classes, form.bits)
        for row in np.flatnonzero(wrong)[: 5 - len(problems)].tolist():
            line = text.split(b"\n", row + 1)[row]
            problems.append(f"line {rows + row + 1:,}: {_describe(line, info.classes, form.bits)}")
        packed.append(more)
        labels.append(more_labels)
        rows += len(wrong)
        bad += int(wrong.sum())
    if bad > len(problems):
        problems.append(f"{counted(bad - len(problems), 'more such line')}")
    if rows != info.num_records:
        problems.append(f"expected {info.num_records:,} rows, got {rows:,}")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise DataError(f"{name} (expected {info.expected}): {info.how_to_get}{listed}")
    return np.concatenate(packed), np.concatenate(labels)


def _whole_lines(info: DatasetInfo, stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The text in pieces of whole lines, each at most about twice `CHUNK` long, without quotes."""
    rest = b""
    with Bar(total=size, desc=info.title, unit="B", unit_scale=True, disable=None) as bar:
        while chunk := stream.read(CHUNK):
            bar.update(len(chunk))
            text = rest + chunk
            end = text.rfind(b"\n") + 1
            if not end and len(text) > CHUNK:  # no line is that long: let it be one that is refused
                text, end = text + b"\n", len(text) + 1
            rest = text[end:]
            if end:
                yield text[:end].replace(b'"', b"")
    if rest:
        yield rest.replace(b'"', b"") + b"\n"


def _parse_lines(
    text: bytes, classes: int, bits: int
) -> tuple[Bytes, Bytes, np.ndarray[tuple[int], np.dtype[np.bool]]]:
    """Packed bits (n, bytes), labels from 0 (n,), and which of n lines are malformed (their content is arbitrary)."""
    width = LABEL + 2 * bits
    padded = np.frombuffer(bytes(width) + text, np.uint8)  # so that a full window ends at any line's end
    ends = np.flatnonzero(padded == ord("\n"))  # (n,)
    digits = np.diff(ends, prepend=width - 1) - 1 - 2 * bits  # (n,): how many the label has
    lines = np.lib.stride_tricks.sliding_window_view(padded, width)[ends - width]  # (n, width)
    unused = np.arange(LABEL) < LABEL - digits[:, None]  # (n, 3): what stands before a shorter label is no part of it
    head = np.where(unused, 0, lines[:, :LABEL] - ord("0"))  # uint8: what is below "0" wraps to above 9
    labels = head @ np.array([100, 10, 1])  # (n,)
    found = lines[:, LABEL + 1 :: 2] - ord("0")  # (n, bits)
    wrong = (
        (digits < 1)
        | (digits > LABEL)
        | (head > 9).any(axis=1)
        | (labels < 1)
        | (labels > classes)
        | (lines[:, LABEL::2] != ord(",")).any(axis=1)
        | (found > 1).any(axis=1)
    )
    return np.packbits(found, axis=1), (labels - 1).astype(np.uint8), wrong


def _describe(line: bytes, classes: int, bits: int) -> str:
    """What is wrong with a malformed line."""
    expected = f"expected a label from 1 to {classes} and {bits} bits, comma-separated"
    label, comma, rest = line.partition(b",")
    if len(label) > LABEL or not label.isdigit() or not 1 <= int(label) <= classes:
        return f"{expected}, got the label {label[:20].decode(errors='replace')!r}"
    tail = comma + rest
    if len(tail) != 2 * bits:
        return f"{expected}, got {len(tail) / 2:g} bits after the label"
    place = next(i for i in range(2 * bits) if tail[i : i + 1] not in ((b",",), (b"0", b"1"))[i % 2])
    return (
        f"{expected}, got {tail[place : place + 1].decode(errors='replace')!r} as character {len(label) + place + 1:,}"
    )
