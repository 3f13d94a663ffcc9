"""What every network is: its entry in the table, its input and its output."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import nn

from mico_hub.data.base import Inputs


@dataclass(frozen=True, eq=False)
class Start:
    """Weights that training starts from instead of random ones: all but the classifier's head."""

    configuration: Mapping[str, Any]  # the network that they belong to, as `build` takes it
    state: Mapping[str, torch.Tensor]  # float32, by the network's own keys

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hexadecimal over configuration, keys, shapes and values."""
        tensors = {key: tensor.contiguous() for key, tensor in self.state.items()}
        described = {"configuration": json.dumps(dict(self.configuration), sort_keys=True)}
        return hashlib.sha256(to_bytes(tensors, described)).hexdigest()


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build a network, what it reads, and what it starts from."""

    build: Callable[..., nn.Module]
    title: str
    flops: float  # floating-point operations of the forward pass for one record (67 tokens), to estimate times
    configuration: Mapping[str, Any] = field(default_factory=dict)
    tokenise: Callable[[Sequence[str]], dict[str, torch.Tensor]] | None = None  # sentences -> (B, T) each
    load_start: Callable[[Path | str | None], Start] | None = None  # folder or model on the Hub; None: random weights
    packages: tuple[str, ...] = ()  # whose versions decide results, beside those that decide all


def logits(network: nn.Module, inputs: Inputs) -> torch.Tensor:
    """(B, classes), whatever kind of input the network takes."""
    if isinstance(inputs, dict):
        text: torch.Tensor = network(**inputs).logits
        return text
    output: torch.Tensor = network(inputs)
    return output


def to_device(inputs: Inputs, device: torch.device | str) -> Inputs:
    """The same batch on another device."""
    if isinstance(inputs, dict):
        return {name: tensor.to(device) for name, tensor in inputs.items()}
    return inputs.to(device)


def default_device() -> torch.device:
    """The accelerator if there is one (`cuda`, `mps`), else `cpu`."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
