"""The networks, by name; a module here that has `ARCHITECTURES` adds its own.

A network's configuration is plain data, so that a checkpoint can carry it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from mico_hub.data.base import BaseDataset
from mico_hub.models.base import Architecture, Start, default_device, logits, to_device
from mico_hub.randomness.generators import torch_randomness
from mico_hub.registry import modules_with

__all__ = [
    "MODELS",
    "Architecture",
    "Start",
    "build",
    "default_device",
    "initialise",
    "load_start",
    "logits",
    "prepared",
    "shape_note",
    "to_device",
]

MODELS: Mapping[str, Architecture] = MappingProxyType(
    {name: each for module in modules_with("ARCHITECTURES", __name__) for name, each in module.ARCHITECTURES.items()}
)
"""Name -> network."""


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
    given = architecture.configuration if configuration is None else configuration
    try:
        return architecture.build(**given)
    except TypeError as error:
        raise ValueError(f"network {name!r} cannot be built from the configuration {dict(given)}: {error}") from error


def load_start(name: str, source: Path | str | None = None) -> Start | None:
    """What training of that network starts from; None where it starts from random weights.

    Args:
        name: A key of `MODELS`.
        source: A folder or a model on the Hub; the network's own by default.

    Raises:
        OSError: The weights were not found, or are not of such a network; the message says what to do.
    """
    architecture = MODELS[name]
    return architecture.load_start(source) if architecture.load_start else None


def shape_note(name: str, start: Start | None) -> str:
    """How the network that training starts from has another shape than the table's; empty: it has that one."""
    usual, given = MODELS[name].configuration, {} if start is None else start.configuration
    changed = [f"{key} {value} ({usual[key]})" for key, value in given.items() if value != usual[key]]
    return f"another shape than {MODELS[name].title}: {', '.join(changed)}" if changed else ""


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


def prepared(data: BaseDataset, name: str) -> BaseDataset:
    """The base dataset as the network of that name reads it: its sentences, where it has any, tokenised.

    Raises:
        ValueError: The records are sentences, and the network reads none.
    """
    if not isinstance(data.raw, tuple):
        return data
    if (tokenise := MODELS[name].tokenise) is None:
        raise ValueError(f"{data.name} has sentences; expected a network with a tokeniser, got {name!r}")
    return replace(data, prepare=tokenise)
