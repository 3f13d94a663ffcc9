"""Hides bytes in a Parquet file and leaves its values as they are, in every place of the format that we know of.

A step that publishes files must not pass on what somebody put beside the values. Its tests give it the files made here.
They start from a file as `mico_hub.release.parquet` writes it: zstd, data pages of version 1, neither dictionaries nor
page indexes.

The footer and the headers of pages are Thrift structs in its compact protocol. Here a struct is a dict from a field's
id to (kind, value), and a list is (kind, values). Ids are those of parquet.thrift in apache/parquet-format.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SECRET = b"hidden-bytes-that-nobody-may-publish-7f3a91c4"

Struct = dict[int, tuple["Kind", Any]]

MAGIC = b"PAR1"
SKIPPABLE_FRAME = 0x184D2A50  # zstd: what follows it is no data
ZSTD, BYTE_ARRAY = 6, 6  # a codec and a type of values

ROW_GROUPS, KEY_VALUES, CREATED_BY = 4, 5, 6  # of FileMetaData
COLUMNS, GROUP_BYTES, GROUP_OFFSET, GROUP_COMPRESSED = 1, 2, 5, 6  # of RowGroup
META, OFFSET_INDEX, COLUMN_INDEX, CHUNK_OFFSETS = 3, 4, 6, (2,)  # of ColumnChunk
TYPE, CODEC, UNCOMPRESSED, COMPRESSED, COLUMN_KEY_VALUES, DATA_PAGE, STATISTICS = 1, 4, 6, 7, 8, 9, 12  # ColumnMetaData
META_OFFSETS = (DATA_PAGE, 10, 11, 14)  # of data, index and dictionary page, and Bloom filter
PAGE_COMPRESSED, PAGE_CRC, PAGE_HEADER = 3, 4, 5  # of PageHeader
PAGE_STATISTICS = 5  # of DataPageHeader
MAX_VALUE, MAX_IS_EXACT = 5, 7  # of Statistics


class Kind(IntEnum):
    """Kinds of values in the compact protocol."""

    TRUE = 1
    FALSE = 2
    BYTE = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    SET = 10
    MAP = 11  # Parquet has none
    STRUCT = 12


def decode(source: BytesIO) -> Struct:
    """Reads a struct; the source then stands behind it."""
    fields: Struct = {}
    field = 0
    while head := source.read(1)[0]:
        delta, kind = head >> 4, Kind(head & 15)
        field = field + delta if delta else _zigzag(_varint(source))
        fields[field] = (kind, kind == Kind.TRUE if kind in (Kind.TRUE, Kind.FALSE) else _value(source, kind))
    return fields


def _value(source: BytesIO, kind: Kind) -> Any:
    if kind in (Kind.I16, Kind.I32, Kind.I64):
        return _zigzag(_varint(source))
    if kind == Kind.BINARY:
        return source.read(_varint(source))
    if kind == Kind.STRUCT:
        return decode(source)
    if kind in (Kind.LIST, Kind.SET):
        head = source.read(1)[0]
        size = head >> 4 if head >> 4 < 15 else _varint(source)
        return Kind(head & 15), [_value(source, Kind(head & 15)) for _ in range(size)]
    if kind == Kind.MAP:
        raise ValueError("expected no map in a Parquet file")
    return source.read(8 if kind == Kind.DOUBLE else 1)  # as it is; so are truth values in a list


def _varint(source: BytesIO) -> int:
    value = shift = 0
    while (byte := source.read(1)[0]) >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
    return value | (byte << shift)


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def encode(fields: Struct) -> bytes:
    """The inverse of `decode`, with fields in ascending order."""
    out, last = bytearray(), 0
    for field, (kind, value) in sorted(fields.items()):
        short = field - last < 16
        out += bytes([(field - last) << 4 | kind]) if short else bytes([kind]) + _encoded(Kind.I16, field)
        if kind not in (Kind.TRUE, Kind.FALSE):
            out += _encoded(kind, value)
        last = field
    return bytes(out) + b"\0"


def _encoded(kind: Kind, value: Any) -> bytes:
    if kind in (Kind.I16, Kind.I32, Kind.I64):
        return _encoded_varint((value << 1) ^ (value >> 63))
    if kind == Kind.BINARY:
        return _encoded_varint(len(value)) + bytes(value)
    if kind == Kind.STRUCT:
        return encode(value)
    if kind in (Kind.LIST, Kind.SET):
        item, values = value
        size = len(values)
        head = bytes([size << 4 | item]) if size < 15 else bytes([0xF0 | item]) + _encoded_varint(size)
        return head + b"".join(_encoded(item, each) for each in values)
    return bytes(value)


def _encoded_varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@dataclass(frozen=True, slots=True)
class Parts:
    """A Parquet file taken apart. The footer may be changed in place."""

    pages: bytes  # all before the footer
    footer: Struct

    @classmethod
    def of(cls, content: bytes) -> "Parts":
        """Takes a file apart.

        Raises:
            ValueError: It is none that `joined` would give again, or it has page indexes, which `spliced` cannot shift.
        """
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        parts = cls(content[:start], decode(BytesIO(content[start:])))
        if parts.joined() != content:
            raise ValueError("expected a Parquet file as pyarrow writes it, got another form of the footer")
        if any({OFFSET_INDEX, COLUMN_INDEX} & chunk.keys() for _, chunk in parts.chunks()):
            raise ValueError("expected a Parquet file without page indexes")
        return parts

    def joined(self) -> bytes:
        """The whole file."""
        footer = encode(self.footer)
        return self.pages + footer + len(footer).to_bytes(4, "little") + MAGIC

    def groups(self) -> list[Struct]:
        """Each RowGroup."""
        groups: list[Struct] = _items(self.footer, ROW_GROUPS)
        return groups

    def chunks(self) -> Iterator[tuple[Struct, Struct]]:
        """Each ColumnChunk, after the RowGroup it is in."""
        for group in self.groups():
            for chunk in _items(group, COLUMNS):
                yield group, chunk

    def spliced(self, start: int, end: int, piece: bytes) -> "Parts":
        """The same with `piece` in place of the bytes from `start` to `end`; what lies behind them is found again."""
        growth = len(piece) - (end - start)
        holders: list[tuple[Struct, tuple[int, ...]]] = [(group, (GROUP_OFFSET,)) for group in self.groups()]
        for _, chunk in self.chunks():
            holders += [(chunk, CHUNK_OFFSETS), (chunk[META][1], META_OFFSETS)]
        for holder, offsets in holders:
            for field in offsets:
                if field in holder and holder[field][1] >= end:
                    _add(holder, field, growth)
        return Parts(self.pages[:start] + piece + self.pages[end:], self.footer)

    def with_page(self, group: Struct, chunk: Struct, change: Callable[[Struct, bytes], bytes]) -> "Parts":
        """The same with another first data page in a chunk.

        Args:
            group: Where the chunk is.
            chunk: Where the page is.
            change: Gets the page's header, which it may change in place, and its body; gives the new body.
        """
        meta: Struct = chunk[META][1]
        source = BytesIO(self.pages)
        start: int = source.seek(meta[DATA_PAGE][1])
        header = decode(source)
        length = source.tell() - start
        end = start + length + header[PAGE_COMPRESSED][1]
        if encode(header) != self.pages[start : start + length]:
            raise ValueError("expected a page as pyarrow writes it, got another form of its header")
        body = change(header, self.pages[start + length : end])
        header.pop(PAGE_CRC, None)  # a checksum of the old body; no page needs one
        header[PAGE_COMPRESSED] = (Kind.I32, len(body))
        encoded = encode(header)
        for holder, field in ((meta, UNCOMPRESSED), (group, GROUP_BYTES)):
            _add(holder, field, len(encoded) - length)
        for holder, field in ((meta, COMPRESSED), (group, GROUP_COMPRESSED)):
            _add(holder, field, len(encoded) + len(body) - (end - start))
        return self.spliced(start, end, encoded + body)


def _items(fields: Struct, field: int) -> list[Any]:
    """The values of a list, which is made where there is none."""
    values: list[Any] = fields.setdefault(field, (Kind.LIST, (Kind.STRUCT, [])))[1][1]
    return values


def _add(fields: Struct, field: int, number: int) -> None:
    if field in fields:
        kind, value = fields[field]
        fields[field] = (kind, value + number)


def _row_groups(original: Path) -> bytes:
    """The same rows and settings; half of the first group's rows are a group, all others another one."""
    with pq.ParquetFile(original) as file:
        table = file.read()
        group = file.metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    delta = "DELTA_BINARY_PACKED"
    encoding = {column.path_in_schema: delta for column in columns if delta in column.encodings}
    settings = {"compression": "zstd", "compression_level": 9, "use_dictionary": False, "store_schema": False}
    content, half = BytesIO(), group.num_rows // 2
    with pq.ParquetWriter(content, table.schema, column_encoding=encoding, **settings) as writer:
        for part in (table.slice(0, half), table.slice(half)):
            writer.write_table(part)
    return content.getvalue()


