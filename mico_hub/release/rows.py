"""A row of the dataset, one for each model, whatever form it comes in."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import datasets
import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]


class Row(TypedDict):
    """A public row."""

    suite: str
    split: str  # train, dev or final
    model_id: int
    checkpoint: str  # path relative to the published folder, or to the competition's repository
    sha256: str | None  # of the checkpoint; None: not known before it is read
    num_bytes: int  # of the checkpoint
    challenge: Integers  # (2m,) record indices
    membership: Integers | None  # (2m,) aligned with challenge, 1 = member; None: hidden
    training: Integers | None  # the other training records, ascending; None: hidden
    accuracy: float | None  # over records in neither challenge nor training set
    epsilon: float | None  # spent, inf without DP
    delta: float | None


class Truth(TypedDict):
    """A private row: all records of a model."""

    suite: str
    split: str
    model_id: int
    challenge: Integers
    membership: Integers
    training: Integers


_SPLITS = datasets.DatasetDict | datasets.IterableDatasetDict
_LISTS = ("challenge", "membership", "training")
_NUMBERS = ("accuracy", "epsilon", "delta")
_NEEDED = ("suite", "split", "model_id", "checkpoint", "sha256", "num_bytes", "challenge")


def name_of(row: Row | Truth) -> str:
    """`cifar10_hi/train/model_0`."""
    return f"{row['suite']}/{row['split']}/model_{row['model_id']}"


def fingerprint(suite: str, rows: Iterable[Row], *, original: bool) -> str:
    """SHA-256 in hexadecimal over which models these are, and their challenges.

    It does not change when hidden membership is revealed. Over a line with the suite's name, then
    `SPLIT/model_N SHA256 RECORD,RECORD,...` for each model.

    Args:
        suite: The name.
        rows: All public rows, by id.
        original: Whether these are the competition's models, whose files differ by where they are from: `-` stands for
            the SHA-256 then.
    """
    hasher = hashlib.sha256(f"{suite}\n".encode())
    for row in rows:
        checkpoint = "-" if original else row["sha256"]
        records = ",".join(map(str, row["challenge"].tolist()))
        hasher.update(f"{row['split']}/model_{row['model_id']} {checkpoint} {records}\n".encode())
    return hasher.hexdigest()


def as_row(given: Any) -> Row:
    """A row from whatever a dataset gives: a dict, or one row in the form of pandas, Arrow, numpy or torch.

    Columns whose value may be hidden may be missing: that hides them.

    Raises:
        TypeError: It is no row.
        ValueError: It is several, or lacks a column.
    """
    if isinstance(given, datasets.Dataset | datasets.IterableDataset | _SPLITS):
        raise ValueError("expected one row, got a dataset: pass each of its rows by itself")
    values = _mappings(given)
    if len(values) != 1:
        raise ValueError(f"expected one row, got {len(values)}: pass each of them by itself")
    return _row(values[0])


def as_rows(given: Any) -> list[Row]:
    """Rows from a `Dataset` in any format, a table or an iterable of rows; lists as numpy arrays.

    Raises:
        TypeError: They are no rows.
        ValueError: A row lacks a column, or these are the splits of a suite.
    """
    if isinstance(given, _SPLITS):
        raise ValueError(f"expected the rows of one split, got the splits {', '.join(given)}: pass one of them")
    if isinstance(given, datasets.Dataset):  # a full suite has millions of indices: no lists of Python's integers
        there = [name for name in _LISTS if name in given.column_names]
        return [_row(each) for each in given.with_format("numpy", columns=there, output_all_columns=True)]
    return [_row(each) for each in _mappings(given)]


def _mappings(given: Any) -> list[Mapping[str, Any]]:
    if isinstance(given, Mapping):
        held = given.get("suite")
        one = not isinstance(held, list | tuple | np.ndarray)  # the first column is a text
        return (
            [given] if one else [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
        )
    if hasattr(given, "to_pylist"):  # Arrow
        return list(given.to_pylist())
    if hasattr(given, "to_dict") and not isinstance(given, datasets.IterableDataset):  # pandas
        return list(given.to_dict("records")) if hasattr(given, "columns") else [given.to_dict()]
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"expected a row of a suite, such as load_suite(NAME)['train'][0], got {given!r:.80}")
    found: list[Mapping[str, Any]] = []
    for each in given:
        found += _mappings(each)
    return found


def _row(values: Mapping[str, Any]) -> Row:
    if lacking := [name for name in _NEEDED if name not in values]:
        raise ValueError(f"expected a row of a suite, got one without {', '.join(lacking)}")
    lists = {name: _list(values.get(name)) for name in _LISTS}
    challenge = lists["challenge"]
    if challenge is None:
        raise ValueError("expected a row of a suite, got one without a challenge")
    accuracy, epsilon, delta = (_number(values.get(name)) for name in _NUMBERS)
    return Row(
        suite=str(values["suite"]),
        split=str(values["split"]),
        model_id=int(values["model_id"]),
        checkpoint=str(values["checkpoint"]),
        sha256=None if _absent(values["sha256"]) else str(values["sha256"]),
        num_bytes=int(values["num_bytes"]),
        challenge=challenge,
        membership=lists["membership"],
        training=lists["training"],
        accuracy=accuracy,
        epsilon=epsilon,
        delta=delta,
    )


def _absent(value: Any) -> bool:
    """None, or what pandas and numpy make of it."""
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def _list(value: Any) -> Integers | None:
    return None if _absent(value) else np.asarray(value)


def _number(value: Any) -> float | None:
    """Also of the 0-d arrays and tensors that tensor libraries make, null as NaN."""
    return None if value is None or math.isnan(number := float(value)) else number
