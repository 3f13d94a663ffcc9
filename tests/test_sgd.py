import copy
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import N, base_dataset, small, tiny_roberta, tiny_weights
from torch import nn

from mico_hub import models
from mico_hub.data import Inputs
from mico_hub.models import MODELS, initialise
from mico_hub.randomness import Keys, numpy_generator
from mico_hub.randomness.generators import GaussianNoise
from mico_hub.release import checkpoints
from mico_hub.splits import draw
from mico_hub.suites import SUITES, Optimiser, Suite
from mico_hub.training.gradients import stackable
from mico_hub.training.sampling import padded_rows
from mico_hub.training.sgd import (
    Assignment,
    DeviceError,
    NotFiniteError,
    Runtime,
    accuracy,
    make_optimiser,
    train_models,
)


@pytest.fixture(name="tiny_roberta")
def _tiny_roberta(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_roberta(monkeypatch)


def assignment(suite: Suite, keys: Keys | None = None, noise: float | None = None) -> Assignment:
    split = draw(N, suite.n, suite.m)
    return Assignment(suite, split, keys or Keys.draw(), noise)


def train_model(given: Assignment, runtime: Runtime | None = None, start: models.Start | None = None) -> nn.Module:
    return train_models([given], base_dataset(given.suite.dataset), runtime or Runtime(), start=start)[0]


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.usefixtures("tiny_roberta")
@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_suites_model_trains(suite: Suite) -> None:
    given = assignment(small(suite), noise=1.0 if suite.private else None)
    trained = train_model(given, Runtime(microbatch=6))
    start = weights(models.initialise(suite.model, given.keys.initialisation))
    assert torch.isfinite(weights(trained)).all()
    assert not torch.equal(weights(trained), start)
    assert not trained.training
    assert not any("_module" in key for key in trained.state_dict())


@pytest.mark.usefixtures("tiny_roberta")
@pytest.mark.parametrize("name", ["digits_inf", "digits_hi", "cifar10_hi", "sst2_inf", "sst2_hi"])
def test_the_same_keys_give_the_same_bits(name: str) -> None:
    suite = small(SUITES[name])
    given = assignment(suite, noise=1.0 if suite.private else None)
    first, again = (weights(train_model(given, Runtime(microbatch=6))) for _ in range(2))
    other = weights(train_model(replace(given, keys=Keys.draw()), Runtime(microbatch=6)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.usefixtures("tiny_roberta")
@pytest.mark.parametrize("purpose", ["initialisation", "sampling", "noise", "dropout"])
def test_each_key_matters_on_its_own(purpose: str) -> None:
    suite = small(SUITES["sst2_hi"])
    given = assignment(suite, noise=1.0)
    changed = replace(given, keys=replace(given.keys, **{purpose: os.urandom(16)}))
    assert not torch.equal(weights(train_model(given, Runtime())), weights(train_model(changed, Runtime())))


def test_dp_sgd_is_the_naive_loop() -> None:
    """The whole of DP-SGD again: one record at a time, in float64, with the same draws."""
    optimiser = Optimiser("sgd", 0.8, decay=0.5)
    suite = replace(small(SUITES["digits_hi"], epochs=2), clipping_norm=0.7, optimiser=optimiser)
    given = assignment(suite, noise=1.3)
    data = base_dataset("digits")
    network = copy.deepcopy(models.initialise(suite.model, given.keys.initialisation)).double()
    sampling = numpy_generator(given.keys.sampling)
    noise = GaussianNoise([given.keys.noise], [p.shape for p in network.parameters()], torch.device("cpu"))
    records = np.concatenate([given.split.member, given.split.training])
    parameters = list(network.parameters())
    for step in range(6):  # ceil(30 / 12) steps an epoch, 2 epochs
        size = sampling.binomial(30, 1 / 3)
        batch = records[sampling.choice(30, size, replace=False, shuffle=False)]
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for record in batch:
            inputs = data.inputs([record])
            assert isinstance(inputs, torch.Tensor)
            loss = nn.functional.cross_entropy(network(inputs.double()), data.labels[record][None])
            gradient = torch.autograd.grad(loss, parameters)
            norm = torch.cat([part.flatten() for part in gradient]).norm()
            for total, part in zip(sums, gradient, strict=True):
                total.add_(part * min(1.0, 0.7 / norm.item()))
        with torch.no_grad():
            for parameter, total, drawn in zip(parameters, sums, noise.draw(), strict=True):
                parameter.sub_(0.8 * 0.5 ** (step // 3) * (total + 1.3 * 0.7 * drawn[0]) / 10)
    assert torch.allclose(weights(train_model(given, Runtime())).double(), weights(network), atol=1e-5)


def test_noise_has_the_calibrated_size() -> None:
    """With no record in any batch a step is noise alone: its deviation is sigma C / int(n q)."""
    suite = replace(small(SUITES["purchase100_hi"]), optimiser=SUITES["digits_hi"].optimiser, batch_size=30)
    given = assignment(suite, noise=1.7)
    empty = replace(given.split, challenge=given.split.challenge[:0], membership=given.split.membership[:0])
    empty = replace(empty, training=given.split.training[:0])
    start = weights(models.initialise(suite.model, given.keys.initialisation))
    step = weights(train_model(replace(given, split=empty), Runtime())) - start
    expected = suite.optimiser.learning_rate * 1.7 * 2.6 / 30
    assert len(step) == 89_828
    assert step.std().item() == pytest.approx(expected, rel=5 / np.sqrt(2 * len(step)))  # five standard errors
    assert abs(step.mean().item()) < 5 * expected / np.sqrt(len(step))


def test_schedules_are_the_recipes() -> None:
    network = models.build("digits_mlp")
    rates: dict[str, list[float]] = {}
    for name in ("cifar10_hi", "purchase100_hi", "sst2_inf"):
        optimiser, schedule = make_optimiser(list(network.parameters()), SUITES[name].optimiser)
        rates[name] = []
        for _ in range(11):
            rates[name].append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        assert all(group["weight_decay"] == 0 for group in optimiser.param_groups)
    assert rates["cifar10_hi"] == pytest.approx([0.5 * 0.96**epoch for epoch in range(11)])
    assert rates["purchase100_hi"] == pytest.approx([1e-3 * 0.9 ** (epoch // 5) for epoch in range(11)])
    assert rates["sst2_inf"] == pytest.approx([5e-5] * 11)


@pytest.mark.parametrize(("name", "noise"), [("digits_hi", None), ("digits_inf", 1.0)])
def test_noise_belongs_to_a_finite_epsilon(name: str, noise: float | None) -> None:
    with pytest.raises(ValueError, match="claims epsilon"):
        train_model(assignment(small(SUITES[name]), noise=noise), Runtime())


def test_dropout_is_refused_where_it_cannot_be_drawn_from_a_key(tiny_roberta: None) -> None:
    """On a device that is neither cpu nor cuda; `meta` stands in for one that is not here."""
    with pytest.raises(DeviceError, match="has dropout, which meta cannot draw from a 128-bit key"):
        train_model(assignment(small(SUITES["sst2_hi"]), noise=1.0), Runtime(device="meta"))


def test_accuracy_over_no_records_is_unknown() -> None:
    assert accuracy(models.build("digits_mlp"), base_dataset("digits"), np.array([], dtype=np.int64)) is None


@pytest.mark.parametrize("name", ["digits_hi", "digits_inf", "purchase100_hi", "purchase100_inf"])
def test_a_model_is_the_same_alone_and_in_a_stack(name: str) -> None:
    """Also where a Poisson batch is larger than the stack's pad (here 64 rows) and goes on in a second block."""
    suite = replace(small(SUITES[name], epochs=4), n=40, batch_size=30)
    given = [assignment(suite, noise=1.0 if suite.private else None) for _ in range(5)]
    data = base_dataset(suite.dataset)
    stacked = train_models(given, data, Runtime(stack=5))
    pair = train_models(given[:2], data, Runtime(stack=5))
    for each, network in zip(given, stacked, strict=True):
        assert torch.allclose(weights(network), weights(train_model(each)), atol=2e-5)
    for a, b in zip(stacked, pair, strict=False):
        assert torch.allclose(weights(a), weights(b), atol=2e-5)
    again = train_models(given, data, Runtime(stack=5))
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(stacked, again, strict=True))


def test_a_batch_above_the_pad_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = replace(small(SUITES["digits_hi"], epochs=3), n=40, batch_size=30)
    given = [assignment(suite, noise=0.1) for _ in range(2)]
    data = base_dataset("digits")
    monkeypatch.setattr("mico_hub.training.sgd.padded_rows", lambda suite: 4)  # batches of about 20
    blocked = train_models(given, data, Runtime(stack=2))
    for each, network in zip(given, blocked, strict=True):
        assert torch.allclose(weights(network), weights(train_model(each)), atol=2e-5)


def test_no_two_models_of_a_stack_share_noise() -> None:
    """With no record in any batch, what is left is the noise of each."""
    suite = replace(small(SUITES["digits_hi"]), batch_size=30)
    given = [assignment(suite, noise=1.7) for _ in range(6)]
    for number, each in enumerate(given):
        split = replace(each.split, challenge=each.split.challenge[:0], membership=each.split.membership[:0])
        given[number] = replace(each, split=replace(split, training=each.split.training[:0]))
    trained = train_models(given, base_dataset("digits"), Runtime(stack=6))
    starts = [weights(initialise(suite.model, each.keys.initialisation)) for each in given]
    noise = torch.stack([weights(network) - start for network, start in zip(trained, starts, strict=True)])
    correlation = torch.corrcoef(noise) - torch.eye(6)
    assert correlation.abs().max() < 5.5 / np.sqrt(noise.shape[1])


def test_the_microbatch_changes_only_rounding() -> None:
    suite = small(SUITES["cifar10_hi"])
    given = assignment(suite, noise=1.0)
    one, all_at_once = (weights(train_model(given, Runtime(microbatch=size))) for size in (1, 30))
    assert torch.allclose(one, all_at_once, atol=1e-5)


def test_the_gradient_of_each_stacked_model_is_clipped_as_torch_does() -> None:
    suite = replace(small(SUITES["digits_inf"], epochs=2), max_grad_norm=0.05)
    given = [assignment(suite) for _ in range(3)]
    data = base_dataset("digits")
    for each, network in zip(given, train_models(given, data, Runtime(stack=3)), strict=True):
        twin = models.initialise(suite.model, each.keys.initialisation)
        optimiser = torch.optim.SGD(twin.parameters(), suite.optimiser.learning_rate)
        rng = numpy_generator(each.keys.sampling)
        records = np.concatenate([rng.permutation(each.split.member), rng.permutation(each.split.training)])
        for epoch in range(2):
            records = rng.permutation(records)
            optimiser.param_groups[0]["lr"] = suite.optimiser.learning_rate * suite.optimiser.decay**epoch
            for start in range(0, 30, 12):
                selected = records[start : start + 12]
                inputs = data.inputs(selected)
                assert isinstance(inputs, torch.Tensor)
                optimiser.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(twin(inputs), data.labels[selected]))
                nn.utils.clip_grad_norm_(twin.parameters(), 0.05)
                optimiser.step()
        assert torch.allclose(weights(network), weights(twin), atol=1e-5)


def test_models_of_two_suites_do_not_go_together() -> None:
    given = [assignment(small(SUITES["digits_hi"]), noise=noise) for noise in (1.0, 2.0)]
    with pytest.raises(ValueError, match="with one noise multiplier, got others"):
        train_models(given, base_dataset("digits"), Runtime(stack=2))


def test_stack_and_microbatch_suit_the_device() -> None:
    tiny, mlp, cnn, text = (SUITES[name] for name in ("digits_hi", "purchase100_hi", "cifar10_hi", "sst2_hi"))
    assert [Runtime().stack_of(suite) for suite in (tiny, mlp, cnn, text)] == [13, 1, 1, 1]
    assert [Runtime("cuda").stack_of(suite) for suite in (tiny, mlp, cnn, text)] == [256, 256, 1, 1]
    assert Runtime(stack=8).stack_of(mlp) == 8
    assert Runtime(stack=8).stack_of(cnn) == 1
    assert Runtime("cuda", 8, 64).smaller(mlp) == Runtime("cuda", 4, 32)
    assert Runtime("cpu", 1, 1).smaller(mlp) == Runtime("cpu", 1, 1)
    assert Runtime().microbatch_of(cnn) == 16
    assert Runtime("cuda").microbatch_of(cnn) > 512 > Runtime("cuda").microbatch_of(text)
    assert padded_rows(mlp) == 640


@pytest.mark.parametrize("name", ["digits_mlp", "mlp", "cnn"])
def test_the_costs_in_the_table_are_counted(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    shape = {"digits_mlp": (1, 64), "mlp": (1, 600), "cnn": (1, 3, 32, 32)}[name]
    network = models.build(name)
    assert stackable(network) == (name != "cnn")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(shape))
    assert counter.get_total_flops() == pytest.approx(MODELS[name].flops, rel=0.01)


def test_text_models_start_from_a_local_folder(tmp_path: Path) -> None:
    """With a learning rate of 0 a trained model is what it started from; its checkpoint carries its own size."""
    saved = tiny_weights(tmp_path / "roberta")
    start = models.load_start("roberta", tmp_path / "roberta")
    still = replace(small(SUITES["sst2_hi"]), optimiser=Optimiser("adamw", 0.0))
    given = assignment(still, noise=1.0)
    trained = train_model(given, start=start)
    for name, expected in saved.roberta.state_dict().items():
        assert torch.equal(trained.state_dict()[f"roberta.{name}"], expected)
    other = train_model(assignment(still, noise=1.0), start=start)  # the head is drawn from a model's own key
    heads = [network.state_dict()["classifier.dense.weight"] for network in (trained, other)]
    assert not torch.equal(*heads)
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoints.serialise(trained, "roberta"))
    assert checkpoints.load(path).config.hidden_size == 8  # type: ignore[union-attr]
    moved = train_model(assignment(small(SUITES["sst2_hi"]), noise=1.0), start=start)
    assert not torch.equal(weights(moved), weights(trained))


def test_weights_to_start_from_are_known_by_their_content(tmp_path: Path) -> None:
    """In whatever form they are saved: half precision becomes float32, and is not the same weights."""
    network = tiny_weights(tmp_path / "a")
    tiny_weights(tmp_path / "b", seed=1)
    network.save_pretrained(tmp_path / "copy")
    network.half().save_pretrained(tmp_path / "half")
    starts = {name: models.load_start("roberta", tmp_path / name) for name in ("a", "b", "copy", "half")}
    digests = {name: start.digest for name, start in starts.items() if start is not None}
    assert digests["a"] == digests["copy"]
    assert len(set(digests.values())) == 3
    assert all(value.dtype == torch.float32 for value in starts["half"].state.values())  # type: ignore[union-attr]
    assert not any("classifier" in key for key in starts["a"].state)  # type: ignore[union-attr]
    assert models.load_start("cnn") is None


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny_weights(tmp_path / "roberta")
    path = tmp_path / "roberta" / "model.safetensors"
    state = load_file(path)
    del state["roberta.encoder.layer.0.attention.self.query.weight"]
    save_file(state, path, {"format": "pt"})
    with pytest.raises(OSError, match=r"has no weights for 1 parts of roberta-base, roberta\.encoder.*query"):
        models.load_start("roberta", tmp_path / "roberta")


@pytest.mark.parametrize("name", ["digits_hi", "digits_inf", "cifar10_hi"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_record_that_is_not_finite_is_refused(name: str, value: float) -> None:
    """Its clip factor would be 0 or NaN, and 0 times infinity is NaN, too."""
    suite = small(SUITES[name])
    data = base_dataset(suite.dataset)

    def spoilt(rows: torch.Tensor) -> Inputs:
        assert data.prepare is not None
        inputs = data.prepare(rows)
        assert isinstance(inputs, torch.Tensor)
        return torch.full_like(inputs, value)

    with pytest.raises(NotFiniteError, match=f"{name}: the gradient of a record is not finite, by step"):
        train_models(
            [assignment(suite, noise=1.0 if suite.private else None)], replace(data, prepare=spoilt), Runtime()
        )
