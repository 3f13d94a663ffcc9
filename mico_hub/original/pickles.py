"""The competition's checkpoints, pickles of torch, made safe: tensors alone, clean keys, of the right network."""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mico_hub import checkpoint, models
from mico_hub.checkpoint import CheckpointError

State = dict[str, torch.Tensor]

_WRAPPER = "_module."
"""What opacus puts in front of every key."""
_BUFFERS = re.compile(r"(?:.*\.)?position_ids")
"""Constants that old versions of transformers saved among the weights."""
_LARGEST = 1 << 20
"""No number in a network's configuration is larger."""
_ASSUMED: Mapping[str, Any] = {
    "model_type": "roberta",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
"""What our networks take for granted; a configuration may leave it out but not say otherwise."""


def convert(path: Path, name: str, out: Path, configuration: bytes | None = None) -> tuple[str, int]:
    """Turns a checkpoint of the competition into one of ours.

    Args:
        path: `model.pt` or `pytorch_model.bin`, zipped or in the format before torch 1.6, from whatever device.
        name: The network's name in `models.MODELS`.
        out: The safetensors file; it appears whole or not at all.
        configuration: The content of transformers' `config.json` beside it; None: the table's configuration.

    Returns:
        (sha256 in hexadecimal, size in bytes) of the safetensors file.

    Raises:
        CheckpointError: The pickle wants anything but tensors, or they do not fit the network; all differences are
            listed.
    """
    values = models.MODELS[name].configuration
    if configuration is not None:
        values = read_configuration(configuration, name, str(path))
    state = clean(read_state(path), str(path))
    with torch.device("meta"):  # shapes alone: nothing is allocated before it is known to fit
        expected = models.build(name, values).state_dict()
    problems = checkpoint.differences(expected, state)
    if problems:
        raise CheckpointError(f"{path} does not fit the network {name!r}: " + "; ".join(problems))
    return checkpoint.save_state({key: state[key] for key in expected}, name, values, out)


def read_state(path: Path) -> State:
    """The tensors in a pickle of torch, on the CPU; nothing that it names is called.

    Raises:
        CheckpointError: It holds something else, is damaged, or claims more than its bytes can hold.
    """
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except zipfile.BadZipFile as error:
            raise CheckpointError(f"{path}: expected a checkpoint of torch: {error}") from error
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or _sum_sizes(entries) > size:
            raise CheckpointError(f"{path}: expected a checkpoint of torch, which is not compressed")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.sub(r"\s+", " ", str(error)).partition("WeightsUnpickler error: ")
        raise CheckpointError(
            f"{path}: expected a pickle of tensors alone: {(reason[2] or reason[0])[:300]}"
        ) from error
    except Exception as error:  # on damaged bytes the unpickler fails with whatever it stumbles over
        raise CheckpointError(f"{path}: expected a checkpoint of torch: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: expected named tensors, got {type(loaded).__name__}")
    state: State = {}
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{path}: expected named tensors, got {key!r}: {type(value).__name__}")
        if value.layout != torch.strided or value.is_quantized:
            raise CheckpointError(f"{path}: {key}: expected a plain tensor, got {value.layout} {value.dtype}")
        state[key] = value.detach()
    _check_bytes(state, size, str(path))
    return state


def _sum_sizes(entries: list[zipfile.ZipInfo]) -> int:
    return sum(entry.file_size for entry in entries)


def _check_bytes(state: State, size: int, where: str) -> None:
    """A view can repeat few bytes for ever, so each tensor must have its own."""
    for key, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{where}: {key}: expected {tuple(tensor.shape)} values, got a view that repeats some"
            )
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in state.values()}
    if sum(storages.values()) > size:
        raise CheckpointError(f"{where}: its tensors claim {sum(storages.values()):,} bytes, the file has {size:,}")


def clean(state: State, where: str) -> State:
    """The same tensors under the network's own keys, without what is no weight.

    Raises:
        CheckpointError: Two keys become one.
    """
    cleaned: State = {}
    for key, tensor in state.items():
        bare = key.removeprefix(_WRAPPER)
        if _BUFFERS.fullmatch(bare):
            continue
        if bare in cleaned:
            raise CheckpointError(f"{where}: expected each key once, got {bare} twice")
        cleaned[bare] = tensor
    return cleaned


def read_configuration(content: bytes, name: str, where: str) -> dict[str, Any]:
    """The configuration of a network from transformers' `config.json`.

    Raises:
        CheckpointError: It is none, or that of another kind of network; all problems are listed.
    """
    table = models.MODELS[name].configuration
    try:
        values = json.loads(content)
    except ValueError as error:
        raise CheckpointError(f"{where}: expected config.json beside it to be JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: expected config.json beside it to be an object, got {type(values).__name__}")
    problems = [
        f"{key}: expected {expected!r}, got {values[key]!r}"
        for key, expected in _ASSUMED.items()
        if values.get(key, expected) != expected
    ]
    configuration = {key: values.get(key, default) for key, default in table.items()}
    for key, value in configuration.items():
        kind = type(table[key])
        if type(value) is not kind or not 0 <= value <= _LARGEST:
            problems.append(f"{key}: expected {kind.__name__} from 0 to {_LARGEST:,}, got {value!r}")
    layers = configuration.get("num_hidden_layers", 0)
    if isinstance(layers, int) and layers > 100:
        problems.append(f"num_hidden_layers: expected at most 100, got {layers}")
    if problems:
        raise CheckpointError(f"{where}: config.json beside it: " + "; ".join(problems))
    return configuration
