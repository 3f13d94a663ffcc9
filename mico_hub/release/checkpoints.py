"""A model's weights as safetensors: clean keys, the network's configuration in the metadata, nothing that runs."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from mico_hub import models
from mico_hub.cache import atomic_write
from mico_hub.release.format import METADATA_KEY, stamped
from mico_hub.release.tensors import CheckpointError, header_of, known, read_metadata

_ALIGNMENT = 8  # of the tensors; the header is padded to it
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def save(network: nn.Module, name: str, path: Path) -> tuple[str, int]:
    """Writes a network's weights; the file depends on nothing but them and the configuration.

    Args:
        network: Its keys are written as they are; a wrapped network must be unwrapped first.
        name: The network's name in `models.MODELS`.
        path: The file; it appears whole or not at all.

    Returns:
        (sha256 in hexadecimal, size in bytes) of the file.

    Raises:
        ValueError: A key carries a wrapper's prefix (`_module.`).
    """
    return save_state(network.state_dict(), name, _configuration(name, network), path)


def save_state(
    state: Mapping[str, torch.Tensor], name: str, configuration: Mapping[str, Any], path: Path
) -> tuple[str, int]:
    """As `save`, from the network's tensors and its configuration."""
    return write(_serialised(state, name, configuration), path)


def write(weights: bytes, path: Path) -> tuple[str, int]:
    """As `save`, from what `serialise` made."""
    atomic_write(path, weights)
    return hashlib.sha256(weights).hexdigest(), len(weights)


def serialise(network: nn.Module, name: str) -> bytes:
    """What `save` writes."""
    return _serialised(network.state_dict(), name, _configuration(name, network))


def _serialised(state: Mapping[str, torch.Tensor], name: str, configuration: Mapping[str, Any]) -> bytes:
    wrapped = [key for key in state if key.startswith("_module.") or "._module." in key]
    if wrapped:
        raise ValueError(f"expected the keys of {name!r} itself, got a wrapper's: {wrapped[:3]}")
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    metadata = stamped({"network": name, "configuration": dict(configuration)})
    return to_bytes(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _configuration(name: str, network: nn.Module) -> dict[str, Any]:
    """The values that rebuild the network; read from the network itself where it can tell (transformers)."""
    table = models.MODELS[name].configuration
    own = getattr(network, "config", None)
    return {key: getattr(own, key, value) for key, value in table.items()}


def check_header(path: Path, name: str) -> None:
    """Sees to it that a checkpoint holds a network's tensors and what rebuilds it, and nothing else.

    Args:
        path: The checkpoint; its tensors are not read.
        name: The network's name in `models.MODELS`.

    Raises:
        CheckpointError: It does not; all differences are listed.
    """
    metadata = read_metadata(path)
    if metadata["network"] != name:
        raise CheckpointError(f"{path}: expected the network {name!r}, got {metadata['network']!r}")
    expected = _outline(metadata, str(path))
    table = models.MODELS[name].configuration
    own = metadata["configuration"]
    problems = []
    if {key: type(value) for key, value in own.items()} != {key: type(value) for key, value in table.items()}:
        problems.append(f"its configuration holds {sorted(own)}, expected {sorted(table)} with values of their types")
    padded = header_of(path)[8:].decode()
    text = padded.rstrip(" ")
    entries: dict[str, Any] = json.loads(text)
    if len(padded) - len(text) >= _ALIGNMENT:
        problems.append("its header is padded with more spaces than safetensors writes")
    if text != json.dumps(entries, separators=(",", ":"), ensure_ascii=False):
        problems.append("its header is not as safetensors writes it")
    if entries.pop("__metadata__") != {METADATA_KEY: json.dumps(stamped(metadata), sort_keys=True)}:
        problems.append("its metadata has more than the network's configuration")
    with safe_open(path, framework="pt") as file:  # which has seen that the tensors fill the file
        got = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        kinds = {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in got.items()}
    wanted = {key: (tuple(tensor.shape), _DTYPES[tensor.dtype]) for key, tensor in expected.items()}
    for key in sorted(kinds.keys() | wanted.keys()):
        if kinds.get(key) != wanted.get(key):
            problems.append(f"{key}: expected {wanted.get(key)}, got {kinds.get(key)}")
    if problems:
        raise CheckpointError(f"{path} is not a checkpoint of {name!r}: " + "; ".join(problems))


def load(path: Path) -> nn.Module:
    """Builds the network that a checkpoint describes, with its weights, on the CPU, in eval mode.

    Raises:
        CheckpointError: Not a checkpoint of ours, or its tensors do not fit the network; all differences are listed.
    """
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    return _with_weights(metadata, state, str(path))


def deserialise(weights: bytes) -> nn.Module:
    """As `load`, from what `serialise` made."""
    header: dict[str, Any] = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    return _with_weights(known(header["__metadata__"], "the checkpoint"), from_bytes(weights), "the checkpoint")


def _with_weights(metadata: Mapping[str, Any], state: Mapping[str, torch.Tensor], where: str) -> nn.Module:
    if problems := differences(_outline(metadata, where), state):
        raise CheckpointError(f"{where} does not fit the network {metadata['network']!r}: " + "; ".join(problems))
    network = models.build(metadata["network"], metadata["configuration"])
    network.load_state_dict(state)
    return network.eval()


def _outline(metadata: Mapping[str, Any], where: str) -> dict[str, torch.Tensor]:
    """The tensors of the network that metadata describe, without values and so without memory.

    Raises:
        CheckpointError: There is no such network.
    """
    try:
        with torch.device("meta"):
            return models.build(metadata["network"], metadata["configuration"]).state_dict()
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{where}: expected a network that can be built: {error}") from error


def differences(expected: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor]) -> list[str]:
    """What keeps one set of tensors from standing for another: keys, shapes and types, one line each."""
    problems = [f"{key} is missing" for key in expected if key not in got]
    problems += [f"{key} is not expected" for key in got if key not in expected]
    for key in expected:
        if key in got and (expected[key].shape, expected[key].dtype) != (got[key].shape, got[key].dtype):
            want, have = expected[key], got[key]
            problems.append(f"{key}: expected {tuple(want.shape)} {want.dtype}, got {tuple(have.shape)} {have.dtype}")
    return problems
