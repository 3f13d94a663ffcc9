import copy

import numpy as np
import pytest
import torch
from synthetic import base_dataset, tiny_roberta
from torch import nn

from mico_hub import models
from mico_hub.data import Inputs
from mico_hub.models import build, initialise, logits
from mico_hub.models.mlp import MLP
from mico_hub.models.records import on_device
from mico_hub.training.gradients import (
    ConvolutionalChain,
    LinearStack,
    clip_factors,
    gradients_of,
    stackable,
)
from mico_hub.training.gradients.ghost import GhostClipping

DATA = {"digits_mlp": "digits", "mlp": "purchase100", "cnn": "cifar10", "roberta": "sst2"}


def key(number: int) -> bytes:
    return bytes([number]) * 16


def batch(name: str, *records: list[int]) -> tuple[Inputs, torch.Tensor]:
    """(K, B, ...) inputs and (K, B) labels."""
    return on_device(base_dataset(DATA[name]), "cpu").take(torch.tensor(records, dtype=torch.int64))


def one(inputs: Inputs, model: int, record: int) -> Inputs:
    if isinstance(inputs, dict):
        return {name: tensor[model, record][None] for name, tensor in inputs.items()}
    return inputs[model, record][None].double()


def naive(
    network: nn.Module, inputs: Inputs, labels: torch.Tensor, clipping_norm: float, model: int = 0
) -> list[torch.Tensor]:
    """One record at a time, in float64."""
    network = copy.deepcopy(network).double()
    parameters = list(network.parameters())
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for record, label in enumerate(labels[model]):
        loss = nn.functional.cross_entropy(logits(network, one(inputs, model, record)), label[None])
        gradient = torch.autograd.grad(loss, parameters, allow_unused=True)
        parts = [torch.zeros_like(p) if part is None else part for part, p in zip(gradient, parameters, strict=True)]
        norm = torch.cat([part.flatten() for part in parts]).norm()
        for total, part in zip(sums, parts, strict=True):
            total.add_(part * min(1.0, clipping_norm / norm.item()))
    return sums


def largest_error(got: list[torch.Tensor], expected: list[torch.Tensor], model: int = 0) -> float:
    scale = max(part.abs().max().item() for part in expected)
    return max((a[model].double() - b).abs().max().item() for a, b in zip(got, expected, strict=True)) / scale


@pytest.mark.parametrize("clipping_norm", [1e-3, 2.6, 1e6], ids=["all clipped", "some clipped", "none clipped"])
@pytest.mark.parametrize("name", ["digits_mlp", "mlp", "cnn"])
def test_the_clipped_sum_is_that_of_a_loop_over_records(name: str, clipping_norm: float) -> None:
    inputs, labels = batch(name, list(range(7)))
    network = initialise(name, key(0))
    expected = naive(network, inputs, labels, clipping_norm)
    gradients = gradients_of([network], microbatch=3)
    got, norms = gradients.clipped_sum(inputs, labels, clipping_norm)
    assert largest_error(got, expected) < 1e-5
    assert [part.shape[1:] for part in got] == [parameter.shape for parameter in network.parameters()]
    assert norms.shape == (1, 7)


@pytest.mark.parametrize("clipping_norm", [1e-3, 1e6])
def test_the_clipped_sum_of_a_text_model_is_that_of_a_loop(
    monkeypatch: pytest.MonkeyPatch, clipping_norm: float
) -> None:
    tiny_roberta(monkeypatch, dropout=0)
    inputs, labels = batch("roberta", list(range(7)))
    network = initialise("roberta", key(0)).train()
    expected = naive(network, inputs, labels, clipping_norm)
    gradients = gradients_of([network], microbatch=3)
    assert isinstance(gradients, GhostClipping)
    got, _ = gradients.clipped_sum(inputs, labels, clipping_norm)
    again, _ = gradients.clipped_sum(inputs, labels, clipping_norm)  # nothing is left over from the first time
    assert largest_error(got, expected) < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(got, again, strict=True))
    mean = gradients.mean(inputs, labels)
    if clipping_norm == 1e6:
        assert largest_error(mean, [part / 7 for part in expected]) < 1e-5


