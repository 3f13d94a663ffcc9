"""The base datasets, by record index: from a local folder, else the Hub; digits are embedded.

A module here that has `INFO` and `read` adds its own.

A local folder has the layout in which each dataset is distributed (`DatasetInfo.layout`); `MICO_HUB_DATA` names it.
What is there but damaged is refused, never replaced by the Hub's.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from mico_hub.data.base import DATA_VARIABLE, BaseDataset, DataError, DatasetInfo, Inputs, Twins
from mico_hub.messages import did_you_mean
from mico_hub.registry import modules_with

__all__ = [
    "DATASETS",
    "DATA_VARIABLE",
    "BaseDataset",
    "DataError",
    "DatasetInfo",
    "Inputs",
    "Twins",
    "load_base",
]

_MODULES = {module.INFO.name: module for module in modules_with("INFO", __name__)}

DATASETS: Mapping[str, DatasetInfo] = MappingProxyType({name: module.INFO for name, module in _MODULES.items()})
"""Name -> what is known about the dataset before it is read."""


def load_base(name: str, folder: Path | None = None) -> BaseDataset:
    """The base dataset of that name, kept in memory for the next call.

    Args:
        name: One of `DATASETS`.
        folder: Where to look first; None: the folder that `MICO_HUB_DATA` names, if it is set. What is not there
            comes from the Hub.

    Raises:
        DataError: There is no such dataset or folder, no source has it, or what is there is damaged.
    """
    if name not in DATASETS:
        raise DataError(
            f"unknown dataset {name!r}.{did_you_mean(str(name), DATASETS)} There are: {', '.join(DATASETS)}"
        )
    given = folder or os.environ.get(DATA_VARIABLE)
    resolved = Path(given).expanduser().resolve() if given else None
    if resolved and not resolved.is_dir():
        raise DataError(f"{resolved}: expected the folder with the datasets, got none; check {DATA_VARIABLE}")
    return _load(name, resolved)


@cache
def _load(name: str, folder: Path | None) -> BaseDataset:
    data: BaseDataset = _MODULES[name].read(DATASETS[name], folder)
    return data
