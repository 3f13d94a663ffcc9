"""A base dataset as training reads it: all records as one tensor where the network is, batches gathered by index."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

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


@lru_cache(maxsize=1)
def on_device(data: BaseDataset, device: str) -> Records:
    """The dataset's records on a device, text tokenised; kept for the next call with data of the same content."""
    return _records(data, data.raw, data.labels, device)


def chosen(data: BaseDataset, records: Indices, device: str | torch.device) -> Records:
    """Some records on a device, numbered from 0 in the order of `records`.

    Raises:
        IndexError: An index is not a record of the dataset.
    """
    index = torch.from_numpy(data.checked(records))
    some = data.raw[index] if isinstance(data.raw, torch.Tensor) else tuple(data.raw[i] for i in records)
    return _records(data, some, data.labels[index], device)


def _records(
    data: BaseDataset, raw: torch.Tensor | tuple[str, ...], labels: torch.Tensor, device: str | torch.device
) -> Records:
    if isinstance(raw, torch.Tensor):
        return Records(raw.to(device), labels.to(device), data.prepare)
    text = data.prepare(list(raw))
    if not isinstance(text, dict):
        raise TypeError(f"{data.name}: expected sentences to become tokens, got a tensor")
    rows = torch.stack([text["input_ids"], text["attention_mask"]], dim=1)  # (N, 2, T)
    return Records(rows.to(torch.int32).to(device), labels.to(device), trimmed)


def trimmed(rows: torch.Tensor) -> Inputs:
    """Tokens and mask, each int64 (B, T), T that of the longest sentence (1 for no sentence)."""
    used = rows[:, 1].any(dim=0)
    length = max(int(used.sum()), 1)  # padding is at the end
    return {"input_ids": rows[:, 0, :length].long(), "attention_mask": rows[:, 1, :length].long()}
