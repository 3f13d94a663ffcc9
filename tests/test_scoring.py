import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from mico_hub import scoring
from mico_hub.metrics.mico_score import scoring as published
from mico_hub.scoring import (
    MAX_FPRS,
    competition_tpr_at_fpr,
    full_roc_curve,
    full_tpr_at_fpr,
    mico_score,
    roc_curve,
    validate_predictions,
)

CASES = json.loads((Path(__file__).parent / "golden" / "scores.json").read_text())["cases"]
BY_NAME = {case["name"]: case for case in CASES}
RUNS = [
    pytest.param(case, output, id=f"{case['name']}-{version}")
    for case in CASES
    for version, output in case["outputs"].items()
]
REJECTED = {
    "one_nan": "expected finite numbers",
    "all_nan": "expected finite numbers",
    "one_inf": "expected finite numbers",
    "only_members": "expected members and non-members, got 10 and 0",
    "length_mismatch": r"flat lists of one length \(pool the models\), got shapes \(4,\) and \(3,\)",
    "empty": "expected members and non-members, got 0 and 0",
}
METRIC = Path(published.__file__).parent
NESTED: dict[str, Any] = {
    "predictions": [[0.9, 0.8, 0.3, 0.1], [0.7, 0.6, 0.5, 0.2]],
    "references": [[1, 1, 0, 0], [1, 0, 1, 0]],
}
FLAT = {name: [value for model in lists for value in model] for name, lists in NESTED.items()}


def points_of(case: dict[str, Any]) -> tuple[list[float], list[float]]:
    return [float(s) for s in case["solutions"]], [float(p) for p in case["predictions"]]


@pytest.mark.parametrize(("case", "output"), RUNS)
def test_scores_equal_those_of_the_original_bit_for_bit(case: dict[str, Any], output: dict[str, Any]) -> None:
    membership, predictions = points_of(case)
    if "score_raises" in output:
        with pytest.raises(ValueError, match=REJECTED[case["name"]]):
            mico_score(membership, predictions)
        return
    score = mico_score(membership, predictions)
    assert score == output["score"]
    assert all(type(value) is float for value in score.values())
    fpr, tpr, thresholds = roc_curve(membership, predictions)
    assert fpr.tolist() == output["fpr"]
    assert tpr.tolist() == output["tpr"]
    assert len(thresholds) == len(fpr)
    at_most = {f"TPR_FPR_{int(1e4 * f)}": full_tpr_at_fpr(membership, predictions, f) for f in MAX_FPRS}
    assert at_most == output["not_original_best_tpr_full_roc_at_most"]
    full = full_roc_curve(membership, predictions)
    strict = {f"TPR_FPR_{int(1e4 * f)}": float(full.tpr[full.fpr < f].max()) for f in MAX_FPRS}
    assert strict == output["not_original_best_tpr_full_roc_strict"]


@pytest.mark.parametrize(("case", "output"), RUNS)
def test_predictions_that_the_original_program_rejects_are_rejected(
    case: dict[str, Any], output: dict[str, Any]
) -> None:
    membership, predictions = points_of(case)

    def program() -> dict[str, float]:
        return mico_score(membership, validate_predictions(predictions, expected=len(membership)))

    if output["program"]["exit"]:
        with pytest.raises(ValueError, match=r"expected|NaN|outside"):
            program()
    else:
        assert program() == output["score"]


def test_golden_cases_are_all_here() -> None:
    assert len(CASES) == 26
    assert {case["name"] for case in CASES if "score_raises" in case["outputs"]["1.9.1"]} == set(REJECTED)


# The twin: thresholds one by one, counts by comparison, each definition spelled out.


