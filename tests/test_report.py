import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from mico_hub import tables
from mico_hub.metrics.mico_score.scoring import full_roc_curve
from mico_hub.reporting import figures, page
from mico_hub.reporting.findings import conclusions
from mico_hub.reporting.page import HEADERS, save_figures, table, write_report
from mico_hub.reporting.results import Result
from mico_hub.scoring import Estimate
from mico_hub.suites import get_suite

TITLES = {"loss": "loss threshold", "lira": "LiRA, online", "odd": 'odd <b>&"$x$"'}
ACCURACY = {"digits_inf": 0.965, "digits_hi": 0.912, "digits_lo": 0.88}
VOID = {"meta", "link", "br", "hr", "img", "input"}


def make(
    suite: str, shift: float, *, split: str = "final", attack: str = "lira", models: int = 15, **changes: Any
) -> Result:
    """A result whose members score `shift` standard deviations above its non-members."""
    of_models = np.random.default_rng(list(f"{suite}{split}".encode()))  # the same for every attack
    membership = [of_models.permutation(np.repeat([0, 1], 50)) for _ in range(models)]
    rng = np.random.default_rng(list(f"{suite}{split}{attack}".encode()))
    predictions = [rng.normal(shift * of_model) for of_model in membership]
    return Result(
        **{
            "suite": get_suite(suite),
            "split": split,
            "attack": attack,
            "title": TITLES.get(attack, attack),
            "membership": membership,
            "predictions": predictions,
            "accuracy": ACCURACY.get(suite),
            "seconds": 12.34,
            **changes,
        }
    )


def digits(inf: float, hi: float, lo: float, **changes: Any) -> list[Result]:
    return [make(f"digits_{name}", shift, **changes) for name, shift in (("inf", inf), ("hi", hi), ("lo", lo))]


def words(results: Sequence[Result]) -> str:
    return "\n".join(conclusions(results))


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [
        result
        for split in ("dev", "final")
        for attack, strength in (("loss", 0.5), ("lira", 1.0), ("odd", 0.1))
        for result in digits(1.2 * strength, 0.5 * strength, 0.0, split=split, attack=attack)
    ]


