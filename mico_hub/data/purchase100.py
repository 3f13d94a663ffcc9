"""Purchase-100, in file order. A record is 600 bits, eight to a byte, the first bit the highest."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np

from mico_hub.data import bits
from mico_hub.data.base import BaseDataset, DatasetInfo, as_float, assemble

FORM = bits.Form(
    600, "purchase100", "dataset_purchase", "dataset_purchase.tgz", blob="3efa7476ad5ed7ac3e558d28585a186b38fc5f19"
)
STANDIN = "STANDIN"
"""A file of this name beside the text says that the text is synthetic."""

INFO = DatasetInfo(
    name="purchase100",
    title="Purchase-100",
    description="197,324 shoppers' purchases, 600 yes or no each, clustered into 100 classes; in file order.",
    splits=MappingProxyType({"all": 197_324}),
    classes=100,
    url="https://github.com/privacytrustlab/datasets (dataset_purchase.tgz)",
    layout=FORM.layout,
    licence="no explicit licence; derived from Kaggle's Acquire Valued Shoppers Challenge; the authors ask to be cited",
    citation="""@inproceedings{shokri2017membership,
  author = {Shokri, Reza and Stronati, Marco and Song, Congzheng and Shmatikov, Vitaly},
  title = {Membership Inference Attacks Against Machine Learning Models},
  booktitle = {IEEE Symposium on Security and Privacy},
  year = {2017}
}""",
    known=MappingProxyType(
        {"01a30b3d60688e8590de3bc0314c8abf96261440855a6f9e38066230fe30e1d2": "synthetic stand-in, not the dataset"}
    ),
)


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads Purchase-100: the authors' archive, else the text inside it; from the cache after the first time.

    Raises:
        DataError: It is not there (no Hub has it), or it is damaged.
    """
    table = bits.read(info, FORM, folder)

    def note() -> str:
        if table.official:
            return ""
        if table.path.with_name(STANDIN).exists():
            return "synthetic stand-in, not the dataset"
        return "not verified: only the authors' archive, dataset_purchase.tgz, has a checksum that is known here"

    raw = np.unpackbits(table.packed, axis=1)
    return assemble(info, table.labels, table.packed, raw=raw, prepare=as_float, source=str(table.path), note=note)
