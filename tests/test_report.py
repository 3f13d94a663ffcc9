import base64
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from mico_hub.metrics.mico_score.scoring import full_roc_curve
from mico_hub.reporting import figures, page
from mico_hub.reporting.findings import conclusions, limits
from mico_hub.reporting.page import save_figures, write_report
from mico_hub.reporting.results import Result
from mico_hub.reporting.scorecard import rate, table
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


def test_each_suite_has_a_sentence_that_can_be_quoted() -> None:
    results = digits(1.5, 0.7, 0.0)
    first, second, third, steps, accuracy = conclusions(results)
    low, high = results[0].interval or (0, 0)
    assert first == (
        f"digits_inf (no DP), final: LiRA, online finds {100 * results[0].tpr:.1f}% of the members at a false positive "
        f"rate below 10% (95% interval {100 * low:.1f} to {100 * high:.1f}%), more than guessing (10%). It finds "
        f"{rate(results[0], 'TPR_FPR_le_100')} at 1% and {rate(results[0], 'TPR_FPR_le_10')} at 0.1%."
    )
    assert second.startswith("digits_hi (epsilon 10), final: LiRA, online finds ")
    assert ", not distinguishable from guessing (10%). It finds " in third
    assert steps.startswith("What LiRA, online finds changes from no DP to epsilon 10 by -")
    assert accuracy == (
        "The models classify 96.5% (no DP), 91.2% (epsilon 10) and 88.0% (epsilon 4) of unseen records correctly."
    )


@pytest.mark.parametrize("strengths", [(1.5, 0.7, 0.2), (0.2, 0.7, 1.5), (1.5, 0.4, 0.4)])
def test_the_step_to_a_smaller_budget_has_its_difference_and_interval(strengths: tuple[float, float, float]) -> None:
    """Of models that are others; here the difference of the draws of two suites, in another order than ours."""
    results = digits(*strengths, models=40)
    (line,) = (line for line in conclusions(results) if line.startswith("What LiRA"))
    found = re.findall(r"by ([-+]\d+\.\d) points \(([-+]\d+\.\d) to ([-+]\d+\.\d)(: within the noise)?\)", line)
    assert len(found) == 2
    for (before, after), (difference, *interval, noise) in zip(pairwise(results), found, strict=True):
        assert float(difference) == pytest.approx(100 * (after.tpr - before.tpr), abs=0.051)
        rng = np.random.default_rng(5)
        draws = [rng.permutation(each.estimates["TPR_FPR_1000"].draws) for each in (before, after)]
        expected = 100 * np.quantile(draws[1] - draws[0], [0.025, 0.975])
        assert np.array(interval, dtype=float) == pytest.approx(expected, abs=0.6)
        assert bool(noise) == (float(interval[0]) <= 0 <= float(interval[1]))


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(1.5, ", more than guessing (10%)"), (0.0, ", not distinguishable from guessing (10%)"),
     (-1.0, ", less than guessing (10%)")],
)  # fmt: skip
def test_a_number_is_held_against_chance(shift: float, verdict: str) -> None:
    assert f"%){verdict}. It finds" in words([make("digits_inf", shift)])


def test_what_cannot_be_concluded_is_told_once() -> None:
    lone = digits(1.5, 0.7, 0.0, models=1)
    assert words(lone).count("guessing finds 10%") == 3
    assert "more than guessing" not in words(lone)
    assert "changes" not in words(lone)
    told = limits(lone)
    assert told[0] == "Another attack may find more: what is found is the least that leaks; no ceiling is known."
    assert sum("A single model has nothing to resample" in line for line in told) == 1
    several = limits(digits(1.5, 0.7, 0.0))
    assert sum("Intervals say how a number would vary" in line for line in several) == 1
    assert not any("single model" in line for line in several)
    assert any("`mico-hub audit` tests it" in line for line in several)
    assert not any("claimed epsilon" in line for line in limits([make("digits_inf", 1.0)]))
    noisy = make("digits_hi", 0.7, noise_multiplier=4.5)
    assert limits([noisy])[0].endswith(", and the ceiling the most.")
    assert f"no attack can find more than {100 * (noisy.ceiling_at(0.1) or 0):.1f}% at 10%." in words([noisy])


def test_too_few_points_or_models_for_the_usual_interval_are_told() -> None:
    membership, rng = [np.tile([0, 1], 20)] * 2, np.random.default_rng(0)
    few = [
        make("digits_inf", 0, attack=name, membership=membership, predictions=[rng.random(40), rng.random(40)])
        for name in ("lira", "loss")
    ]
    assert ", where guessing finds 10%. It finds" in words(few)
    text = " ".join("".join(check(page.html(few, "few")).text).split())
    assert "Of fewer than 30 models an interval is the score plus and minus Student's t" in text
    assert "Non-members that it takes: 5,000 at 0.001, 500 at 0.01, 100 at 0.05, 50 at 0.1" in text
    assert "to the first" in text
    many = page.html([make("digits_inf", 1.0, models=30)], "many")
    assert "Student's t" not in many


