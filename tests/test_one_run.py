"""Bounds from many coins in few trainings: below the truth as often as they say, on mechanisms of known epsilon."""

import math
import secrets
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

from mico_hub.auditing.gaussian import gdp_delta, gdp_epsilon, gdp_mu, mu_of_auc, mu_of_rates
from mico_hub.auditing.one_run import fdp_epsilon, gdp_one_run_epsilon, one_run_epsilon, one_run_p_value
from mico_hub.auditing.pairs import guess, match, pair_differences, right_coins, right_pairs, select_guesses

BOUNDS: dict[str, Callable[..., float]] = {
    "one-run": one_run_epsilon,
    "f-DP": fdp_epsilon,
    "Gaussian": gdp_one_run_epsilon,
}


@pytest.mark.parametrize(
    ("counts", "delta", "one_run", "gaussian"),
    [
        ((50, 50, 50), 1e-9, 2.7847, 9.4275),
        ((900, 1000, 1000), 1e-5, 2.0206, 3.7793),
        ((60, 100, 5000), 1e-5, 0.0398, 0.0349),
        ((150, 200, 5000), 1e-5, 0.8141, 1.0486),
        ((2800, 5000, 5000), 1e-5, 0.1937, 0.3455),
        ((95, 100, 5000), 1e-5, 2.1348, 2.7741),
        ((50, 100, 100), 1e-5, 0.0, 0.0),
        ((400, 500, 500), 1e-5, 1.1983, 2.3266),
        ((640, 1000, 5000), 1e-6, 0.4651, 0.7856),
    ],
)
def test_bounds_are_those_of_another_implementation(
    counts: tuple[int, int, int], delta: float, one_run: float, gaussian: float
) -> None:
    """jax_privacy's `auditing.py` of 2026 on the same counts; its f-DP bound is for Gaussian trade-offs."""
    assert one_run_epsilon(*counts, delta) == pytest.approx(one_run, abs=1e-4)
    assert gdp_one_run_epsilon(*counts, delta) == pytest.approx(gaussian, abs=1e-4)


@given(st.integers(1, 60), st.data())
def test_the_p_value_is_the_theorems(guesses: int, data: Any) -> None:
    correct, extra = data.draw(st.integers(0, guesses)), data.draw(st.integers(0, 20))
    epsilon, delta = data.draw(st.floats(0, 5)), data.draw(st.sampled_from([0.0, 1e-5, 1e-3]))
    right = math.exp(epsilon) / (1 + math.exp(epsilon))
    tail = [binom.sf(count - 1, guesses, right) for count in range(guesses + 1)]
    alpha = max(((tail[correct - i] - tail[correct]) / i for i in range(1, correct + 1)), default=0)
    expected = min(tail[correct] + 2 * (guesses + extra) * delta * alpha, 1)
    found = one_run_p_value(correct, guesses, guesses + extra, epsilon, delta)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_without_delta_the_trade_off_gives_the_binomials_bound() -> None:
    for counts in ((50, 50, 50), (70, 100, 100), (40, 50, 200)):
        assert fdp_epsilon(*counts, 0.0) <= one_run_epsilon(*counts, 0.0) + 1e-4
    assert fdp_epsilon(50, 50, 50, 0.0) == pytest.approx(one_run_epsilon(50, 50, 50, 0.0), abs=1e-4)


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_a_bound_grows_with_right_guesses_and_falls_with_confidence_and_delta(bound: Callable[..., float]) -> None:
    found = [bound(correct, 100, 500, 1e-5) for correct in range(50, 101, 5)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] > 2
    assert bound(80, 100, 500, 1e-5, 0.99) < bound(80, 100, 500, 1e-5, 0.95)
    assert bound(80, 100, 500, 1e-2) < bound(80, 100, 500, 1e-6) or bound is gdp_one_run_epsilon


@pytest.mark.parametrize("wrong", [(-1, 5, 5), (6, 5, 5), (5, 6, 5), (0, 0, 5)])
def test_counts_that_cannot_be_are_refused(wrong: tuple[int, int, int]) -> None:
    for bound in BOUNDS.values():
        with pytest.raises(ValueError, match="expected 0 <= correct <= guesses <= coins"):
            bound(*wrong, 1e-5)
        with pytest.raises(ValueError, match=r"expected delta in \[0, 1\)"):
            bound(1, 2, 3, 1.0)


