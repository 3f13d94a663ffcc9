"""The competition's splits from their seeds: golden cases of the genuine stack, and mt19937 written out in numpy."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mico_hub.splits import original_split, split_seeds

CASES = json.loads((Path(__file__).parent / "golden" / "splits.json").read_text())["cases"]
ARRAYS = ("challenge", "membership", "member", "nonmember", "training", "evaluation")


def of_case(case: dict[str, Any], **changed: int) -> Any:
    seeds = {name: case[name] for name in ("seed_challenge", "seed_training", "seed_membership")} | changed
    return original_split(case["N"], case["len_training"], case["len_challenge"], **seeds)


def sha256(indices: npt.NDArray[np.int64]) -> str:
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_golden_cases(case: dict[str, Any]) -> None:
    split = of_case(case)
    assert split.challenge.tolist() == case["challenge"]
    if case["seed_training"] is None:
        assert split.training is split.evaluation is None
    else:
        assert split.training[:20].tolist() == case["training_first20"]
        assert split.evaluation[:20].tolist() == case["evaluation_first20"]
        assert sha256(split.training) == case["training_sha256"]
        assert sha256(split.evaluation) == case["evaluation_sha256"]
    if case["seed_membership"] is None:
        assert split.membership is split.member is split.nonmember is None
    else:
        assert split.membership.tolist() == case["solution"]
        assert split.member.tolist() == case["member"]
        assert split.nonmember.tolist() == case["nonmember"]
    if case["seed_training"] is not None and case["seed_membership"] is not None:
        assert sha256(np.concatenate([split.member, split.training])) == case["train_dataset_sha256"]
    if "split_seed" in case:
        assert split_seeds(case["split_seed"]) == tuple(
            case[name] for name in ("seed_challenge", "seed_training", "seed_membership")
        )


def test_the_golden_cases_are_all_here() -> None:
    assert len(CASES) == 15
    assert sum("split_seed" in case for case in CASES) == 3
    assert sum(case["seed_membership"] is None for case in CASES) == 2


def naive_order(length: int, seed: int) -> list[int]:
    """Fisher and Yates with one word of mt19937 a step, as torch draws it."""
    words = np.random.RandomState(seed % 2**32).randint(0, 2**32, size=max(length - 1, 0), dtype=np.uint32)
    order = list(range(length))
    for i, word in enumerate(words.tolist()):
        j = i + word % (length - i)
        order[i], order[j] = order[j], order[i]
    return order


seeds = st.integers(0, 2**64 - 1)


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 40), seeds, seeds, seeds)
def test_an_independent_implementation_agrees(
    m: int, more: int, rest: int, first: int, second: int, third: int
) -> None:
    n, num_records = m + more, m + more + m + rest
    split = original_split(num_records, n, m, first, second, third)
    order = naive_order(num_records, first)
    challenge, others = order[: 2 * m], order[2 * m :]
    others = [others[i] for i in naive_order(len(others), second)]
    positions = naive_order(2 * m, third)
    assert split.challenge.tolist() == challenge
    assert split.training is not None
    assert split.training.tolist() == others[: n - m]
    assert split.evaluation is not None
    assert split.evaluation.tolist() == others[n - m :]
    assert split.nonmember is not None
    assert split.nonmember.tolist() == [challenge[i] for i in positions[:m]]
    assert split.member is not None
    assert split.member.tolist() == [challenge[i] for i in positions[m:]]
    assert split.membership is not None
    assert split.membership.tolist() == [int(record in split.member) for record in challenge]


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63 + 5])
def test_an_independent_implementation_agrees_at_full_size(seed: int) -> None:
    split = original_split(200_000, 150_000, 100, seed)
    assert split.challenge.tolist() == naive_order(200_000, seed)[:200]


@given(seeds)
def test_seeds_count_modulo_2_to_the_32(seed: int) -> None:
    twins = [original_split(30, 15, 4, each, each, each) for each in (seed, seed % 2**32)]
    for name in ARRAYS:
        assert np.array_equal(getattr(twins[0], name), getattr(twins[1], name))
    assert split_seeds(seed) == split_seeds(seed % 2**32)


@pytest.mark.parametrize("seed", [-1, 2**64])
@pytest.mark.parametrize("name", ["seed_challenge", "seed_training", "seed_membership"])
def test_seeds_that_the_original_rejects_are_rejected(name: str, seed: int) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a seed from 0 to 2"):
        of_case(CASES[0], **{name: seed})
    with pytest.raises(ValueError, match="split_seed: expected a seed from 0 to 2"):
        split_seeds(seed)


@pytest.mark.parametrize("seed", ["7", 7.0, True])
def test_a_seed_is_an_integer(seed: Any) -> None:
    with pytest.raises(TypeError, match="seed_challenge: expected an integer"):
        of_case(CASES[0], seed_challenge=seed)


@pytest.mark.parametrize("sizes", [(10, 9, 2), (10, 5, 0), (10, 2, 3), (3, 2, 2)])
def test_sizes_that_do_not_fit_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected 1 <= m <= n and n"):
        original_split(*sizes, seed_challenge=1)


@pytest.mark.parametrize(("num_records", "n"), [(60_000, 50_000), (197_324, 150_000), (68_221, 67_349)])
def test_a_split_takes_less_than_50_ms(num_records: int, n: int) -> None:
    original_split(num_records, n, 100, 0, 0, 0)
    times = []
    for seed in range(5):
        started = time.perf_counter()
        original_split(num_records, n, 100, seed, seed, seed)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05
