"""Purchase-100, in file order. A record is 600 bits, eight to a byte, the first bit the highest."""

from __future__ import annotations

import hashlib
import logging
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mico_hub.cache import atomic_path, cache_dir, refuse_pointer
from mico_hub.data.base import BaseDataset, Bytes, DataError, DatasetInfo, as_float, assemble, missing, sha256
from mico_hub.messages import counted
from mico_hub.progress import Bar

FOLDER, TEXT, ARCHIVE = "purchase100", "dataset_purchase", "dataset_purchase.tgz"
STANDIN = "STANDIN"
"""A file of this name beside the text says that the text is synthetic."""

OFFICIAL_BLOB = "3efa7476ad5ed7ac3e558d28585a186b38fc5f19"
"""What `git hash-object dataset_purchase.tgz` gives for the authors' archive."""

BITS = 600
TAIL = 2 * BITS  # characters of ",b" per bit
CHUNK = 1 << 22  # bytes of text parsed at once

INFO = DatasetInfo(
    name="purchase100",
    title="Purchase-100",
    description="197,324 shoppers' purchases, 600 yes or no each, clustered into 100 classes; in file order.",
    splits=MappingProxyType({"all": 197_324}),
    classes=100,
    url="https://github.com/privacytrustlab/datasets (dataset_purchase.tgz)",
    layout=f"{FOLDER}/{ARCHIVE} (or {FOLDER}/{TEXT}, unpacked)",
    licence="no explicit licence; derived from Kaggle's Acquire Valued Shoppers Challenge; the authors ask to be cited",
    citation="""@inproceedings{shokri2017membership,
  author = {Shokri, Reza and Stronati, Marco and Song, Congzheng and Shmatikov, Vitaly},
  title = {Membership Inference Attacks Against Machine Learning Models},
  booktitle = {IEEE Symposium on Security and Privacy},
  year = {2017}
}""",
    known=MappingProxyType(
        {"01a30b3d60688e8590de3bc0314c8abf96261440855a6f9e38066230fe30e1d2": "synthetic stand-in, not the dataset"}
    ),
)

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads Purchase-100: the authors' archive, else the text inside it; from the cache after the first time.

    Raises:
        DataError: It is not there (no Hub has it), or it is damaged.
    """
    if not folder or not (folder / FOLDER).exists():
        raise missing(info, folder)
    path = next((p for p in (folder / FOLDER / ARCHIVE, folder / FOLDER / TEXT) if p.exists()), None)
    if path is None:
        raise missing(info, folder)
    refuse_pointer(path)
    bits, labels, blob = _cached(info, path)

    def note() -> str:
        if blob == OFFICIAL_BLOB:
            return ""
        if path.with_name(STANDIN).exists():
            return "synthetic stand-in, not the dataset"
        return "not verified: only the authors' archive, dataset_purchase.tgz, has a checksum that is known here"

    return assemble(info, labels, bits, raw=np.unpackbits(bits, axis=1), prepare=as_float, source=str(path), note=note)


def _cached(info: DatasetInfo, path: Path) -> tuple[Bytes, Bytes, str]:
    """Packed bits (N, 75), labels (N,), and the archive's git blob id (empty for a text), parsed or from the cache."""
    status = path.stat()
    key = sha256(f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}".encode())
    cache = cache_dir() / "data" / f"{info.name}-{key[:16]}.safetensors"
    if cache.exists():
        try:
            with safe_open(cache, framework="numpy") as stored:
                bits, labels = stored.get_tensor("bits"), stored.get_tensor("labels")
                metadata = stored.metadata() or {}
            if sha256(bits, labels) == metadata["sha256"]:
                return bits, labels, metadata["blob"]
            log.warning("%s: damaged; it is replaced from the original file", cache)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            log.warning("%s: damaged (%s); it is replaced from the original file", cache, error)
    if path.suffix == ".tgz":
        blob = git_blob(path)
        with _member(info, path) as (stream, size):
            bits, labels = parse(info, stream, size, f"{path}:{TEXT}")
    else:
        blob = ""
        with path.open("rb") as stream:
            bits, labels = parse(info, stream, status.st_size, str(path))
    try:
        with atomic_path(cache) as temporary:
            save_file({"bits": bits, "labels": labels}, temporary, {"sha256": sha256(bits, labels), "blob": blob})
    except (OSError, SafetensorError) as error:
        log.warning("%s: not written (%s); the next load parses the text again", cache, error)
    return bits, labels, blob


def git_blob(path: Path) -> str:
    """The id that `git hash-object` gives for a file."""
    header = b"blob %d\0" % path.stat().st_size
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.sha1(header, usedforsecurity=False)).hexdigest()


