"""The competition's pickles: what they hold comes out bit for bit, and nothing else comes out at all."""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from originals import GOLDEN, PURCHASE, SST2, members, pickled

from mico_hub.models import build
from mico_hub.release import checkpoints
from mico_hub.release.tensors import CheckpointError, read_metadata
from mico_hub.sources.original import pickles

BIN = members(SST2)["sst2/sst2_lo/train/model_0/pytorch_model.bin"]
CONFIG = members(SST2)["sst2/sst2_lo/train/model_0/config.json"]
ZIPPED = members(PURCHASE)["purchase100/purchase100_inf/train/model_0/model.pt"]
LEGACY = (GOLDEN / "extra" / "purchase100_model_legacy_nonzip.pt").read_bytes()
CUDA = (GOLDEN / "extra" / "purchase100_model_cuda0_tag_SIMULATED.pt").read_bytes()


def converted(content: bytes, folder: Path, name: str = "mlp", configuration: bytes | None = None) -> Path:
    source = folder / "model.pt"
    source.write_bytes(content)
    pickles.convert(source, name, folder / "model.safetensors", configuration)
    return folder / "model.safetensors"


def saved(value: object, **options: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


@pytest.mark.parametrize("content", [ZIPPED, LEGACY, CUDA], ids=["zip", "before torch 1.6", "from cuda:0"])
def test_every_format_gives_the_same_model(content: bytes, tmp_path: Path) -> None:
    network = checkpoints.load(converted(content, tmp_path))
    original = torch.load(io.BytesIO(ZIPPED), weights_only=True)
    assert list(network.state_dict()) == list(original)
    assert all(torch.equal(tensor, original[key]) for key, tensor in network.state_dict().items())


def test_a_wrappers_prefix_goes(tmp_path: Path) -> None:
    content = pickled("cnn")
    network = checkpoints.load(converted(content, tmp_path, "cnn"))
    original = torch.load(io.BytesIO(content), weights_only=True)
    assert all(key.startswith("_module.") for key in original)
    assert all(torch.equal(tensor, original[f"_module.{key}"]) for key, tensor in network.state_dict().items())


def test_a_text_model_has_the_configuration_beside_it_and_loses_its_position_ids(tmp_path: Path) -> None:
    path = converted(BIN, tmp_path, "roberta", CONFIG)
    original = torch.load(io.BytesIO(BIN), weights_only=True)
    assert "roberta.embeddings.position_ids" in original
    network = checkpoints.load(path)
    assert {*network.state_dict(), "roberta.embeddings.position_ids"} == set(original)
    assert all(torch.equal(tensor, original[key]) for key, tensor in network.state_dict().items())
    metadata = read_metadata(path)["configuration"]
    assert metadata["hidden_size"] == 64
    assert metadata["layer_norm_eps"] == 1e-12


def test_the_same_weights_give_the_same_file_from_every_format(tmp_path: Path) -> None:
    contents = set()
    for number, content in enumerate((ZIPPED, LEGACY, CUDA)):
        (tmp_path / f"{number}").mkdir()
        contents.add(converted(content, tmp_path / f"{number}").read_bytes())
    assert len(contents) == 1


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda evil: saved({"mlp.0.weight": evil}),
        lambda evil: saved({"mlp.0.weight": evil}, _use_new_zipfile_serialization=False),
        pickle.dumps,
    ],
    ids=["zip", "before torch 1.6", "plain"],
)
def test_a_pickle_that_wants_to_run_something_does_not(wrap: Callable[[Evil], bytes], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a pickle of tensors alone|expected a checkpoint of torch"):
        converted(wrap(Evil(tmp_path / "ran")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (build("mlp"), "expected a pickle of tensors alone"),
        ([torch.zeros(2)], "expected named tensors, got list"),
        ({"mlp.0.weight": 3}, "expected named tensors, got 'mlp.0.weight': int"),
        ({1: torch.zeros(2)}, "expected named tensors, got 1: Tensor"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "one that names .*torch._utils _rebuild_sparse_tensor"),
        ({"a": torch.zeros(1).expand(1 << 40)}, r"a: expected \(1099511627776,\) values, got a view that repeats some"),
        ({"a": bytearray(5)}, "one that names __builtin__ bytearray"),
        ({"a": torch.zeros(2, device="meta")}, "one that names .*torch._utils _rebuild_meta_tensor_no_storage"),
        (dict.fromkeys("ab", torch.zeros(2)), "expected each tensor to have its own bytes, got some that share them"),
        ({"a": torch.zeros(2), "_module.a": torch.zeros(2)}, "expected each key once, got a twice"),
    ],
)
def test_anything_but_named_tensors_is_refused(value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        converted(saved(value), tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", ZIPPED[:-1000], ZIPPED[:1000], LEGACY[:-1000]])
def test_what_is_damaged_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a "):
        converted(content, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_compressed_checkpoint_is_a_bomb(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ZIPPED)) as source, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    with pytest.raises(CheckpointError, match="expected it not to be compressed"):
        converted(content.getvalue(), tmp_path)


def test_a_second_directory_that_only_torch_would_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected nothing before or after the archive"):
        converted(bytes(100) + ZIPPED, tmp_path)


def test_all_differences_from_the_network_are_listed(tmp_path: Path) -> None:
    state = OrderedDict(build("mlp").state_dict())
    del state["mlp.0.bias"]
    state["mlp.2.bias"] = torch.zeros(11)
    state["mlp.2.weight"] = state["mlp.2.weight"].double()
    state["extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as error:
        converted(saved(state), tmp_path)
    for part in ("mlp.0.bias is missing", "extra is not expected", "mlp.2.bias: expected (100,)", "torch.float64"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (b"[]", "to be an object, got list"),
        (b"{", "to be JSON"),
        ({"model_type": "bert", "hidden_act": "relu"}, "model_type: expected 'roberta', got 'bert'; hidden_act: expec"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected int from 1 to 1,048,576, got 1000000000"),
        ({"num_hidden_layers": 5_000}, "num_hidden_layers: expected at most 100, got 5000"),
        ({"hidden_size": "64"}, "hidden_size: expected int from 1 to 1,048,576, got '64'"),
        ({"num_attention_heads": 0}, "num_attention_heads: expected int from 1 to"),
        ({"num_attention_heads": 3}, "num_attention_heads: expected a divisor of hidden_size 64, got 3"),
        ({"pad_token_id": 99}, "pad_token_id: expected less than 80, got 99"),
        (b"[" * 60_000, "to be JSON"),
        ({"hidden_size": 128}, r"does not fit the network 'roberta': .*expected \(1000, 128\)"),
    ],
)
def test_a_configuration_of_another_network_is_refused(changed: Any, message: str, tmp_path: Path) -> None:
    content = changed if isinstance(changed, bytes) else json.dumps(json.loads(CONFIG) | changed).encode()
    with pytest.raises(CheckpointError, match=message):
        converted(BIN, tmp_path, "roberta", content)
