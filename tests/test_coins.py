"""Suites by coins: how they are drawn, that nothing shows, and everything that is done with a suite."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from builders.build import build
from mico_hub import splits
from mico_hub.auditing.ceiling import adjacency_of, suite_ceiling
from mico_hub.cli import main
from mico_hub.data import load_base
from mico_hub.data.digits_canaries import BLANK, CANARIES, LAST, MISLABELLED
from mico_hub.loading import open_suite
from mico_hub.release.folder import SuiteFolder
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import SUITES
from mico_hub.training.suite import train_suite
from publishing import blind
from upload_scripts import check_leaks

SUITE = SUITES["digits_audit_hi"]


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of suites with a small one, trained, with its signals."""
    root = tmp_path_factory.mktemp("coins") / "suites"
    train_suite(replace(SUITE, epochs=4).with_models(12, 4, 4), root / SUITE.name)
    compute_suite(root / SUITE.name)
    return root


@pytest.fixture(scope="module")
def published(suites: Path) -> Path:
    build([suites / SUITE.name], suites.parent / "mico")
    return suites.parent / "mico"


def test_each_canary_is_a_member_by_a_fair_coin_of_its_own() -> None:
    drawn = np.array([splits.draw_coins(50, 20, 8).membership for _ in range(4_000)])
    assert drawn.shape == (4_000, 16)
    assert abs(drawn.mean() - 0.5) < 5 * 0.5 / math.sqrt(drawn.size)
    correlations = np.corrcoef(drawn.T) - np.eye(16)
    assert np.abs(correlations).max() < 5 / math.sqrt(4_000)
    members = np.bincount(drawn.sum(axis=1), minlength=17)
    expected = 4_000 * binom.pmf(np.arange(17), 16, 0.5)
    often = expected > 20
    assert float(((members - expected) ** 2 / expected)[often].sum()) < 60  # exactly 8 each time would be 16,000


def test_the_canaries_are_the_last_records_and_the_others_are_trained_on_at_random() -> None:
    split = splits.draw_coins(50, 20, 8)
    assert split.challenge.tolist() == list(range(34, 50))
    assert len(split.training) == 12
    assert set(split.training) | set(split.evaluation) == set(range(34))
    assert not set(split.training) & set(split.evaluation)
    assert (np.diff(split.training) > 0).all()
    with pytest.raises(ValueError, match="expected 1 <= m <= n and n"):
        splits.draw_coins(20, 15, 8)


def test_the_canaries_are_digits_others_labels_and_blanks() -> None:
    made, base = load_base("digits_canaries"), load_base("digits")
    assert made.official
    assert (len(made), CANARIES, 2 * SUITE.m) == (LAST, 600, 600)
    pixels, labels = (np.asarray(each) for each in (made.raw, made.labels))
    assert np.array_equal(pixels[:BLANK], np.asarray(base.raw))
    assert np.array_equal(labels[:MISLABELLED], np.asarray(base.labels)[:MISLABELLED])
    assert (labels[MISLABELLED:BLANK] != np.asarray(base.labels)[MISLABELLED:]).all()
    assert (pixels[BLANK:].sum(axis=1) == 32).all()
    assert len(np.unique(pixels, axis=0)) == LAST


def test_everything_that_is_done_with_a_suite_is_done(
    suites: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, truth = ["--source", str(published)], ["--truth", str(suites)]
    on, out = [SUITE.name, "--split", "final"], str(tmp_path / "lira")
    assert main(["attack", *on, "--attack", "lira", "--out", out, *source]) == 0
    assert main(["score", out, "--suite", *on, *truth, *source]) == 0
    capsys.readouterr()
    html = tmp_path / "audit.html"
    audit = ["audit", SUITE.name, "--attack", "lira_shrunken", *truth, *source, "--html", str(html)]
    assert main(audit) == 0
    printed = capsys.readouterr().out
    for row in ("at most, add or remove one", "at least, add or remove one", "Each record was a member by a fair coin"):
        assert row in printed
        assert row in html.read_text()
    assert "2,400 coins" in printed
    assert "each a member by a fair coin" in html.read_text()
    assert "one in means another out" not in html.read_text()
    opening = suites / SUITE.name / "private" / "opening-dev.json"
    assert main(["open", str(opening), *source]) == 0


def test_its_card_says_how_members_were_drawn(published: Path) -> None:
    card = (published / "README.md").read_text()
    assert "400 training records, and each of 600 canaries by a fair coin of its own" in card
    assert "so the game is to add or remove one" in card
    assert "Exactly m of 2m" not in card


def test_nothing_hidden_shows_and_what_is_claimed_is_true(
    suites: Path, published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["check_leaks", str(published), "--suites", str(suites), "--trial"])
    assert check_leaks.main() == 0
    assert "no leak found" in capsys.readouterr().out


def test_membership_differs_in_number_from_model_to_model(suites: Path) -> None:
    members = {int(np.sum(row["membership"])) for row in SuiteFolder(suites / SUITE.name).truth()}
    assert len(members) > 5
    suite = open_suite(SUITE.name, suites.parent / "mico")
    assert {len(row["training"]) for row in suite.split("train")} == {SUITE.n - SUITE.m}


def test_the_ceiling_is_that_of_the_game() -> None:
    assert [adjacency_of(each) for each in (SUITE, SUITES["digits_hi"])] == ["add_remove", "substitution"]
    found = suite_ceiling(SUITE, 2.4)
    assert found is not None
    assert found.adjacency == "add_remove"


# ----------------------------------------------------------------------------------------------------------------------
# The number of members, among the attacks without any model.


def labels(probability: float, models: int, rng: np.random.Generator) -> list[np.ndarray]:
    return list(rng.random((models, 60)) < probability)


def test_the_number_of_members_has_the_binomials_moments() -> None:
    found = blind.coin_sums(labels(0.5, 7, np.random.default_rng(0)))
    tilts = blind.tilts_of(found.scale, 7)
    values = np.arange(61)
    expected = np.log(np.exp(tilts[..., None] * (values - 30)) @ binom.pmf(values, 60, 0.5))
    assert found.log_mgf[3] == pytest.approx(expected, rel=1e-9)
    assert found.variances == pytest.approx(15)


def test_coins_that_are_not_fair_are_found_and_fair_ones_are_not() -> None:
    rng = np.random.default_rng(0)

    def log_p(probability: float) -> float:
        sums = blind.coin_sums(labels(probability, 40, rng))
        return -blind.log_evidence(sums, 0, 0, 40)

    assert log_p(0.6) < math.log(1e-9)
    assert min(log_p(0.5) for _ in range(500)) > math.log(1e-4)
