"""Twins: as a naive search finds them, the figures of the official datasets, and the scores without them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mico_hub import cli, submissions
from mico_hub.data import DATASETS, BaseDataset, Twins, load_base, twins
from mico_hub.release import repository
from mico_hub.release.disclosure import Measured, disclose
from mico_hub.release.manifest import Manifest
from mico_hub.reporting import page, scorecard
from mico_hub.reporting.findings import conclusions
from mico_hub.reporting.results import Result
from mico_hub.scoring import TITLES, intervals, mico_score
from mico_hub.splits import draw
from mico_hub.suites import SUITES, get_suite

DOCS = (Path(__file__).parents[1] / "docs" / "scores.md").read_text(encoding="utf-8")

labels = st.integers(0, 1)
sentences = st.lists(st.sampled_from("ab"), max_size=4).map(" ".join)
texts = st.lists(st.tuples(sentences, labels), max_size=8)
rows = st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=2, max_size=2), labels), max_size=8)


def dataset(records: Sequence[tuple[Any, int]]) -> BaseDataset:
    raw: Any = tuple(record for record, _ in records)
    if not all(isinstance(record, str) for record in raw):
        raw = torch.tensor(raw, dtype=torch.uint8)
    return BaseDataset("x", raw, torch.tensor([label for _, label in records], dtype=torch.int64), "", "", lambda x: x)


@given(st.one_of(texts, rows))
def test_twins_are_those_of_a_naive_search(records: list[tuple[Any, int]]) -> None:
    others = [records[:i] + records[i + 1 :] for i in range(len(records))]
    of_each = [
        [other for record, other in rest if record == mine] for (mine, _), rest in zip(records, others, strict=True)
    ]
    data = dataset(records)
    assert twins.exact(data).tolist() == [bool(found) for found in of_each]
    assert twins.other_label(data).tolist() == [
        any(other != label for other in found) for (_, label), found in zip(records, of_each, strict=True)
    ]


def within(words: list[str], longer: list[str]) -> bool:
    places = range(len(longer))
    return len(words) < len(longer) and any(longer[place : place + len(words)] == words for place in places)


@given(st.lists(sentences, max_size=8))
def test_contained_sentences_are_those_of_a_naive_search(given_sentences: list[str]) -> None:
    split = [sentence.split() for sentence in given_sentences]
    expected = [any(within(words, longer) for longer in split) for words in split]
    assert twins.contained(given_sentences).tolist() == expected


def test_an_example() -> None:
    data = dataset([("a b", 0), ("a b", 1), ("x a b y", 0), ("b a", 0), ("a", 1), ("a", 1), ("ab", 1)])
    assert twins.find(data) == Twins(records=(0, 1, 4, 5), other_label=2, contained=4)


def test_digits_have_no_twins() -> None:
    assert twins.find(load_base("digits")) == DATASETS["digits"].twins == Twins()


@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar10", "sst2", "purchase100"])
def test_the_twins_of_the_real_datasets_are_known(name: str, data_folder: Path) -> None:
    expected = DATASETS[name].twins
    if expected is None:
        pytest.skip(f"nobody has counted the twins of {name}: its official files were not at hand")
    assert twins.find(load_base(name, data_folder)) == expected


@pytest.mark.data
def test_cifar10s_approximate_images_are_nobodys_twins(data_folder: Path) -> None:
    """Decoding a JPEG moves a pixel by a few of 255 levels; the nearest other image is much farther."""
    from mico_hub.data.cifar10 import UNVERIFIED

    raw = load_base("cifar10", data_folder).raw
    assert isinstance(raw, torch.Tensor)
    small = raw.flatten(1)[:, ::48].float()  # (60000, 64); a lower bound of the largest difference needs no more
    for record in UNVERIFIED:
        farthest = (small - small[record]).abs().amax(dim=1)
        farthest[record] = torch.inf
        assert farthest.min() > 25


def test_sst2s_twins_are_742() -> None:
    found = DATASETS["sst2"].twins
    assert found is not None
    assert len(found.records) == 742
    assert list(found.records) == sorted(set(found.records))


# The score without them


def result(attack: str, shift: float, twin: list[Any] | None, models: int = 3) -> Result:
    rng = np.random.default_rng(0)
    membership = [rng.permutation(np.repeat([0, 1], 20)) for _ in range(models)]
    predictions = [rng.normal(shift * model) for model in membership]
    return Result(
        suite=get_suite("sst2_hi"), split="final", attack=attack, title=attack, membership=membership,
        predictions=predictions, twin=twin,
    )  # fmt: skip


MASK = [np.arange(40) % 10 == model for model in range(3)]


def test_the_scores_without_twins_are_beside_the_usual_ones() -> None:
    found = result("lira", 1.0, MASK)
    alone = ~np.concatenate(MASK)
    expected = mico_score(np.concatenate([*map(np.asarray, found.membership)])[alone],
                          np.concatenate([*map(np.asarray, found.predictions)])[alone])  # fmt: skip
    assert found.without_twins == expected
    kept = [[np.asarray(part)[~mask] for part, mask in zip(each, MASK, strict=True)]
            for each in (found.membership, found.predictions)]  # fmt: skip
    ranges = intervals(*kept, rng=np.random.default_rng(0))
    assert found.intervals_without_twins == ranges
    text = scorecard.card(found)
    assert "without twins: less the 12 points" in text
    for name, value in expected.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{TITLES[name]} "))
        assert line.rstrip().endswith(f" {value:.4f}  {scorecard._interval(ranges[name])}")
    (read,) = scorecard.as_json([found])["results"]
    assert (read["points_with_twin"], read["scores_without_twins"]) == (12, expected)
    assert read["intervals_without_twins"] == {
        name: None if interval is None else list(interval) for name, interval in ranges.items()
    }


def test_attacks_are_compared_without_twins_too() -> None:
    both = [result("lira", 2.0, MASK), result("loss", 0.5, MASK)]
    first, second = scorecard.comparison(both).splitlines()[4:6]
    for line, each in ((first, both[0]), (second, both[1])):
        assert each.without_twins
        low, high = each.intervals_without_twins["TPR_FPR_1000"] or (0, 0)
        shown = f"{100 * each.without_twins['TPR_FPR_1000']:.1f}% ({100 * low:.1f} to {100 * high:.1f}%)"
        assert re.split(" {2,}", line)[-2:] == [shown, f"{each.scores['AUC']:.3f}"]
    (message,) = [words for words in conclusions(both) if "exact twin" in words]
    assert message.endswith("on sst2_hi (without 12 points).")
    html = page.html(both, "t")
    assert '<th scope="col" class="number">without twins</th>' in html
    assert "Without twins: less the points whose record has an exact twin in the base dataset." in html


@pytest.mark.parametrize(("twin", "known"), [(None, None), ([np.zeros(40, dtype=bool)] * 3, 0)])
def test_nothing_is_said_of_twins_where_there_are_none(twin: list[Any] | None, known: int | None) -> None:
    both = [result("lira", 2.0, twin), result("loss", 0.5, twin)]
    for text in (scorecard.card(both[0]), scorecard.comparison(both), page.html(both, "t"), *conclusions(both)):
        assert "twin" not in text
    (read,) = scorecard.as_json(both[:1])["results"]
    assert (read["points_with_twin"], read["scores_without_twins"]) == (known, None)


def test_a_single_model_has_scores_without_twins_and_no_interval() -> None:
    one = result("lira", 1.0, MASK[:1], models=1)
    assert "less the 4 points" in scorecard.card(one)
    assert (one.without_twins is None, one.intervals_without_twins) == (False, {})


def test_there_is_no_interval_where_a_resample_may_have_no_points() -> None:
    twin = [np.ones(40, dtype=bool), np.zeros(40, dtype=bool), np.zeros(40, dtype=bool)]
    found = result("lira", 1.0, twin)
    assert (found.without_twins is None, found.intervals_without_twins) == (False, {})
    assert found.without_twins
    for name, value in found.without_twins.items():
        line = next(line for line in scorecard.card(found).splitlines() if line.startswith(TITLES[name]))
        assert line.split()[-2:] == [f"{value:.4f}", "-"]


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.usefixtures("fresh_cache")
def test_the_command_needs_no_base_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], official: bool
) -> None:
    """And says nothing of twins where the suite's base dataset is not the official one."""
    monkeypatch.delenv("MICO_HUB_DATA", raising=False)
    suite = SUITES["sst2_inf"].with_models(2, 0, 0)
    manifest = Manifest(suite, None, "ab" * 32, official, "" if official else "a stand-in", {"torch": "2"})
    root, predictions = tmp_path / "mico", tmp_path / "predictions"
    expected = DATASETS["sst2"].twins
    assert expected is not None
    rows: list[Any] = []
    for model_id in range(2):
        split = draw(DATASETS["sst2"].num_records, suite.n, suite.m)
        row, _ = disclose(suite, model_id, split, Measured("x", "0" * 64, 1, 0.5, None, None))
        alone = np.setdiff1d(np.arange(1_000), expected.records)
        rows.append({**row, "challenge": np.sort([*expected.records[:5], *alone[:195]]).astype(np.int32)})
    repository.write_public(root, manifest, {"train": rows})
    (root / repository.CARD).write_bytes(repository.card(root, ""))
    submissions.write(predictions, {(suite, "train"): {model_id: np.linspace(0, 1, 200) for model_id in range(2)}})
    assert cli.main(["score", str(predictions), "--suite", "sst2_inf", "--source", str(root)]) == 0
    out = capsys.readouterr().out
    assert ("less the 10 points" in out) == official
    assert ("twin" in out) == official
