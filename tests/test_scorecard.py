"""The tables and the JSON of `mico-hub score`: complete, and the numbers those of `mico_hub.scoring`."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mico_hub import tables
from mico_hub.reporting import scorecard
from mico_hub.reporting.results import Result
from mico_hub.reporting.scores import Scores
from mico_hub.scoring import RANKING, TITLES, compare_estimates, full_scores, intervals
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


def cells(text: str, row: int) -> list[str]:
    """Of a table in a text, whose cells are two spaces apart."""
    return re.split(r" {2,}", text.split("\n\n")[1].splitlines()[row + 2].strip())


def test_attacks_are_ranked_with_their_paired_difference_and_low_rates() -> None:
    loss, lira = result(0.5, attack="loss", models=30), result(3.0, attack="lira", models=30)
    text = scorecard.comparison([loss, lira])
    assert text.startswith("digits_hi final: 2 attacks, 95% intervals in brackets\n")
    first, second = cells(text, 0), cells(text, 1)
    low, high = lira.interval or (0, 0)
    assert first[:3] == ["1", "lira", f"{100 * lira.tpr:.1f}% ({100 * low:.1f} to {100 * high:.1f}%)"]
    low, high = lira.intervals["TPR_FPR_le_100"] or (0, 0)
    assert first[3] == f"{100 * lira.full['TPR_FPR_le_100']:.1f}% ({100 * low:.1f} to {100 * high:.1f}%)"
    assert first[4] == f"{100 * lira.full['TPR_FPR_le_10']:.2f}%"  # 600 non-members are too few for an interval
    between = compare_estimates(loss.estimates[RANKING], lira.estimates[RANKING])
    assert between.interval is not None
    low, high = (100 * end for end in between.interval)
    assert second[:2] == ["2", "loss"]
    assert second[5:7] == [f"{100 * between.difference:+.1f} ({low:+.1f} to {high:+.1f})", "0.000"]
    same = scorecard.comparison([result(1.0, attack="a", models=30), result(1.0, attack="b", models=30)])
    assert [cells(same, row)[0] for row in (0, 1)] == ["1-2", "1-2"]


def test_attacks_on_too_few_points_are_compared_without_intervals() -> None:
    few = [result(shift, attack=name, models=2) for shift, name in ((0.0, "loss"), (3.0, "lira"))]
    text = scorecard.comparison(few)
    first, second = cells(text, 0), cells(text, 1)
    assert [cell for cell in first if "to" in cell] == []
    assert (first[0], second[0], second[6]) == ("1-2", "1-2", "0.000")
    assert re.fullmatch(r"-\d+\.\d", second[5])
    assert "Non-members that it takes: 5,000 at 0.001, 500 at 0.01, 50 at 0.1; here are 40." in text
    (read,) = scorecard.as_json(few[:1])["results"]
    assert read["intervals"]["TPR_FPR_1000"] is None
    assert len(read["intervals"]["AUC"]) == 2


def of_track() -> list[Result]:
    """lira on three suites, loss on two."""
    made = []
    for shift, suite in ((2.0, "digits_inf"), (1.0, "digits_hi"), (0.5, "digits_lo")):
        made.append(replace(result(shift, models=30), suite=get_suite(suite)))
    return [*made, *(replace(each, attack="loss", title="loss") for each in made[:2])]


def test_the_competitions_average_over_a_tracks_suites_is_in_text_and_json() -> None:
    results = of_track()
    headers, rows = scorecard.of_track(results)
    assert headers == ("attack", "mean of 3 suites", "digits_inf", "digits_hi", "digits_lo")
    mean = np.mean([each.tpr for each in results[:3]])
    assert rows[0][0] == "lira"
    assert rows[0][1].startswith(f"{100 * mean:.1f}% (")
    assert rows[0][2] == scorecard.rate(results[0])
    assert rows[1] == ("loss", "-", scorecard.rate(results[3]), scorecard.rate(results[4]), "-")
    read = json.loads(json.dumps(scorecard.as_json(results)))["tracks"]["digits"]
    assert (read["suites"], read["split"]) == (["digits_inf", "digits_hi", "digits_lo"], "final")
    assert list(read["attacks"]) == ["lira"]
    assert read["attacks"]["lira"]["average_TPR_FPR_1000"] == pytest.approx(mean)
    low, high = read["attacks"]["lira"]["interval"]
    draws = [
        np.random.default_rng(7 + i).permutation(each.estimates[RANKING].draws) for i, each in enumerate(results[:3])
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(np.mean(draws, axis=0), [0.025, 0.975])), abs=0.01)


def test_the_latex_is_a_tabular_with_a_block_for_each_suite() -> None:
    odd = replace(result(1.0, models=30), attack="a_b", title=r"50% & \up^2 {~}")
    lines = scorecard.latex([result(2.0, models=30), odd]).splitlines()
    assert lines[0].startswith("% \\usepackage{booktabs}")
    assert lines[1] == r"\begin{tabular}{llllrrrrr}"
    assert lines[2] == r"\toprule"
    assert lines[3].startswith(
        r"suite & split & rank & attack & TPR at 10\% FPR & at 1\% & at 0.1\% & to the first & AUC \\"
    )
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert lines.count(r"\midrule") == 1
    assert r"50\% \& \textbackslash{}up\textasciicircum{}2 \{\textasciitilde{}\} (a\_b)" in "\n".join(lines)
    assert all(line.count("&") - line.count(r"\&") == 8 for line in lines if line.endswith(r"\\"))
    assert scorecard.latex(of_track()).count(r"\midrule") == 3
    signs = scorecard.latex([result(2.0, models=30), result(0.0, attack="loss", models=30)]).splitlines()[6]
    assert re.search(r"& \$-\$\d+\.\d \(\$-\$\d+\.\d to \$-\$\d+\.\d\) & ", signs)
    same = scorecard.latex([result(1.0, attack="a", models=30), result(1.0, attack="b", models=30)])
    assert same.count("& 1--2 &") == 2


def test_scores_are_objects_for_a_notebook(tmp_path: Path) -> None:
    results = of_track()
    scores = Scores(tuple(results))
    frame = scores.to_frame()
    assert list(zip(frame["suite"], frame["attack"], strict=True)) == [
        (f"digits_{suite}", attack)
        for suite, attack in (("inf", "lira"), ("inf", "loss"), ("hi", "lira"), ("hi", "loss"), ("lo", "lira"))
    ]
    line = frame.iloc[0]
    whole = {**full_scores(np.concatenate(results[0].membership), np.concatenate(results[0].predictions)),
             **results[0].scores}  # fmt: skip
    assert {name: line[name] for name in whole} == whole
    for name, interval in results[0].intervals.items():
        found = line[f"{name}_low"], line[f"{name}_high"]
        assert np.isnan(found).all() if interval is None else found == tuple(interval)
    assert repr(scores) == tables.text(*scorecard.table(results))
    assert "<table" in scores._repr_html_()
    assert list(scores.figures())[:2] == ["digits-budgets", "digits_inf-low_fpr"]
    scores.to_html(tmp_path / "report.html")
    assert "mean of 3 suites" in (tmp_path / "report.html").read_text()


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
