"""The networks, by name. A network's configuration is plain data, so that a checkpoint can carry it."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from safetensors.torch import save as to_bytes
from torch import nn

from mico_hub.data.base import Inputs
from mico_hub.randomness import torch_randomness

_IMPORTING = threading.Lock()
"""Held while transformers is imported: its lazy modules are half made for a second thread."""


class CNN(nn.Module):
    """The competition's network for CIFAR-10: three convolutions with tanh, 974k parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 128, kernel_size=8, stride=2, padding=3),
            nn.Tanh(),
            nn.MaxPool2d(kernel_size=3, stride=1),
            nn.Conv2d(128, 256, kernel_size=3),
            nn.Tanh(),
            nn.Conv2d(256, 256, kernel_size=3),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.Flatten(),
            nn.Linear(6400, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32) -> logits (B, classes)."""
        logits: torch.Tensor = self.cnn(images)
        return logits


class MLP(nn.Module):
    """One hidden layer with tanh."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> logits (B, classes)."""
        logits: torch.Tensor = self.mlp(features)
        return logits


def roberta(**configuration: Any) -> nn.Module:
    """A RoBERTa sequence classifier of that configuration, with random weights."""
    with _IMPORTING:
        from transformers import RobertaConfig, RobertaForSequenceClassification

    network: nn.Module = RobertaForSequenceClassification(RobertaConfig(**configuration))
    return network


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build a network, and what it starts from."""

    build: Callable[..., nn.Module]
    title: str
    flops: float  # floating-point operations of the forward pass for one record (67 tokens), to estimate times
    configuration: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str | None = None  # the model on the Hub whose weights training starts from; None: random ones


MODELS: Mapping[str, Architecture] = MappingProxyType(
    {
        "cnn": Architecture(CNN, "4-layer CNN", 215.6e6),
        "mlp": Architecture(
            MLP,
            "MLP 600-128-100, tanh",
            0.1792e6,
            {"features": 600, "hidden": 128, "classes": 100},
        ),
        "roberta": Architecture(
            roberta,
            "roberta-base",
            11.4e9,
            {
                "vocab_size": 50_265,
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "intermediate_size": 3_072,
                "max_position_embeddings": 514,
                "type_vocab_size": 1,
                "layer_norm_eps": 1e-5,
                "bos_token_id": 0,
                "pad_token_id": 1,
                "eos_token_id": 2,
            },
            pretrained="FacebookAI/roberta-base",
        ),
        "digits_mlp": Architecture(
            MLP,
            "MLP 64-64-10, tanh",
            9.472e3,
            {"features": 64, "hidden": 64, "classes": 10},
        ),
        "location30_mlp": Architecture(
            MLP,
            "MLP 446-128-30, tanh",
            0.121856e6,
            {"features": 446, "hidden": 128, "classes": 30},
        ),
    }
)


def build(name: str, configuration: Mapping[str, Any] | None = None) -> nn.Module:
    """The network of that name, with arbitrary weights.

    Args:
        name: A key of `MODELS`.
        configuration: Instead of the table's, as a checkpoint carries it.

    Raises:
        ValueError: There is no such network, or the configuration does not fit it.
    """
    if name not in MODELS:
        raise ValueError(f"unknown network {name!r}; there are: {', '.join(MODELS)}")
    architecture = MODELS[name]
    chosen = architecture.configuration if configuration is None else configuration
    try:
        return architecture.build(**chosen)
    except TypeError as error:
        raise ValueError(f"network {name!r} cannot be built from the configuration {dict(chosen)}: {error}") from error


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


def load_start(name: str, source: Path | str | None = None) -> Start | None:
    """What training of that network starts from; None where it starts from random weights.

    Args:
        name: A key of `MODELS`.
        source: A folder or a model on the Hub; the architecture's own by default.

    Raises:
        OSError: The weights can be had from nowhere, or are none of such a network; the message says what to do.
    """
    architecture = MODELS[name]
    if architecture.pretrained is None:
        return None
    with _IMPORTING:
        from transformers import RobertaForSequenceClassification

    where = str(source or architecture.pretrained)
    expected = (
        f"expected a folder with config.json and model.safetensors, or the Hub's {architecture.pretrained}. "
        f"Pass the folder with --pretrained."
    )
    try:
        network, found = cast(Any, RobertaForSequenceClassification).from_pretrained(
            where, dtype=torch.float32, output_loading_info=True
        )
    except OSError as error:
        raise OSError(
            f"the pretrained weights of {architecture.title} were not found at {where!r}: {expected}"
        ) from error
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("classifier.")}
    if absent := sorted(set(found["missing_keys"]) & set(state)):
        raise OSError(
            f"{where!r} has no weights for {len(absent)} parts of {architecture.title}, {absent[0]}: {expected}"
        )
    configuration = {key: getattr(network.config, key) for key in architecture.configuration}
    return Start(configuration, state)


def initialise(name: str, key: bytes, start: Start | None = None) -> nn.Module:
    """The network of that name as training starts from it, on the CPU: random weights drawn from `key`.

    Args:
        name: A key of `MODELS`.
        key: Secret, see `randomness.Keys`.
        start: Weights that take the place of the random ones; what it lacks, the classifier's head, stays drawn.
    """
    with torch_randomness(key):
        network = build(name, None if start is None else start.configuration)
    if start is not None:
        network.load_state_dict(start.state, strict=False)
    return network


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
