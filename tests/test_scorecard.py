"""The tables and the JSON of `mico-hub score`: complete, and the numbers those of `mico_hub.scoring`."""

import json
import math
from typing import Any

import numpy as np
import pytest

from mico_hub.reporting import scorecard
from mico_hub.reporting.results import Result
from mico_hub.scoring import TITLES, full_scores, intervals
from mico_hub.suites import get_suite


def result(shift: float, *, attack: str = "lira", split: str = "final", models: int = 6, decimals: int = 16) -> Result:
    rng = np.random.default_rng(0)
    membership = [rng.permutation(np.repeat([0, 1], 20)) for _ in range(models)]
    predictions = [np.round(1 / (1 + np.exp(-rng.normal(shift * model))), decimals) for model in membership]
    return Result(
        suite=get_suite("digits_hi"), split=split, attack=attack, title=attack, membership=membership,
        predictions=predictions,
    )  # fmt: skip


def test_every_score_is_in_the_card_with_its_interval() -> None:
    found = result(1.0)
    text = scorecard.card(found)
    assert text.startswith("digits_hi final: 6 models, 240 points, no two tie\n")
    expected = intervals(found.membership, found.predictions, rng=np.random.default_rng(0))
    for name, value in found.scores.items():
        interval = expected[name]
        shown = "- " if interval is None else f"{interval.low:.4f} to {interval.high:.4f} "
        line = next(line for line in text.splitlines() if line.startswith(f"{TITLES[name]} "))
        assert f" {value:.4f}  {shown}" in line
    assert "FPR <= 0.1 " in text
    assert "conditional on the shadow models" in text
    assert "too narrow" not in text
    assert "Of fewer than 30 models an interval is the score plus and minus Student's t" in text
    assert (
        "No interval at a false positive rate with fewer than 5 false positives allowed. Non-members that it takes: "
        "5,000 at 0.001, 500 at 0.01; here are 120." in text
    )
    many = scorecard.card(result(1.0, models=30))
    assert "Student's t" not in many
    assert "5,000 at 0.001; here are 600." in many


def test_ties_train_and_single_models_are_told() -> None:
    assert "values are shared" in scorecard.card(result(1.0, decimals=1))
    assert "not too narrow with 100 models (84 of 84 covered" in scorecard.card(result(1.0, split="train"))
    lone = scorecard.card(result(1.0, models=1))
    assert "A single model: nothing to resample, no intervals." in lone
    assert " to " not in lone.splitlines()[4]


def test_attacks_are_ranked_with_their_paired_difference() -> None:
    text = scorecard.comparison([result(0.0, attack="loss"), result(3.0, attack="lira")])
    assert text.startswith("digits_hi final: 2 attacks\n")
    first, second = (line.split() for line in text.splitlines()[4:6])
    assert first[:2] == ["1", "lira"]
    assert second[:2] == ["2", "loss"]
    assert second[-1] == "0.000"
    same = scorecard.comparison([result(1.0, attack="a"), result(1.0, attack="b")])
    assert [line.split()[0] for line in same.splitlines()[4:6]] == ["1-2", "1-2"]


def test_attacks_on_too_few_points_are_compared_without_intervals() -> None:
    few = [result(shift, attack=name, models=2) for shift, name in ((0.0, "loss"), (3.0, "lira"))]
    text = scorecard.comparison(few)
    first, second = (line.split() for line in text.splitlines()[4:6])
    assert (first[0], first[3:]) == ("1-2", ["-", "-", "-", "-"])
    assert (second[0], second[3]) == ("1-2", "-")
    assert second[4].startswith("-0.")
    assert second[5:] == ["-", "0.000"]
    assert "Non-members that it takes: 50 at 0.1; here are 40." in text
    (read,) = scorecard.as_json(few[:1])["results"]
    assert read["intervals"]["TPR_FPR_1000"] is None
    assert len(read["intervals"]["AUC"]) == 2


def test_attacks_on_other_models_are_not_compared() -> None:
    other: Any = result(1.0, attack="other")
    object.__setattr__(other, "membership", [1 - np.asarray(model) for model in other.membership])
    with pytest.raises(ValueError, match="expected attacks on the same models"):
        scorecard.comparison([result(1.0), other])


def test_the_json_is_whole_and_without_infinities() -> None:
    found = result(0.0)
    (read,) = json.loads(json.dumps(scorecard.as_json([found]), allow_nan=False))["results"]
    assert read["scores"] == found.scores
    whole = full_scores(np.concatenate(found.membership), np.concatenate(found.predictions))
    assert read["full"] == {name: None if math.isinf(value) else value for name, value in whole.items()}
    assert set(read["intervals"]) > set(found.scores)
    assert set(read["mean_of_models"]) == set(found.scores)
    assert read["intervals_approximate"] is False
