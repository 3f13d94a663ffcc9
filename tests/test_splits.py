from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mico_hub.splits import draw, random_order, stored_split


@st.composite
def sizes(draw_: st.DrawFn) -> tuple[int, int, int]:
    m = draw_(st.integers(1, 20))
    n = draw_(st.integers(m, 60))
    return draw_(st.integers(n + m, 120)), n, m


@given(sizes())
def test_a_split_covers_every_record_once(shape: tuple[int, int, int]) -> None:
    num_records, n, m = shape
    split = draw(num_records, n, m)
    parts = [split.member, split.nonmember, split.training, split.evaluation]
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_records))
    assert [len(part) for part in parts] == [m, m, n - m, num_records - n - m]
    assert sorted(split.challenge.tolist()) == split.challenge.tolist()
    assert sorted(split.training.tolist()) == split.training.tolist()
    assert sorted(split.evaluation.tolist()) == split.evaluation.tolist()
    assert split.membership.sum() == m


@given(sizes())
def test_a_stored_split_is_the_same(shape: tuple[int, int, int]) -> None:
    split = draw(*shape)
    again = stored_split(shape[0], split.challenge.tolist(), split.membership.tolist(), split.training.tolist())
    for name in ("challenge", "membership", "training", "evaluation", "member", "nonmember"):
        assert np.array_equal(getattr(split, name), getattr(again, name))


@pytest.mark.parametrize(("num_records", "n", "m"), [(10, 9, 2), (10, 5, 0), (10, 2, 3), (3, 2, 2)])
def test_sizes_that_do_not_fit_are_refused(num_records: int, n: int, m: int) -> None:
    with pytest.raises(ValueError, match="expected 1 <= m <= n and n"):
        draw(num_records, n, m)


def chi_squared(counts: Counter[tuple[int, ...]], outcomes: int) -> float:
    expected = counts.total() / outcomes
    return sum((counts[key] - expected) ** 2 / expected for key in counts) + expected * (outcomes - len(counts))


def test_all_orders_are_equally_likely() -> None:
    counts = Counter(tuple(random_order(4).tolist()) for _ in range(12_000))
    assert set(counts) <= set(permutations(range(4)))
    assert chi_squared(counts, 24) < 80  # 23 degrees of freedom: exceeded once in 40 million runs


def test_all_splits_are_equally_likely() -> None:
    """5 records, n = 2, m = 1: 10 challenges x 2 memberships x 3 trainings."""
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(18_000):
        split = draw(5, 2, 1)
        counts[(*split.challenge, *split.membership, *split.training)] += 1
    assert len(counts) == 60
    assert chi_squared(counts, 60) < 140  # 59 degrees of freedom: exceeded once in 60 million runs


def test_two_draws_of_full_size_differ_in_every_part() -> None:
    first, second = draw(197_324, 150_000, 100), draw(197_324, 150_000, 100)
    assert not np.array_equal(first.challenge, second.challenge)
    assert not np.array_equal(first.membership, second.membership)
    assert not np.array_equal(first.training, second.training)