def test_with_dropout_norm_and_sum_share_one_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record's clipped gradient has the clipping norm, or its own if smaller: only if both passes agree."""
    tiny_roberta(monkeypatch)
    inputs, labels = batch("roberta", [3])
    network = initialise("roberta", key(0)).train()
    gradients = gradients_of([network], microbatch=1)
    lengths = set()
    for _ in range(10):
        for clipping_norm in (1e-3, 1e6):
            got, norms = gradients.clipped_sum(inputs, labels, clipping_norm)
            length = torch.cat([part.flatten() for part in got]).norm().item()
            assert length == pytest.approx(min(clipping_norm, norms.item()), rel=1e-4)
            lengths.add(norms.item())
    assert len(lengths) > 15  # the masks do differ; by chance two may give one norm


@pytest.mark.parametrize("name", ["digits_mlp", "mlp"])
def test_stacked_models_do_not_touch_each_other(name: str) -> None:
    """Each has its own weights and batch; rows that fill a batch up count for nothing."""
    records = [list(range(7)), list(range(20, 27)), [5] * 7]
    inputs, labels = batch(name, *records)
    present = torch.ones((3, 7), dtype=torch.bool)
    present[1, 4:] = False
    present[2] = False
    networks = [initialise(name, key(k)) for k in range(3)]
    stack = gradients_of([copy.deepcopy(network) for network in networks], microbatch=3)
    got, norms = stack.clipped_sum(inputs, labels, 2.6, present)
    mean = stack.mean(inputs, labels)
    for k, network in enumerate(networks):
        kept = batch(name, records[k][: int(present[k].sum())])
        expected = naive(network, *kept, 2.6)
        if k < 2:
            assert largest_error(got, expected, k) < 1e-5
        else:
            assert all((part[k] == 0).all() for part in got)
        alone = gradients_of([network], microbatch=3)
        assert torch.allclose(alone.clipped_sum(*kept, 2.6)[1][0], norms[k, : int(present[k].sum())], rtol=1e-5)
        everything = batch(name, records[k])
        for a, b in zip(alone.mean(*everything), mean, strict=True):
            assert torch.allclose(a[0], b[k], atol=1e-6)


@pytest.mark.parametrize("name", ["digits_mlp", "cnn"])
def test_the_closed_form_agrees_with_opacus(name: str) -> None:
    inputs, labels = batch(name, list(range(20)))
    network = initialise(name, key(0))
    closed, closed_norms = gradients_of([copy.deepcopy(network)], 8).clipped_sum(inputs, labels, 1.0)
    ghost, ghost_norms = GhostClipping(network, microbatch=8).clipped_sum(inputs, labels, 1.0)
    assert largest_error(closed, [part[0].double() for part in ghost]) < 1e-5
    assert torch.allclose(closed_norms, ghost_norms, rtol=1e-5)


@pytest.mark.parametrize("name", ["digits_mlp", "cnn"])
def test_the_mean_is_autograds(name: str) -> None:
    inputs, labels = batch(name, list(range(9)))
    assert isinstance(inputs, torch.Tensor)
    network = initialise(name, key(0))
    loss = nn.functional.cross_entropy(logits(network, inputs[0]), labels[0])
    expected = torch.autograd.grad(loss, list(network.parameters()))
    assert largest_error(gradients_of([network], 4).mean(inputs, labels), [part.double() for part in expected]) < 1e-5


