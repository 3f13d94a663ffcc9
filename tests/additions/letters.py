"""A text network: the mean of its letters' vectors."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from mico_hub.models.base import Architecture

LENGTH = 40


class Letters(nn.Module):
    """An embedding of bytes, averaged."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        mask = attention_mask[..., None]
        return SimpleNamespace(logits=self.head((self.embedding(input_ids) * mask).sum(-2) / mask.sum(-2)))


def tokenise(sentences: Sequence[str]) -> dict[str, torch.Tensor]:
    """Their bytes."""
    cut = [sentence.encode()[:LENGTH] for sentence in sentences]
    ids = torch.tensor([[*each, *[0] * (LENGTH - len(each))] for each in cut]).view(-1, LENGTH)
    mask = torch.tensor([[1] * len(each) + [0] * (LENGTH - len(each)) for each in cut]).view(-1, LENGTH)
    return {"input_ids": ids, "attention_mask": mask}


ARCHITECTURES = {"letters": Architecture(Letters, "letters", 1e3, tokenise=tokenise)}