def naive_curve(membership: list[int], predictions: list[float], drop: bool) -> list[tuple[int, int]]:
    counts = [
        (
            sum(p >= t and not m for m, p in zip(membership, predictions, strict=True)),
            sum(p >= t and m == 1 for m, p in zip(membership, predictions, strict=True)),
        )
        for t in sorted(set(predictions), reverse=True)
    ]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(counts)]
    last = len(counts) - 1
    return [(0, 0)] + [
        point for i, point in enumerate(counts) if not drop or i in (0, last) or steps[i - 1] != steps[i]
    ]


def naive_score(membership: list[int], predictions: list[float]) -> dict[str, float]:
    members, others = sum(membership), len(membership) - sum(membership)
    curve = naive_curve(membership, predictions, drop=True)
    pairs = [
        1.0 if mine > other else 0.5 if mine == other else 0.0
        for mine, m in zip(predictions, membership, strict=True)
        for other, o in zip(predictions, membership, strict=True)
        if m and not o
    ]
    advantage = max(tp / members - fp / others for fp, tp in curve)
    return {
        **{
            f"TPR_FPR_{name}": max(tp / members for fp, tp in curve if fp / others < max_fpr)
            for name, max_fpr in zip((10, 100, 500, 1000, 1500, 2000), MAX_FPRS, strict=True)
        },
        "AUC": sum(pairs) / len(pairs),  # the probability that a member is above a non-member
        "MIA": advantage,
        "accuracy": (1 + advantage) / 2,
    }


VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 0.75, 1.0]),
    st.floats(-1e300, 1e300),
    st.integers(0, 20).map(lambda i: i / 20),
)
POINTS = st.lists(st.tuples(st.integers(0, 1), VALUES), min_size=2, max_size=60).filter(
    lambda points: len({member for member, _ in points}) == 2
)


@given(POINTS)
@settings(max_examples=300)
def test_scores_equal_a_naive_twin(points: list[tuple[int, float]]) -> None:
    membership, predictions = [m for m, _ in points], [p for _, p in points]
    members, others = sum(membership), len(membership) - sum(membership)
    for drop, curve in ((True, roc_curve(membership, predictions)), (False, full_roc_curve(membership, predictions))):
        expected = naive_curve(membership, predictions, drop)
        assert curve.fpr.tolist() == [fp / others for fp, _ in expected]
        assert curve.tpr.tolist() == [tp / members for _, tp in expected]
        assert np.all(np.diff(curve.thresholds) < 0)
    score, expected_score = mico_score(membership, predictions), naive_score(membership, predictions)
    for name, value in expected_score.items():
        assert score[name] == value if name.startswith("TPR") else score[name] == pytest.approx(value, abs=1e-12)
    assert competition_tpr_at_fpr(membership, predictions) <= full_tpr_at_fpr(membership, predictions)


@given(POINTS)
@settings(max_examples=150)
def test_curves_and_area_equal_scikit_learn(points: list[tuple[int, float]]) -> None:
    membership, predictions = [m for m, _ in points], [p for _, p in points]
    for drop, curve in ((True, roc_curve(membership, predictions)), (False, full_roc_curve(membership, predictions))):
        expected = reference.roc_curve(membership, predictions, drop_intermediate=drop)
        assert all(mine.tolist() == theirs.tolist() for mine, theirs in zip(curve, expected, strict=True))
    assert mico_score(membership, predictions)["AUC"] == reference.roc_auc_score(membership, predictions)


@pytest.mark.parametrize("decimals", [1, 3, 16])
def test_a_whole_suite_equals_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    membership = np.tile([0, 1], 10_000)
    predictions = np.round(rng.random(20_000) ** (1 + 0.2 * membership), decimals)
    fpr, tpr, _ = reference.roc_curve(membership, predictions)
    score = mico_score(membership, predictions)
    assert score["TPR_FPR_1000"] == max(tpr[fpr < 0.1])
    assert score["AUC"] == reference.roc_auc_score(membership, predictions)
    assert score["MIA"] == np.max(tpr - fpr)


