"""CIFAR-10: train (the batches 1 to 5), then test. A record is its red, green and blue planes, 3 x 32 x 32 bytes."""

from __future__ import annotations

import hashlib
import io
import pickle  # only for files whose md5 is the official one, and even then restricted
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mico_hub.data.base import (
    BaseDataset,
    Bytes,
    DataError,
    DatasetInfo,
    Twins,
    assemble,
    require_files,
    sha256,
)
from mico_hub.data.hub import load_hub
from mico_hub.progress import Bar

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
HUB_BATCHES = (4, 3, 2, 5, 1)
"""The order in which the Hub's train rows hold the official train batches."""

OFFICIAL_MD5: Mapping[str, str] = MappingProxyType(
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }
)

if TYPE_CHECKING:
    import torch
"""Of the Python version's files, as Alex Krizhevsky's page and torchvision give them."""

MEAN = (0.49139968, 0.48215841, 0.44653091)
STD = (0.24703223, 0.24348513, 0.26158784)
"""Per channel of pixels from 0 to 1, the competition's."""

INFO = DatasetInfo(
    name="cifar10",
    title="CIFAR-10",
    description="60,000 colour photographs of 32x32 pixels: train, then test.",
    splits=MappingProxyType({"train": 50_000, "test": 10_000}),
    classes=10,
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    layout=f"{BINARY}/{{data_batch_1..5,test_batch}}.bin (or the official {PYTHON}/{{data_batch_1..5,test_batch}})",
    licence="no explicit licence; the author asks to be cited",
    citation="""@techreport{krizhevsky2009learning,
  author = {Krizhevsky, Alex},
  title = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year = {2009}
}""",
    hub_id="uoft-cs/cifar10",
    hub_config="plain_text",
    labels_sha256="3edb456524d5918aefded81f5aef7c32efab2a788211df998a4eb0c8957baa1f",
    known=MappingProxyType(
        {
            "6ece31f28066c35078c59a5a09a7bb08c7b87494475592976e4baf5d0d185e8c": (
                "104 of 60,000 images are approximate, decoded from JPEG"
            ),
        }
    ),
    twins=Twins(),  # the approximate images are too far from all others to be anyone's twin, too
)

# fmt: off
UNVERIFIED = (
    4298, 5949, 7066, 7237, 7248, 7630, 8006, 8831, 8968, 9415, 11027, 12762, 12834, 13546, 21493, 25728,
    26098, 26927, 27621, 28435, 28670, 28728, 29694, 29747, 31066, 31367, 31462, 31625, 31663, 32777, 33446, 33641,
    33661, 34067, 34276, 34387, 34471, 34825, 35160, 35646, 36733, 37329, 37474, 37567, 38089, 38384, 38925, 39069,
    39358, 39385, 39613, 39840, 39888, 39971, 41761, 41779, 42004, 42389, 42611, 43357, 43883, 44420, 44882, 45168,
    45240, 46175, 46435, 46538, 46624, 47393, 47597, 48081, 48124, 48333, 48821, 48836, 49321, 49429, 49631, 49830,
    49857, 51259, 51369, 51422, 51556, 52245, 52737, 52935, 53630, 53695, 53718, 54085, 54496, 55791, 55896, 56286,
    57580, 57707, 57724, 57832, 58117, 58541, 58551, 59254,
)
# fmt: on
"""The 104 records whose official pixels are not known here."""

