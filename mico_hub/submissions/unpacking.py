"""Unpacks a stranger's Parquet file, from stdin.

A few bytes can stand for any number of values, and a footer can lie about it, so this is a process of its own, with
limits. What is right goes to stdout as an Arrow stream of the four columns; what is wrong, to stderr.
"""

import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from mico_hub.submissions.check import BYTES_PER_VALUE
from mico_hub.submissions.limits import REFUSED, limit

COLUMNS = pa.schema(
    {"suite": pa.string(), "split": pa.string(), "model_id": pa.int32(), "predictions": pa.list_(pa.float64())}
)
"""The columns; predictions are in challenge order."""
_LONGEST_NAME = 200


def unpack(content: bytes, name: str, most_rows: int, most_values: int) -> pa.Table:
    """The table of a file that holds no more than so many rows and values. ValueError or ArrowException where not."""
    there = pq.read_schema(pa.BufferReader(content))
    times = Counter(there.names)
    if lacking := [column for column in COLUMNS.names if column not in times]:
        raise ValueError(f"{name}: expected the columns {', '.join(COLUMNS.names)}, got no {', '.join(lacking)}")
    if twice := [column for column in COLUMNS.names if times[column] > 1]:
        raise ValueError(f"{name}: expected each column once, got {', '.join(twice)} more than once")
    for column in COLUMNS.names[:2]:
        kind = there.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()):
            raise ValueError(f"{name}: expected suite and split to be strings, got {kind}")
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=COLUMNS.names[:2])
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    if file.metadata.num_rows > most_rows or any(column.num_values > most_values for column in columns):
        raise ValueError(f"{name} has more than {most_rows} rows or {most_values} values")
    if sum(column.total_uncompressed_size for column in columns) > BYTES_PER_VALUE * most_values:
        raise ValueError(f"{name} would unpack to more than {BYTES_PER_VALUE * most_values} bytes")
    table = file.read(columns=COLUMNS.names)
    numbers = table.select(COLUMNS.names[2:]).cast(pa.schema(list(COLUMNS)[2:]))
    if table.num_rows > most_rows or numbers.nbytes > BYTES_PER_VALUE * most_values:
        raise ValueError(f"{name} has more than {most_rows} rows or {most_values} values")
    names = [pa.array(_names(table[column], name), pa.string()) for column in COLUMNS.names[:2]]
    return pa.Table.from_arrays([*names, *numbers.columns], schema=COLUMNS.with_metadata(file.schema_arrow.metadata))


def _names(column: pa.ChunkedArray, name: str) -> list[str | None]:
    """The strings of a dictionary column; a long one in every row would fill the memory from few bytes."""
    found: list[str | None] = []
    for chunk in column.chunks:
        held = chunk.dictionary.to_pylist()
        if any(each is not None and len(each) > _LONGEST_NAME for each in held):
            raise ValueError(
                f"{name}: expected names of suites and splits, got one of more than {_LONGEST_NAME} characters"
            )
        found += [None if index is None else held[index] for index in chunk.indices.to_pylist()]
    return found


def main(name: str, most_rows: str, most_values: str) -> int:
    """Runs the program, see `unpack` for what it takes; gives its exit code."""
    limit()
    try:
        table = unpack(sys.stdin.buffer.read(), name, int(most_rows), int(most_values))
    except MemoryError:
        sys.stderr.write(f"{name} takes more memory than it may")
        return REFUSED
    except (ValueError, pa.ArrowException, OSError) as problem:
        sys.stderr.write(str(problem)[:2000])
        return REFUSED
    with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)
    return 0
