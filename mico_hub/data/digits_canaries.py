"""digits, and canaries: records that are made to be found, after the others.

    0-1,396        digits, as they are
    1,397-1,596    digits, as they are: what an attack finds of natural records
    1,597-1,796    digits with another label
    1,797-1,996    two bright pixels each on a blank image, and any label

In a suite by coins the last 600 are the challenge of every model.
"""

from __future__ import annotations

from itertools import combinations, islice
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mico_hub.data import digits
from mico_hub.data.base import BaseDataset, DatasetInfo, Twins, assemble

MISLABELLED, BLANK, LAST = 1_597, 1_797, 1_997
CANARIES = 600
"""The last records."""

INFO = DatasetInfo(
    name="digits_canaries",
    title="digits with canaries",
    description="scikit-learn's digits, the last 200 with another label, and 200 images of two bright pixels.",
    splits=MappingProxyType({"digits": 1_597, "mislabelled": 200, "blank": 200}),
    classes=10,
    url=digits.INFO.url,
    layout=digits.INFO.layout,
    licence=digits.INFO.licence,
    citation=digits.INFO.citation,
    labels_sha256="89edcc47c997ebdda8a72ccb92649b4ebc3aa538a77385ea2c274f98bee68d1a",
    known=MappingProxyType({"8df72266c8c12479bd81f60570ab7defed90c8e13172203bac79b21668df330b": ""}),
    twins=Twins(),
)


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads the digits and makes the canaries of them, the same each time.

    Raises:
        DataError: scikit-learn has another number of rows or classes.
    """
    base = digits.read(digits.INFO, folder)
    pixels = np.zeros((LAST, 64), dtype=np.uint8)
    pixels[:BLANK] = base.raw.numpy()  # type: ignore[union-attr]
    number = np.arange(LAST)
    labels = np.zeros(LAST, dtype=np.uint8)
    labels[:BLANK] = base.labels.numpy()
    changed = slice(MISLABELLED, BLANK)
    labels[changed] = (labels[changed] + 1 + number[changed] % 9) % 10
    labels[BLANK:] = number[BLANK:] % 10
    for record, pair in zip(number[BLANK:], islice(combinations(range(64), 2), 0, None, 10), strict=False):
        pixels[record, list(pair)] = 16
    return assemble(
        info,
        labels,
        pixels,
        raw=pixels,
        prepare=digits.normalise,
        source="scikit-learn",
        note=lambda: "not verified: the digits are not those of the usual scikit-learn",
    )
