import copy

import pytest
import torch
from synthetic import base_dataset
from torch import nn

from mico_hub.gradients import HookedGradients, LinearGradients, clip_factors, clipped_gradients
from mico_hub.models import MLP, build, initialise, logits

KEY = bytes(16)


def naive(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, clipping_norm: float) -> list[torch.Tensor]:
    """One record at a time, in float64."""
    network = copy.deepcopy(network).double()
    parameters = list(network.parameters())
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for record, label in zip(inputs.double(), labels, strict=True):
        loss = nn.functional.cross_entropy(logits(network, record[None]), label[None])
        gradient = torch.autograd.grad(loss, parameters)
        norm = torch.cat([part.flatten() for part in gradient]).norm()
        for total, part in zip(sums, gradient, strict=True):
            total.add_(part * min(1.0, clipping_norm / norm.item()))
    return sums


def largest_error(got: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    scale = max(part.abs().max().item() for part in expected)
    return max((a.double() - b).abs().max().item() for a, b in zip(got, expected, strict=True)) / scale


@pytest.mark.parametrize("clipping_norm", [1e-3, 2.6, 1e6], ids=["all clipped", "some clipped", "none clipped"])
@pytest.mark.parametrize("name", ["digits_mlp", "mlp", "cnn"])
def test_the_clipped_sum_is_that_of_a_loop_over_records(name: str, clipping_norm: float) -> None:
    data = base_dataset({"digits_mlp": "digits", "mlp": "purchase100", "cnn": "cifar10"}[name])
    inputs = data.inputs(range(7))
    assert isinstance(inputs, torch.Tensor)
    network = initialise(name, KEY)
    expected = naive(network, inputs, data.labels[:7], clipping_norm)
    got, norms = clipped_gradients(network, microbatch=3).clipped_sum(inputs, data.labels[:7], clipping_norm)
    assert largest_error(got, expected) < 1e-5
    assert [part.shape for part in got] == [parameter.shape for parameter in network.parameters()]
    assert norms.shape == (7,)


def test_both_ways_agree() -> None:
    data = base_dataset("digits")
    inputs, labels = data.inputs(range(40)), data.labels[:40]
    network = initialise("digits_mlp", KEY)
    closed, closed_norms = LinearGradients(copy.deepcopy(network)).clipped_sum(inputs, labels, 1.0)
    hooked, hooked_norms = HookedGradients(network, microbatch=16).clipped_sum(inputs, labels, 1.0)
    assert largest_error(closed, [part.double() for part in hooked]) < 1e-5
    assert torch.allclose(closed_norms, hooked_norms, rtol=1e-5)


@pytest.mark.parametrize("name", ["digits_mlp", "cnn"])
def test_an_empty_batch_sums_to_zero(name: str) -> None:
    data = base_dataset("digits" if name == "digits_mlp" else "cifar10")
    got, norms = clipped_gradients(initialise(name, KEY), 4).clipped_sum(data.inputs([]), data.labels[:0], 1.0)
    assert all((part == 0).all() for part in got)
    assert len(norms) == 0


def test_no_record_counts_for_more_than_the_clipping_norm() -> None:
    factors = clip_factors(torch.tensor([0.0, 1e-30, 0.5, 1.0, 2.0, 1e30]), 1.0)
    assert factors.tolist() == [1.0, 1.0, 1.0, 1.0, 0.5, pytest.approx(1e-30)]


def test_only_a_plain_chain_of_linear_layers_has_the_closed_form() -> None:
    class Twice(nn.Module):
        """Applies one layer twice: its norm is not that of one application."""

        def __init__(self) -> None:
            super().__init__()
            layer = nn.Linear(4, 4)
            self.mlp = nn.Sequential(layer, nn.Tanh(), layer)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.mlp(x)
            return output

    assert LinearGradients.fits(MLP(4, 3, 2))
    assert not LinearGradients.fits(build("cnn"))
    assert not LinearGradients.fits(Twice())
    assert not LinearGradients.fits(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
