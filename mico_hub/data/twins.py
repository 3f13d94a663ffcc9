"""Records whose input is in a base dataset more than once: they blur what membership means.

If a non-member has an exact twin in the training set, the model has seen what the label says that it has not.
`DatasetInfo.twins` holds what `find` finds in the official datasets, so that a score without twins needs no base data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mico_hub.data.base import BaseDataset, Twins

if TYPE_CHECKING:
    pass

Mask = NDArray[np.bool_]


def find(data: BaseDataset) -> Twins:
    """The exact twins of a base dataset, and how many sentences are contained in another."""
    return Twins(
        records=tuple(np.flatnonzero(exact(data)).tolist()),
        other_label=int(other_label(data).sum()),
        contained=int(contained(data.raw).sum()) if isinstance(data.raw, tuple) else None,
    )


def exact(data: BaseDataset) -> Mask:
    """(N,) whether another record has the same input, byte for byte, whatever its label."""
    inputs = _inputs(data)
    times = Counter(inputs)
    return np.array([times[each] > 1 for each in inputs], dtype=bool)


def other_label(data: BaseDataset) -> Mask:
    """(N,) whether another record has the same input, but another label."""
    inputs = _inputs(data)
    labels = Counter(each for each, _ in set(zip(inputs, data.labels.tolist(), strict=True)))
    return np.array([labels[each] > 1 for each in inputs], dtype=bool)


def _inputs(data: BaseDataset) -> Sequence[str | bytes]:
    return data.raw if isinstance(data.raw, tuple) else [row.tobytes() for row in data.raw.numpy()]


def contained(sentences: Sequence[str]) -> Mask:
    """(N,) whether a sentence's words, in their order and with none between, are a part of a longer sentence's."""
    split = [tuple(sentence.split()) for sentence in sentences]
    there = set(split)
    lengths = sorted({len(words) for words in there})
    found = {
        run
        for words in there
        for length in lengths
        if length < len(words)
        for start in range(len(words) - length + 1)
        if (run := words[start : start + length]) in there
    }
    return np.array([words in found for words in split], dtype=bool)
