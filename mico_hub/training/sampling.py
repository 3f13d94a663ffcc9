"""Which records are in which step: in a fixed order without DP, by Poisson sampling with it."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mico_hub.splits import Indices, Split
from mico_hub.suites import Suite

PAD_DEVIATIONS = 5.5
"""A stack's batches are filled up to this many standard deviations above their expected size."""


def batches(suite: Suite, split: Split, rng: np.random.Generator) -> Iterator[Indices]:
    """The batches of the whole training, `suite.steps` of them, each with the indices of its records."""
    return poisson_batches(suite, split, rng) if suite.private else fixed_batches(suite, split, rng)


def fixed_batches(suite: Suite, split: Split, rng: np.random.Generator) -> Iterator[Indices]:
    """The batches without DP: each record once an epoch.

    `sequential` has one order for all epochs, the members first, as the competition's loop had it; `shuffled` draws a
    new one each epoch.
    """
    if suite.order not in ("sequential", "shuffled"):
        raise ValueError(f"{suite.name}: expected the order sequential or shuffled, got {suite.order}")
    records = np.concatenate([rng.permutation(split.member), rng.permutation(split.training)])
    for _ in range(suite.epochs):
        if suite.order == "shuffled":
            records = rng.permutation(records)
        yield from (records[start : start + suite.batch_size] for start in range(0, len(records), suite.batch_size))


def poisson_batches(suite: Suite, split: Split, rng: np.random.Generator) -> Iterator[Indices]:
    """The batches with DP: each step takes each record with probability q, on its own.

    Drawn as a binomial number of records and then that many without replacement, which is the same distribution.
    A batch may be empty.
    """
    if suite.order != "poisson":
        raise ValueError(f"{suite.name} has epsilon {suite.epsilon:g}: expected the order poisson, got {suite.order}")
    records = np.concatenate([split.member, split.training])
    for _ in range(suite.steps):
        size = rng.binomial(len(records), suite.sampling_rate)
        yield records[rng.choice(len(records), size, replace=False, shuffle=False)]


def padded_rows(suite: Suite) -> int:
    """Rows that the Poisson batches of a stack are filled up to: 640 for an expected 512.

    It depends on nothing but the recipe, so that a model's weights do not depend on what else is in its stack.
    """
    deviation = math.sqrt(suite.expected_batch_size * (1 - suite.sampling_rate))
    return 64 * math.ceil((suite.expected_batch_size + PAD_DEVIATIONS * deviation) / 64)


def blocks(step: Sequence[Indices], rows: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """One step's batches of K models as rectangles.

    Args:
        step: The indices of each model's records.
        rows: What a rectangle is filled up to; a larger batch continues in the next one. None: all batches are
            of the same size, and nothing is filled up.

    Yields:
        (int64 (K, rows) record indices; bool (K, rows), False where a row is filled up, or None where none is). At
        least one pair, also for empty batches.
    """
    if rows is None:
        yield torch.from_numpy(np.stack(step)), None
        return
    largest = max(len(batch) for batch in step)
    for start in range(0, max(largest, 1), rows):
        records = np.zeros((len(step), rows), dtype=np.int64)
        present = np.zeros((len(step), rows), dtype=bool)
        for model, batch in enumerate(step):
            part = batch[start : start + rows]
            records[model, : len(part)], present[model, : len(part)] = part, True
        yield torch.from_numpy(records), torch.from_numpy(present)