class Checker(HTMLParser):
    """Follows the nesting of elements, and gathers ids, references, resources and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.resources: list[str] = []
        self.labels: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in {"href", "xlink:href"} and (value or "").startswith("#"):
                self.references.append((value or "")[1:])
            elif name in {"src", "href", "xlink:href", "srcset", "data", "poster"} and tag != "a":
                self.resources.append(value or "")
            if "url(" in (value or ""):
                self.references += re.findall(r"url\(#(.*?)\)", value or "")
            if tag == "svg" and name == "aria-label":
                self.labels.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def test_leaks_that_fall_with_the_budget_are_told_so() -> None:
    results = digits(1.5, 0.7, 0.2)
    first, second, third, order, price = conclusions(results)
    low, high = results[0].interval or (0, 0)
    assert first == (
        f"Without DP (digits_inf, final) LiRA, online, finds {100 * results[0].tpr:.1f}% of the members at a false "
        f"positive rate below 10% (95% interval {100 * low:.1f} to {100 * high:.1f}%), where guessing finds 10%: "
        "clearly above chance."
    )
    assert second.startswith("With epsilon 10 (digits_hi) it finds ")
    assert second.endswith("clearly above chance; less than without DP (the intervals do not overlap).")
    assert third.endswith(
        "less than without DP (the intervals do not overlap); less than with epsilon 10 (the intervals do not overlap)."
    )
    assert order == "The smaller the budget, the fewer members are found, and no two intervals overlap."
    assert price == (
        "The price of DP: the models are right on 96.5% of the evaluation records without DP, 91.2% with epsilon 10 "
        "and 88.0% with epsilon 4."
    )


def test_leaks_that_rise_with_a_smaller_budget_are_told_so() -> None:
    message = words(digits(0.2, 0.7, 1.5))
    assert "more than without DP (the intervals do not overlap)" in message
    assert "The order is not the expected one" in message
    assert "(most are found with epsilon 4)" in message
    assert "The smaller the budget" not in message


def test_intervals_that_overlap_establish_no_step() -> None:
    results = digits(1.5, 0.4, 0.35)
    assert results[2].tpr < results[1].tpr
    message = words(results)
    assert "less than with epsilon 10, but the intervals overlap, so this may be chance" in message
    assert "do not establish every step (not from epsilon 10 to epsilon 4)" in message


def test_equal_leaks_are_called_equal() -> None:
    one = make("digits_inf", 1.0)
    same = make("digits_hi", 0, membership=one.membership, predictions=one.predictions)
    message = words([one, same])
    assert "as much as without DP" in message
    assert "The order is not the expected one" in message


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (1.5, "clearly above chance"),
        (0.0, "not distinguishable from chance"),
        (-1.0, "below chance, worse than guessing"),
    ],
)
def test_a_number_is_held_against_chance(shift: float, verdict: str) -> None:
    message = words([make("digits_inf", shift)])
    assert message.splitlines()[0].endswith(f"where guessing finds 10%: {verdict}.")
    assert ("above chance" in message) == (shift > 0)


def test_a_single_model_gets_no_interval_and_no_verdict(tmp_path: Path) -> None:
    lone = digits(1.5, 0.7, 0.0, models=1)
    message = words(lone)
    assert message.count("a single model, so no interval") == 3
    assert "clearly" not in message
    assert {row[HEADERS.index("95% interval")] for row in table(lone)[1]} == {"-"}
    write_report(lone, tmp_path / "report.html", "one model")


def test_too_few_points_or_models_for_the_usual_interval_are_told() -> None:
    membership, rng = [np.tile([0, 1], 20)] * 2, np.random.default_rng(0)
    few = [
        make("digits_inf", 0, attack=name, membership=membership, predictions=[rng.random(40), rng.random(40)])
        for name in ("lira", "loss")
    ]
    assert "fewer than 50 non-members, so no interval" in words(few)
    text = " ".join("".join(check(page.html(few, "few")).text).split())
    assert "Of fewer than 30 models an interval is the score plus and minus Student's t" in text
    assert "Non-members that it takes: 50 at 0.1; here are 40." in text
    assert "to the first" in text
    many = page.html([make("digits_inf", 1.0, models=30)], "many")
    assert "Student's t" not in many
    assert "Non-members that it takes" not in many


def test_the_price_of_dp_is_told_as_it_is() -> None:
    def price(*accuracies: float | None) -> str:
        suites = ("digits_inf", "digits_hi", "digits_lo")
        results = [make(s, 1.0, models=2, accuracy=a) for s, a in zip(suites, accuracies, strict=True)]
        return next((line for line in conclusions(results) if "the models are right" in line.lower()), "")

    assert price(0.9, 0.8, 0.7).startswith("The price of DP: ")
    assert price(0.9, 0.9, 0.95).startswith("No price of DP shows: ")
    assert price(0.9, 0.8, 0.95).startswith("DP does not always have a price here: ")
    assert (
        price(None, 0.8, 0.7)
        == "The models are right on 80.0% of the evaluation records with epsilon 10 and 70.0% with epsilon 4."
    )
    assert price(None, None, None) == ""


def test_suites_of_different_data_are_not_held_against_each_other() -> None:
    message = words([make("cifar10_ddp", 1.5, accuracy=0.6), make("purchase100_ddp", 0.5, accuracy=0.7)])
    assert "With epsilon 4 (purchase100_ddp) it finds" in message
    assert "The models are right on 60.0% in cifar10_ddp and 70.0% in purchase100_ddp" in message
    for claim in ("than with", "budget", "price", "overlap"):
        assert claim not in message


def test_the_strongest_attack_is_the_subject_and_a_stronger_rival_on_a_suite_is_named() -> None:
    results = [*digits(1.5, 0.8, 0.0), *digits(0.5, 0.3, 0.6, attack="loss")]
    message = words(results)
    assert "LiRA, online, finds" in message
    assert re.search(
        r"which ranks attacks: LiRA, online \d+\.\d%; loss threshold \d+\.\d%\. "
        r"LiRA, online is ahead of loss threshold by \d+\.\d points \(paired, \d+\.\d to \d+\.\d\)\.",
        message,
    )
    assert f"On digits_lo the highest is loss threshold with {100 * results[5].tpr:.1f}%." in message
    partial = words([*digits(0.4, 0.3, 0.2), make("digits_inf", 2.0, attack="loss")])
    assert "LiRA, online, finds" in partial
    assert "over 1 of 3 suites" in partial


def test_of_many_attacks_on_one_suite_the_best_are_named() -> None:
    results = [make("digits_hi", 0.3 * i, attack=f"attack_{i}", accuracy=0.8) for i in range(7)]
    rates = [f"{100 * result.tpr:.1f}" for result in results]
    message = words(results)
    best = "; ".join(f"attack_{i} {rates[i]}%" for i in (6, 5, 4))
    assert f"\nAttacks, best first: {best}; 4 others {rates[0]} to {rates[3]}%. Attack_6 is ahead of" in message
    assert "\nThe models are right on 80.0% of the evaluation records." in message
    assert "; attack_0 " in words(results[:6])


def test_final_is_the_main_split_and_train_is_called_approximate() -> None:
    both = [make("digits_inf", 1.5, split="dev"), make("digits_inf", 0.0)]
    assert "(digits_inf, final)" in words(both)
    assert "not distinguishable from chance" in words(both)
    assert "(digits_inf, dev)" in words(both[:1])
    assert "intervals are approximate" not in words(both)
    train = [make("digits_inf", 1.5, split="train")]
    assert "intervals are approximate. Measured, they were not too narrow with 100 models" in words(train)
    assert "not too narrow with 100 models" in page.html(train, "train")
    assert "--truth" not in page.html(train, "train")


def test_each_track_has_its_own_words() -> None:
    message = conclusions([make("digits_inf", 1.5), make("cifar10_inf", 0.0)])
    assert message[0].startswith("digits: Without DP (digits_inf, final)")
    assert any(line.startswith("cifar10: Without DP (cifar10_inf, final)") for line in message)


def test_the_table_has_every_result_in_order(results: list[Result]) -> None:
    headers, rows = table(results[::-1])
    assert headers == HEADERS
    assert len(rows) == len(results) == 18
    assert [row[:2] for row in rows[::3]] == [(f"digits_{s}", p) for s in ("inf", "hi", "lo") for p in ("final", "dev")]
    result = make("digits_hi", 0.5)
    low, high = result.interval or (0, 0)
    numbers = (f"{100 * result.tpr:.1f}%", f"{100 * low:.1f} to {100 * high:.1f}%")
    cells = ("digits_hi", "final", "LiRA, online (lira)", *numbers)
    assert table([result])[1] == [(*cells, f"{result.scores['AUC']:.3f}", "91.2%", "10", "12.3")]
    assert len(tables.text(headers, rows).splitlines()) == 20
    assert table([make("digits_inf", 1.0, accuracy=None)])[1][0][6:8] == ("-", "inf")


def test_the_page_is_well_formed_self_contained_and_complete(results: list[Result]) -> None:
    html = page.html(results, "A <title> & more")
    checked = check(html)
    text = "".join(checked.text)
    assert checked.resources == []
    assert "@import" not in html
    assert "<script" not in html
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert len(checked.ids) == len(set(checked.ids)) > 0
    assert set(checked.references) <= set(checked.ids)
    assert len(checked.labels) == 1 + 3 * 3  # the budgets; two curves and the predictions of each suite
    assert all("LiRA, online" in label for label in checked.labels if not label.startswith("Distribution"))
    assert "A <title> & more" in text
    headers, rows = table(results)
    for cell in {*headers, *(cell for row in rows for cell in row), *conclusions(results)}:
        assert cell in text
    for needed in (
        "false positive rate",
        "true positive rate",
        "claimed epsilon",
        "resampling models",
        "Guessing gives 10%",
    ):
        assert needed in text
    assert "mico-hub attack digits_inf --split final --attack lira" in text


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "new folder" / "report.html", tmp_path / "report.html"
    write_report([make("digits_inf", 1.0), make("digits_hi", 0.5)], first, "title")
    write_report([make("digits_inf", 1.0), make("digits_hi", 0.5)], second, "title")
    assert first.read_bytes() == second.read_bytes()


def test_unusable_results_are_refused(tmp_path: Path) -> None:
    result = make("digits_inf", 1.0)
    with pytest.raises(ValueError, match="at least one result"):
        write_report([], tmp_path / "report.html", "empty")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="got more for digits_inf/final/lira"):
        table([result, result])
    with pytest.raises(ValueError, match="digits_inf/test/lira: expected a split of train, dev, final"):
        make("digits_inf", 1.0, split="test")
    assert (conclusions([]), table([])) == ([], (HEADERS, []))


@pytest.mark.parametrize("decimals", [0, 8])
@pytest.mark.parametrize("models", [4, 32])
def test_a_band_is_that_of_resampled_and_sorted_points(models: int, decimals: int) -> None:
    rng = np.random.default_rng(3)
    membership = [rng.permutation(np.repeat([0, 1], size)) for size in (5, 8, 3, 6) * (models // 4)]
    predictions = [rng.normal(of_model).round(decimals) for of_model in membership]
    made = figures.curve("", 0, membership, predictions, main=True, rng=np.random.default_rng(1))
    naive = []
    for counts in np.random.default_rng(1).multinomial(models, [1 / models] * models, size=figures.BAND_DRAWS):
        drawn = np.repeat(np.arange(models), counts)
        fpr, tpr, _ = full_roc_curve(
            np.concatenate([membership[i] for i in drawn]), np.concatenate([predictions[i] for i in drawn])
        )
        naive.append([max(tpr[fpr <= x + 1e-9]) for x in made.fpr])
    assert made.band is not None
    allowed = [int(x * made.negatives + 1e-9) >= 5 for x in made.fpr]
    assert np.isnan(made.band).any(axis=0).tolist() == [not each for each in allowed]
    estimates = [Estimate(value, np.array(draws), models, (0, 1)) for value, draws in
                 zip(made.tpr, np.transpose(naive), strict=True)]  # fmt: skip
    expected = np.transpose([each.interval() for each in estimates])
    np.testing.assert_allclose(np.array(made.band)[:, allowed], expected[:, allowed], atol=1e-6)
    full = full_roc_curve(np.concatenate(membership), np.concatenate(predictions))
    assert made.tpr.tolist() == [max(full.tpr[full.fpr <= x + 1e-9]) for x in made.fpr]


def test_a_curve_of_a_split_that_is_not_the_main_one_has_no_band() -> None:
    result = make("digits_inf", 1.0, models=2)
    made = figures.curve("", 0, result.membership, result.predictions, main=False, rng=np.random.default_rng(0))
    assert made.band is None
    assert (made.fpr[0], made.fpr[-1], made.tpr[-1], made.negatives) == (0, 1, 1, 100)


def test_attacks_on_a_suite_are_compared_in_the_page(results: list[Result]) -> None:
    text = " ".join("".join(check(page.html(results, "t")).text).split())
    assert "to the first" in text
    assert "Ranks such as 1-2 overlap" in text
    lone = " ".join("".join(check(page.html(digits(1.0, 0.5, 0.0), "t")).text).split())
    assert "to the first" not in lone


def test_the_ceiling_is_drawn_where_the_noise_is_known() -> None:
    hi = make("digits_hi", 0.7)
    assert hi.ceiling is None
    assert "ceiling for any attack" not in page.html([hi], "t")
    noisy = make("digits_hi", 0.7, noise_multiplier=4.5)
    assert noisy.ceiling is not None
    assert noisy.ceiling.adjacency == "substitution"
    html = page.html([noisy], "t")
    assert html.count("ceiling for any attack") >= 4  # three legends and the explanation
    assert make("digits_inf", 0.7).ceiling is None


def test_a_difference_inside_the_noise_is_told_so() -> None:
    message = words([*digits(1.0, 0.5, 0.2), *digits(1.0, 0.5, 0.2, attack="odd")])
    assert re.search(
        r"is ahead of .* by \d\.\d points \(paired, -\d+\.\d to \d+\.\d\), which is inside the noise\.", message
    )


@pytest.mark.parametrize("file_format", ["png", "svg"])
def test_pictures_are_written_on_request(tmp_path: Path, file_format: str) -> None:
    paths = save_figures([make("digits_hi", 0.7, models=4)], tmp_path / "figures", file_format)
    assert [path.name for path in paths] == [
        f"{name}.{file_format}"
        for name in ("digits-budgets", "digits_hi-linear", "digits_hi-log", "digits_hi-predictions")
    ]
    start = {"png": b"\x89PNG", "svg": b"<?xml"}[file_format]
    assert all(path.read_bytes().startswith(start) for path in paths)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)


def test_predictions_that_are_all_the_same_have_a_distribution() -> None:
    figure = figures.distribution_figure([[0, 1]], [[0.5, 0.5]], np.inf, "threshold")
    assert figures.svg(figure, "name", "what").startswith("<svg")


def test_of_many_attacks_the_best_are_drawn_and_all_are_listed() -> None:
    """As many as there are colours; the page says so."""
    many = [make("digits_inf", shift / 4, attack=f"attack{shift}", title=f"attack {shift}") for shift in range(9)]
    html = page.html(many, "many")
    assert "The best 6 of 9 attacks are drawn, here and above." in html
    best = {result.label for result in sorted(many, key=lambda result: result.tpr)[-6:]}
    figures = page._figures(many, many)
    legends = [text.get_text() for text in figures["linear"][0].findobj(Text)]
    assert {text for text in legends if text.startswith("attack")} == best
    assert all(f"attack {shift}" in html for shift in range(9))
    assert "are drawn, here and above" not in page.html(many[:6], "few")
