"""A base dataset as training reads it: all records as one tensor where the network is, batches gathered by index."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from mico_hub.data.base import BaseDataset, Inputs


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """All records of a base dataset on one device."""

    rows: torch.Tensor  # (N, ...), compact: uint8, or of text int32
    labels: torch.Tensor  # (N,) int64
    prepare: Callable[[torch.Tensor], Inputs]  # some of `rows` -> what the network takes

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


@lru_cache(maxsize=1)
def on_device(data: BaseDataset, device: str) -> Records:
    """The dataset's records on a device, text tokenised; kept for the next call with data of the same content."""
    labels = data.labels.to(device)
    if isinstance(data.raw, torch.Tensor):
        return Records(data.raw.to(device), labels, data.prepare)
    text = data.prepare(list(data.raw))
    if not isinstance(text, dict):
        raise TypeError(f"{data.name}: expected sentences to become tokens, got a tensor")
    rows = torch.stack([text["input_ids"], text["attention_mask"]], dim=1)  # (N, 2, T)
    return Records(rows.to(torch.int32).to(device), labels, _trimmed)


def _trimmed(rows: torch.Tensor) -> Inputs:
    """Tokens and mask, each int64 (B, T), T that of the longest sentence (1 for no sentence)."""
    used = rows[:, 1].any(dim=0)
    length = max(int(used.sum()), 1)  # padding is at the end
    return {"input_ids": rows[:, 0, :length].long(), "attention_mask": rows[:, 1, :length].long()}
