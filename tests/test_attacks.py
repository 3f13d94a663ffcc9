from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, rankdata

import mico_hub
from mico_hub.attacks import ATTACKS, to_predictions
from mico_hub.attacks.base import Points
from mico_hub.attacks.lira import normal, score
from mico_hub.folder import SuiteFolder
from mico_hub.repository import public_rows
from mico_hub.scoring import mico_score


def points(target: list[float], inside: list[list[float]], outside: list[list[float]]) -> Points:
    """One record a column; `inside` and `outside` hold the shadow models' values."""
    shadows = np.array(inside + outside, dtype=float)
    member = np.array([[True] * len(target)] * len(inside) + [[False] * len(target)] * len(outside))
    return Points(np.array(target, dtype=float), shadows, member)


def test_lira_meets_the_numbers_of_a_worked_example() -> None:
    """IN 2, 3, 4, OUT -1, 1, phi 2.5: log N(2.5; 3, 1) - log N(2.5; 0, 2), ddof 1."""
    got = score(points([2.5], [[2], [3], [4]], [[-1], [1]]))
    # The third IN model pads the OUT side's column, so each side is fitted on its own values alone.
    assert got == pytest.approx([1.78407], abs=1e-5)


def naive_lira(given: Points) -> list[float]:
    scores = []
    for column in range(len(given.target)):
        inside = given.shadows[given.member[:, column], column]
        outside = given.shadows[~given.member[:, column], column]
        scores.append(
            norm.logpdf(given.target[column], inside.mean(), inside.std(ddof=1))
            - norm.logpdf(given.target[column], outside.mean(), outside.std(ddof=1))
        )
    return scores


def test_lira_is_the_naive_one_on_random_data() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((20, 50)) < 0.5
    given_points = Points(rng.normal(size=50), rng.normal(size=(20, 50)) + member, member)
    assert score(given_points) == pytest.approx(naive_lira(given_points))


def test_records_with_few_models_on_a_side_are_completed_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    member = rng.random((10, 6)) < 0.5
    member[:, 0] = True  # never OUT
    member[:, 1] = False  # never IN
    member[:, 2] = [True] + [False] * 9  # IN once
    values = rng.normal(size=(10, 6))
    result = score(Points(rng.normal(size=6), values, member))
    assert np.isfinite(result).all()
    assert "3 of 6 records have fewer than 2 IN or OUT models" in caplog.text
    means, variances = normal(values, member)
    assert means[1] == pytest.approx(values[member].mean())
    assert means[2] == pytest.approx(values[0, 2])
    assert variances[1] == variances[2]
    residuals = [values[member[:, c], c] - values[member[:, c], c].mean() for c in range(6) if member[:, c].sum() > 1]
    pooled = sum((part**2).sum() for part in residuals) / sum(len(part) - 1 for part in residuals)
    assert variances[2] == pytest.approx(pooled)


def test_without_shadow_models_lira_says_so() -> None:
    with pytest.raises(ValueError, match="expected shadow models to fit"):
        score(points([1.0], [[1.0]], [[0.0]]))


@given(st.lists(arrays(float, st.integers(1, 8), elements=st.floats(-1e300, 1e300)), min_size=1, max_size=4))
def test_predictions_keep_order_and_ties_over_all_models(scores: list[np.ndarray]) -> None:
    predictions = to_predictions(scores)
    assert [len(part) for part in predictions] == [len(part) for part in scores]
    pooled = np.concatenate(predictions)
    assert ((pooled > 0) & (pooled < 1)).all()
    before, after = (rankdata(values, method="dense") for values in (np.concatenate(scores), pooled))
    assert (before == after).all()


def test_scores_that_a_sigmoid_would_tie_stay_apart() -> None:
    first, second = to_predictions([np.array([40.0, 41.0])])[0]
    assert first < second


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 of 3 that are not"):
        to_predictions([np.array([np.nan, np.inf, 0.0])])


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_run_on_every_split(trained: Path, published: Path, name: str) -> None:
    rows = public_rows(SuiteFolder(trained / "digits_inf"))
    for split, shadows in (("train", None), ("dev", rows["train"]), ("final", rows["train"])):
        predictions = mico_hub.attack(name, rows[split], shadows, str(published))
        assert [len(part) for part in predictions] == [200] * len(rows[split])
        if split == "train":
            membership = np.concatenate([row["membership"] for row in rows[split]])
            assert 0.4 < mico_score(membership, np.concatenate(predictions))["AUC"] < 0.9


def test_a_model_is_never_its_own_shadow(trained: Path, published: Path) -> None:
    """Leave one out: what the target says of itself must not enter; with it LiRA would be perfect."""
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["train"]
    alone = mico_hub.attack("lira", rows[:1], rows[1:], str(published))[0]
    together = mico_hub.attack("lira", rows, None, str(published))[0]
    assert (rankdata(alone) == rankdata(together)).all()


def test_hidden_models_cannot_be_shadows(trained: Path, published: Path) -> None:
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["dev"]
    with pytest.raises(ValueError, match=r"got 2 whose are hidden \(dev/model_4, dev/model_5"):
        mico_hub.attack("lira", rows, None, str(published))


def test_an_unknown_attack_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown attack 'lire'; there are: loss, lira"):
        mico_hub.attack("lire", [])