def test_suites_of_different_data_are_not_held_against_each_other() -> None:
    message = words([make("cifar10_ddp", 1.5, accuracy=0.6), make("purchase100_ddp", 0.5, accuracy=0.7)])
    assert "purchase100_ddp (epsilon 4), final: LiRA, online finds" in message
    assert "The models classify 60.0% (cifar10_ddp) and 70.0% (purchase100_ddp) of unseen" in message
    assert "changes" not in message
    assert "correctly" not in words([make("cifar10_ddp", 1.5, accuracy=None)])


def test_the_strongest_attack_over_the_suites_is_the_subject() -> None:
    message = words([*digits(1.5, 0.8, 0.0), *digits(0.5, 0.3, 0.6, attack="loss")])
    assert "LiRA, online finds" in message
    assert re.search(
        r"Mean over the suites: LiRA, online \d+\.\d%; loss threshold \d+\.\d%\. "
        r"LiRA, online is ahead of loss threshold by \d+\.\d points, paired by model \(\+\d+\.\d to \+\d+\.\d\)\.",
        message,
    )
    partial = words([*digits(0.4, 0.3, 0.2), make("digits_inf", 2.0, attack="loss")])
    assert "LiRA, online finds" in partial
    assert "over 1 of 3 suites" in partial


def test_of_many_attacks_on_one_suite_the_best_are_named() -> None:
    results = [make("digits_hi", 0.3 * i, attack=f"attack_{i}", accuracy=0.8) for i in range(7)]
    rates = [f"{100 * result.tpr:.1f}" for result in results]
    message = words(results)
    best = "; ".join(f"attack_{i} {rates[i]}%" for i in (6, 5, 4))
    assert f"\nBest first: {best}; 4 others {rates[0]} to {rates[3]}%. Attack_6 is ahead of" in message
    assert "\nThe models classify 80.0% of unseen records correctly." in message
    assert "; attack_0 " in words(results[:6])


def test_final_is_the_main_split_and_train_is_called_approximate() -> None:
    both = [make("digits_inf", 1.5, split="dev"), make("digits_inf", 0.0)]
    assert "digits_inf (no DP), final" in words(both)
    assert "not distinguishable from guessing" in words(both)
    assert "digits_inf (no DP), dev" in words(both[:1])
    assert "not independent" not in "".join(limits(both))
    train = [make("digits_inf", 1.5, split="train")]
    assert "Measured, they were not too narrow with 100 models" in "".join(limits(train))
    assert "not too narrow with 100 models" in page.html(train, "train")
    assert "--truth" not in page.html(train, "train")


def test_each_track_has_its_own_words() -> None:
    message = conclusions([make("digits_inf", 1.5), make("cifar10_inf", 0.0)])
    assert message[0].startswith("digits: digits_inf (no DP), final: ")
    assert any(line.startswith("cifar10: cifar10_inf (no DP), final: ") for line in message)


def test_the_page_is_well_formed_self_contained_and_complete(results: list[Result]) -> None:
    html = page.html(results, "A <title> & more")
    checked = check(html)
    text = " ".join("".join(checked.text).split())
    assert checked.resources == []
    assert "@import" not in html
    assert len(html) < 1_000_000
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html
    assert not re.findall(r"https?:(?!//www\.w3\.org)", html)
    assert len(checked.ids) == len(set(checked.ids)) > 0
    assert set(checked.references) <= set(checked.ids)
    assert len(checked.labels) == 1 + 3 * 4  # the budgets; low rates, two curves and the predictions of each suite
    assert all("LiRA, online" in label for label in checked.labels if not label.startswith("Distribution"))
    assert "A <title> & more" in text
    headers, rows = table(results, leave_out=("suite", "model accuracy", "claimed epsilon"))
    for cell in {*headers, *(cell for row in rows for cell in row), *conclusions(results), *limits(results)}:
        assert " ".join(cell.split()) in text
    for needed in ("false positive rate", "true positive rate", "claimed epsilon", "mean of 3 suites", "91.2%"):
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
    assert (conclusions([]), table([])) == ([], ((), []))


