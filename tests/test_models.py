import pytest
import torch
from torch import nn

from mico_hub.models import MODELS, build, default_device, initialise, load_start


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "count", "shape", "classes"),
    [
        ("cnn", 973_962, (3, 32, 32), 10),
        ("mlp", 89_828, (600,), 100),
        ("digits_mlp", 4_810, (64,), 10),
        ("location30_mlp", 61_086, (446,), 30),
    ],
)
def test_networks_have_their_exact_number_of_parameters(
    name: str, count: int, shape: tuple[int, ...], classes: int
) -> None:
    network = build(name)
    assert parameters(network) == count
    assert network(torch.zeros(2, *shape)).shape == (2, classes)


def test_roberta_base_has_its_exact_number_of_parameters() -> None:
    with torch.device("meta"):
        assert parameters(build("roberta")) == 124_647_170


def test_the_same_key_starts_from_the_same_weights() -> None:
    first, again, other = (initialise("digits_mlp", key) for key in (bytes(16), bytes(16), b"another 128 bits"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_the_roberta_of_a_checkpoint_is_built_from_its_configuration() -> None:
    tiny = dict(MODELS["roberta"].configuration) | {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    network = build("roberta", tiny)
    ids = torch.tensor([[0, 31414, 2, 1]])
    assert network(input_ids=ids, attention_mask=(ids != 1).long()).logits.shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "configuration", "message"),
    [("cnm", None, "unknown network 'cnm'; there are: cnn"), ("mlp", {"features": 3}, "network 'mlp' cannot be built")],
)
def test_what_cannot_be_built_says_why(name: str, configuration: dict[str, int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, configuration)


def test_missing_pretrained_weights_say_where_they_were_looked_for(tmp_path: object) -> None:
    with pytest.raises(OSError, match="pretrained weights of roberta-base were not found at '/no/such/folder'"):
        load_start("roberta", "/no/such/folder")


def test_there_is_a_device() -> None:
    assert default_device().type in ("cuda", "mps", "cpu")