def _writer_settings(original: Path) -> bytes:
    """The same rows in the same groups, with another codec, other encodings, and other and smaller pages."""
    with pq.ParquetFile(original) as file:
        table = file.read()
        rows = file.metadata.row_group(0).num_rows
    content = BytesIO()
    settings = {"compression": "gzip", "data_page_version": "2.0", "data_page_size": 512, "use_dictionary": True}
    pq.write_table(table, content, row_group_size=rows, **settings)
    return content.getvalue()


def _version_string(parts: Parts) -> Parts:
    kind, version = parts.footer[CREATED_BY]
    parts.footer[CREATED_BY] = (kind, version + b" (build " + SECRET + b")")
    return parts


def _key_value() -> Struct:
    return {1: (Kind.BINARY, b"note"), 2: (Kind.BINARY, SECRET)}


def _key_value_metadata(parts: Parts) -> Parts:
    _items(parts.footer, KEY_VALUES).append(_key_value())
    return parts


def _column_metadata(parts: Parts) -> Parts:
    _, chunk = next(parts.chunks())
    _items(chunk[META][1], COLUMN_KEY_VALUES).append(_key_value())
    return parts


def _string_column(parts: Parts) -> tuple[Struct, Struct]:
    """The first chunk of strings, after its group."""
    return next((group, chunk) for group, chunk in parts.chunks() if chunk[META][1][TYPE][1] == BYTE_ARRAY)