@contextmanager
def _member(info: DatasetInfo, path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The archive's one regular file `dataset_purchase` and its size, read as a stream; nothing is unpacked.

    Raises:
        DataError: The archive is damaged, or has no such file of a plausible size.
    """
    limit = info.num_records * (TAIL + 4)
    try:
        with tarfile.open(path, "r|gz") as archive:
            found = next((m for m in archive if posixpath.normpath(m.name) == TEXT), None)
            stream = archive.extractfile(found) if found and found.isreg() and found.size <= limit else None
            if not found or not stream:
                got = f"{found.size:,} bytes of type {found.type!r}" if found else "none"
                raise DataError(
                    f"{path}: expected a regular file {TEXT} of at most {limit:,} bytes in it, got {got}; "
                    f"{info.how_to_get}"
                )
            yield stream, found.size
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path} ({path.stat().st_size:,} bytes): expected a whole .tgz archive, "
            f"got {type(error).__name__}: {error}; {info.how_to_get}"
        ) from error


def parse(info: DatasetInfo, stream: IO[bytes], size: int, name: str) -> tuple[Bytes, Bytes]:
    """Reads the text in bounded memory: per line a label from 1 and 600 bits, comma-separated.

    Args:
        info: Gives the number of rows and classes to expect.
        stream: The text.
        size: Its length in bytes, for the progress bar.
        name: What to call it in messages.

    Returns:
        Packed bits (N, 75) and labels from 0 (N,), both uint8.

    Raises:
        DataError: Lines are malformed, or too few or many; the message has the numbers of the first ones.
    """
    bits: list[Bytes] = []
    labels: list[Bytes] = []
    problems: list[str] = []
    rows = bad = 0
    for text in _whole_lines(info, stream, size):
        more_bits, more_labels, wrong = _parse_lines(text, info.classes)
        for row in np.flatnonzero(wrong)[: 5 - len(problems)].tolist():
            line = text.split(b"\n", row + 1)[row]
            problems.append(f"line {rows + row + 1:,}: {_describe(line, info.classes)}")
        bits.append(more_bits)
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
    return np.concatenate(bits), np.concatenate(labels)


def _whole_lines(info: DatasetInfo, stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The text in pieces of whole lines, each at most about twice `CHUNK` long."""
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
                yield text[:end]
    if rest:
        yield rest + b"\n"


def _parse_lines(text: bytes, classes: int) -> tuple[Bytes, Bytes, np.ndarray[tuple[int], np.dtype[np.bool]]]:
    """Packed bits (n, 75), labels from 0 (n,), and which of the n lines are malformed (their content is arbitrary)."""
    width = TAIL + 3  # a label of three digits
    padded = np.frombuffer(bytes(width) + text, np.uint8)  # so that a full window ends at any line's end
    ends = np.flatnonzero(padded == ord("\n"))  # (n,)
    digits = np.diff(ends, prepend=width - 1) - 1 - TAIL  # (n,): how many the label has
    lines = np.lib.stride_tricks.sliding_window_view(padded, width)[ends - width]  # (n, 1203)
    unused = np.arange(3) < 3 - digits[:, None]  # (n, 3): what stands before a shorter label is no part of it
    head = np.where(unused, 0, lines[:, :3] - ord("0"))  # uint8: what is below "0" wraps to above 9
    labels = head @ np.array([100, 10, 1])  # (n,)
    bits = lines[:, 4::2] - ord("0")  # (n, 600)
    wrong = (
        (digits < 1)
        | (digits > 3)
        | (head > 9).any(axis=1)
        | (labels < 1)
        | (labels > classes)
        | (lines[:, 3::2] != ord(",")).any(axis=1)
        | (bits > 1).any(axis=1)
    )
    return np.packbits(bits, axis=1), (labels - 1).astype(np.uint8), wrong


def _describe(line: bytes, classes: int) -> str:
    """What is wrong with a malformed line."""
    expected = f"expected a label from 1 to {classes} and {BITS} bits, comma-separated"
    label, comma, rest = line.partition(b",")
    if len(label) > 3 or not label.isdigit() or not 1 <= int(label) <= classes:
        return f"{expected}, got the label {label[:20].decode(errors='replace')!r}"
    tail = comma + rest
    if len(tail) != TAIL:
        return f"{expected}, got {len(tail) / 2:g} bits after the label"
    place = next(i for i in range(TAIL) if tail[i : i + 1] not in ((b",",), (b"0", b"1"))[i % 2])
    return (
        f"{expected}, got {tail[place : place + 1].decode(errors='replace')!r} as character {len(label) + place + 1:,}"
    )
