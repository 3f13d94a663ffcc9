"""Safetensors files of ours, whatever they hold: metadata, header, digests."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from mico_hub.cache import PointerError, refuse_pointer
from mico_hub.release.format import METADATA_KEY, FormatError, canonical, known_keys, parse

MAX_HEADER = 100 << 20  # as the format has it
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}


class CheckpointError(FormatError):
    """A file that is not the checkpoint it should be."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        PointerError: It is a pointer of Git LFS, which no digest is of.
    """
    refuse_pointer(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metadata(path: Path) -> dict[str, Any]:
    """The network's name and configuration: {"network": str, "configuration": dict}.

    Raises:
        CheckpointError: The file is no safetensors file, or no checkpoint that this version reads.
    """
    try:
        metadata = metadata_of(path)
    except PointerError:
        raise
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: expected a safetensors file: {error}") from error
    return known(metadata, str(path))


def known(metadata: Mapping[str, str], where: str) -> dict[str, Any]:
    """What a checkpoint's metadata say of its network."""
    try:
        values = known_keys(parse(metadata[METADATA_KEY], where), ("network", "configuration"), where)
    except FormatError as error:
        raise CheckpointError(str(error)) from error
    except KeyError as error:
        raise CheckpointError(f"{where}: expected the network's configuration under {METADATA_KEY!r}") from error
    if not (isinstance(values.get("network"), str) and isinstance(values.get("configuration"), dict)):
        raise CheckpointError(f"{where}: expected a network's name and configuration, got {sorted(values)}")
    return values


def metadata_of(path: Path) -> dict[str, str]:
    """All metadata of a safetensors file."""
    refuse_pointer(path)
    with safe_open(path, framework="np") as file:
        return dict(file.metadata() or {})


def digest_of_tensors(path: Path) -> str:
    """SHA-256 in hexadecimal over what a safetensors file of ours says: its metadata, and its tensors by name.

    Of each tensor a line `NAME DTYPE SHAPE`, as in `train.values float32 100x2190`, and its values, little-endian.

    Raises:
        CheckpointError: It is not one.
        PointerError: It is a pointer of Git LFS.
    """
    refuse_pointer(path)
    try:
        with safe_open(path, framework="np") as file:
            about = parse((file.metadata() or {})[METADATA_KEY], str(path))
            hasher = hashlib.sha256(canonical(about) + b"\n")
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                hasher.update(f"{name} {tensor.dtype} {'x'.join(map(str, tensor.shape))}\n".encode())
                hasher.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).data)
    except (SafetensorError, KeyError, OSError) as error:
        raise CheckpointError(f"{path}: expected a safetensors file of ours: {error!r}") from error
    return hasher.hexdigest()


def mapped(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors of a safetensors file, mapped into memory and read when they are used; what is written stays there.

    Raises:
        SafetensorError: It is not one.
        KeyError: A tensor is of a type that numpy or our files do not have.
    """
    with safe_open(path, framework="np"):  # which sees that offsets and shapes fit the file
        header = header_of(path)
    entries: dict[str, Any] = json.loads(header[8:])
    content = np.memmap(path, np.uint8, "c").view(np.ndarray)[len(header) :]
    return {
        name: content[slice(*entry["data_offsets"])].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def header_of(path: Path) -> bytes:
    """The header of a safetensors file: the length of the text, and the text, JSON that is padded with spaces.

    Raises:
        CheckpointError: It is not a safetensors file.
    """
    with path.open("rb") as file:
        length = file.read(8)
        number = int.from_bytes(length, "little")
        text = file.read(number) if len(length) == 8 and number <= MAX_HEADER else b""
    if len(length) < 8 or len(text) != number:
        raise CheckpointError(f"{path}: expected a safetensors file, got one with a header of {number} bytes")
    return length + text
