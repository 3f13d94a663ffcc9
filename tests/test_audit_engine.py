"""The engine audited: on every path that computes gradients, wherever it runs; and bounds that hold."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import base_dataset
from torch import nn

from mico_hub import models
from mico_hub.auditing.canaries import CANARIES, Canary
from mico_hub.auditing.ceiling import ceiling
from mico_hub.auditing.engine import (
    audit_engine,
    errors_of,
    family_epsilon,
    fix_thresholds,
    full_batches,
    refuted,
    simulated,
)
from mico_hub.auditing.rates import Errors
from mico_hub.auditing.trials import TrialJob, Trials, split_of, step_evidence
from mico_hub.cli import main
from mico_hub.data import load_base
from mico_hub.messages import InputError
from mico_hub.models import MODELS
from mico_hub.models.base import Architecture
from mico_hub.randomness import Keys
from mico_hub.suites import SUITES, Suite
from mico_hub.training.accounting import calibrate
from mico_hub.training.gradients import gradients_of
from mico_hub.training.gradients.base import trainable
from mico_hub.training.sgd import Assignment, Runtime, train_models
from mico_hub.workers import Common, Processes, ThisProcess, WorkerError

SHORT = replace(SUITES["digits_hi"], n=40, m=5, batch_size=20, epochs=4)


class Residual(nn.Module):
    """No chain of layers: its gradients are clipped by ghost clipping."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, 16), nn.Linear(16, 16)
        self.last = nn.Linear(16, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, features) -> logits (B, classes)."""
        hidden = torch.tanh(self.first(inputs))
        logits: torch.Tensor = self.last(hidden + torch.tanh(self.second(hidden)))
        return logits


@pytest.fixture(params=["linear", "convolutional", "ghost"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Suite, Any, str]:
    """A recipe of a few steps, its base dataset, and the class of its gradients."""
    if request.param == "linear":
        return SHORT, load_base("digits"), "LinearStack"
    if request.param == "convolutional":
        suite = replace(SUITES["cifar10_hi"], n=6, m=1, batch_size=3, epochs=2)
        return suite, base_dataset("cifar10", 20), "ConvolutionalChain"
    residual = Architecture(Residual, "residual", 1e3, {"features": 64, "classes": 10})
    monkeypatch.setattr(models, "MODELS", dict(MODELS) | {"residual": residual})
    return replace(SHORT, model="residual"), load_base("digits"), "GhostClipping"


def keys(seed: int, number: int) -> tuple[Keys, ...]:
    rng = np.random.default_rng(seed)
    return tuple(Keys(*(rng.bytes(16) for _ in range(4))) for _ in range(number))


def seen(canary: Canary, noise: float, having: tuple[bool, ...], runtime: Runtime | None = None) -> list[float]:
    job = TrialJob(canary.suite, having, keys(0, len(having)), noise, canary.direction, runtime or Runtime())
    found = job.run(Common(canary.data, canary.start), lambda steps: None)
    assert [each for each, _ in found] == list(having)
    return [value for _, value in found]


def test_every_way_to_compute_gradients_shows_the_canary_as_it_was_sampled(path: tuple[Suite, Any, str]) -> None:
    """Nearly without noise, evidence is how often it was: no step of it is weakened, and none is without."""
    suite, base, kind = path
    canary = CANARIES["gradient"](suite, base, 1.0)
    assert type(gradients_of([models.initialise(suite.model, bytes(16))], 4)).__name__ == kind
    assert 0.9 < canary.share <= 1 + 1e-6
    steps: list[list[float]] = []

    def along(gradients: Any) -> None:
        assert canary.direction is not None
        parts = zip(gradients, canary.direction, strict=True)
        total = sum(float((gradient[0] * part).sum()) for gradient, part in parts)
        steps.append([total * suite.expected_batch_size / (suite.clipping_norm or 1) / canary.share**2])

    for with_canary in (True, False):
        steps.clear()
        split = split_of(len(canary.data), with_canary=with_canary)
        given = Assignment(canary.suite, split, keys(1, 1)[0], 1e-4)
        train_models([given], canary.data, Runtime(), start=canary.start, observe=along)
        values = np.array(steps).ravel()
        assert len(values) == suite.steps
        assert values == pytest.approx(np.round(values), abs=0.02)
        assert set(np.round(values)) <= ({0.0, 1.0} if with_canary else {0.0})
        assert (np.round(values).sum() > 0) == with_canary


@pytest.mark.parametrize("runtime", [Runtime(stack=1), Runtime(stack=5), Runtime(microbatch=3)])
def test_stack_and_microbatch_show_the_same(runtime: Runtime) -> None:
    canary = CANARIES["gradient"](SHORT, load_base("digits"), 2.0)
    having = (True, False) * 6
    assert seen(canary, 2.0, having, runtime) == pytest.approx(seen(canary, 2.0, having), rel=1e-3, abs=1e-3)


def test_the_convolutional_path_shows_the_same_in_any_microbatch() -> None:
    suite = replace(SUITES["cifar10_hi"], n=6, m=1, batch_size=3, epochs=1)
    canary = CANARIES["gradient"](suite, base_dataset("cifar10", 20), 0.7)
    one, all_at_once = (seen(canary, 0.7, (True, False), Runtime(microbatch=size)) for size in (1, 16))
    assert one == pytest.approx(all_at_once, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", ["gradient", "crafted"])
def test_processes_show_the_same(name: str) -> None:
    canary = CANARIES[name](SHORT, load_base("digits"), 2.0)
    having = (True, False) * 4
    job = TrialJob(canary.suite, having, keys(0, 8), 2.0, canary.direction, Runtime())
    common = Common(canary.data, canary.start)
    here, there = (
        list(workers.run(iter([job]), common, lambda steps: None)) for workers in (ThisProcess(), Processes(2))
    )
    assert here == there


def test_the_canary_alone_has_a_gradient_along_the_direction() -> None:
    canary = CANARIES["gradient"](SHORT, load_base("digits"), 2.0)
    assert canary.direction is not None
    network = models.initialise(SHORT.model, bytes(16), canary.start)
    inputs = canary.data.inputs(range(len(canary.data)))
    assert isinstance(inputs, torch.Tensor)
    for record in range(len(canary.data)):
        loss = nn.functional.cross_entropy(
            network(inputs[record : record + 1]), canary.data.labels[record : record + 1]
        )
        found = torch.autograd.grad(loss, trainable(network))
        along = sum(float((part * of).sum()) for part, of in zip(found, canary.direction, strict=True))
        if record == len(canary.data) - 1:
            assert along > 0.9 * math.sqrt(sum(float(part.square().sum()) for part in found))
        else:
            assert along == 0


def test_evidence_is_the_log_likelihood_ratio() -> None:
    from scipy.stats import norm

    y = np.linspace(-4, 4, 9)
    for share, q, sigma in ((1.0, 0.5, 2.0), (0.7, 0.1, 0.8), (1.0, 1.0, 1.5)):
        there = (1 - q) * norm.pdf(y, 0, sigma) + q * norm.pdf(y, share, sigma)
        expected = np.log(there / norm.pdf(y, 0, sigma))
        assert step_evidence(y, share, q, sigma) == pytest.approx(expected)


SURE = 1 - 1e-6
"""The level of audits of the right engine with fresh keys, so that a test fails by chance in no lifetime."""


@pytest.mark.parametrize(("name", "runs", "reached"), [("gradient", 1_000, 0.25), ("crafted", 1_000, 0.05)])
def test_an_audit_comes_near_the_claim_and_not_above_it(name: str, runs: int, reached: float) -> None:
    found = audit_engine(SHORT, load_base("digits"), ThisProcess(), canary=name, runs=runs, level=SURE)
    assert reached * SHORT.epsilon < found.family <= SHORT.epsilon
    assert 0 <= found.free < found.family
    assert found.gaussian <= SHORT.epsilon
    counted = found.errors.without + found.errors.having
    assert counted == (runs if name == "gradient" else 0.8 * runs)


@pytest.mark.parametrize("name", ["mislabelled", "blank"])
def test_natural_canaries_show_what_they_show(name: str) -> None:
    found = audit_engine(SHORT, load_base("digits"), ThisProcess(), canary=name, runs=200, level=SURE)
    assert 0 <= found.family <= SHORT.epsilon


def test_full_batches_have_every_record_in_every_step() -> None:
    suite = full_batches(SHORT)
    assert (suite.sampling_rate, suite.steps, suite.expected_batch_size) == (1.0, SHORT.epochs, SHORT.n)
    found = audit_engine(suite, load_base("digits"), ThisProcess(), canary="crafted", runs=1_000, level=SURE)
    assert 1 < found.gaussian <= SHORT.epsilon


def test_the_family_is_epsilon_of_the_largest_noise_that_is_not_refuted() -> None:
    errors = Errors(90, 500, 95, 500)
    found = family_epsilon(errors, 0.5, 8, 1e-5)
    noises = np.geomspace(0.4, 2, 40)
    kept = [noise for noise in noises if not refuted(errors, ceiling(float(noise), 0.5, 8, "add_remove"), 0.95)]
    assert found == pytest.approx(ceiling(float(max(kept)), 0.5, 8, "add_remove").epsilon(1e-5), rel=0.06)
    assert family_epsilon(Errors(250, 500, 250, 500), 0.5, 8, 1e-5) == 0
    assert family_epsilon(Errors(0, 500, 0, 500), 0.5, 8, 1e-5) > 10


def simulations(number: int, check: Callable[[Errors], bool]) -> float:
    """How often something holds of the errors of simulated audits of SHORT's own mechanism, 500 of each kind."""
    noise = calibrate(SHORT)
    assert noise is not None
    fixed = simulated(SHORT, noise, 1.0)
    threshold, _ = fix_thresholds(fixed, (500, 500), 1e-5, 0.95)
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(number):
        evidence = [np.zeros(500), np.zeros(500)]
        for _ in range(SHORT.steps):
            for there in (0, 1):
                y = noise * rng.normal(size=500) + there * (rng.random(500) < SHORT.sampling_rate)
                evidence[there] += step_evidence(y, 1.0, SHORT.sampling_rate, noise)
        errors = errors_of(Trials(*evidence), threshold)
        held += check(errors)
    return held / number


