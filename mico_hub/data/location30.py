"""Location-30, in file order. A record is 446 bits, eight to a byte, the first bit the highest."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mico_hub.cache import refuse_pointer
from mico_hub.data import bits, purchase100
from mico_hub.data.base import BaseDataset, Bytes, DataError, DatasetInfo, Twins, as_float, assemble

FORM = bits.Form(446, "location30", "bangkok", "dataset_location.tgz", blob="0cfc2caa0c8c8569cd68a5d4ab369a98c1f98447")
PACKED = "location30.npz"

INFO = DatasetInfo(
    name="location30",
    title="Location-30",
    description="5,010 people's check-ins in Bangkok, 446 yes or no each, clustered into 30 classes; in file order.",
    splits=MappingProxyType({"all": 5_010}),
    classes=30,
    url="https://github.com/privacytrustlab/datasets (dataset_location.tgz)",
    layout=f"{FORM.layout}; or {FORM.folder}/{PACKED}, packed (features: the rows' {FORM.bits} bits by numpy.packbits, "
    f"labels from 0, n_features: {FORM.bits})",
    licence="no explicit licence; derived from Foursquare check-ins; the authors ask to be cited",
    citation=purchase100.INFO.citation,
    labels_sha256="fdd366c228dc3e41ca998a3fd5ef9f43e13e465449bb5e4fcf0e1c598f268268",
    twins=Twins(),
    known=MappingProxyType({"d10d8fcdea3d856317c73024d7d73592d9ae8313e3c90cf3fcecf22b9b9f63e4": ""}),
)


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads Location-30: the authors' archive, the text inside it, or a packed copy.

    Raises:
        DataError: It is not there (no Hub has it), or it is damaged.
    """
    path = folder / FORM.folder / PACKED if folder else None
    if path is not None and path.is_file():
        packed, labels = _packed(info, path)
    else:
        table = bits.read(info, FORM, folder)
        packed, labels, path = table.packed, table.labels, table.path
    return assemble(
        info,
        labels,
        packed,
        raw=np.unpackbits(packed, axis=1, count=FORM.bits),
        prepare=as_float,
        source=str(path),
        note=lambda: "not verified: its content is not that of the authors' archive",
    )


def _packed(info: DatasetInfo, path: Path) -> tuple[Bytes, Bytes]:
    """Packed bits (N, 56) and labels (N,)."""
    refuse_pointer(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            packed, labels, number = arrays["features"], arrays["labels"], int(arrays["n_features"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected {info.layout}, got {error}; {info.how_to_get}") from error
    shape = (len(labels), -(-FORM.bits // 8))
    if (packed.dtype, packed.shape, labels.dtype, number) != (np.uint8, shape, np.uint8, FORM.bits):
        raise DataError(
            f"{path}: expected uint8 features {shape} and labels of {FORM.bits} bits, got {packed.dtype} "
            f"{packed.shape} and {labels.dtype} of {number}; {info.how_to_get}"
        )
    return packed, labels
