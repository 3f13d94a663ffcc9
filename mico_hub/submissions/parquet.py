"""Predictions as one Parquet file: a row for each model of any number of suites and splits.

The file's metadata has, under `mico_hub`, which models were attacked: `{"format": 1, "fingerprints": {SUITE: ...}}`.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from mico_hub.cache import atomic_write
from mico_hub.release.format import METADATA_KEY
from mico_hub.submissions.array import refuse_other
from mico_hub.submissions.check import BYTES_PER_VALUE, Content, about, listed, read_bounded
from mico_hub.suites import SUITES, Suite

COLUMNS = pa.schema(
    {"suite": pa.string(), "split": pa.string(), "model_id": pa.int32(), "predictions": pa.list_(pa.float64())}
)
"""The columns; predictions are in challenge order."""


def write_parquet(path: Path, content: Content, fingerprints: Mapping[str, str]) -> None:
    """Writes one Parquet file, whole or not at all."""
    rows = [
        {"suite": suite.name, "split": split, "model_id": model_id, "predictions": values}
        for (suite, split), predictions in content.items()
        for model_id, values in predictions.items()
    ]
    written = io.BytesIO()
    schema = COLUMNS.with_metadata({METADATA_KEY: about(fingerprints)} if fingerprints else None)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), written, compression="zstd")
    atomic_write(path, written.getvalue())


def splits_in_parquet(path: Path, suites: Iterable[Suite]) -> set[tuple[str, str]]:
    """The (suite, split) of which there is a row. OSError, ValueError or ArrowException where it cannot be read."""
    table = _open(path, _WHOLE).read(columns=COLUMNS.names[:2])
    pairs = set(zip(_names(table["suite"]), _names(table["split"]), strict=True))
    return {(suite.name, split) for suite in suites for split in suite.model_ids if (suite.name, split) in pairs}


def read_rows(path: Path, suite: Suite, split: str, points: int) -> tuple[list[tuple[str, ArrayLike]], bytes | None]:
    """The split's models by name with their predictions, and what the metadata says of the file, see `check.about`.

    OSError, ValueError or ArrowException where they were not found.
    """
    file = _open(path, [*_WHOLE, (sum(suite.models), points)])
    table = file.read(columns=COLUMNS.names)
    numbers = table.select(COLUMNS.names[2:]).cast(pa.schema(list(COLUMNS)[2:])).to_pylist()
    rows: dict[tuple[str | None, str | None], list[tuple[int, ArrayLike]]] = {}
    for key, row in zip(zip(_names(table["suite"]), _names(table["split"]), strict=True), numbers, strict=True):
        rows.setdefault(key, []).append((row["model_id"], row["predictions"] or []))
    if (suite.name, split) not in rows:
        there = sorted(f"{its_suite}/{its_split}" for its_suite, its_split in rows)
        raise ValueError(f"{path.name} has no row for it, only for {listed(there) or 'nothing'}")
    named: list[tuple[str, ArrayLike]] = [(f"model_{model_id}", values) for model_id, values in rows[suite.name, split]]
    return named, (file.schema_arrow.metadata or {}).get(METADATA_KEY.encode())


_WHOLE = [(sum(each.models), 2 * each.m) for each in SUITES.values()]
"""Models and points of a file with all suites."""


def _open(path: Path, held: Sequence[tuple[int, int]]) -> pq.ParquetFile:
    """A file that holds no more than these models of so many points. Errors as for `read_rows`."""
    most_rows = sum(models for models, _ in held)
    most_values = sum(models * (of_model + 1) for models, of_model in held)
    content = read_bounded(path, BYTES_PER_VALUE * most_values)
    refuse_other(content, path.name)
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=["suite", "split"])
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    # Encoded and compressed, a few bytes can stand for any number of values.
    if file.metadata.num_rows > most_rows or any(column.num_values > most_values for column in columns):
        raise ValueError(f"{path.name} has more than {most_rows} rows or {most_values} values")
    if sum(column.total_uncompressed_size for column in columns) > BYTES_PER_VALUE * most_values:
        raise ValueError(f"{path.name} would unpack to more than {BYTES_PER_VALUE * most_values} bytes")
    lacking = [name for name in COLUMNS.names if name not in file.schema_arrow.names]
    if lacking:
        raise ValueError(f"{path.name}: expected the columns {', '.join(COLUMNS.names)}, got no {', '.join(lacking)}")
    return file


def _names(column: pa.ChunkedArray) -> Iterator[str | None]:
    """The strings of a dictionary column, each once in memory: written out, a long one could fill it from few bytes."""
    if not pa.types.is_dictionary(column.type):
        raise ValueError(f"expected suite and split to be strings, got {column.type}")
    for chunk in column.chunks:
        names = chunk.dictionary.to_pylist()
        yield from (None if index is None else names[index] for index in chunk.indices.to_pylist())