# ----------------------------------------------------------------------------------------------------------------------
# MICO's own game on mechanisms whose epsilon for substitution is known. Turning a pair changes two records' answers.

MODELS, M = 10, 20


def answers(epsilon: float, members: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Randomised response on each record, with half of the pair's epsilon each."""
    right = rng.random(members.shape) < 1 / (1 + math.exp(-epsilon / 2))
    return np.where(right, members, 1 - members) + 0.0


def shifted(epsilon: float, members: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same, with a shift of all scores of a model: they depend on each other."""
    return answers(epsilon, members, rng) + rng.normal(0, 2, (len(members), 1))


def gaussian(epsilon: float, members: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Members' scores moved by d: a pair's difference moves by 2 d against noise of sqrt 2, sqrt(2) d-GDP."""
    return rng.normal(members * gdp_mu(epsilon, DELTA) / math.sqrt(2))


DELTA, RUNS = 1e-3, 1_000
MECHANISMS = {"answers": (answers, 0.0), "shifted": (shifted, 0.0), "gaussian": (gaussian, DELTA)}


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("epsilon", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_bounds_are_above_the_truth_as_seldom_as_they_say(name: str, epsilon: float) -> None:
    """1,000 runs each, with the matching, the number of guesses fixed on other models, and all."""
    mechanism, delta = MECHANISMS[name]
    rng = np.random.default_rng(round(100 * epsilon))

    def game() -> NDArray[np.float64]:
        members = rng.permuted(np.repeat([[0, 1]] * MODELS, M, axis=1), axis=1)
        pairs = match(list(members), rng.bytes(32))
        return pair_differences(list(mechanism(epsilon, members, rng)), pairs)

    guesses = select_guesses(right_pairs(game()), MODELS * M, delta)
    found = [guess(right_pairs(game()), guesses) for _ in range(RUNS)]
    for label in ("one-run", "f-DP", *(["Gaussian"] if name == "gaussian" else [])):
        bounds = np.array([BOUNDS[label](each.correct, each.guesses, each.coins, delta) for each in found])
        assert np.mean(bounds > epsilon) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS), label
        if epsilon >= 2:
            assert bounds.mean() > 0.1 * epsilon, label  # a bound of 0 would be above the truth never


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_scores_that_say_nothing_certify_nothing(shift: float) -> None:
    """1,000 runs: above 0 in at most 5%."""
    rng = np.random.default_rng(1)

    def null() -> NDArray[np.float64]:
        members = rng.permuted(np.repeat([[0, 1]] * MODELS, M, axis=1), axis=1)
        scores = rng.normal(size=members.shape) + shift * rng.normal(size=(MODELS, 1))
        return pair_differences(list(scores), match(list(members), rng.bytes(32)))

    for guesses in (10, select_guesses(right_pairs(null()), MODELS * M, 1e-5), MODELS * M):
        found = [guess(right_pairs(null()), guesses) for _ in range(RUNS)]
        for label, bound in BOUNDS.items():
            above = np.mean([bound(each.correct, each.guesses, each.coins, 1e-5) > 0 for each in found])
            assert above <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS), (label, guesses)


def test_every_matching_is_as_likely_and_none_depends_on_the_split() -> None:
    """Of m = 3: each of the 6 bijections about as often, whichever positions are members."""
    for membership in ([0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 0, 1]):
        members, others = np.flatnonzero(membership), np.flatnonzero(np.array(membership) == 0)
        seen: Counter[tuple[int, ...]] = Counter()
        for _ in range(6_000):
            (pairs,) = match([membership], secrets.token_bytes(32))
            assert sorted(pairs[:, 0].tolist()) == members.tolist()
            seen[tuple(pairs[np.argsort(pairs[:, 0]), 1].tolist())] += 1
        assert set(seen) == set(permutations(others.tolist()))
        assert max(abs(count - 1_000) for count in seen.values()) < 5 * math.sqrt(6_000 * 5 / 36)


def test_a_matching_is_the_same_for_the_same_secret_and_another_for_each_model() -> None:
    membership = [np.repeat([0, 1], 30)] * 2
    first, again = (match(membership, b"n" * 32) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(first[1], match(membership[:1], b"n" * 32, [1])[0])
    assert not np.array_equal(first[0], match(membership, b"m" * 32)[0])
    with pytest.raises(ValueError, match="model 7: expected as many 0 as 1, got 1 and 2"):
        match([[0, 1, 1]], b"", [7])


def test_the_largest_differences_are_guessed_and_equal_scores_are_wrong() -> None:
    for differences, guesses, correct in (
        ([1.0, -2.0, 3.0], 2, 1),
        ([1.0, -1.0, 1.0], 2, 1),  # of those that are as different the wrong one first
        ([1.0, 1.0, -1.0], 1, 0),
        ([0.0, 0.0, 0.0], 3, 0),
        ([5.0, 4.0, 0.0], 3, 2),
    ):
        found = guess(right_pairs(differences), guesses)
        assert (found.correct, found.guesses, found.coins) == (correct, guesses, 3)


def test_the_highest_and_the_lowest_are_guessed_in_turns() -> None:
    assert right_coins([1, 0, 1, 0, 0], [5.0, 4.0, 3.0, 2.0, 1.0]).tolist() == [True, True, False, True, True]
    assert right_coins([0, 1], [2.0, 1.0]).tolist() == [False, False]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=12), st.randoms())