@pytest.mark.parametrize("decimals", [0, 8])
@pytest.mark.parametrize("models", [4, 32])
def test_a_band_is_that_of_resampled_and_sorted_points(models: int, decimals: int) -> None:
    rng = np.random.default_rng(3)
    membership = [rng.permutation(np.repeat([0, 1], size)) for size in (5, 8, 3, 6) * (models // 4)]
    predictions = [rng.normal(of_model).round(decimals) for of_model in membership]
    made = figures.curve("", 0, membership, predictions, banded=True, rng=np.random.default_rng(1))
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


def test_a_curve_has_a_band_where_one_is_asked_for() -> None:
    result = make("digits_inf", 1.0, models=2)
    made = figures.curve("", 0, result.membership, result.predictions, banded=False, rng=np.random.default_rng(0))
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
    assert "ceiling for any attack" not in page.html([hi], "t").lower()
    noisy = make("digits_hi", 0.7, noise_multiplier=4.5)
    assert noisy.ceiling is not None
    assert noisy.ceiling.adjacency == "substitution"
    text = " ".join("".join(check(page.html([noisy], "t")).text).split())
    bounds = [100 * (noisy.ceiling_at(fpr) or 0) for fpr in (0.001, 0.01, 0.1)]
    assert f"{bounds[0]:.1f}% at 0.1% FPR, {bounds[1]:.1f}% at 1% FPR, {bounds[2]:.1f}% at 10% FPR" in text
    found = [noisy.full["TPR_FPR_le_10"], noisy.full["TPR_FPR_le_100"], noisy.tpr]
    room = [f"{bound - 100 * rate:.1f}" for bound, rate in zip(bounds, found, strict=True)]
    assert f"{room[0]} at 0.1% FPR, {room[1]} at 1% FPR, {room[2]} at 10% FPR, in points" in text
    assert make("digits_inf", 0.7).ceiling is None


def test_a_difference_inside_the_noise_is_told_so() -> None:
    message = words([*digits(1.0, 0.5, 0.2), *digits(1.0, 0.5, 0.2, attack="odd")])
    assert re.search(r"is ahead of .* by \d\.\d points, paired by model \(-\d+\.\d to \+\d+\.\d: within", message)


@pytest.mark.parametrize(("file_format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_are_written_on_request(tmp_path: Path, file_format: str, start: bytes) -> None:
    one = make("digits_hi", 0.7, models=4)
    paths = save_figures([one], tmp_path / "figures", file_format)
    of_suite = ("low_fpr", "log", "linear", "predictions")
    assert [path.name for path in paths] == [f"digits_hi-{what}.{file_format}" for what in of_suite]
    assert all(path.read_bytes().startswith(start) for path in paths)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)
    before = [path.read_bytes() for path in paths]
    save_figures([one], tmp_path / "figures", file_format)
    assert [path.read_bytes() for path in paths] == before
    both = [one, make("digits_inf", 0.7, models=4)]
    names = [picture.name for picture in page.pictures(both)]
    assert names == ["digits-budgets", *(f"digits_{s}-{what}" for s in ("inf", "hi") for what in of_suite)]


def test_predictions_that_are_all_the_same_have_a_distribution() -> None:
    figure = figures.distribution_figure([[0, 1]], [[0.5, 0.5]], np.inf, "threshold")
    assert figures.svg(figure, "name", "what").startswith("<svg")


def test_of_many_attacks_the_best_of_each_kind_are_drawn_and_all_can_be() -> None:
    """Threshold, calibrated, LiRA, RMIA, white-box, own; and always loss and LiRA."""
    strengths = {"entropy": 0.9, "loss": 0.1, "gradient_norm": 0.2, "difficulty": 0.3, "in_loss": 0.5,
                 "classifier": 0.4, "lira": 0.6, "lira_fixed": 0.8, "rmia": 0.7, "mine": 1.0, "other": 0.2}  # fmt: skip
    many = [make("digits_inf", strength, attack=name, title=name) for name, strength in strengths.items()]
    hidden = {"difficulty", "other"}
    keys = page._keys(many)
    assert {name for name, key in keys.items() if not key.drawn} == hidden
    assert sorted(key.style for key in keys.values()) == list(range(11))
    legends = {text.get_text() for text in page.pictures(many)[1].draw(True).findobj(Text)}
    assert legends >= set(strengths) - hidden
    assert not legends & hidden
    html = page.html(many, "many")
    for name, key in keys.items():
        box = re.search(rf'<input type="checkbox" value="s{key.style}"( checked)?\s+aria-label="draw {name} on', html)
        assert box is not None
        assert bool(box[1]) == (name not in hidden)
        assert html.count(f'<g class="s{key.style}"><title>{name}</title>') == 2  # its curve, on two kinds of axes
    few = page._keys(many[:6])
    assert all(key.drawn for key in few.values())


def test_a_page_of_one_suite_has_no_plot_by_epsilon(results: list[Result]) -> None:
    one = [result for result in results if result.suite.name == "digits_hi"]
    html = page.html(one, "one")
    assert "by claimed epsilon" not in html
    assert "members found at low false positive rates" in html
    assert "mean of" not in html
    assert "by claimed epsilon" in page.html(results, "three")


def test_a_column_without_anything_is_left_out() -> None:
    one = make("digits_inf", 1.0)
    assert {"seconds", "model accuracy"} <= set(table([one])[0])
    headers, rows = table([make("digits_inf", 1.0, seconds=None, accuracy=None)])
    assert not {"seconds", "model accuracy", "rank", "to the first", "without twins"} & set(headers)
    assert all(cell != "-" for cell in rows[0])
