"""Predictions as one Parquet file: a row for each model of any number of suites and splits.

The file's metadata has, under `mico_hub`, which models were attacked: `{"format": 1, "fingerprints": {SUITE: ...}}`.
"""

import io
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from mico_hub.cache import atomic_write
from mico_hub.release.format import METADATA_KEY
from mico_hub.submissions.array import refuse_other
from mico_hub.submissions.check import BYTES_PER_VALUE, Content, about, listed, read_bounded
from mico_hub.submissions.limits import REFUSED, run_limited
from mico_hub.submissions.unpacking import COLUMNS
from mico_hub.suites import SUITES, Suite


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
    """The (suite, split) of which there is a row. OSError or ValueError where it cannot be read."""
    table = _table(path)
    pairs = set(zip(table["suite"].to_pylist(), table["split"].to_pylist(), strict=True))
    return {(suite.name, split) for suite in suites for split in suite.model_ids if (suite.name, split) in pairs}


def read_rows(path: Path, suite: Suite, split: str, points: int) -> tuple[list[tuple[str, ArrayLike]], bytes | None]:
    """The split's models by name with their predictions, and what the metadata says of the file, see `check.about`.

    OSError or ValueError where they were not found.
    """
    table = _table(path, sum(suite.models), points)
    rows: dict[tuple[str | None, str | None], list[tuple[int, ArrayLike]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["suite"], row["split"]), []).append((row["model_id"], row["predictions"] or []))
    if (suite.name, split) not in rows:
        there = sorted(f"{its_suite}/{its_split}" for its_suite, its_split in rows)
        raise ValueError(f"{path.name} has no row for it, only for {listed(there) or 'nothing'}")
    named: list[tuple[str, ArrayLike]] = [(f"model_{model_id}", values) for model_id, values in rows[suite.name, split]]
    return named, (table.schema.metadata or {}).get(METADATA_KEY.encode())


_ROWS = sum(sum(each.models) for each in SUITES.values())
_VALUES = sum(sum(each.models) * (2 * each.m + 1) for each in SUITES.values())
"""Of a file with all suites."""


def _table(path: Path, models: int = 0, points: int = 0) -> pa.Table:
    """The file's columns, if it holds no more than all suites, and so many models of so many points besides."""
    most_values = _VALUES + models * (points + 1)
    content = read_bounded(path, BYTES_PER_VALUE * most_values)
    refuse_other(content, path.name)
    return _unpacked(content, path.name, _ROWS + models, most_values)


@lru_cache(maxsize=2)
def _unpacked(content: bytes, name: str, most_rows: int, most_values: int) -> pa.Table:
    """Once for all suites and splits of a file that is looked at."""
    arguments = (name, f"{most_rows}", f"{most_values}")
    done = run_limited("mico_hub.submissions.unpacking", arguments, content)
    if done.returncode == REFUSED:
        raise ValueError(done.stderr.decode(errors="replace"))
    return pa.ipc.open_stream(done.stdout).read_all()
