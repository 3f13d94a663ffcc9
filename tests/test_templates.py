"""The templates of docs/templates, attacks of one's own to start from: each runs, from the command that it names."""

from pathlib import Path

import numpy as np
import pytest

import mico_hub
from mico_hub.cli import main

TEMPLATES = sorted((Path(__file__).parents[1] / "docs" / "templates").glob("*.py"))


def test_there_is_one_of_each_kind() -> None:
    assert {"augmented", "black_box", "trained", "white_box"} <= {path.stem for path in TEMPLATES}
    attacks = {path.stem: mico_hub.attacks.find(str(path)) for path in TEMPLATES}
    assert [name for name, attack in attacks.items() if attack.white_box] == ["augmented", "white_box"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_runs_as_it_says(
    path: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"mico-hub attack digits_hi --attack docs/templates/{path.name}" in path.read_text()
    monkeypatch.chdir(tmp_path)
    assert main(["attack", "digits_hi", "--attack", str(path), "--source", str(published)]) == 0
    assert "digits_hi train: 4 models, 800 points" in capsys.readouterr().out
    scores = np.concatenate(mico_hub.attacks.attack_scores(str(path), "digits_hi", source=str(published)))
    assert scores.shape == (4 * 200,)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 50


def test_a_template_for_classes_is_the_naive_one() -> None:
    """One class and one record at a time."""
    attack = mico_hub.attacks.find(str(next(path for path in TEMPLATES if path.stem == "black_box")))
    rng = np.random.default_rng(0)
    labels, member, shadows = rng.integers(0, 3, 30), rng.random((5, 30)) < 0.5, rng.normal(size=(5, 30))
    seen = mico_hub.attacks.Values(rng.normal(size=30), shadows)
    got = attack.score(mico_hub.attacks.Evidence({"margin": seen}, member, labels=labels))
    for record, label in enumerate(labels):
        outside = [shadows[s, p] for s in range(5) for p in range(30) if labels[p] == label and not member[s, p]]
        assert got[record] == pytest.approx((seen.target[record] - np.mean(outside)) / np.std(outside))
