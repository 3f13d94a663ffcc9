"""Predictions as numpy saves an array, and files that are no predictions though some library would read them."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mico_hub.submissions.check import BYTES_PER_VALUE, Wanted, read_bounded

_OTHER = {
    b"\x80": "is a pickle, which can run code and is never read; write a Parquet file",
    b"ARROW1": "is a Feather file; write it with to_parquet in place of to_feather",
    b"FEA1": "is a Feather file; write it with to_parquet in place of to_feather",
    b"\x93NUMPY": "is an array of numpy; call it NAME.npy",
    b"PK\x03\x04": "is a zip archive, as .npz and .pt are; call one with predictions NAME.zip",
    b"\x1f\x8b": "is a gzip archive; unpack it and name the folder",
}
"""How a file begins -> what to do."""


def refuse_other(content: bytes, name: str) -> None:
    """Says of a file that is not Parquet what it is.

    Raises:
        ValueError: It is something else that is known.
    """
    for sign, what in _OTHER.items():
        if content.startswith(sign):
            raise ValueError(f"{name} {what}")


def read_array(path: Path, wanted: Wanted) -> list[tuple[str, NDArray[np.generic]]]:
    """The rows of an array of numbers, (models, points) with models by ascending id; nothing is unpickled.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, no array of numbers, or of another shape.
    """
    shape = (len(wanted.models), wanted.points)
    stream = io.BytesIO(read_bounded(path, BYTES_PER_VALUE * (shape[0] * shape[1] + wanted.points)))
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found, _, kind = read_header(stream)
    if found != shape or kind.kind not in "fiu":
        raise ValueError(
            f"{path.name}: expected numbers of shape {shape}, a row for each model by ascending id, got {kind} {found}"
        )
    stream.seek(0)
    values = np.load(stream, allow_pickle=False)
    return [(f"model_{model_id}", row) for model_id, row in zip(sorted(wanted.models), values, strict=True)]