@pytest.mark.parametrize("name", ["digits_mlp", "cnn", "roberta"])
def test_an_empty_batch_sums_to_zero(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_roberta(monkeypatch)
    inputs, labels = batch(name, [])
    got, norms = gradients_of([initialise(name, key(0))], 4).clipped_sum(inputs, labels, 1.0)
    assert all((part == 0).all() for part in got)
    assert norms.shape == (1, 0)


@pytest.mark.parametrize("name", ["digits_mlp", "cnn"])
def test_an_optimisers_steps_reach_the_networks(name: str) -> None:
    networks = [initialise(name, key(k)) for k in range(2 if name == "digits_mlp" else 1)]
    before = [copy.deepcopy(network) for network in networks]
    gradients = gradients_of(networks, 4)
    with torch.no_grad():
        for parameter in gradients.parameters:
            parameter.add_(1.0)
    for old, new in zip(before, gradients.networks(), strict=True):
        for a, b in zip(old.parameters(), new.parameters(), strict=True):
            assert torch.equal(a + 1.0, b)


def test_no_record_counts_for_more_than_the_clipping_norm() -> None:
    factors = clip_factors(torch.tensor([0.0, 1e-30, 0.5, 1.0, 2.0, 1e30]), 1.0)
    assert factors.tolist() == [1.0, 1.0, 1.0, 1.0, 0.5, pytest.approx(1e-30)]


class Twice(nn.Module):
    """Applies one layer twice: its norm is not that of one application."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(4, 4)
        self.mlp = nn.Sequential(layer, nn.Tanh(), layer)


class Wrapped(nn.Module):
    """A chain of the given parts."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.chain = nn.Sequential(*parts)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.chain(inputs)
        return outputs


def test_only_what_has_a_closed_form_gets_it() -> None:
    assert LinearStack.fits(MLP(4, 3, 2))
    assert ConvolutionalChain.fits(build("cnn"))
    assert not LinearStack.fits(build("cnn"))
    assert not ConvolutionalChain.fits(MLP(4, 3, 2))
    for other in (
        Twice(),
        nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)),
        Wrapped(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)),
        Wrapped(nn.Linear(2, 2), nn.LayerNorm(2)),
        Wrapped(nn.Conv2d(4, 4, 3, groups=2)),
        Wrapped(nn.Conv2d(4, 4, 3, dilation=2)),
        Wrapped(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        Wrapped(nn.Conv2d(4, 4, 3, padding="same")),
        Wrapped(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)),
        Wrapped(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Tanh()),  # mixes records, without parameters
    ):
        assert not stackable(other)
        assert not ConvolutionalChain.fits(other)


def test_models_that_cannot_be_stacked_come_one_at_a_time() -> None:
    with pytest.raises(ValueError, match="expected one CNN at a time, got 2"):
        gradients_of([build("cnn"), build("cnn")], 4)


def test_padding_that_is_left_away_changes_no_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of text are padded to their longest sentence, challenges to 67 tokens."""
    tiny_roberta(monkeypatch)
    data = base_dataset("sst2")
    network = models.initialise("roberta", key(0)).eval()
    full = data.inputs(np.arange(20))
    short, _ = on_device(data, "cpu").take(torch.arange(20))
    assert isinstance(full, dict)
    assert isinstance(short, dict)
    assert short["input_ids"].shape[1] < full["input_ids"].shape[1] == 67
    assert (full["attention_mask"][:, short["input_ids"].shape[1] :] == 0).all()
    with torch.no_grad():
        assert torch.allclose(logits(network, full), logits(network, short), atol=1e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_normalisation_over_the_batch_is_refused_with_dp(affine: bool) -> None:
    """One record's gradient would depend on the others: its norm, and clipping it, would mean nothing."""
    network = Wrapped(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=affine), nn.Flatten(), nn.Linear(144, 10)).train()
    inputs, labels = torch.rand(1, 5, 3, 8, 8), torch.zeros(1, 5, dtype=torch.int64)
    gradients = gradients_of([network], 4)
    assert gradients.mean(inputs, labels)
    with pytest.raises(ValueError, match=r"1 is a BatchNorm2d, which mixes records"):
        gradients.clipped_sum(inputs, labels, 1.0)