def test_equal_scores_help_in_no_order(points: list[tuple[int, int]], random: Any) -> None:
    """Of any order, members first say, no number of guesses has more right ones than when ties are broken at random."""
    shuffled = random.sample(points, len(points))
    labels, scores = ([point[i] for point in points] for i in (0, 1))
    found = right_coins(labels, scores)
    assert found.tolist() == right_coins(*([point[i] for point in shuffled] for i in (0, 1))).tolist()
    split_ties = np.array(scores) + np.array([random.random() / 2 for _ in points])
    assert (np.cumsum(found) <= np.cumsum(right_coins(labels, split_ties))).all()


def test_scores_that_all_are_equal_certify_nothing() -> None:
    labels = np.repeat([1, 0], 500)
    for scores in (np.zeros(1_000), np.random.default_rng(0).integers(0, 2, 1_000)):
        rights = right_coins(labels, scores)
        assert all(one_run_epsilon(int(rights[:n].sum()), n, 1_000, 1e-5) == 0 for n in (2, 10, 100, 500, 1_000))


def test_the_order_of_pairs_does_not_say_which_record_is_the_member() -> None:
    membership = [np.random.default_rng(0).permutation(np.repeat([0, 1], 20))]
    (pairs,) = match(membership, b"n" * 32)
    assert (np.diff(pairs.min(axis=1)) > 0).all()
    assert 5 < np.count_nonzero(pairs[:, 0] < pairs[:, 1]) < 15


def test_how_many_to_guess_is_where_the_other_models_are_right() -> None:
    rng = np.random.default_rng(0)
    clear, rest = np.full(100, 10.0) + rng.random(100), rng.normal(0, 1, 4_900)
    found = select_guesses(right_pairs(np.concatenate([clear, rest])), 5_000, 1e-5)
    assert 60 < found < 160
    assert select_guesses(np.zeros(100, dtype=bool), 5_000, 1e-5) == 5_000


@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0, 12.0])
def test_gaussian_trade_offs_are_what_they_are_defined_as(mu: float) -> None:
    for epsilon in (0.0, 0.5, 3.0):
        direct = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        assert gdp_delta(mu, epsilon) == pytest.approx(direct, rel=1e-6, abs=1e-12)
    assert gdp_mu(gdp_epsilon(mu, 1e-5), 1e-5) == pytest.approx(mu, abs=1e-6)
    assert mu_of_rates(0.1, float(norm.cdf(norm.ppf(0.9) - mu))) == pytest.approx(mu, abs=1e-6)
    assert mu_of_auc(float(norm.cdf(min(mu, 5) / math.sqrt(2)))) == pytest.approx(min(mu, 5), abs=1e-6)
    far = brentq(lambda epsilon: gdp_delta(mu, epsilon) - 1e-12, 0, 200)
    assert gdp_epsilon(mu, 1e-12) == pytest.approx(far)


def test_gaussian_trade_offs_at_their_ends() -> None:
    assert gdp_epsilon(0.0, 1e-5) == 0
    assert gdp_epsilon(-1.0, 1e-5) == 0
    assert gdp_epsilon(1.0, 0.0) == math.inf
    assert gdp_epsilon(1e-6, 0.1) == 0
