"""Searches the bytes that are published for what must stay hidden.

What is looked for, in every public file:

- each model's secret keys, and the nonces of the commitments: as bytes, in hexadecimal (either case) and in base64;
- the first `LABELS` hidden labels of each dev and final model, and their complement: in the words and with the
  separators of `WORDS` and `SEPARATORS`, also as lines of a position or record and its label; as integers of one, two,
  four and eight bytes, floats of two, four and eight and bfloat16 in either byte order, as 0 and 1 or -1 and 1; all
  labels packed into bits in either bit order;
- which of all records a model was trained on, as a mask: one byte or digit each, or packed into bits;
- hidden lists of records or positions, in any order: see `lists`; and as they are kept: text and JSON, integers of two,
  four and eight bytes and floats, in either byte order;
- paths of this machine, names of its user and host, and when the suites were made: dates, and times in seconds.

Text is searched again without white space, so that JSON is found however it is set. Parquet files are searched as
bytes, and again with every column decoded and all their metadata, since pages are compressed; safetensors files as
bytes, which is what their header and tensors are. What begins as gzip or zlib do is unpacked and searched, too.
"""

import base64
import getpass
import math
import re
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from ahocorasick_rs import BytesAhoCorasick, Implementation

from mico_hub.release.commitments import Opening
from mico_hub.release.disclosure import hidden_splits
from mico_hub.release.folder import SuiteFolder
from mico_hub.splits import Indices, Split
from mico_hub.suites import Suite
from publishing import lists

Needle = tuple[str, bytes]
LABELS = 64  # labels of a membership that are searched for: by chance they turn up once in 2**64
NAME = 6  # letters; a shorter name turns up by chance
BITS = 80  # a list of records is searched for by so many of them that two lists begin alike once in 2**BITS
READ_AT_ONCE = 4 << 20  # bytes
PIECE = 64  # bytes of a needle that are looked for first; where they are, the whole of it is compared
SEARCHED_AT_ONCE = 2 << 20  # bytes of all pieces; the automaton takes 70 times that


WORDS = (("0", "1"), ("-1", "1"), ("-1", "+1"), ("0.0", "1.0"), ("-1.0", "1.0"), ("0.", "1."), ("false", "true"),
         ("False", "True"), ("no", "yes"), ("out", "in"))  # fmt: skip
"""What labels are written as."""
SEPARATORS = ("", ",", ", ", " ", "\n", "\r\n", ";", "\t")
_BETWEEN = (",", ", ", ";", "\t", " ", ":", ": ")  # a position or record, and its label
_LINES = ("\n", "\r\n", ", ", ",")
_INTEGERS = ("i1", *(f"{order}{kind}" for kind in ("i2", "i4", "i8") for order in "<>"))
_FLOATS = tuple(f"{order}{kind}" for kind in ("f2", "f4", "f8") for order in "<>")
_BFLOAT_ONE, _BFLOAT_MINUS = 0x3F80, 0xBF80
UNPACKED = 64 << 20  # bytes at most of a packed stream


def find_lists(files: Iterable[Path], hidden: Sequence[lists.Hidden]) -> list[tuple[Path, str]]:
    """Each file with what lists in it show, see `lists`; in the order of the files."""
    found: list[tuple[Path, str]] = []
    for path in files:
        words: set[str] = set()
        for content, array in _contents(path):
            words |= lists.find(content, hidden, array=array)
        found += [(path, each) for each in sorted(words)]
    return found


def _contents(path: Path) -> Iterator[tuple[bytes, bool]]:
    """A file in pieces, and whether each is an array."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        for name in file.schema_arrow.names:
            yield from ((piece, True) for buffer in _buffers(file, name) for piece in buffer)
        return
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            size = file.read(8)
            yield size + file.read(int.from_bytes(size, "little")), False
        while piece := file.read(READ_AT_ONCE):
            yield piece, path.suffix == ".safetensors"
            yield from ((unpacked, False) for unpacked in _unpacked(piece))


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Whatever is packed in it by gzip or zlib."""
    for found in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", content):
        packed = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either
        try:
            unpacked = packed.decompress(content[found.start() :], UNPACKED)
        except zlib.error:
            continue
        if len(unpacked) >= NAME:
            yield unpacked


