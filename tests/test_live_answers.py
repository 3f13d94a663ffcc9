"""What answers give away: a participant who decodes labels learns no more than is counted, whatever is asked."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mico_hub.boards.live.answers import SIX, Answer, Told, answer, bits_of_rates, bits_of_truth, error, levels_of
from mico_hub.boards.live.rules import Rules, RulesError, read_rules
from mico_hub.scoring import RANKING, headline_scores

M, MODELS = 4, 1
"""Small enough for all truths there could be to be tried: C(8, 4) = 70."""

Labels = NDArray[np.int8]


def truths() -> list[Labels]:
    """Every truth that there could be, (models * 2m,) each."""
    of_model = [
        np.isin(np.arange(2 * M), members).astype(np.int8) for members in itertools.combinations(range(2 * M), M)
    ]
    return [np.concatenate(each) for each in itertools.product(of_model, repeat=MODELS)]


def answered(rules: Rules, truth: Labels, predictions: Sequence[float], best: Told) -> Answer:
    scores = {"suite": headline_scores(truth, np.asarray(predictions))}
    return answer(rules, scores, {"suite": levels_of(M * MODELS)}, best)


def test_the_bits_are_those_of_the_issue() -> None:
    assert bits_of_rates(5_000, 1) == pytest.approx(12.3, abs=0.02)
    assert bits_of_rates(5_000, 6) == pytest.approx(64.2, abs=0.05)
    assert bits_of_truth(50, 100) == pytest.approx(9_800, abs=10)
    assert bits_of_rates(5_000, 1) * 1_000 > bits_of_truth(50, 100)  # what the competition's 1,000 queries could give
    assert levels_of(None) == levels_of(20_000) == 10_000
    assert bits_of_truth(MODELS, M) == pytest.approx(math.log2(len(truths())))


@given(st.integers(1, 8), st.integers(1, 4))
def test_the_number_of_answers_is_counted_exactly(levels: int, rates: int) -> None:
    """Against all falling sequences, written out."""
    every = [s for s in itertools.product(range(levels + 1), repeat=rates) if [*s] == sorted(s)]
    assert bits_of_rates(levels, rates) == pytest.approx(math.log2(len(every)))


STRATEGIES: dict[str, Callable[[np.random.Generator, int], Sequence[float]]] = {
    "one record at a time": lambda _, turn: [float(i == turn % (2 * M * MODELS)) for i in range(2 * M * MODELS)],
    "half of them": lambda rng, _: (rng.random(2 * M * MODELS) < 0.5).astype(float).tolist(),
    "an order": lambda rng, _: rng.permutation(2 * M * MODELS).astype(float).tolist(),
    "few levels": lambda rng, _: rng.integers(0, 3, 2 * M * MODELS).astype(float).tolist(),
}


@pytest.mark.parametrize("rules", [Rules(answers="tpr"), Rules(answers="six"), Rules(answers="ladder", step=0.1)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_who_decodes_labels_gets_no_more_than_counted(rules: Rules, strategy: str) -> None:
    """Averaged over all truths: bits learned are log2 of how many truths fell away."""
    rng = np.random.default_rng(0)
    queries = [STRATEGIES[strategy](rng, turn) for turn in range(12)]
    groups: dict[tuple[str, ...], int] = {}  # transcript -> how many truths give it
    counted = []
    for truth in truths():
        best: Told = {}
        transcript, bits = [], 0.0
        for query in queries:
            got = answered(rules, truth, query, best)
            best = got.told
            transcript.append(repr(sorted(got.told.items())) + repr(got.mean))
            bits += got.bits["suite"]
        groups[tuple(transcript)] = groups.get(tuple(transcript), 0) + 1
        counted.append(bits)
    every = sum(groups.values())
    learned = sum(number / every * math.log2(every / number) for number in groups.values())
    assert 0 < learned <= np.mean(counted) + 1e-9
    assert math.log2(len(groups)) <= max(counted) + 1e-9  # transcripts, at the worst truth
    if rules.answers == "ladder":
        assert learned < bits_of_truth(MODELS, M)  # it is silent about most


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from([0.01, 0.1, 0.25, 0.3]))
@settings(deadline=None)
def test_the_ladder_tells_only_what_beats_ones_best_by_a_step(scores: list[float], step: float) -> None:
    rules, best = Rules(answers="ladder", step=step), 0.0
    told: Told = {}
    for score in scores:
        got = answer(rules, {"s": dict.fromkeys(SIX, score)}, {"s": 100}, told)
        new = got.told.get("s", {}).get(RANKING, 0.0)
        if new != best:
            assert new > best
            assert new <= score + 1e-9
            assert new / step == pytest.approx(round(new / step))
        else:
            assert score < best + step + 1e-9
        assert got.bits["s"] <= math.log2(1 / step + 1) + 1e-9
        best, told = new, got.told


def answers_of(rules: Rules) -> Iterator[Answer]:
    for truth in truths()[:20]:
        yield answered(rules, truth, np.random.default_rng(1).random(2 * M * MODELS).tolist(), {})


def test_nothing_else_is_told() -> None:
    for got in answers_of(Rules()):
        assert got.told.keys() == {"suite"}
        assert got.told["suite"].keys() == {RANKING}
        assert got.mean == got.told["suite"][RANKING]
    for got in answers_of(Rules(answers="six")):
        assert set(got.told["suite"]) == set(SIX)


def test_an_error_bar_is_a_function_of_what_was_told() -> None:
    assert error(0.25, 5_000) == pytest.approx(1.96 * math.sqrt(0.25 * 0.75 / 5_000))
    assert error(0.0, 10) == 0


def test_all_that_is_wrong_with_rules_is_said(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "board.toml"
    path.write_text('title = "T"\ntracks = ["digits"]\ndeadline = 2027-03-01T00:00:00+02:00\nanswers = "six"\n')
    rules = read_rules(path)
    assert (rules.title, rules.answers, rules.daily, rules.total) == ("T", "six", 30, 1_000)
    assert f"{rules.deadline:%Y-%m-%d %H:%M %Z}" == "2027-02-28 22:00 UTC"
    path.write_text('anwers = "six"\nextra = 1\n')
    with pytest.raises(RulesError, match=r"anwers: unknown. Did you mean 'answers'\?[^\0]*extra: unknown"):
        read_rules(path)
    path.write_text('answers = "all"\ndaily = 0\nstep = 2\ndeadline = "soon"\ntracks = ["x"]\ntitle = ""\n')
    with pytest.raises(RulesError) as caught:
        read_rules(path)
    for name in ("answers", "daily", "step", "deadline", "tracks", "title"):
        assert f"{name}: expected" in str(caught.value)
    path.write_text("answers = ")
    with pytest.raises(RulesError, match="expected TOML"):
        read_rules(path)
