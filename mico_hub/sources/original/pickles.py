"""The competition's checkpoints, pickles of torch, made safe: tensors alone, clean keys, of the right network."""

import io
import json
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from mico_hub import models
from mico_hub.release import checkpoints
from mico_hub.release.tensors import CheckpointError

State = dict[str, torch.Tensor]

_WRAPPER = "_module."
"""What opacus puts in front of every key."""
_BUFFERS = re.compile(r"(?:.*\.)?position_ids")
"""Constants that old versions of transformers saved among the weights."""
_LARGEST = 1 << 20
"""No number in a network's configuration is larger."""
_LAYERS = 100
"""No network is deeper: each layer is built before it is compared."""
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
          "max_position_embeddings", "type_vocab_size")  # fmt: skip
"""Numbers in a configuration that are at least 1."""
_NAMED = frozenset(
    {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"}
    | {f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char")}
    | {"torch ByteStorage", "torch BoolStorage"}
)
"""What a pickle of tensors names. torch's own list has more, some of which claims memory without holding any data."""
_PICKLE_BYTES = 1 << 24
_PICKLES_BEFORE_1_6 = 5  # magic number, protocol, machine, the object, the storages' keys

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
        values = read_configuration(configuration, name)
    state = clean(read_state(path))
    with torch.device("meta"):  # shapes alone: nothing is allocated before it is known to fit
        expected = models.build(name, values).state_dict()
    problems = checkpoints.differences(expected, state)
    if problems:
        raise CheckpointError(f"it does not fit the network {name!r}: " + "; ".join(problems))
    return checkpoints.save_state({key: state[key] for key in expected}, name, values, out)


def read_state(path: Path) -> State:
    """The tensors in a pickle of torch, on the CPU; nothing that it names is called.

    Raises:
        CheckpointError: It holds something else, is damaged, or claims more than its bytes can hold.
    """
    size = path.stat().st_size
    try:
        named = _names(path)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise CheckpointError(f"expected a checkpoint of torch: {type(error).__name__}: {error}") from error
    if unexpected := sorted(named - _NAMED):
        raise CheckpointError(f"expected a pickle of tensors alone, got one that names {', '.join(unexpected[:5])}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's text then advises to load it without weights_only, which is bad advice.
        reason = re.sub(r"\s+", " ", str(error)).partition("WeightsUnpickler error: ")[2][:300] or "it is damaged"
        raise CheckpointError(f"expected a pickle of tensors alone: {reason}") from error
    except MemoryError:
        raise
    except Exception as error:  # on damaged bytes the unpickler fails with whatever it stumbles over
        raise CheckpointError(f"expected a checkpoint of torch: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"expected named tensors, got {type(loaded).__name__}")
    state: State = {}
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"expected named tensors, got {key!r}: {type(value).__name__}")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(f"{key}: expected a plain tensor, got {value.layout} {value.dtype}")
        state[key] = value.detach()
    _check_bytes(state, size)
    return state


def _names(path: Path) -> set[str]:
    """The modules and functions that the pickles in a checkpoint name; nothing is unpickled.

    Raises:
        ValueError: It is no checkpoint of torch, or one that could unpack to more than it holds.
        EOFError: It is cut off.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return {name for _ in range(_PICKLES_BEFORE_1_6) for name in _named_by(file)}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("expected it not to be compressed")
        if len(pickles) != 1 or pickles[0].file_size > _PICKLE_BYTES:
            raise ValueError(f"expected one data.pkl of at most {_PICKLE_BYTES:,} bytes")
        # torch reads the archive by its own code, which could find another directory in a file made for that.
        if archive.comment or min(entry.header_offset for entry in entries) != 0:
            raise ValueError("expected nothing before or after the archive")
        return set(_named_by(io.BytesIO(archive.read(pickles[0]))))


def _named_by(file: IO[bytes]) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield str(argument)
        elif opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            yield opcode.name


def _check_bytes(state: State, size: int) -> None:
    """A view can repeat few bytes for ever, so each tensor must have its own."""
    for key, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{key}: expected {tuple(tensor.shape)} values, got a view that repeats some")
    storages = [tensor.untyped_storage() for tensor in state.values() if tensor.numel()]
    if len({storage.data_ptr() for storage in storages}) < len(storages):
        raise CheckpointError("expected each tensor to have its own bytes, got some that share them")
    if (claimed := sum(storage.nbytes() for storage in storages)) > size:
        raise CheckpointError(f"its tensors claim {claimed:,} bytes, the file has {size:,}")


def clean(state: State) -> State:
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
            raise CheckpointError(f"expected each key once, got {bare} twice")
        cleaned[bare] = tensor
    return cleaned


def read_configuration(content: bytes, name: str) -> dict[str, Any]:
    """The configuration of a network from transformers' `config.json`.

    Raises:
        CheckpointError: Not a checkpoint, or one of another network; all problems are listed.
    """
    table = models.MODELS[name].configuration
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"expected config.json beside it to be JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"expected config.json beside it to be an object, got {type(values).__name__}")
    problems = [
        f"{key}: expected {expected!r}, got {values[key]!r}"
        for key, expected in _ASSUMED.items()
        if values.get(key, expected) != expected
    ]
    configuration = {key: values.get(key, default) for key, default in table.items()}
    for key, value in configuration.items():
        kind = type(table[key])
        least = 1 if key in _SIZES else 0
        if type(value) is not kind or not least <= value <= _LARGEST:
            problems.append(f"{key}: expected {kind.__name__} from {least} to {_LARGEST:,}, got {value!r}")
    if not problems:
        problems += _contradictions(configuration)
    if problems:
        raise CheckpointError("config.json beside it: " + "; ".join(problems))
    return configuration


def _contradictions(configuration: Mapping[str, int]) -> Iterator[str]:
    if configuration["num_hidden_layers"] > _LAYERS:
        yield f"num_hidden_layers: expected at most {_LAYERS}, got {configuration['num_hidden_layers']}"
    if configuration["hidden_size"] % configuration["num_attention_heads"]:
        yield (
            f"num_attention_heads: expected a divisor of hidden_size {configuration['hidden_size']}, "
            f"got {configuration['num_attention_heads']}"
        )
    rows = min(configuration["vocab_size"], configuration["max_position_embeddings"])
    if configuration["pad_token_id"] >= rows:
        yield f"pad_token_id: expected less than {rows}, got {configuration['pad_token_id']}"