def find(files: Iterable[Path], needles: Sequence[Needle]) -> list[tuple[Path, str]]:
    """Each file with what it holds, as bytes or decoded; in the order of the files, then of the needles."""
    found: set[tuple[int, int]] = set()
    paths = list(files)
    for numbers in _groups(needles):
        automaton = BytesAhoCorasick(
            [needles[i][1][:PIECE] for i in numbers], implementation=Implementation.ContiguousNFA
        )
        longest = max(len(needles[i][1]) for i in numbers)
        for place, path in enumerate(paths):
            for pieces in _haystacks(path):
                for text in _with_overlap(pieces, longest - 1):
                    for match, start, _ in automaton.find_matches_as_indexes(text, overlapping=True):
                        if text.startswith(needles[numbers[match]][1], start):
                            found.add((place, numbers[match]))
    return [(paths[place], needles[number][0]) for place, number in sorted(found)]


def _groups(needles: Sequence[Needle]) -> Iterator[list[int]]:
    group: list[int] = []
    size = 0
    for number, (_, needle) in enumerate(needles):
        group.append(number)
        size += len(needle[:PIECE])
        if size > SEARCHED_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _with_overlap(pieces: Iterable[bytes], overlap: int) -> Iterator[bytes]:
    """The pieces, each with the end of what was before it, so that nothing is cut in two."""
    before = b""
    for piece in pieces:
        text = before + piece
        yield text
        before = text[-overlap:] if overlap else b""


def _haystacks(path: Path) -> Iterator[Iterable[bytes]]:
    """The file's bytes; of a Parquet file its columns and metadata too. Each in pieces."""
    yield _pieces(path)
    yield (unpacked for piece in _pieces(path) for unpacked in _unpacked(piece))
    if path.suffix in (".json", ".md"):
        yield [b"".join(path.read_bytes().split())]
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        yield [repr((file.metadata, file.metadata.metadata, file.schema_arrow.metadata)).encode()]
        yield (repr(row).encode() for batch in file.iter_batches(1) for row in batch.to_pylist())
        for name in file.schema_arrow.names:
            yield from _buffers(file, name)


def _buffers(file: pq.ParquetFile, name: str) -> Iterator[Iterable[bytes]]:
    """What a column's values are in memory."""
    array = file.read([name]).column(0).combine_chunks()
    while pa.types.is_list(array.type):
        array = array.flatten()
    for buffer in array.buffers():
        if buffer is not None:
            yield [buffer.to_pybytes()]


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(READ_AT_ONCE):
            yield piece


def secrets_of(folder: SuiteFolder, num_records: int) -> list[Needle]:
    """Everything that the suite's private part holds and its public part must not."""
    suite = folder.manifest().suite
    needles: list[Needle] = []
    for model_id, (keys, split) in enumerate(zip(folder.keys(), folder.splits(num_records), strict=True)):
        name = f"{suite.name}, model_{model_id}"
        for purpose, key in keys.to_hex().items():
            needles += [(f"{name}, {purpose} key", form) for form in _key_forms(bytes.fromhex(key))]
        if suite.split_of(model_id) in hidden_splits(suite):
            needles += hidden_in(suite, split, name, num_records)
    for split_name in hidden_splits(suite):
        opening = Opening.from_json(folder.opening_path(split_name).read_bytes(), str(folder.opening_path(split_name)))
        needles += [(f"{suite.name}, nonce of {split_name}", form) for form in _key_forms(opening.nonce)]
    return needles


def hidden_models(folder: SuiteFolder, num_records: int) -> Iterator[lists.Hidden]:
    """What is hidden of each dev and final model of a suite, as `lists` looks for it."""
    suite = folder.manifest().suite
    for model_id, split in enumerate(folder.splits(num_records)):
        if suite.split_of(model_id) in hidden_splits(suite):
            name = f"{suite.name}, model_{model_id}"
            yield lists.Hidden.of(name, split, num_records, training=suite.disclosure != "training")


def _key_forms(key: bytes) -> tuple[bytes, ...]:
    return key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key).rstrip(b"=")


def distinctive(density: float) -> int:
    """How many of the first records tell one random list from another.

    Two lists that hold each record with that probability have the same next record with probability d / (2 - d).

    Args:
        density: d, the share of all records that are in the list, above 0 and below 1.
    """
    return math.ceil(BITS / math.log2((2 - density) / density))


