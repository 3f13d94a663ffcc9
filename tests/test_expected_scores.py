"""The scores in the docs, against a suite that is trained anew with fresh keys."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.attacks import GOLDEN, attacked, table, tpr
from builders.build import build
from mico_hub.attacks import ATTACKS, LADDER
from mico_hub.loading import load_suite
from mico_hub.suites import SUITES
from mico_hub.training.suite import train_suite

ROOT = Path(__file__).parents[1]


def test_the_docs_have_the_scores_that_the_benchmark_wrote() -> None:
    assert table(json.loads(GOLDEN.read_text())) in (ROOT / "docs" / "attacks.md").read_text()


@pytest.mark.usefixtures("fresh_cache")
def test_a_rerun_comes_out_alike_and_not_the_same(tmp_path: Path) -> None:
    """Each attack's score within five standard errors of the difference of two runs; fresh keys give other models."""
    expected = json.loads(GOLDEN.read_text())["digits_inf"]
    assert list(expected) == list(ATTACKS)
    train_suite(SUITES["digits_inf"].with_models(100, 0, 0), tmp_path / "digits_inf")
    build([tmp_path / "digits_inf"], tmp_path / "mico")
    rows = list(load_suite("digits_inf", tmp_path / "mico")["train"])
    by_attack = attacked(rows, tmp_path / "mico", targets=8)
    got = {name: tpr(*of_attack) for name, of_attack in by_attack.items()}
    for name, values in expected.items():
        error = values["error"] * np.sqrt(1 + values["models"] / len(by_attack[name][0]))
        assert abs(got[name] - values["tpr"]) < 5 * error, (name, got[name], values)
    assert sum(got[name] == values["tpr"] for name, values in expected.items()) < 4
    best = max(got[attack.name] for attack in LADDER)
    assert max(got["loss"], got["entropy"], got["gradient_norm"]) + 0.05 < best  # shadow models help
    assert best < got["distinguisher"]  # so does knowing all but the challenge