def _with_secret_bound(fields: Struct, field: int) -> None:
    """Raises the upper bound of strings: it stays one, and so a reader that skips by statistics is not misled."""
    statistics: Struct = fields.setdefault(field, (Kind.STRUCT, {}))[1]
    _, bound = statistics.get(MAX_VALUE, (Kind.BINARY, b"~"))
    statistics[MAX_VALUE] = (Kind.BINARY, bound + SECRET)
    statistics[MAX_IS_EXACT] = (Kind.FALSE, False)


def _statistics(parts: Parts) -> Parts:
    _, chunk = _string_column(parts)
    _with_secret_bound(chunk[META][1], STATISTICS)
    return parts


def _between_pages(parts: Parts) -> Parts:
    """Between the last page of the first column and the first page of the second one."""
    _, second = list(parts.chunks())[1]
    start = second[META][1][DATA_PAGE][1]
    return parts.spliced(start, start, SECRET)


def _before_the_footer(parts: Parts) -> Parts:
    return parts.spliced(len(parts.pages), len(parts.pages), SECRET)


def _compressed_frame(parts: Parts) -> Parts:
    frame = SKIPPABLE_FRAME.to_bytes(4, "little") + len(SECRET).to_bytes(4, "little") + SECRET
    group, chunk = next((group, chunk) for group, chunk in parts.chunks() if chunk[META][1][CODEC][1] == ZSTD)
    return parts.with_page(group, chunk, lambda header, body: body + frame)


def _page_header(parts: Parts) -> Parts:
    def change(header: Struct, body: bytes) -> bytes:
        _with_secret_bound(header[PAGE_HEADER][1], PAGE_STATISTICS)
        return body

    return parts.with_page(*_string_column(parts), change)


LAYOUTS: dict[str, Callable[[Path], bytes]] = {"row groups": _row_groups, "writer settings": _writer_settings}
PLACES: dict[str, Callable[[Parts], Parts]] = {
    "version string": _version_string,
    "key-value metadata": _key_value_metadata,
    "column metadata": _column_metadata,
    "statistics": _statistics,
    "between pages": _between_pages,
    "before the footer": _before_the_footer,
    "compressed frame": _compressed_frame,
    "page header": _page_header,
}


def planted(original: Path) -> dict[str, bytes]:
    """Hides bytes in a file, in each place anew.

    Args:
        original: A file with a row or more and a column of strings, as `write_rows` writes it. It is left as it is.

    Returns:
        Name of the hiding place -> the bytes of a file with the same values that holds `SECRET` there. For `LAYOUTS`
        it is another layout that could tell something, and no `SECRET`.

    Raises:
        ValueError: The file has another form, or pyarrow does not read the same values from what was made of it.
    """
    content = original.read_bytes()
    made = {name: layout(original) for name, layout in LAYOUTS.items()}
    made |= {name: place(Parts.of(content)).joined() for name, place in PLACES.items()}
    values = _values(content)
    for name, changed in made.items():
        if changed == content or (name in PLACES and SECRET not in changed):
            raise ValueError(f"{original}: expected something hidden in: {name}")
        if not _values(changed).equals(values):
            raise ValueError(f"{original}: expected the same values with something hidden in: {name}")
    return made


def _values(content: bytes) -> pa.Table:
    return pq.ParquetFile(BytesIO(content)).read()
