"""An audit of anybody's scores: the designs, their conditions, what tuning costs, the file, the report."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import mico_hub
from mico_hub.auditing.gaussian import gdp_epsilon, mu_of_auc
from mico_hub.auditing.one_run import one_run_epsilon
from mico_hub.auditing.scores import SHARES, ScoreAudit, ScoreAuditError, audit_scores, terms
from mico_hub.cli import main

DELTA = 1e-5


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where secrets are kept."""
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def answers(coins: int, epsilon: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coins, and randomised response on each: what adding or removing a record with that epsilon shows."""
    members = rng.integers(0, 2, coins)
    right = rng.random(coins) < 1 / (1 + math.exp(-epsilon))
    return members, np.where(right, members, 1 - members) + rng.normal(0, 1e-3, coins)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("guesses", [500, None])
def test_coins_are_above_the_truth_as_seldom_as_the_level_says(epsilon: float, guesses: int | None) -> None:
    """1,000 runs, with the number of guesses fixed or tuned."""
    rng = np.random.default_rng(round(10 * epsilon))
    found = [
        audit_scores(*answers(500, epsilon, rng), design="coins", delta=DELTA, guesses=guesses).bounds.certified
        for _ in range(1_000)
    ]
    assert np.mean(np.array(found) > epsilon) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1_000)
    assert np.mean(found) > 0.4 * epsilon


def test_pairs_are_matched_once_for_the_same_memberships(own_cache: Path) -> None:
    rng = np.random.default_rng(0)
    members = [rng.permutation(np.repeat([0, 1], 50)) for _ in range(8)]
    scores = [rng.normal(each) for each in members]
    first = audit_scores(members, scores, design="pairs", delta=DELTA, guesses=40)
    (kept,) = (own_cache / "nonces").iterdir()
    assert audit_scores(members, scores, design="pairs", delta=DELTA, guesses=40) == first
    audit_scores(members, [rng.normal(each) for each in members], design="pairs", delta=DELTA, guesses=40)
    assert list((own_cache / "nonces").iterdir()) == [kept]  # other scores, the same truth: the same matching
    audit_scores(members[1:], scores[1:], design="pairs", delta=DELTA, guesses=40)
    assert len(list((own_cache / "nonces").iterdir())) == 2


def test_pairs_that_were_drawn_before_are_taken(own_cache: Path) -> None:
    found = audit_scores([[1, 0, 0, 1]], [[5.0, 1.0, 0.0, 0.5]], design="pairs", delta=0.0, guesses=2,
                         pairs=[[7, 7, 9, 9]])  # fmt: skip
    assert (found.bounds.guesses.correct, found.bounds.guesses.coins) == (2, 2)
    assert not own_cache.exists()
    with pytest.raises(
        ScoreAuditError, match=r"model 0, pair 9: expected one member and one non-member, got memberships \[0\]"
    ):
        audit_scores([[1, 0, 0]], [[1.0, 0.0, 0.0]], design="pairs", delta=0.0, pairs=[[7, 7, 9]])
    with pytest.raises(ValueError, match="model 0: expected a pair's number for each membership"):
        audit_scores([[1, 0]], [[1.0, 0.0]], design="pairs", delta=0.0, pairs=[[7]])


def test_one_record_a_model_is_a_coin_each() -> None:
    members = np.arange(50) % 2
    found = audit_scores(members, members + 0.0, design="one-per-model", delta=0.0, guesses=50)
    assert found.bounds.certified == pytest.approx(2.78, abs=0.01)
    assert found.models == 50


def test_tuning_is_paid_for() -> None:
    members, scores = answers(1_000, 2.0, np.random.default_rng(3))
    tuned = audit_scores(members, scores, design="coins", delta=DELTA)
    of = tuned.bounds.guesses
    fixed = audit_scores(members, scores, design="coins", delta=DELTA, guesses=of.guesses)
    assert fixed.bounds.certified > tuned.bounds.certified
    assert tuned.tests == len(SHARES)
    level = 1 - 0.05 / len(SHARES)
    assert tuned.bounds.certified == one_run_epsilon(of.correct, of.guesses, of.coins, DELTA, level)
    assert "8 numbers of guesses were tried, each at level 0.9938" in str(tuned)
    assert "nothing: the number of guesses was fixed beforehand" in str(fixed)


def test_half_of_the_guesses_are_members_with_the_highest_scores() -> None:
    found = audit_scores([1, 1, 0, 0], [3.0, 2.0, 1.0, 0.0], design="coins", delta=0.0, guesses=3)
    assert found.bounds.guesses.correct == 3
    found = audit_scores([0, 1, 0, 1], [3.0, 2.0, 1.0, 0.0], design="coins", delta=0.0, guesses=2)
    assert found.bounds.guesses.correct == 0


@pytest.mark.parametrize(
    ("membership", "design", "message"),
    [
        ([0] * 30 + [1] * 2, "coins", "expected members by fair coins, got 2 of 32"),
        ([[0, 1], [1, 0], [1, 0], [0, 1]], "coins", "as many as non-members in every model: use `pairs`"),
        ([[0, 1, 1] * 15, [0, 1, 1] * 15], "coins", "the same \\(or the opposite\\) ones in several"),
        ([[0, 1] * 25, [1, 0] * 25], "pairs", "the same \\(or the opposite\\) ones in several"),
        ([[0, 1, 1]], "pairs", "expected as many 0 as 1, got 1 and 2"),
        ([0, 2], "coins", "expected memberships of 0 and 1"),
        ([[0, 1], [1, 0]], "one-per-model", "expected one list with a value a model, got 2 lists"),
        ([0, 1], "dice", "expected a design of pairs, coins, one-per-model, got 'dice'"),
    ],
)
def test_memberships_that_are_not_what_the_design_says_are_refused(membership: list, design: str, message: str) -> None:  # type: ignore[type-arg]
    scores = [[0.5] * len(each) for each in membership] if isinstance(membership[0], list) else [0.5] * len(membership)
    with pytest.raises(ScoreAuditError, match=message):
        audit_scores(membership, scores, design=design, delta=DELTA)  # type: ignore[arg-type]


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a score for each membership"):
        audit_scores([0, 1], [0.5], design="coins", delta=DELTA)
    with pytest.raises(ValueError, match="expected finite scores"):
        audit_scores([0, 1], [0.5, math.nan], design="coins", delta=DELTA)
    with pytest.raises(ScoreAuditError, match="expected guesses from 1 to 2, the coins, got 3"):
        audit_scores([0, 1], [0.5, 0.5], design="coins", delta=DELTA, guesses=3)
    with pytest.raises(ScoreAuditError, match=r"expected delta in \[0, 1\)"):
        audit_scores([0, 1], [0.5, 0.5], design="coins", delta=2)


def test_a_claim_is_compared_under_its_own_adjacency_only() -> None:
    members, scores = answers(2_000, 4.0, np.random.default_rng(0))

    def stands(found: ScoreAudit) -> str:
        return dict(terms(found))["the claim"]

    low, high = mico_hub.Claim(epsilon=0.5), mico_hub.Claim(epsilon=5, unit="user", accountant="PRV")
    assert stands(audit_scores(members, scores, design="coins", delta=DELTA, claim=low)) == "refuted"
    assert stands(audit_scores(members, scores, design="coins", delta=DELTA, claim=high)).startswith("not refuted")
    assert stands(audit_scores(members, scores, design="coins", delta=DELTA)) == "none was given"
    pairs = [np.repeat([0, 1], 100)]
    found = mico_hub.audit_scores(pairs, [pairs[0] * 1.0], design="pairs", delta=DELTA, claim=low)
    assert "not compared, substitution may show more" in stands(found)
    assert "another order or cache is another test" in dict(terms(found))["pairs"]
    half = audit_scores([0, 1] * 50, [0.5] * 100, design="coins", delta=DELTA)
    assert "exactly half are members" in dict(terms(half))["coins"]
    assert half.bounds.certified == 0


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_command_reads_a_file_and_writes_both_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    members, scores = answers(400, 3.0, rng)
    lines = "".join(
        f"{i % 4},{score},{member}\n" for i, (member, score) in enumerate(zip(members, scores.tolist(), strict=True))
    )
    file = write(tmp_path / "scores.csv", "model,score,membership\n" + lines)
    command = [
        "audit-scores",
        str(file),
        "--design",
        "coins",
        "--delta",
        "1e-5",
        "--epsilon",
        "4",
        "--accountant",
        "PRV",
    ]
    out = [str(tmp_path / name) for name in ("audit.html", "audit.json")]
    assert main([*command, "--html", out[0], "--json", out[1]]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 models, 400 points, design coins, delta 1e-05")
    read = json.loads(Path(out[1]).read_text())
    assert f"{read['at_least']:.2f}" in printed
    assert read["claim"]["accountant"] == "PRV"
    page = Path(out[0]).read_text()
    for term in ("unit of privacy", "adjacency", "what tuning cost", "not tested", f"{read['at_least']:.2f}"):
        assert term in page
    assert "<script" in page
    assert "https://" not in page


@pytest.mark.parametrize(
    ("text", "design", "message"),
    [
        ("", "coins", "line 1: expected columns membership, score"),
        ("membership,score,name\n0,1,x\n", "coins", "got membership, score, name"),
        ("membership,score\n", "coins", "no line after the header"),
        ("membership,score\n2,0.5\n1,x\n1\n", "coins", "line 2: expected membership 0 or 1, got '2'"),
        ("membership,score\n2,0.5\n1,x\n1\n", "coins", "line 3: expected a finite score, got 'x'"),
        ("membership,score\n2,0.5\n1,x\n1\n", "coins", "line 4: expected as many fields as the header has"),
        ("membership,score\n1,nan\n", "coins", "line 2: expected a finite score, got 'nan'"),
        (
            "model,membership,score\n0,1,1\n0,0,1\n",
            "one-per-model",
            "expected one line a model, got 2 lines of 1 models",
        ),
        ("membership,score\n1,2\xff\n", "coins", "expected"),
    ],
)
def test_a_file_that_is_no_table_of_scores_is_refused_with_all_that_is_wrong(
    text: str, design: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.csv"
    file.write_bytes(text.encode("latin-1"))
    assert main(["audit-scores", str(file), "--design", design, "--delta", "1e-5", "--json", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-scores", str(tmp_path / "none.csv"), "--design", "coins", "--delta", "1e-5"]) == 2
    assert "none.csv" in capsys.readouterr().err


def test_numbers_that_do_not_fit_are_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "scores.csv", "membership,score\n1,2\n0,1\n")
    for option, message in (("--guesses=5", "expected guesses from 1 to 2"), ("--delta=2", "expected delta in")):
        assert main(["audit-scores", str(file), "--design", "coins", "--delta", "1e-5", option]) == 2
        assert message in capsys.readouterr().err


def test_the_estimate_is_of_the_whole_curve_and_not_below_a_bound() -> None:
    """A tenth of the members stands out, which the area hardly shows."""
    rng = np.random.default_rng(0)
    members = [rng.integers(0, 2, 400) for _ in range(40)]
    scores = [rng.normal(size=400) + 10 * each * (rng.random(400) < 0.1) for each in members]
    found = audit_scores(members, scores, design="coins", delta=DELTA).bounds
    area = np.mean([np.mean(s[m == 1][:, None] > s[m == 0]) for m, s in zip(members, scores, strict=True)])
    assert found.interval is not None
    assert found.interval.low < found.estimate < found.interval.high
    assert found.estimate > 2 * gdp_epsilon(mu_of_auc(float(area)), DELTA)
    assert found.estimate >= max(found.certified, found.by_trade_off)
