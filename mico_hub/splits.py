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
    """One model's records, as indices into the base dataset; every array ascending unless noted otherwise."""

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


def draw_coins(num_records: int, n: int, m: int) -> Split:
    """Draws a model's records with membership by independent fair coins, for an audit in one run.

    Its challenge is the last 2m records of the base dataset, the canaries, in every model. It is trained on n - m of
    the others and on those canaries whose coin says so: n records on average.

    Args:
        num_records: N, records in the base dataset.
        n: Training records on average.
        m: Half of the canaries.

    Raises:
        ValueError: The sizes do not fit: 1 <= m <= n and n + m <= N.
    """
    if not (1 <= m <= n and n + m <= num_records):
        raise ValueError(f"expected 1 <= m <= n and n + m <= N, got m={m}, n={n}, N={num_records}")
    others = num_records - 2 * m
    challenge = np.arange(others, num_records, dtype=np.int64)
    membership = (np.frombuffer(os.urandom(2 * m), dtype=np.uint8) & 1).astype(np.int8)
    training = np.sort(random_order(others)[: n - m])
    return Split(challenge, membership, training, evaluation_records(num_records, challenge, training))


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


@dataclass(frozen=True, slots=True, eq=False)
class OriginalSplit:
    """One of the competition's models' records, each array in the competition's own order; None: not revealed."""

    challenge: Indices  # (2m,)
    membership: npt.NDArray[np.int8] | None  # (2m,), aligned with challenge, 1 = member
    member: Indices | None  # (m,)
    nonmember: Indices | None  # (m,)
    training: Indices | None  # (n - m,), without the members; the model was trained on `member`, then `training`
    evaluation: Indices | None  # (N - n - m,)


def original_split(
    num_records: int,
    len_training: int,
    len_challenge: int,
    seed_challenge: int,
    seed_training: int | None = None,
    seed_membership: int | None = None,
) -> OriginalSplit:
    """Rebuilds the split of one of the competition's models from its seeds.

    Seeds that are equal modulo 2**32 give the same split, since the competition's generator, mt19937, keeps 32 bits of
    a seed. A challenge thus has at most 2**32 memberships, few enough to try them all in some core-hours; an attack
    with an AUC above about 0.73 tells which is right, and so every hidden label of that model. A score near 1 on the
    competition's hidden splits may mean no more than that. Suites of ours have no seeds (`draw`).

    Args:
        num_records: N, records in the base dataset.
        len_training: n, training records, the m members among them.
        len_challenge: m, member challenges; as many non-members.
        seed_challenge: Draws the challenge; 0 to 2**64 - 1, as are the others.
        seed_training: Draws training and evaluation records from the rest; None: not revealed.
        seed_membership: Draws the members from the challenge; None: not revealed.

    Raises:
        ValueError: The sizes do not fit, or a seed is outside its range.
        TypeError: A seed is no integer.

    Source: `ChallengeDataset` in https://github.com/microsoft/MICO, which needs torchcsprng; its `randperm` is the
    sequence of torch's own CPU generator.
    """
    n, m = len_training, len_challenge
    if not (1 <= m <= n and n + m <= num_records):
        raise ValueError(f"expected 1 <= m <= n and n + m <= N, got m={m}, n={n}, N={num_records}")
    order = _original_order(num_records, seed_challenge, "seed_challenge")
    challenge, rest = order[: 2 * m], order[2 * m :]
    membership = member = nonmember = training = evaluation = None
    if seed_training is not None:
        rest = rest[_original_order(len(rest), seed_training, "seed_training")]
        training, evaluation = rest[: n - m], rest[n - m :]
    if seed_membership is not None:
        positions = _original_order(2 * m, seed_membership, "seed_membership")
        nonmember, member = challenge[positions[:m]], challenge[positions[m:]]
        membership = np.zeros(2 * m, dtype=np.int8)
        membership[positions[m:]] = 1
    return OriginalSplit(challenge, membership, member, nonmember, training, evaluation)


def split_seeds(split_seed: int) -> tuple[int, int, int]:
    """The seeds (challenge, training, membership) that the competition's training drew from one `split_seed`.

    Three draws of torchcsprng's generator, AES-128 in counter mode with a key of four words of mt19937(split_seed).
    `split_seed` too counts modulo 2**32.

    Raises:
        ValueError: The seed is not from 0 to 2**64 - 1.
        TypeError: It is no integer.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = np.random.RandomState(_low_bits(split_seed, "split_seed")).bytes(16)
    counters = np.array([0, 0, 1, 0], dtype="<u8").tobytes()  # two blocks: the counter, then 8 zero bytes
    blocks = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counters)  # noqa: S305  # nothing is secret
    first, second, third, _ = (int(word) % 2**63 for word in np.frombuffer(blocks, dtype="<u8"))
    return first, second, third


def _original_order(length: int, seed: int, name: str) -> Indices:
    import torch

    generator = torch.Generator().manual_seed(_low_bits(seed, name))
    order: Indices = torch.randperm(length, generator=generator).numpy()
    return order


def _low_bits(seed: int, name: str) -> int:
    """What mt19937 keeps of a seed that the competition's generators accept."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"{name}: expected a seed from 0 to 2**64 - 1, got {seed}")
    return int(seed) % 2**32
