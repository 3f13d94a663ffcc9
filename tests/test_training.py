import copy
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import N, base_dataset, small
from torch import nn

from mico_hub import models
from mico_hub.accounting import calibrate
from mico_hub.folder import FolderError, SuiteFolder
from mico_hub.models import MODELS, Architecture
from mico_hub.randomness import Keys, numpy_generator
from mico_hub.splits import draw
from mico_hub.suites import SUITES, Optimiser, Suite
from mico_hub.training import (
    Assignment,
    Runtime,
    accuracy,
    fixed_batches,
    make_optimiser,
    poisson_batches,
    train_model,
    train_suite,
)


@pytest.fixture
def tiny_roberta(monkeypatch: pytest.MonkeyPatch) -> None:
    """RoBERTa small enough for a test, from random weights, with the real vocabulary."""
    tiny = dict(MODELS["roberta"].configuration) | {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    changed = dict(MODELS) | {"roberta": Architecture(models.roberta, "tiny RoBERTa", tiny)}
    monkeypatch.setattr(models, "MODELS", changed)


def assignment(suite: Suite, keys: Keys | None = None, noise: float | None = None) -> Assignment:
    split = draw(N, suite.n, suite.m)
    return Assignment(suite, split, keys or Keys.draw(), base_dataset(suite.dataset), noise)


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


@pytest.mark.parametrize("purpose", ["initialisation", "sampling", "noise"])
def test_each_key_matters_on_its_own(purpose: str) -> None:
    suite = small(SUITES["digits_hi"])
    given = assignment(suite, noise=1.0)
    changed = replace(given, keys=replace(given.keys, **{purpose: os.urandom(16)}))
    assert not torch.equal(weights(train_model(given, Runtime())), weights(train_model(changed, Runtime())))


def test_dp_sgd_is_the_naive_loop() -> None:
    """The whole of DP-SGD again: one record at a time, in float64, with the same draws."""
    optimiser = Optimiser("sgd", 0.8, decay=0.5)
    suite = replace(small(SUITES["digits_hi"], epochs=2), clipping_norm=0.7, optimiser=optimiser)
    given = assignment(suite, noise=1.3)
    network = copy.deepcopy(models.initialise(suite.model, given.keys.initialisation)).double()
    sampling, noise = numpy_generator(given.keys.sampling), numpy_generator(given.keys.noise)
    records = np.concatenate([given.split.member, given.split.training])
    parameters = list(network.parameters())
    for step in range(6):  # ceil(30 / 12) steps an epoch, 2 epochs
        size = sampling.binomial(30, 1 / 3)
        batch = records[sampling.choice(30, size, replace=False, shuffle=False)]
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for record in batch:
            inputs = given.data.inputs([record])
            assert isinstance(inputs, torch.Tensor)
            loss = nn.functional.cross_entropy(network(inputs.double()), given.data.labels[record][None])
            gradient = torch.autograd.grad(loss, parameters)
            norm = torch.cat([part.flatten() for part in gradient]).norm()
            for total, part in zip(sums, gradient, strict=True):
                total.add_(part * min(1.0, 0.7 / norm.item()))
        with torch.no_grad():
            for parameter, total in zip(parameters, sums, strict=True):
                drawn = torch.from_numpy(noise.standard_normal(tuple(parameter.shape), dtype=np.float32))
                parameter.sub_(0.8 * 0.5 ** (step // 3) * (total + 1.3 * 0.7 * drawn) / 10)
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


def test_poisson_batches_take_each_record_on_its_own() -> None:
    suite = replace(small(SUITES["digits_hi"]), epochs=3_000)
    split = draw(N, suite.n, suite.m)
    batches = [batch for epoch in poisson_batches(suite, split, np.random.default_rng(0)) for batch in epoch]
    assert len(batches) == suite.steps == 9_000
    taken = np.zeros((len(batches), N))
    for row, batch in zip(taken, batches, strict=True):
        assert len(np.unique(batch)) == len(batch)
        row[batch] = 1
    trained = np.concatenate([split.member, split.training])
    assert taken.sum(axis=1).var() == pytest.approx(30 * (1 / 3) * (2 / 3), rel=0.08)  # five standard errors
    error = np.sqrt((1 / 3) * (2 / 3) / len(batches))
    assert np.abs(taken[:, trained].mean(axis=0) - 1 / 3).max() < 5.5 * error
    assert taken.sum() == taken[:, trained].sum()
    correlation = np.corrcoef(taken[:, trained], rowvar=False)
    assert np.abs(correlation - np.eye(30)).max() < 5.5 / np.sqrt(len(batches))


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_without_dp_each_record_comes_once_an_epoch(order: str) -> None:
    suite = replace(small(SUITES["cifar10_inf"], epochs=2), order=order)  # type: ignore[arg-type]
    split = draw(N, suite.n, suite.m)
    first, second = list(fixed_batches(suite, split, np.random.default_rng(0)))
    trained = sorted([*split.member, *split.training])
    assert [len(batch) for batch in first] == [12, 12, 6]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == trained
    assert np.array_equal(np.concatenate(first), np.concatenate(second)) == (order == "sequential")
    if order == "sequential":
        assert sorted(np.concatenate(first)[:10]) == split.member.tolist()


def test_schedules_are_the_recipes() -> None:
    network = models.build("digits_mlp")
    rates: dict[str, list[float]] = {}
    for name in ("cifar10_hi", "purchase100_hi", "sst2_inf"):
        optimiser, schedule = make_optimiser(network, SUITES[name].optimiser)
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
    with pytest.raises(ValueError, match="has dropout, which meta cannot draw from a 128-bit key"):
        train_model(assignment(small(SUITES["sst2_hi"]), noise=1.0), Runtime(device="meta"))


def test_accuracy_over_no_records_is_unknown() -> None:
    assert accuracy(models.build("digits_mlp"), base_dataset("digits"), np.array([], dtype=np.int64)) is None


def test_an_interrupted_suite_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = replace(SUITES["digits_hi"], epochs=1).with_models(3, 1, 1)
    finish = SuiteFolder.finish_model
    finished: list[int] = []

    def interrupt(folder: SuiteFolder, model_id: int, measured: object) -> None:
        if len(finished) == 2:
            raise KeyboardInterrupt
        finish(folder, model_id, measured)  # type: ignore[arg-type]
        finished.append(model_id)

    monkeypatch.setattr(SuiteFolder, "finish_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_suite(suite, tmp_path / "suite", Runtime())
    folder = SuiteFolder(tmp_path / "suite")
    assert not folder.complete()
    kept = {model_id: folder.checkpoint(suite, model_id).stat().st_mtime_ns for model_id in finished}
    truth = folder.rows_path("private").read_bytes()

    monkeypatch.setattr(SuiteFolder, "finish_model", finish)
    train_suite(suite, tmp_path / "suite", Runtime())
    assert folder.complete()
    assert {model_id: folder.checkpoint(suite, model_id).stat().st_mtime_ns for model_id in finished} == kept
    assert folder.rows_path("private").read_bytes() == truth
    assert not list((tmp_path / "suite").rglob(".*"))


def test_a_damaged_checkpoint_is_trained_again_to_the_same_bytes(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_hi"], epochs=1).with_models(1, 1, 1)
    folder = train_suite(suite, tmp_path / "suite", Runtime())
    path = folder.checkpoint(suite, 1)
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    folder.rows_path("public").unlink()
    train_suite(suite, tmp_path / "suite", Runtime())
    assert path.read_bytes() == before


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(1, 0, 0)
    train_suite(suite, tmp_path / "suite", Runtime())
    with pytest.raises(FolderError, match="holds another suite"):
        train_suite(replace(suite, epochs=2), tmp_path / "suite", Runtime())


def test_processes_give_the_same_suite_as_one(tmp_path: Path) -> None:
    """The same splits and keys, trained in this process and by two others, give the same bytes."""
    suite = replace(SUITES["digits_hi"], epochs=2).with_models(2, 1, 1)
    folder = train_suite(suite, tmp_path / "suite", Runtime())
    before = {model_id: folder.checkpoint(suite, model_id).read_bytes() for model_id in range(4)}
    for model_id in range(4):
        folder.checkpoint(suite, model_id).unlink()
    folder.rows_path("public").unlink()
    train_suite(suite, tmp_path / "suite", Runtime(processes=2))
    assert {model_id: folder.checkpoint(suite, model_id).read_bytes() for model_id in range(4)} == before


def test_the_noise_of_a_trained_suite_is_the_calibrated_one(trained: Path) -> None:
    for name in ("digits_hi", "digits_lo"):
        manifest = SuiteFolder(trained / name).manifest()
        assert manifest.noise_multiplier == calibrate(manifest.suite)
