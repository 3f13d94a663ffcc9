"""Intervals by resampling models: exact on every resample, over models and not points, fast."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from benchmarks.coverage import coverage
from mico_hub import scoring
from mico_hub.metrics.mico_score.intervals import t_quantile
from mico_hub.scoring import (
    MAX_FPRS,
    Estimate,
    Interval,
    compare,
    compare_estimates,
    count,
    draw_models,
    full_scores,
    intervals,
    mean_per_model,
    mico_score,
    needed_non_members,
    per_model,
    rank,
    resampled_scores,
)


def suite_of(models: int = 50, points: int = 200, shift: float = 0.5, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    membership = np.tile([0, 1], (models, points // 2))
    return membership, rng.normal(size=(models, points)) + shift * membership


def sure(interval: Interval | None) -> Interval:
    assert interval is not None
    return interval


def check_each_resample(membership: Sequence[Any], predictions: Sequence[Any], draws: int, seed: int) -> None:
    """Resampled scores against a naive twin, which sorts the points of the models drawn, some of them repeatedly."""
    drawn = draw_models(len(membership), draws, np.random.default_rng(seed))
    found = resampled_scores(count(membership, predictions), drawn)
    for position, counts in enumerate(drawn.astype(int)):
        models_drawn = np.repeat(np.arange(len(membership)), counts).tolist()
        points = [np.concatenate([lists[i] for i in models_drawn]) for lists in (membership, predictions)]
        if 0 < np.mean(points[0]) < 1:
            naive = mico_score(*points) | full_scores(*points)
        else:
            naive = dict.fromkeys(found, np.nan)
        for name, of_draws in found.items():
            assert of_draws[position] == pytest.approx(naive[name], abs=1e-12, nan_ok=True), name


@given(st.integers(2, 6), st.integers(1, 8), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=150)
def test_every_score_of_every_resample_equals_scoring_its_points(models: int, m: int, values: int, seed: int) -> None:
    """`values` distinct predictions: few of them tie members with non-members, where the competition drops points."""
    rng = np.random.default_rng(seed)
    membership = [rng.permutation(np.repeat([0, 1], m)) for _ in range(models)]
    predictions = [rng.integers(0, values, 2 * m) / values for _ in range(models)]
    check_each_resample(membership, predictions, 10, seed)


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_models_of_one_class_and_of_any_size_are_resampled_alike(models: int, values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    membership = [rng.integers(0, 2, rng.integers(1, 9)) for _ in range(models)]
    check_each_resample(membership, [rng.integers(0, values, len(model)) / values for model in membership], 10, seed)


@pytest.mark.parametrize("decimals", [1, 2, 3, 16])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.5, 3.0])
def test_long_curves_are_resampled_alike(decimals: int, shift: float) -> None:
    membership, predictions = suite_of(12, 100, shift)
    predictions[3] += 2  # a model unlike the others
    check_each_resample(membership, np.round(predictions, decimals), 25, 0)


def test_every_score_has_an_interval() -> None:
    membership, predictions = suite_of(6, 20)
    found = intervals(membership, predictions, rng=np.random.default_rng(0), draws=20)
    names = {name for name in full_scores([0, 1], [0.1, 0.9]) if name.startswith("TPR")}
    assert set(found) == {*mico_score([0, 1], [0.1, 0.9]), *names}


def test_the_interval_equals_a_naive_twin_and_depends_only_on_the_generator() -> None:
    membership, predictions = suite_of(30, 20)
    drawn = np.random.default_rng(5).multinomial(30, [1 / 30] * 30, size=40)
    scores = []
    for counts in drawn:
        selected = np.repeat(np.arange(30), counts)
        scores.append(mico_score(membership[selected].ravel(), predictions[selected].ravel())["AUC"])
    found = intervals(membership, predictions, rng=np.random.default_rng(5), draws=40, level=0.8)["AUC"]
    low, high = sorted(scores)[int(0.1 * 39)], sorted(scores)[int(np.ceil(0.9 * 39))]
    assert found == pytest.approx((low, high), abs=1e-12)
    ragged = [list(model) for model in membership], [list(model) for model in predictions]
    assert intervals(*ragged, rng=np.random.default_rng(5), draws=40, level=0.8)["AUC"] == found


def test_the_interval_is_over_models_and_not_points() -> None:
    membership, predictions = suite_of(10)
    predictions[5:] = -predictions[5:]  # half of the models are attacked the wrong way round: models differ a lot
    rng = np.random.default_rng(0)
    models = sure(intervals(membership, predictions, rng=rng, draws=300)["TPR_FPR_1000"])
    points = sure(intervals(membership.reshape(-1, 2), predictions.reshape(-1, 2), rng=rng, draws=300)["TPR_FPR_1000"])
    assert models.high - models.low > 1.5 * (points.high - points.low)
    assert models.low <= mico_score(membership.ravel(), predictions.ravel())["TPR_FPR_1000"] <= models.high


def test_an_interval_covers_at_about_its_level() -> None:
    """AUC of normal scores with a model effect: its expectation is known by averaging many suites."""
    rng = np.random.default_rng(0)
    membership = np.tile([0, 1], (20, 10))

    def suite() -> Any:
        strength = rng.normal(0.8, 0.6, (20, 1))
        return rng.normal(size=membership.shape) + strength * membership

    truth = np.mean([mico_score(membership.ravel(), suite().ravel())["AUC"] for _ in range(600)])
    covered = 0
    for _ in range(200):
        found = sure(intervals(membership, suite(), rng=rng, draws=200, level=0.9)["AUC"])
        covered += int(found.low <= truth <= found.high)
    assert 0.8 < covered / 200 < 0.97  # 0.9 less some for 20 models; 3 standard errors are 0.064


def test_intervals_of_five_models_cover() -> None:
    """Those of percentiles do not; `python benchmarks/coverage.py` has more models and suites."""
    found = coverage(5, 200, 200, np.random.default_rng(0))
    assert found["percentile"]["TPR_FPR_1000"] < 0.88 < found["ours"]["TPR_FPR_1000"]
    assert found["percentile"]["difference in TPR_FPR_1000"] < 0.94 < found["ours"]["difference in TPR_FPR_1000"]


def test_models_may_differ_in_points() -> None:
    rng = np.random.default_rng(0)
    found = intervals([[0, 1], [0, 1, 1]], [[0.1, 0.9], [0.2, 0.8, 0.7]], rng=rng, draws=9)
    assert found["AUC"] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": 0}, "draws >= 1"),
        ({"level": 1.0}, "a level in"),
        ({"membership": [[0, 1]], "predictions": [[0.1, 0.2]]}, "at least 2 models to resample, got 1"),
        (
            {"membership": [[0, 1], [0, 1], [0, 2]], "predictions": [[0.1, np.nan], [0.1], [0.1, 0.2]]},
            "position 0: predictions: expected finite numbers; model at position 1: .*one length, got shapes .*; model "
            "at position 2: membership: expected only 0 and 1, got",
        ),
        ({"membership": [[0, 1]] * 3, "predictions": [[0.1, 0.2]] * 2}, "as many models .*, got 3 and 2"),
        ({"membership": [[0, 0], [0, 0]], "predictions": [[0.1, 0.2]] * 2}, "members and non-members"),
    ],
)
def test_an_interval_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    membership, predictions = suite_of(4, 10)
    arguments = {"membership": membership, "predictions": predictions, "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=message):
        intervals(**arguments)


def test_too_much_for_memory_is_refused_before_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mico_hub.metrics.mico_score.resampling.MOST_COUNTS", 100)
    with pytest.raises(ValueError, match="at most 100 models times thresholds, got 4 models with 40 distinct"):
        intervals(*suite_of(4, 10), rng=np.random.default_rng(0))


def test_each_model_may_be_looked_at_alone() -> None:
    membership, predictions = suite_of(8, 40)
    alone = per_model(membership, predictions)
    assert alone["AUC"].tolist() == [mico_score(m, p)["AUC"] for m, p in zip(membership, predictions, strict=True)]
    mean, interval = mean_per_model(alone, rng=np.random.default_rng(0), draws=500)["AUC"]
    assert mean == pytest.approx(np.mean(alone["AUC"]))
    assert sure(interval).low < mean < sure(interval).high


def test_two_attacks_are_compared_on_the_same_resamples() -> None:
    """A hair better on every model: alone their intervals overlap, the paired difference is clear."""
    membership, predictions = suite_of(30, 100)
    better = predictions + 0.15 * membership
    rng = np.random.default_rng(0)
    alone = [sure(intervals(membership, each, rng=rng, draws=300)["AUC"]) for each in (better, predictions)]
    assert alone[0].low < alone[1].high
    found = compare(membership, better, predictions, rng=rng, draws=300)["AUC"]
    assert found.clear
    assert found.probability == 1
    assert sure(found.interval).low < found.difference < sure(found.interval).high
    mirrored = compare(membership, predictions, better, rng=np.random.default_rng(0), draws=300)["AUC"]
    assert mirrored.probability == 0
    assert mirrored.difference == -found.difference
    same = compare(membership, better, better, rng=rng, draws=50)["AUC"]
    assert (same.difference, same.interval, same.probability, same.clear) == (0, (0, 0), 0.5, False)


def test_without_a_generator_the_draws_are_the_same_each_time() -> None:
    membership, predictions = suite_of(8, 40)
    better = predictions + 0.15 * membership
    rngs = [np.random.default_rng(0) for _ in range(2)]
    assert intervals(membership, better, draws=50) == intervals(membership, better, rng=rngs[0], draws=50)
    compared = compare(membership, better, predictions, rng=rngs[1], draws=50)
    assert compare(membership, better, predictions, draws=50) == compared


@pytest.mark.parametrize("form", ["numpy", "torch", "pandas", "arrow"])
def test_columns_of_a_dataset_in_any_format_are_taken(form: str) -> None:
    membership, predictions = suite_of(4, 10)
    held = datasets.Dataset.from_dict({"m": membership, "p": predictions}).with_format(form)
    expected = compare(membership, predictions, 1 - predictions, draws=20)
    assert compare(held["m"], held["p"], 1 - predictions, draws=20) == expected
    assert per_model(held["m"], held[:]["p"])["AUC"].tolist() == per_model(membership, predictions)["AUC"].tolist()


def test_what_holds_no_models_is_refused_in_words() -> None:
    split = datasets.Dataset.from_dict({"membership": [[0, 1]]})
    refused: list[tuple[Any, str]] = [
        (datasets.DatasetDict(train=split), "membership: expected lists, got a DatasetDict: pass a column"),
        (split, "membership: expected lists, got a Dataset: pass a column"),
        ([], "membership: expected at least one model, got none"),
        ([None, [0, 1]], "model at position 0: the membership is hidden"),
    ]
    for membership, message in refused:
        with pytest.raises(ValueError, match=message):
            compare(membership, [[0.1, 0.9]] * 2, [[0.1, 0.9]] * 2)
    with pytest.raises(ValueError, match="expected at least one model, got none"):
        per_model([], [])
    with pytest.raises(ValueError, match="predictions: expected numbers, got a DatasetDict"):
        mico_score([0, 1], datasets.DatasetDict(train=split))


def test_ranks_say_when_a_difference_is_inside_the_noise() -> None:
    rng = np.random.default_rng(0)
    noise, other = rng.normal(0, 0.01, 500), rng.normal(0, 0.02, 500)
    scores = {
        name: Estimate(value, value + (other if name == "third" else noise), 30)
        for name, value in {"third": 0.29, "last": 0.1, "best": 0.5, "second": 0.3}.items()
    }
    places = rank(scores)
    assert [(place.name, str(place)) for place in places] == [
        ("best", "1"),
        ("second", "2-3"),
        ("third", "2-3"),
        ("last", "4"),
    ]
    assert compare_estimates(scores["best"], scores["second"]).interval == pytest.approx((0.2, 0.2))
    few = rank({name: replace(score, enough=False) for name, score in scores.items()})
    assert [(place.name, place.interval, str(place)) for place in few] == [
        (name, None, "1-4") for name in ("best", "second", "third", "last")
    ]


def test_infinite_values_do_no_harm() -> None:
    draws = np.array([1.0, 2.0, np.inf])
    assert Estimate(2.0, draws, 30).interval(0.9) == (1.0, np.inf)
    assert Estimate(2.0, draws, 5, bounds=(0, np.inf)).interval(0.9) == (0.0, np.inf)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_students_t_is_scipys(level: float) -> None:
    found = [t_quantile(level, freedom) for freedom in range(1, 61)]
    assert found == pytest.approx([student.ppf((1 + level) / 2, freedom) for freedom in range(1, 61)], rel=1e-9)


def test_of_few_models_it_is_a_t_interval_within_what_a_score_can_be() -> None:
    """Of a mean the widened standard error is the textbook's, so that nearly the textbook's interval comes out."""
    models = np.random.default_rng(0).normal(0.5, 0.1, 8)
    mean, found = mean_per_model({"AUC": models}, rng=np.random.default_rng(1), draws=50_000)["AUC"]
    low, high = student.interval(0.95, 7, models.mean(), models.std(ddof=1) / np.sqrt(8))
    assert mean == pytest.approx(models.mean())
    assert found == pytest.approx((low, high), rel=0.01)
    clipped = mean_per_model({"AUC": np.array([0.9, 1.0, 0.3])}, rng=np.random.default_rng(1))["AUC"]
    assert clipped[1] == (0.0, 1.0)
    assert Estimate(0.5, np.array([0.4, 0.6]), 29).interval() != Estimate(0.5, np.array([0.4, 0.6]), 30).interval()
    assert mean_per_model({"AUC": models[:1]}, rng=np.random.default_rng(1))["AUC"] == (models[0], None)


def test_a_paired_difference_of_few_models_is_a_t_interval_that_may_be_negative() -> None:
    membership, predictions = suite_of(3, 100)
    other = predictions[::-1]
    found = compare(membership, other, predictions, rng=np.random.default_rng(0))["AUC"]
    drawn = draw_models(3, 2_000, np.random.default_rng(0))
    draws = [resampled_scores(count(membership, each), drawn)["AUC"] for each in (other, predictions)]
    reach = student.ppf(0.975, 2) * np.std(draws[0] - draws[1]) * np.sqrt(3 / 2)
    assert found.interval == pytest.approx((found.difference - reach, found.difference + reach))
    assert not found.clear


def test_too_few_false_positives_leave_no_interval() -> None:
    """At 1% of 500 non-members there are 5, of 499 fewer; scores that are not at a rate have one always."""
    assert [needed_non_members(rate) for rate in MAX_FPRS] == [5_000, 500, 100, 50, 34, 25]
    membership, predictions = suite_of(5, 200)
    for labels, expected in (([*membership], True), ([*membership[:4], membership[4][1:]], False)):
        values = [of_model[-len(model) :] for of_model, model in zip(predictions, labels, strict=True)]
        found = intervals(labels, values, rng=np.random.default_rng(0), draws=50)
        for kind in ("", "le_", "hull_"):
            assert found[f"TPR_FPR_{kind}10"] is None
            assert (found[f"TPR_FPR_{kind}100"] is not None) == expected
            assert found[f"TPR_FPR_{kind}500"] is not None
        assert None not in (found["AUC"], found["MIA"], found["accuracy"])
        compared = compare(labels, values, values, rng=np.random.default_rng(0), draws=50)["TPR_FPR_100"]
        assert (compared.interval is not None) == expected
        assert (compared.probability, compared.clear) == (0.5, False)


def test_2000_draws_of_a_split_take_less_than_500_mb() -> None:
    program = """
        import resource
        import numpy as np
        from test_resampling import suite_of
        from mico_hub.scoring import intervals
        membership, predictions = suite_of()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for decimals in (2, 4, 16):  # with ties, some ties, none
            intervals(membership, np.round(predictions, decimals), rng=np.random.default_rng(0))
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    clone = {"PYTHONPATH": str(Path(__file__).parents[1])}  # opacus, too, installs a package `benchmarks`
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=Path(__file__).parent,
        env=os.environ | threads | clone,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 500


def test_everything_is_handed_on() -> None:
    assert all(hasattr(scoring, name) for name in scoring.__all__)
