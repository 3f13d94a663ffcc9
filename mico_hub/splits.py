"""Draws which records a model is challenged with, trained on and evaluated on. Pure: no files, no datasets.

    all N records
    |-- challenge   2m   m members and m non-members
    `-- the rest    N - 2m
        |-- training    n - m
        `-- evaluation  N - n - m

The model is trained on its members and `training`, n records in all.
"""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One model's records, as indices into the base dataset; every array ascending unless said otherwise."""

    challenge: Indices  # (2m,)
    membership: npt.NDArray[np.int8]  # (2m,), aligned with challenge, 1 = member
    training: Indices  # (n - m,), without the members
    evaluation: Indices  # (N - n - m,), seen by nobody

    @property
    def member(self) -> Indices:
        """The challenge records that are in the training set, (m,), in the order of `challenge`."""
        member: Indices = self.challenge[self.membership == 1]
        return member

    @property
    def nonmember(self) -> Indices:
        """The challenge records that are not in the training set, (m,), in the order of `challenge`."""
        nonmember: Indices = self.challenge[self.membership == 0]
        return nonmember


def random_order(length: int) -> Indices:
    """A uniformly random permutation of range(length), from the operating system's random source alone.

    Sorts 64-bit random keys; two equal keys (probability about length**2 / 2**65) would favour one order, so then all
    keys are drawn again.
    """
    while True:
        keys = np.frombuffer(os.urandom(8 * length), dtype=np.uint64)
        order = np.argsort(keys)
        if length < 2 or (np.diff(keys[order]) > 0).all():
            return order.astype(np.int64)


def draw(num_records: int, n: int, m: int) -> Split:
    """Draws one model's split; challenge, training and membership each from randomness of its own.

    No seed exists that could be guessed: the competition drew each part from a 32-bit seed, which can be searched.

    Args:
        num_records: N, records in the base dataset.
        n: Training records, the m members among them.
        m: Member challenges; as many non-members.

    Raises:
        ValueError: The sizes do not fit: 1 <= m <= n and n + m <= N.
    """
    if not (1 <= m <= n and n + m <= num_records):
        raise ValueError(f"expected 1 <= m <= n and n + m <= N, got m={m}, n={n}, N={num_records}")
    order = random_order(num_records)
    challenge, rest = np.sort(order[: 2 * m]), np.sort(order[2 * m :])
    rest_order = random_order(len(rest))
    training, evaluation = rest[rest_order[: n - m]], rest[rest_order[n - m :]]
    membership = (random_order(2 * m) < m).astype(np.int8)
    return Split(challenge, membership, np.sort(training), np.sort(evaluation))


def evaluation_records(num_records: int, challenge: Indices, training: Indices) -> Indices:
    """The records that are in neither `challenge` nor `training`, ascending: what `Split.evaluation` holds."""
    seen = np.zeros(num_records, dtype=bool)
    seen[challenge] = True
    seen[training] = True
    return np.flatnonzero(~seen)


def stored_split(
    num_records: int,
    challenge: npt.ArrayLike,
    membership: npt.ArrayLike,
    training: npt.ArrayLike,
) -> Split:
    """A split from its stored columns; `evaluation` is what remains of `num_records`."""
    challenge = np.asarray(challenge, dtype=np.int64)
    training = np.asarray(training, dtype=np.int64)
    return Split(
        challenge,
        np.asarray(membership, dtype=np.int8),
        training,
        evaluation_records(num_records, challenge, training),
    )