def test_the_claimed_mechanism_is_refuted_as_seldom_as_the_level_says() -> None:
    noise = calibrate(SHORT)
    assert noise is not None
    claim = ceiling(noise, SHORT.sampling_rate, SHORT.steps, "add_remove")
    less = ceiling(2 * noise, SHORT.sampling_rate, SHORT.steps, "add_remove")
    assert simulations(1_000, lambda errors: refuted(errors, claim, 0.95)) <= 0.05
    assert simulations(100, lambda errors: refuted(errors, less, 0.95)) > 0.95


def test_suites_without_dp_and_of_sentences_are_refused() -> None:
    with pytest.raises(InputError, match="digits_inf: expected a suite with DP"):
        audit_engine(SUITES["digits_inf"], load_base("digits"), ThisProcess())
    with pytest.raises(InputError, match="sst2_hi: expected a suite of features or images"):
        audit_engine(SUITES["sst2_hi"], base_dataset("sst2", 20), ThisProcess())


def test_the_command_prints_a_table_and_writes_both_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mico_hub.suites.SUITES", dict(SUITES) | {"digits_hi": SHORT})
    out = [tmp_path / "audit.html", tmp_path / "audit.json"]
    arguments = ["audit-engine", "digits_hi", "--runs", "200", "--processes", "1", "--stack", "50"]
    assert main([*arguments, "--html", str(out[0]), "--json", str(out[1])]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("digits_hi, gradient canary: 200 trainings of 8 steps, sampling rate 0.5, ")
    for row in ("claimed, add or remove one record", "at least, in the family", "at least, if Gaussian"):
        assert row in printed
        assert row in out[0].read_text()
    read = json.loads(out[1].read_text())
    assert read["claimed"] == 10
    assert f"{read['at_least']['family']:.2f}" in printed
    assert read["errors"]["without"] == 100


def test_an_audit_that_is_interrupted_keeps_its_trainings_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mico_hub.suites.SUITES", dict(SUITES) | {"digits_hi": SHORT})
    file, ran = tmp_path / "trials.json", list[int]()
    run = TrialJob.run

    def failing(job: TrialJob, common: Common, report: Callable[[int], None]) -> Any:
        if sum(ran) >= 60:
            raise WorkerError("the machine went away")
        ran.append(len(job.having))
        return run(job, common, report)

    monkeypatch.setattr(TrialJob, "run", failing)
    command = ["audit-engine", "digits_hi", "--runs", "100", "--processes", "1", "--stack", "20", "--keep", str(file)]
    assert main(command) == 2
    assert f"Finished trainings are kept in {file}; resume with the same command." in capsys.readouterr().err
    kept = json.loads(file.read_text())["seen"]
    assert len(kept) == 60
    ran.clear()
    monkeypatch.setattr(TrialJob, "run", run)
    assert main(command) == 0
    resumed = json.loads(file.read_text())["seen"]
    assert sorted(map(tuple, kept)) == sorted(map(tuple, resumed[:60]))
    assert [sum(each[0] is kind for each in resumed) for kind in (False, True)] == [50, 50]
    assert "FPR" in capsys.readouterr().out
    assert main([*command, "--canary", "blank", "--runs", "200"]) == 2
    assert "of another audit, with another canary, runs; name another file" in capsys.readouterr().err
    file.write_text("{}")
    assert main(command) == 2
    assert "expected the trainings of an audit" in capsys.readouterr().err
