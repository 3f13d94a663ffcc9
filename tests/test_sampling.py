from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import N, small

from mico_hub.splits import draw
from mico_hub.suites import SUITES
from mico_hub.training.sampling import blocks, fixed_batches, padded_rows, poisson_batches


def test_poisson_batches_take_each_record_on_its_own() -> None:
    suite = replace(small(SUITES["digits_hi"]), epochs=3_000)
    split = draw(N, suite.n, suite.m)
    batches = list(poisson_batches(suite, split, np.random.default_rng(0)))
    assert len(batches) == suite.steps == 9_000
    taken = np.zeros((len(batches), N))
    for row, batch in zip(taken, batches, strict=True):
        assert len(np.unique(batch)) == len(batch)
        row[batch] = 1
    trained = np.concatenate([split.member, split.training])
    assert taken.sum(axis=1).var() == pytest.approx(30 * (1 / 3) * (2 / 3), rel=0.08)  # five standard errors
    error = np.sqrt((1 / 3) * (2 / 3) / len(batches))
    assert np.abs(taken[:, trained].mean(axis=0) - 1 / 3).max() < 5.5 * error
    assert taken.sum() == taken[:, trained].sum()
    correlation = np.corrcoef(taken[:, trained], rowvar=False)
    assert np.abs(correlation - np.eye(30)).max() < 5.5 / np.sqrt(len(batches))


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_without_dp_each_record_comes_once_an_epoch(order: str) -> None:
    suite = replace(small(SUITES["cifar10_inf"], epochs=2), order=order)  # type: ignore[arg-type]
    split = draw(N, suite.n, suite.m)
    steps = list(fixed_batches(suite, split, np.random.default_rng(0)))
    first, second = steps[:3], steps[3:]
    trained = sorted([*split.member, *split.training])
    assert [len(batch) for batch in first] == [12, 12, 6]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == trained
    assert np.array_equal(np.concatenate(first), np.concatenate(second)) == (order == "sequential")
    if order == "sequential":
        assert sorted(np.concatenate(first)[:10]) == split.member.tolist()


@given(st.lists(st.integers(0, 23), min_size=1, max_size=4), st.integers(1, 10))
def test_blocks_hold_every_record_once(sizes: list[int], rows: int) -> None:
    rng = np.random.default_rng(0)
    step = [rng.integers(0, 1_000, size) for size in sizes]
    found: list[list[int]] = [[] for _ in sizes]
    count = 0
    for records, present in blocks(step, rows):
        assert present is not None
        assert records.shape == present.shape == (len(sizes), rows)
        count += 1
        for model in range(len(sizes)):
            found[model] += records[model][present[model]].tolist()
    assert found == [batch.tolist() for batch in step]
    assert count == max(1, -(-max(sizes) // rows))


def test_batches_of_one_size_are_not_filled_up() -> None:
    step = [np.arange(5), np.arange(5, 10)]
    ((records, present),) = blocks(step, None)
    assert present is None
    assert records.tolist() == [batch.tolist() for batch in step]


def test_the_pad_is_rarely_exceeded_and_depends_on_the_recipe_alone() -> None:
    assert padded_rows(SUITES["purchase100_hi"]) == padded_rows(SUITES["purchase100_lo"]) == 640
    assert padded_rows(SUITES["digits_hi"]) == 256
