"""scikit-learn's handwritten digits, inside that package: no download."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mico_hub.data.base import BaseDataset, DatasetInfo, Twins, assemble

INFO = DatasetInfo(
    name="digits",
    title="digits",
    description="1,797 handwritten digits of 8x8 pixels with 17 grey levels, from scikit-learn.",
    splits=MappingProxyType({"all": 1_797}),
    classes=10,
    url="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_digits.html",
    layout="nothing: they are inside scikit-learn",
    licence="CC BY 4.0 (UCI); distributed with scikit-learn (BSD-3-Clause)",
    citation="""@misc{alpaydin1998optical,
  author = {Alpaydin, Ethem and Kaynak, Cenk},
  title = {Optical Recognition of Handwritten Digits},
  publisher = {UCI Machine Learning Repository},
  year = {1998},
  doi = {10.24432/C50P49}
}""",
    labels_sha256="8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
    known=MappingProxyType({"7ec15841067ffc7d9c04a3cdc0b8170a33bc12390a38f33b6cd6b5b9c0e2fba5": ""}),
    twins=Twins(),
)

if TYPE_CHECKING:
    import torch


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads the digits; records are their pixels, uint8, row by row.

    Raises:
        DataError: scikit-learn has another number of rows or classes.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    records = pixels.astype(np.uint8)
    return assemble(
        info,
        labels.astype(np.uint8),
        records,
        raw=records,
        prepare=normalise,
        source="scikit-learn",
        note=lambda: "not verified: the labels are the usual ones, but some pixels of this scikit-learn are not",
    )


MEAN, STD = 0.3, 0.125


def normalise(rows: torch.Tensor) -> torch.Tensor:
    """Grey levels 0 to 16, (B, 64), as float32, (level / 16 - MEAN) / STD.

    MEAN is about the pixels' mean. STD is a third of their deviation, on purpose: inputs that large saturate the small
    network and make it remember single records, also under DP, which is what a benchmark of this size is for.
    """
    return (rows.float() / 16 - MEAN) / STD
