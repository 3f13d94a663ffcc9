"""Searches the bytes that would be published for what must stay hidden.

What is looked for, in every public file:

- each model's secret keys: as bytes, in hexadecimal (either case) and in base64;
- the hidden membership of each dev and final model, and its complement: as text with and without separators and as
  JSON; as integers of one, two, four or eight bytes and as floats, in either byte order; packed into bits, in either
  bit order;
- the hidden members, non-members and, unless revealed, training and evaluation records: as text and JSON, and as
  integers of two, four or eight bytes and floats, in either byte order;
- paths of this machine, the host's name, today's date and the time in seconds.

Parquet files are searched as bytes, and again with every column decoded and all their metadata, since pages are
compressed; safetensors files as bytes, which is what their header and tensors are.
"""

import base64
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mico_hub.folder import SuiteFolder
from mico_hub.splits import Split
from mico_hub.suites import Suite

Needle = tuple[str, bytes]
LABELS = 64  # labels of a membership that are searched for: by chance they turn up once in 2**64
NAME = 6  # letters; a shorter name turns up by chance
RECORDS = 40  # records of a list: a run of them is public by chance once in 2**40, when all of a run are members


def find(root: Path, needles: list[Needle]) -> list[str]:
    """`file: what`, for each needle that a file below `root` holds, as bytes or decoded."""
    return [
        f"{path.relative_to(root)}: {what}"
        for path in sorted(each for each in root.rglob("*") if each.is_file())
        for what, needle in needles
        if any(needle in haystack for haystack in haystacks(path))
    ]


def haystacks(path: Path) -> list[bytes]:
    """The file's bytes; of a Parquet file its columns and metadata too."""
    found = [path.read_bytes()]
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        found.append(repr((file.metadata, file.metadata.metadata, file.schema_arrow.metadata)).encode())
        table = file.read()
        found.append(repr(table.to_pylist()).encode())
        for column in table.columns:
            array = column.combine_chunks()
            while pa.types.is_list(array.type):
                array = array.flatten()
            found += [buffer.to_pybytes() for buffer in array.buffers() if buffer is not None]
    return found


def secrets_of(folder: SuiteFolder, num_records: int) -> list[Needle]:
    """Everything that the suite's private part holds and its public part must not."""
    suite = folder.manifest().suite
    needles: list[Needle] = []
    for model_id, (keys, split) in enumerate(zip(folder.keys(), folder.splits(num_records), strict=True)):
        name = f"model_{model_id}"
        for purpose, key in keys.to_hex().items():
            raw = bytes.fromhex(key)
            forms = raw, key.encode(), key.upper().encode(), base64.b64encode(raw).rstrip(b"=")
            needles += [(f"{name}, {purpose} key", form) for form in forms]
        if suite.split_of(model_id) != "train":
            needles += hidden_in(suite, split, name)
    return needles


def hidden_in(suite: Suite, split: Split, name: str) -> Iterator[Needle]:
    """The forms that the hidden part of a split could take."""
    for what, labels in (("membership", split.membership), ("complement", 1 - split.membership)):
        for form in forms(
            labels[:LABELS], ("<i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<f4", ">f4", "<f8", ">f8")
        ):
            yield f"{name}, {what}", form
        for order in ("big", "little"):
            yield f"{name}, {what} in bits", np.packbits(labels, bitorder=order).tobytes()
    lists = {"members": split.member, "non-members": split.nonmember}
    if suite.disclosure != "training":
        lists |= {"training": split.training, "evaluation": split.evaluation}
    for what, records in lists.items():
        for form in forms(records[:RECORDS], ("<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<f4", ">f4", "<f8", ">f8")):
            yield f"{name}, {what}", form


def forms(values: npt.NDArray[np.integer], types: tuple[str, ...]) -> Iterator[bytes]:
    """A list of integers as text, with each usual separator, and as binary of each type."""
    for separator in ("", ", ", ",", " ", "\n", ";", "\t"):
        if separator or len(values) == LABELS:  # numbers of several digits run together say nothing
            yield separator.join(map(str, values.tolist())).encode()
    for kind in types:
        yield values.astype(kind).tobytes()


def surroundings(*folders: Path) -> list[Needle]:
    """Where and when the files were made."""
    now = datetime.now(UTC)
    dates = [now.strftime(form) for form in ("%Y-%m-%d", "%Y%m%d", "%d %b %Y", "%b %d")]
    seconds = str(int(time.time()))[:7]  # to about a quarter of an hour
    places = [str(folder) for folder in (*folders, Path.home(), Path.cwd())]
    return [
        *(("a path", place.encode()) for place in places if len(place) > 1),
        *(("the host's name", host.encode()) for host in [socket.gethostname()] if len(host) >= NAME),
        *(("the date", date.encode()) for date in dates),
        ("the time", seconds.encode()),
    ]