def hidden_in(suite: Suite, split: Split, name: str, num_records: int) -> Iterator[Needle]:
    """The forms that the hidden part of a split could take."""
    for what, labels in (("membership", split.membership), ("complement", 1 - split.membership)):
        begin = labels[:LABELS]
        for form in (*_in_words(begin), *_in_lines(begin, split.challenge), *_in_binary(begin)):
            yield f"{name}, {what}", form
        packed: bytes
        for packed in (*_in_bits(labels), labels.astype(np.uint8).tobytes()):
            for form in _key_forms(packed):
                yield f"{name}, {what} in bits or bytes", form
    sets = {"members": split.member, "non-members": split.nonmember}
    if suite.disclosure != "training":
        sets |= {"training": split.training, "evaluation": split.evaluation}
        trained = np.zeros(num_records, dtype=np.uint8)
        trained[split.member] = trained[split.training] = 1
        for what, mask in (("training set", trained), ("complement of the training set", 1 - trained)):
            for form in (*_in_bits(mask), mask.tobytes(), _in_text(mask)):
                yield f"{name}, {what} as a mask of all records", form
    kinds = ("<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<f4", ">f4", "<f8", ">f8")
    for what, records in sets.items():
        # Members stand in the challenge, which is public: that a run of it are all members has a chance of 1 in 2 each.
        least = LABELS if what in ("members", "non-members") else 0
        first = records[: max(least, distinctive(len(records) / num_records))]
        for form in forms(first, kinds):
            yield f"{name}, {what}", form


def _in_words(labels: npt.NDArray[np.integer]) -> Iterator[bytes]:
    for words in WORDS:
        yield from (separator.join(words[label] for label in labels).encode() for separator in SEPARATORS)


def _in_lines(labels: npt.NDArray[np.integer], challenge: Indices) -> Iterator[bytes]:
    """`12,1` and so on, a line or an entry each, with the position or the record first."""
    for numbers in (np.arange(len(labels)), challenge[: len(labels)]):
        for between in _BETWEEN:
            entries = [f"{number}{between}{label}" for number, label in zip(numbers, labels, strict=True)]
            yield from (line.join(entries).encode() for line in _LINES)


def _in_binary(labels: npt.NDArray[np.integer]) -> Iterator[bytes]:
    for values in (labels.astype(np.int64), 2 * labels.astype(np.int64) - 1):
        yield from (values.astype(kind).tobytes() for kind in (*_INTEGERS, *_FLOATS))
        bfloats = np.choose(values + 1, [_BFLOAT_MINUS, 0, _BFLOAT_ONE])
        yield from (bfloats.astype(kind).tobytes() for kind in ("<u2", ">u2"))


def _in_bits(labels: npt.NDArray[np.integer]) -> Iterator[bytes]:
    yield np.packbits(labels, bitorder="big").tobytes()
    yield np.packbits(labels, bitorder="little").tobytes()


def _in_text(mask: npt.NDArray[np.integer]) -> bytes:
    return "".join(map(str, mask.tolist())).encode()


def forms(values: npt.NDArray[np.integer], types: tuple[str, ...]) -> Iterator[bytes]:
    """A list of integers as text, with each usual separator, and as binary of each type."""
    for separator in ("", ", ", ",", " ", "\n", ";", "\t"):
        if separator or len(values) == LABELS:  # numbers of several digits run together say nothing
            yield separator.join(map(str, values.tolist())).encode()
    for kind in types:
        yield values.astype(kind).tobytes()


def surroundings(*folders: Path) -> list[Needle]:
    """Where, by whom and when the files below some folders were made."""
    moments = {time.time()} | {path.stat().st_mtime for folder in folders for path in folder.rglob("*")}
    days = {datetime.fromtimestamp(moment, UTC).date() for moment in moments}
    dates = {day.strftime(form) for day in days for form in ("%Y-%m-%d", "%Y%m%d", "%d %b %Y", "%b %d %Y", "%d/%m/%Y")}
    seconds = {str(int(moment)) for moment in moments}
    places = {str(folder.resolve()) for folder in (*folders, Path.home(), Path.cwd())}
    names = {"the host's name": socket.gethostname(), "the user's name": getpass.getuser()}
    return [
        *(("a path", place.encode()) for place in sorted(places) if len(place) > NAME),
        *((what, name.encode()) for what, name in names.items() if len(name) >= NAME),
        *(("the date", date.encode()) for date in sorted(dates)),
        *(("the time", second.encode()) for second in sorted(seconds)),
    ]
