"""Location-30, in file order. A record is 446 bits, eight to a byte, the first bit the highest."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mico_hub.cache import refuse_pointer
from mico_hub.data import purchase100
from mico_hub.data.base import BaseDataset, DataError, DatasetInfo, Twins, as_float, assemble, missing

FOLDER, FILE = "location30", "location30.npz"
BITS = 446

INFO = DatasetInfo(
    name="location30",
    title="Location-30",
    description="5,010 people's check-ins in Bangkok, 446 yes or no each, clustered into 30 classes; in file order.",
    splits=MappingProxyType({"all": 5_010}),
    classes=30,
    url="https://github.com/privacytrustlab/datasets (dataset_location.tgz)",
    layout=f"{FOLDER}/{FILE} (features: the rows' {BITS} bits by numpy.packbits, labels from 0, n_features: {BITS})",
    licence="no explicit licence; derived from Foursquare check-ins; the authors ask to be cited",
    citation=purchase100.INFO.citation,
    labels_sha256="fdd366c228dc3e41ca998a3fd5ef9f43e13e465449bb5e4fcf0e1c598f268268",
    twins=Twins(),
    known=MappingProxyType({"d10d8fcdea3d856317c73024d7d73592d9ae8313e3c90cf3fcecf22b9b9f63e4": ""}),
)

if TYPE_CHECKING:
    pass


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads Location-30, made of the authors' archive.

    Raises:
        DataError: It is not there (no Hub has it), or it is damaged.
    """
    path = folder / FOLDER / FILE if folder else None
    if path is None or not path.is_file():
        raise missing(info, folder)
    refuse_pointer(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            packed, labels, number = arrays["features"], arrays["labels"], int(arrays["n_features"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected {info.layout}, got {error}; {info.how_to_get}") from error
    shape = (len(labels), -(-BITS // 8))
    if (packed.dtype, packed.shape, labels.dtype, number) != (np.uint8, shape, np.uint8, BITS):
        raise DataError(
            f"{path}: expected uint8 features {shape} and labels of {BITS} bits, got {packed.dtype} {packed.shape} and "
            f"{labels.dtype} of {number}; {info.how_to_get}"
        )
    return assemble(
        info,
        labels,
        packed,
        raw=np.unpackbits(packed, axis=1, count=BITS),
        prepare=as_float,
        source=str(path),
        note=lambda: "not verified: its content is not that of the authors' archive",
    )