VERIFIED_SHA256 = "9e159e4d8fc8b3c8938f534e7a1219b5534f3262c634bcfcbb75ed0448061843"
"""SHA-256 over the images of all other records in order: 59,896 that several independent copies agree on."""


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads CIFAR-10: the binary version, else the Python version, else the Hub.

    Raises:
        DataError: No source has it, or what is there is damaged or not in order.
    """
    official = False
    if folder and (folder / BINARY).exists():
        source = str(folder / BINARY)
        images, labels = read_binary(info, folder / BINARY)
    elif folder and (folder / PYTHON).exists():
        source, official = str(folder / PYTHON), True
        images, labels = read_python(info, folder / PYTHON)
    else:
        source = f"the Hub ({info.hub_id})"
        images, labels = read_hub(info, folder)
    return assemble(
        info,
        labels,
        images,
        raw=images,
        prepare=normalise,
        source=source,
        note=lambda: "" if official else judge(images),
    )


def normalise(rows: torch.Tensor) -> torch.Tensor:
    """Pixels, uint8 (B, 3, 32, 32), as float32, from 0 to 1 and then by `MEAN` and `STD`."""
    import torch

    mean, std = (torch.tensor(values, device=rows.device).view(3, 1, 1) for values in (MEAN, STD))
    return rows.float().div_(255).sub_(mean).div_(std)


def judge(images: Bytes) -> str:
    """How images, (60000, 3, 32, 32), from a source without a checksum differ from the official ones; empty: not."""
    starts = (0, *(record + 1 for record in UNVERIFIED))
    ends = (*UNVERIFIED, len(images))
    if sha256(*(images[start:end] for start, end in zip(starts, ends, strict=True))) == VERIFIED_SHA256:
        return (
            f"not verified in full: {len(images) - len(UNVERIFIED):,} of {len(images):,} images are the official ones, "
            f"for the other {len(UNVERIFIED)} no checksum is known here"
        )
    return "not verified: the labels are the official ones, but some images are not"


def read_binary(info: DatasetInfo, folder: Path) -> tuple[Bytes, Bytes]:
    """Images (N, 3, 32, 32) and labels (N,) of the binary version: per image a label byte and 3,072 bytes.

    Raises:
        DataError: Files are missing or of the wrong size.
    """
    rows = info.num_records // len(BATCHES)
    paths = [folder / f"{batch}.bin" for batch in BATCHES]
    require_files(info, paths, dict.fromkeys(paths, rows * 3_073))
    images = np.empty((info.num_records, 3_072), np.uint8)
    labels = np.empty(info.num_records, np.uint8)
    for number, path in enumerate(paths):
        batch = np.fromfile(path, np.uint8).reshape(rows, 3_073)
        part = slice(number * rows, (number + 1) * rows)
        labels[part], images[part] = batch[:, 0], batch[:, 1:]
    return images.reshape(-1, 3, 32, 32), labels


def read_python(info: DatasetInfo, folder: Path) -> tuple[Bytes, Bytes]:
    """Images (N, 3, 32, 32) and labels (N,) of the Python version, whose files are pickles.

    Nothing is unpickled before the md5 of all six files is known to be the official one.

    Raises:
        DataError: Files are missing or not the official ones.
    """
    require_files(info, [folder / batch for batch in BATCHES])
    contents = {batch: (folder / batch).read_bytes() for batch in BATCHES}
    md5 = {batch: hashlib.md5(content, usedforsecurity=False).hexdigest() for batch, content in contents.items()}
    problems = [
        f"\n  {folder / batch}: expected md5 {OFFICIAL_MD5[batch]}, got {md5[batch]} ({len(contents[batch]):,} bytes)"
        for batch in BATCHES
        if md5[batch] != OFFICIAL_MD5[batch]
    ]
    if problems:
        raise DataError(
            f"{info.title}: the Python version is pickled, so only the official files are read; move these away and "
            f"{info.how_to_get}{''.join(problems)}"
        )
    batches = [_Unpickler(io.BytesIO(content), encoding="bytes").load() for content in contents.values()]
    images = np.concatenate([batch[b"data"] for batch in batches])
    labels = np.concatenate([np.asarray(batch[b"labels"], np.uint8) for batch in batches])
    return images.reshape(-1, 3, 32, 32), labels


class _Unpickler(pickle.Unpickler):
    """Rebuilds numpy arrays and plain containers, and can call nothing else."""

    _RECONSTRUCT = np.empty(0).__reduce__()[0]  # the function that an array's pickle names, wherever numpy keeps it
    _ALLOWED: Mapping[tuple[str, str], Any] = MappingProxyType(
        {
            ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
            ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise DataError(f"CIFAR-10: refused to unpickle {module}.{name}: only numpy arrays are expected")
        return self._ALLOWED[module, name]


def read_hub(info: DatasetInfo, folder: Path | None) -> tuple[Bytes, Bytes]:
    """Images (N, 3, 32, 32) and labels (N,) from the Hub, put in the competition's order.

    Raises:
        DataError: The Hub cannot be reached or has something else.
    """
    train, test = load_hub(info, folder, ("img", "label"))
    images = np.empty((info.num_records, 3, 32, 32), np.uint8)
    with Bar(total=len(images), desc="CIFAR-10 images", unit="", disable=None) as bar:
        for row, image in enumerate(image for part in (train, test) for image in part["img"]):
            images[row] = np.asarray(image).transpose(2, 0, 1)
            bar.update()
    labels = np.concatenate([np.asarray(part["label"]).astype(np.uint8) for part in (train, test)])
    order = np.concatenate([hub_order(len(train)), np.arange(len(train), len(labels))])
    return images[order], labels[order]


def hub_order(rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each official train row is among the Hub's: `hub_rows[hub_order(len(hub_rows))]` is in official order."""
    batches = np.arange(rows).reshape(len(HUB_BATCHES), -1)  # a row per batch, in the Hub's order
    return batches[np.argsort(HUB_BATCHES)].ravel()
