"""Rows as Parquet files, public ones and the truth: the schemas of format 1, and how they are written and read.

The same rows give the same bytes with one version of pyarrow, not with another; so digests are over the values.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mico_hub.cache import PointerError, atomic_path, refuse_pointer
from mico_hub.release.format import FormatError
from mico_hub.release.rows import Row, Truth

_INDICES = pa.list_(pa.int32())
_NAMED = [("suite", pa.string()), ("split", pa.string()), ("model_id", pa.int32())]

PUBLIC_SCHEMA = pa.schema(
    [
        *_NAMED,
        ("checkpoint", pa.string()),
        ("sha256", pa.string()),
        ("num_bytes", pa.int64()),
        ("challenge", _INDICES),
        ("membership", pa.list_(pa.int8())),
        ("training", _INDICES),
        ("accuracy", pa.float64()),
        ("epsilon", pa.float64()),
        ("delta", pa.float64()),
    ]
)
PRIVATE_SCHEMA = pa.schema(
    [*_NAMED, ("challenge", _INDICES), ("membership", pa.list_(pa.int8())), ("training", _INDICES)]
)
_DELTA_ENCODED = ("challenge", "training")


_MAY_BE_NULL = ("sha256", "membership", "training", "accuracy", "epsilon", "delta")
ROWS_IN_GROUP = 25  # a row of a full suite has up to 60,000 records


class FolderError(FormatError):
    """A folder or a file in it that is not as it should be; the message lists all problems."""


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Writes public rows as one Parquet file; a few rows are held at a time.

    Index columns are delta-encoded and compressed: an ascending list of records then takes little more than its
    entropy, a quarter of what the default encoding takes.
    """
    _write(rows, PUBLIC_SCHEMA, path)


def write_truth(rows: Iterable[Truth], path: Path) -> None:
    """As `write_rows`, the private rows."""
    _write(rows, PRIVATE_SCHEMA, path)


def each_row(path: Path) -> Iterator[Row]:
    """Reads public rows, a few at a time; columns that are not known are ignored.

    Raises:
        FolderError: The file is missing or no Parquet file, or a column is missing or of another type.
    """
    return cast(Iterator[Row], _read(path, PUBLIC_SCHEMA))


def each_truth(path: Path) -> Iterator[Truth]:
    """As `each_row`, the private rows."""
    return cast(Iterator[Truth], _read(path, PRIVATE_SCHEMA))


def read_rows(path: Path) -> list[Row]:
    """All public rows, see `each_row`."""
    return list(each_row(path))


def read_truth(path: Path) -> list[Truth]:
    """All private rows, see `each_row`."""
    return list(each_truth(path))


def unexpected_columns(path: Path) -> list[str]:
    """The columns of a file of public rows that format 1 does not have."""
    with pq.ParquetFile(path) as file:
        return [name for name in file.schema_arrow.names if name not in PUBLIC_SCHEMA.names]


def rows_of_table(table: pa.Table) -> list[dict[str, Any]]:
    """A table's rows; lists as numpy arrays, since a full suite holds tens of millions of indices."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_list(column.type):
            columns[name] = [each.values.to_numpy() if each.is_valid else None for each in column]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def digest_of_rows(rows: Iterable[Row]) -> str:
    """SHA-256 in hexadecimal over the values of public rows, in their order: see docs/format.md.

    Of each row each column in the schema's order: a byte 0 for null, else a byte 1 and the value. Texts are UTF-8 and
    lists little-endian, both behind their length as 8 bytes; whole numbers are 8 bytes and others IEEE 754 doubles,
    both little-endian.
    """
    hasher = hashlib.sha256()
    for row in rows:
        for column in PUBLIC_SCHEMA:
            value = cast(Mapping[str, Any], row)[column.name]
            hasher.update(b"\0" if value is None else b"\1" + _value_bytes(value, column.type))
    return hasher.hexdigest()


def _value_bytes(value: Any, kind: pa.DataType) -> bytes:
    if pa.types.is_list(kind):
        items = np.asarray(value).astype(np.dtype(kind.value_type.to_pandas_dtype()).newbyteorder("<"))
        return struct.pack("<Q", len(items)) + items.tobytes()
    if pa.types.is_string(kind):
        text = value.encode()
        return struct.pack("<Q", len(text)) + bytes(text)
    return struct.pack("<d" if pa.types.is_floating(kind) else "<q", value)


def _write(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    waiting = iter(rows)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            compression_level=9,
            use_dictionary=False,
            column_encoding={
                f"{name}.list.element": "DELTA_BINARY_PACKED" for name in _DELTA_ENCODED if name in schema.names
            },
            store_schema=False,
        ) as writer,
    ):
        while group := list(islice(waiting, ROWS_IN_GROUP)):
            columns = [_column([row[field.name] for row in group], field.type) for field in schema]
            writer.write_table(pa.table(columns, schema=schema))


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        item = kind.value_type.to_pandas_dtype()
        values = [None if value is None else np.asarray(value, dtype=item) for value in values]
    return pa.array(values, kind)


def _read(path: Path, schema: pa.Schema) -> Iterator[Mapping[str, Any]]:
    try:
        refuse_pointer(path)
        with pq.ParquetFile(path) as file:
            if missing := [name for name in schema.names if name not in file.schema_arrow.names]:
                raise FolderError(f"{path}: expected the columns {schema.names}: there is no {', '.join(missing)}")
            for group in range(file.num_row_groups):
                table = _cast(file.read_row_group(group, columns=schema.names).select(schema.names), schema, path)
                if empty := [name for name in schema.names if name not in _MAY_BE_NULL and table[name].null_count]:
                    raise FolderError(f"{path}: expected a value in each row, got null under {', '.join(empty)}")
                yield from rows_of_table(table)
    except PointerError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise FolderError(f"{path}: expected a Parquet file of rows: {error}") from error


def _cast(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    try:
        return table.cast(schema)
    except (ValueError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FolderError(f"{path}: expected the columns {schema.names}: {error}") from error
