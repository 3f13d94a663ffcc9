"""A base dataset: scikit-learn's wines."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from mico_hub.data.base import BaseDataset, DatasetInfo, assemble

INFO = DatasetInfo(
    name="wine",
    title="Wine",
    description="178 wines of three growers, 13 measurements each.",
    splits=MappingProxyType({"all": 178}),
    classes=3,
    url="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_wine.html",
    layout="nothing: they are inside scikit-learn",
    licence="CC BY 4.0",
    citation="@misc{wine}",
)


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads them."""
    from sklearn.datasets import load_wine

    wine = load_wine()
    scaled = (255 * (wine.data - wine.data.min(0)) / np.ptp(wine.data, axis=0)).round().astype(np.uint8)
    return assemble(
        info,
        wine.target.astype(np.uint8),
        scaled,
        raw=scaled,
        prepare=share,
        source="scikit-learn",
        note=lambda: "",
    )


def share(rows: torch.Tensor) -> torch.Tensor:
    """Of the largest value, float32 (B, 13)."""
    return rows.float() / 255