@pytest.mark.parametrize(
    ("membership", "predictions", "message"),
    [
        ([], [], "got 0 and 0"),
        ([1], [0.5], "got 1 and 0"),
        ([0], [0.5], "got 0 and 1"),
        ([0, 0], [0.5, 0.1], "got 0 and 2"),
        ([0, 2], [0.5, 0.1], "only 0 and 1"),
        ([-1, 1], [0.5, 0.1], "only 0 and 1"),
        ([0.5, 1], [0.5, 0.1], "only 0 and 1"),
        ([None, 1], [0.5, 0.1], "only 0 and 1, got 1 of 2 others: position 0 is None$"),
        (["1", "0"], [0.5, 0.1], "got 2 of 2 others: position 0 is '1', position 1 is '0'$"),
        ([0.9, 0.1], [1, 0], r"membership: .* position 0 is 0.9, .*; the predictions are all 0 and 1: were membership"),
        (None, [0.5, 0.1], "flat lists"),
        ([[0, 1]], [[0.5, 0.1]], "pool the models"),
        (1, 0.5, "flat lists"),
        ([0, 1], [0.5, float("nan")], "finite"),
        ([0, 1], [0.5, -float("inf")], "finite"),
    ],
)
@pytest.mark.parametrize("function", [mico_score, roc_curve, full_roc_curve, competition_tpr_at_fpr, full_tpr_at_fpr])
def test_bad_points_are_refused(function: Callable[..., Any], membership: Any, predictions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(membership, predictions)


def test_a_rate_out_of_range_is_refused() -> None:
    for function, bad in ((competition_tpr_at_fpr, 0.0), (competition_tpr_at_fpr, 10.0), (full_tpr_at_fpr, -0.1)):
        with pytest.raises(ValueError, match="max_fpr: expected a rate"):
            function([0, 1], [0.1, 0.9], bad)
    assert full_tpr_at_fpr([0, 1], [0.1, 0.9], 0) == 1
    assert full_tpr_at_fpr([0, 1], [0.9, 0.1], 1) == 1


def test_inputs_are_not_changed_and_may_be_read_only_or_of_other_types() -> None:
    membership, predictions = np.array([1, 0, 1, 0], bool), np.array([0.3, 0.3, 0.9, 0.1], np.float32)
    predictions.flags.writeable = False
    assert mico_score(membership, predictions) == mico_score([1, 0, 1, 0], [0.3, 0.3, 0.9, 0.1])


def test_a_million_points_are_scored_in_half_a_second() -> None:
    rng = np.random.default_rng(0)
    membership, predictions = rng.integers(0, 2, 1_000_000), rng.random(1_000_000)
    times = []
    for _ in range(3):
        start = time.process_time()
        mico_score(membership, predictions)
        times.append(time.process_time() - start)
    assert min(times) < 0.5


# Validation of predictions


def test_valid_predictions_come_back_as_float64() -> None:
    given_values: list[Any] = [0, 1, 0.5, -0.0, True, np.float32(0.1)]
    values = validate_predictions(given_values, expected=6)
    assert values.dtype == np.float64
    assert values.tolist() == [0, 1, 0.5, 0, 1, float(np.float32(0.1))]
    assert validate_predictions(["0.1", " 2e-1 "]).tolist() == [0.1, 0.2]


def test_all_problems_are_named_at_once() -> None:
    bad: list[Any] = [0.5] * 193 + [1.2, -0.1, float("inf"), float("nan"), "high"]
    with pytest.raises(ValueError, match="model_103") as caught:
        validate_predictions(bad, expected=200, where="model_103")
    assert str(caught.value) == (
        "model_103: expected 200 predictions, got 198; 1 of 198 predictions is not a number: position 197 is 'high'; "
        "1 of 198 predictions is NaN: position 196 is nan; 3 of 198 predictions are outside [0, 1]: "
        "position 193 is 1.2, position 194 is -0.1, position 195 is inf"
    )


def test_only_the_first_offenders_are_named() -> None:
    with pytest.raises(ValueError, match=r"^300 of 300 .*: position 0 is 2\.0, .*, position 4 is 2\.0, \.\.\.$"):
        validate_predictions([2.0] * 300)
    with pytest.raises(ValueError, match="not a number") as caught:
        validate_predictions(["x" * 10_000])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([], "expected predictions, got none"),
        (0.5, r"flat list of predictions, got shape \(\)"),
        ([[0.5, 0.1]], r"flat list of predictions, got shape \(1, 2\)"),
        ([[0.5], [0.1, 0.2]], r"2 of 2 predictions are not a number: position 0 is \[0.5\]"),
        ([None, 0.5], "1 of 2 predictions is NaN: position 0"),
        ([10**400], "1 of 1 predictions is not a number"),
        ([object()], "1 of 1 predictions is not a number"),
        ([1 + 2**-52], "1 of 1 predictions is outside"),
        ([-5e-324], "1 of 1 predictions is outside"),
    ],
)
def test_bad_predictions_are_refused(predictions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_predictions(predictions)


# Intervals


# The module that `evaluate` loads


@pytest.fixture
def metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, loaded from its folder: offline, with its data and working directory elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    return evaluate.load(str(METRIC), cache_dir=str(tmp_path))


def test_the_module_scores_flat_and_nested_lists_and_arrays_alike(metric: Any) -> None:
    expected = mico_score(FLAT["references"], FLAT["predictions"])
    assert metric.compute(**NESTED) == expected
    assert metric.compute(**FLAT) == expected
    assert metric.compute(**{name: np.array(lists) for name, lists in NESTED.items()}) == expected
    assert metric.compute(**{name: np.array(lists) for name, lists in FLAT.items()}) == expected
    for kind in (bool, float, np.uint8):
        labels = [[kind(label) for label in model] for model in NESTED["references"]]
        assert metric.compute(predictions=NESTED["predictions"], references=labels) == expected


def test_the_module_scores_batches_and_single_models(metric: Any) -> None:
    expected = mico_score(FLAT["references"], FLAT["predictions"])
    for i in range(2):
        metric.add_batch(predictions=NESTED["predictions"][i : i + 1], references=NESTED["references"][i : i + 1])
    assert metric.compute() == expected
    for i in range(2):
        metric.add_batch(predictions=NESTED["predictions"][i], references=NESTED["references"][i])
    assert metric.compute() == expected
    for i in range(2):
        metric.add(prediction=NESTED["predictions"][i], reference=NESTED["references"][i])
    assert metric.compute() == expected


def test_the_module_takes_models_with_different_numbers_of_points(metric: Any) -> None:
    score = metric.compute(predictions=[[0.9, 0.1], [0.5, 0.4, 0.3]], references=[[1, 0], [1, 1, 0]])
    assert score == mico_score([1, 0, 1, 1, 0], [0.9, 0.1, 0.5, 0.4, 0.3])


@pytest.mark.parametrize("name", ["ties_2_decimals", "boundary_fpr_exactly_0.1", "signed_zero"])
def test_the_module_gives_the_golden_scores(metric: Any, name: str) -> None:
    membership, predictions = points_of(BY_NAME[name])
    score = metric.compute(predictions=predictions, references=[int(m) for m in membership])
    assert score == BY_NAME[name]["outputs"]["1.9.1"]["score"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": [[0.9, 1.2, 0.3, 0.1], [0.7, 0.6, float("nan"), 0.2]]},
         r"^model at position 0: .* position 1 is 1\.2\nmodel at position 1: .* position 2 is nan$"),
        ({"predictions": [[0.9, 0.8, 0.3, 0.1], [0.7, 0.6, 0.5]]}, "^model at position 1: expected 4 .* got 3$"),
        ({"predictions": [[0.9, 0.8, 0.3, 0.1]]}, "Mismatch in the number of predictions"),
        ({"references": [[1, 1, 0, 0], None]}, "^model at position 1: no references, its membership is hidden$"),
        ({"references": [[1, 1, 0, 2], [1, 0, 1, 0]]}, "^model at position 0: references: .* got 1 of 4"),
        ({"references": [[1, 1, 0, 0.4], [1, 0, 1, 0]]}, r"position 3 is 0\.4$"),
        ({"predictions": NESTED["references"], "references": NESTED["predictions"]},
         "model at position 1: references: .* all 0 and 1: were references and predictions swapped"),
        ({"predictions": [1, 0], "references": [0.9, 0.2]}, "^references: .* got 2 of 2 others: .* swapped"),
        ({"references": [[1, 1, 1, 1], [1, 1, 1, 1]]}, "expected members and non-members, got 8 and 0"),
        ({"predictions": [0.9, 1.2], "references": [1, 0]}, r"^1 of 2 .* outside \[0, 1\]: position 1 is 1\.2$"),
    ],
)  # fmt: skip
def test_the_module_says_which_model_is_wrong(metric: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric.compute(**(NESTED | change))


COLUMN = "pass a column of one split, such as suite"
SPLIT = datasets.Dataset.from_dict({"membership": NESTED["references"]})


@pytest.mark.parametrize("form", [None, "numpy", "torch", "pandas", "arrow"])
def test_the_module_takes_columns_and_rows_of_a_dataset_in_any_format(metric: Any, form: str | None) -> None:
    formatted = SPLIT.with_format(form)
    expected = metric.compute(**NESTED)
    rows = [formatted[i]["membership"] for i in range(2)]
    later = formatted.to_pandas()["membership"].set_axis([7, 8])
    column = formatted["membership"]
    for references in (column, formatted[:]["membership"], list(column), rows, later):
        assert metric.compute(predictions=NESTED["predictions"], references=references) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected at least one model, got none"),
        (np.empty((0, 4)), "expected at least one model, got none"),
        (iter([[0.5]]), "expected lists, got a list_iterator"),
        (0.5, "expected lists, got a float"),
        (None, "expected lists, got a NoneType"),
        (SPLIT, f"expected lists, got a Dataset: {COLUMN}"),
        (datasets.DatasetDict(train=SPLIT), f"expected lists, got a DatasetDict: {COLUMN}"),
        (SPLIT.to_pandas(), f"expected lists, got a DataFrame: {COLUMN}"),
        (SPLIT.data.table, f"expected lists, got a Table: {COLUMN}"),
        (SPLIT[:], f"expected lists, got a dict: {COLUMN}"),
    ],
)
def test_what_holds_no_lists_is_refused_in_words(metric: Any, given: Any, message: str) -> None:
    for name in ("predictions", "references"):
        with pytest.raises(ValueError, match=f"^{name}: {re.escape(message)}"):
            metric.add_batch(**(NESTED | {name: given}))


def test_the_example_in_the_documentation_is_real(metric: Any) -> None:
    score = metric.compute(**NESTED)
    shown = (score["TPR_FPR_1000"], score["AUC"], score["MIA"], score["accuracy"])
    assert str(NESTED["predictions"])[1:-1] in metric.inputs_description
    assert str(NESTED["references"]) in metric.inputs_description
    assert f"\n    {shown}\n" in metric.inputs_description
    assert all(name in metric.inputs_description for name in score)
    assert "Zanella-B" in metric.citation


def test_the_published_folder_needs_neither_mico_hub_nor_scikit_learn(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(METRIC.parent)!r})\n"
        "from mico_score import resampling, scoring\n"
        "assert scoring.mico_score([0, 1], [0.1, 0.9])['AUC'] == 1.0\n"
        "print([m for m in ('mico_hub', 'sklearn', 'scipy', 'torch', 'pandas') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_scoring_hands_on_the_published_functions() -> None:
    assert scoring.mico_score is published.mico_score
    assert scoring.validate_predictions is published.validate_predictions
    assert scoring.roc_curve is published.roc_curve
