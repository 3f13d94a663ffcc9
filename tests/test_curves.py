"""The full curve's scores: each definition spelled out, and each difference from the competition's shown."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mico_hub.metrics.mico_score import curves
from mico_hub.scoring import (
    MAX_FPRS,
    SCORES,
    advantage,
    auc,
    balanced_accuracy,
    competition_tpr_at_fpr,
    full_roc_curve,
    full_scores,
    full_tpr_at_fpr,
    hull_tpr_at_fpr,
    mico_score,
    operating_point,
    tied_groups,
)

CASES = json.loads((Path(__file__).parent / "golden" / "scores.json").read_text())["cases"]
GOLDEN = {case["name"]: case for case in CASES}

POINTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=40).filter(
    lambda points: len({member for member, _ in points}) == 2
)
RATES = st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.5, 2 / 3, 0.99, 1.0])


def naive_points(membership: list[int], predictions: list[int]) -> list[tuple[float, float, float]]:
    """(fpr, tpr, threshold) at every threshold, counted one by one."""
    members, others = membership.count(1), membership.count(0)
    points = [(0.0, 0.0, float("inf"))]
    for threshold in sorted(set(predictions), reverse=True):
        called = [m for m, p in zip(membership, predictions, strict=True) if p >= threshold]
        points.append((called.count(0) / others, called.count(1) / members, float(threshold)))
    return points


@given(POINTS, RATES)
@settings(max_examples=400)
def test_the_operating_point_equals_a_naive_twin(points: list[tuple[int, int]], max_fpr: float) -> None:
    membership, predictions = [m for m, _ in points], [p for _, p in points]
    allowed = [point for point in naive_points(membership, predictions) if point[0] <= max_fpr]
    best = max(tpr for _, tpr, _ in allowed)
    fpr, tpr, threshold = min(point for point in allowed if point[1] == best)
    found = operating_point(membership, predictions, max_fpr)
    assert found == (tpr, fpr, round(fpr * membership.count(0)), threshold)
    assert full_tpr_at_fpr(membership, predictions, max_fpr) == tpr
    called = np.asarray(predictions) >= found.threshold
    assert np.count_nonzero(called & (np.asarray(membership) == 0)) == found.false_positives


@given(POINTS, RATES)
@settings(max_examples=400)
def test_the_hull_equals_every_line_between_two_points(points: list[tuple[int, int]], max_fpr: float) -> None:
    membership, predictions = [m for m, _ in points], [p for _, p in points]
    naive = naive_points(membership, predictions)
    heights = [tpr for fpr, tpr, _ in naive if fpr == max_fpr]
    for fpr, tpr, _ in naive:
        for other_fpr, other_tpr, _ in naive:
            if fpr <= max_fpr < other_fpr:
                share = (max_fpr - fpr) / (other_fpr - fpr)
                heights.append((1 - share) * tpr + share * other_tpr)
    assert hull_tpr_at_fpr(membership, predictions, max_fpr) == pytest.approx(max(heights), abs=1e-12)


@given(POINTS)
@settings(max_examples=300)
def test_the_three_values_are_in_order(points: list[tuple[int, int]]) -> None:
    membership, predictions = [m for m, _ in points], [p for _, p in points]
    for max_fpr in MAX_FPRS:
        competition = competition_tpr_at_fpr(membership, predictions, max_fpr)
        full = full_tpr_at_fpr(membership, predictions, max_fpr)
        assert competition <= full <= hull_tpr_at_fpr(membership, predictions, max_fpr) + 1e-12


@given(POINTS)
@settings(max_examples=300)
def test_area_advantage_and_accuracy_are_the_competitions_but_for_rounding(points: list[tuple[int, int]]) -> None:
    membership, predictions = [m for m, _ in points], [p for _, p in points]
    competition = mico_score(membership, predictions)
    ours = (
        auc(membership, predictions),
        advantage(membership, predictions),
        balanced_accuracy(membership, predictions),
    )
    assert ours == pytest.approx((competition["AUC"], competition["MIA"], competition["accuracy"]), abs=1e-12)


def test_ties_differ_as_the_docstring_says() -> None:
    membership, predictions = [1, 0, 1, 0, 1, 0, 0], [0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.1]
    assert competition_tpr_at_fpr(membership, predictions, 0.6) == pytest.approx(1 / 3)
    assert full_tpr_at_fpr(membership, predictions, 0.6) == pytest.approx(2 / 3)
    assert "at 60% the\n  competition finds 1/3" in (curves.__doc__ or "")


def test_rounding_differs_as_the_docstring_says() -> None:
    case = GOLDEN["ties_2_decimals"]
    points = case["solutions"], case["predictions"]
    fpr, tpr, _ = full_roc_curve(*points)
    assert (competition_tpr_at_fpr(*points), tpr[fpr < 0.1].max(), full_tpr_at_fpr(*points)) == (0.275, 0.29, 0.305)
    assert all(number in (curves.__doc__ or "") for number in ("0.275", "0.29,", "0.305"))


def test_the_boundary_differs_as_the_docstring_says() -> None:
    membership, predictions = [0, 1] + [0] * 9, [0.9, 0.8] + [0.1] * 9
    assert competition_tpr_at_fpr(membership, predictions) == 0
    assert full_tpr_at_fpr(membership, predictions) == 1
    assert operating_point(membership, predictions) == (1, 0.1, 1, 0.8)


def test_full_scores_has_everything_at_every_rate() -> None:
    rng = np.random.default_rng(0)
    membership = rng.integers(0, 2, 500)
    predictions = np.round(rng.random(500) + 0.2 * membership, 2)
    scores = full_scores(membership, predictions)
    for max_fpr in MAX_FPRS:
        rate, point = int(1e4 * max_fpr), operating_point(membership, predictions, max_fpr)
        assert scores[f"TPR_FPR_le_{rate}"] == point.tpr
        assert scores[f"FP_{rate}"] == point.false_positives
        assert scores[f"threshold_{rate}"] == point.threshold
        assert scores[f"TPR_FPR_hull_{rate}"] == hull_tpr_at_fpr(membership, predictions, max_fpr)
    assert scores["points"] == 500
    assert scores["tied_groups"] == tied_groups(predictions)
    others = sum(not score.competition for score in SCORES)
    assert len(scores) == others + 2 * len(MAX_FPRS) + 2


@pytest.mark.parametrize(("predictions", "groups"), [([0.1, 0.2], 0), ([0.1, 0.1], 1), ([1, 1, 1, 2, 3, 3], 2)])
def test_groups_of_ties_are_counted(predictions: list[float], groups: int) -> None:
    assert tied_groups(predictions) == groups


@pytest.mark.parametrize("function", [operating_point, full_tpr_at_fpr, hull_tpr_at_fpr])
@pytest.mark.parametrize("max_fpr", [-0.1, 1.1, float("nan")])
def test_a_rate_out_of_range_is_refused(function: Callable[..., Any], max_fpr: float) -> None:
    with pytest.raises(ValueError, match=r"max_fpr: expected a rate in \[0, 1\]"):
        function([0, 1], [0.1, 0.2], max_fpr)


def test_a_million_points_are_scored_in_half_a_second() -> None:
    rng = np.random.default_rng(0)
    membership = rng.integers(0, 2, 1_000_000)
    predictions = rng.random(1_000_000) + 0.1 * membership
    times = []
    for _ in range(3):
        started = time.process_time()
        full_scores(membership, predictions)
        times.append(time.process_time() - started)
    assert min(times) < 0.5
