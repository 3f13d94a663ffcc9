"""A base dataset as training reads it: all records as one tensor where the network is, batches gathered by index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from mico_hub.data.base import BaseDataset, Inputs
from mico_hub.splits import Indices


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """All records of a base dataset on one device."""

    rows: torch.Tensor  # (N, ...), compact: uint8, or of text int32
    labels: torch.Tensor  # (N,) int64
    prepare: Callable[[torch.Tensor], Inputs]  # some of `rows` -> what the network takes

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, records: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """Inputs and labels of a batch.

        Args:
            records: int64 record indices of any shape S, on the same device; they are not checked.

        Returns:
            (as `BaseDataset.inputs` has them, with S for the number of records, text padded only to the longest of
            them; S int64)
        """
        inputs = self.prepare(self.rows.index_select(0, records.flatten()))
        shape, labels = records.shape, self.labels[records]
        if isinstance(inputs, dict):
            return {name: tensor.view(*shape, tensor.shape[-1]) for name, tensor in inputs.items()}, labels
        return inputs.view(*shape, *inputs.shape[1:]), labels

    def by_size(self) -> torch.Tensor:
        """All records, texts by length: in this order batches need the least padding."""
        if self.prepare is trimmed:
            return self.rows[:, 1].sum(dim=1).argsort(stable=True)
        return torch.arange(len(self), device=self.labels.device)


def on_device(data: BaseDataset, device: str) -> Records:
    """The dataset's records on a device, text tokenised; kept for the next call with the same content and inputs."""
    return _on_device(data, device, data.prepare)


@lru_cache(maxsize=1)
def _on_device(data: BaseDataset, device: str, prepare: object) -> Records:
    return _records(data, data.raw, data.labels, device)


def subset(data: BaseDataset, records: Indices, device: str | torch.device) -> Records:
    """Some records on a device, numbered from 0 in the order of `records`.

    Raises:
        IndexError: An index is not a record of the dataset.
    """
    rows, index = data.subset(records), torch.from_numpy(np.asarray(records, dtype=np.int64))
    return _records(data, rows, data.labels[index], device)


def _records(
    data: BaseDataset, rows: torch.Tensor | Sequence[str], labels: torch.Tensor, device: str | torch.device
) -> Records:
    if isinstance(rows, torch.Tensor) and data.prepare is not None:
        return Records(rows.to(device), labels.to(device), data.prepare)
    text = data.prepared(rows)
    if not isinstance(text, dict):
        raise TypeError(f"{data.name}: expected sentences to become tokens, got a tensor")
    tokens = torch.stack([text["input_ids"], text["attention_mask"]], dim=1)  # (N, 2, T)
    return Records(tokens.to(torch.int32).to(device), labels.to(device), trimmed)


def trimmed(rows: torch.Tensor) -> Inputs:
    """Tokens and mask, each int64 (B, T), T that of the longest sentence (1 for no sentence)."""
    used = rows[:, 1].any(dim=0)
    length = max(int(used.sum()), 1)  # padding is at the end
    return {"input_ids": rows[:, 0, :length].long(), "attention_mask": rows[:, 1, :length].long()}
