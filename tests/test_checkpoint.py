import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mico_hub.models import MODELS, build, initialise
from mico_hub.release import checkpoints
from mico_hub.release.tensors import CheckpointError, read_metadata, sha256_of

KEY = bytes(16)


@pytest.mark.parametrize("name", ["digits_mlp", "mlp", "cnn"])
def test_a_network_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    network = initialise(name, KEY)
    sha256, num_bytes = checkpoints.save(network, name, tmp_path / "model.safetensors")
    loaded = checkpoints.load(tmp_path / "model.safetensors")
    assert num_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert sha256 == sha256_of(tmp_path / "model.safetensors")
    assert not loaded.training
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_text_network_carries_its_own_configuration(tmp_path: Path) -> None:
    tiny = dict(MODELS["roberta"].configuration) | {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = build("roberta", tiny)
    checkpoints.save(network, "roberta", tmp_path / "model.safetensors")
    assert read_metadata(tmp_path / "model.safetensors")["configuration"]["hidden_size"] == 8
    assert set(checkpoints.load(tmp_path / "model.safetensors").state_dict()) == set(network.state_dict())


def test_the_same_weights_give_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        checkpoints.save(initialise("digits_mlp", KEY), "digits_mlp", tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in ("a", "b", "c")}) == 1


def test_a_wrapped_network_is_refused(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._module = build("digits_mlp")

    with pytest.raises(ValueError, match=r"got a wrapper's: \['_module.mlp.0.weight'"):
        checkpoints.save(Wrapper(), "digits_mlp", tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_all_differences_from_the_network_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoints.save(initialise("digits_mlp", KEY), "digits_mlp", path)
    tensors = load_file(path)
    del tensors["mlp.0.bias"]
    tensors["mlp.2.bias"] = torch.zeros(11)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, path, {"mico_hub": json.dumps(checkpoint_metadata())})
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(path)
    for part in ("mlp.0.bias is missing", "extra is not expected", "mlp.2.bias: expected (10,)", "got (11,)"):
        assert part in str(error.value)


def checkpoint_metadata() -> dict[str, object]:
    return {"format": 1, "network": "digits_mlp", "configuration": dict(MODELS["digits_mlp"].configuration)}


def test_a_pickle_is_not_even_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"mlp.0.weight": 1}))
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        checkpoints.load(path)


def test_a_file_without_our_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="expected the network's configuration under 'mico_hub'"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    "change",
    [{"network": "lost"}, {"configuration": {"features": -1, "hidden": 64, "classes": 10}}, {"configuration": {}}],
)
def test_metadata_of_no_network_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "model.safetensors"
    checkpoints.save(initialise("digits_mlp", KEY), "digits_mlp", path)
    save_file(load_file(path), path, {"mico_hub": json.dumps(checkpoint_metadata() | change)})
    for use in (checkpoints.load, lambda of: checkpoints.check_header(of, "digits_mlp")):
        with pytest.raises(CheckpointError):
            use(path)


def test_a_configuration_holds_what_builds_the_network_and_nothing_else(tmp_path: Path) -> None:
    """transformers takes whatever it is given."""
    path = tmp_path / "model.safetensors"
    tiny = dict(MODELS["roberta"].configuration) | {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = build("roberta", tiny)
    checkpoints.save(network, "roberta", path)
    checkpoints.check_header(path, "roberta")
    checkpoints.save_state(network.state_dict(), "roberta", tiny | {"note": "members: 3 17 29"}, path)
    with pytest.raises(CheckpointError, match="its configuration holds"):
        checkpoints.check_header(path, "roberta")
