"""Coins out of MICO's own game: a model's members matched with its non-members, at random. Pure.

Exactly m of a model's 2m challenge records are members, so that no record's membership is a coin of its own. Let its
members be matched with its non-members by a uniformly random bijection. Given which pairs there are, each of the 2^m
ways to call one of each pair the member is equally likely: the split is uniform over the subsets of m records, and the
bijection is uniform whatever the split. So "which of the two is the member" is a fair coin for each pair, independent
of all others, and turning one is a substitution: the bounds of `one_run` then hold for that adjacency.

The bijection must be random, independent of the scores, and drawn once: a fixed permutation of sorted lists allows
fewer orientations (2 instead of 4 for m = 2), and another draw after seeing the result is another test. Ours comes from
a secret nonce that was fixed before training, that of the commitment to the split's truth.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mico_hub.auditing.one_run import one_run_epsilon
from mico_hub.scoring import LEVEL

FloatArray = NDArray[np.float64]
Rights = NDArray[np.bool_]

_SHARES = 60  # of coins guessed, that `select_guesses` compares
_FEWEST = 5  # guesses: below, no number of right ones refutes anything at 95%


@dataclass(frozen=True, slots=True)
class Guesses:
    """What an attack guessed of some coins."""

    correct: int
    guesses: int  # fixed before the scores were seen
    coins: int


def match(
    membership: Sequence[ArrayLike], nonce: bytes, model_ids: Sequence[int] | None = None
) -> list[NDArray[np.int64]]:
    """Matches each model's members with its non-members at random.

    Args:
        membership: (2m,) of 0 and 1 for each model, m of each.
        nonce: Secret random bytes: HMAC-SHA256 of the model's id and a number orders its non-members.
        model_ids: Of the models; by default 0, 1, ...

    Returns:
        (m, 2) positions for each model, a member's and a non-member's, in an order that does not depend on which of
        the two is the member.

    Raises:
        ValueError: A model has not as many members as non-members.
    """
    pairs = []
    for model_id, of_model in zip(model_ids or range(len(membership)), membership, strict=True):
        labels = np.asarray(of_model)
        members, others = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        if len(members) != len(others) or len(members) + len(others) != len(labels):
            raise ValueError(f"model {model_id}: expected as many 0 as 1, got {len(others)} and {len(members)}")
        keys = [hmac.digest(nonce, f"pair {model_id} {i}".encode(), "sha256") for i in range(len(others))]
        made = np.stack([members, others[np.argsort(np.array(keys, dtype="S32"))]], axis=1)
        pairs.append(made[np.argsort(made.min(axis=1))])
    return pairs


def exact_halves(membership: Sequence[ArrayLike]) -> bool:
    """Whether every model has as many members as non-members, and there are more models than coins do that for."""
    return len(membership) > 3 and all(2 * np.sum(each) == np.size(each) for each in membership)


def pair_differences(scores: Sequence[ArrayLike], pairs: Sequence[NDArray[np.int64]]) -> FloatArray:
    """(coins,) the score of each pair's member less that of its non-member, over all models."""
    by_model = [np.asarray(values, dtype=np.float64)[of_model] for values, of_model in zip(scores, pairs, strict=True)]
    return np.concatenate([each[:, 0] - each[:, 1] for each in by_model])


def right_pairs(differences: ArrayLike) -> Rights:
    """(coins,) whether the record with the higher score is the member, the largest differences first.

    Of pairs that are as different those that are guessed wrong come first, so that no order helps; equal scores are a
    wrong guess.

    Args:
        differences: (coins,) as `pair_differences` gives them.
    """
    given = np.asarray(differences, dtype=np.float64)
    right: Rights = given[np.lexsort((given > 0, -np.abs(given)))] > 0
    return right


def right_coins(membership: ArrayLike, scores: ArrayLike) -> Rights:
    """(coins,) whether a record is what its score says: the highest a member, the lowest none, and so on in turns.

    Of equal scores those that are guessed wrong come first, so that no order helps.

    Args:
        membership: (coins,) of 0 and 1, each by a fair coin.
        scores: (coins,) comparable with each other, higher for members.
    """
    labels, values = np.asarray(membership, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    highest, rest = np.split(np.lexsort((labels, -values)), [(len(labels) + 1) // 2])
    lowest = rest[np.lexsort((-labels[rest], values[rest]))]
    turns = np.empty(len(labels), dtype=np.int64)
    turns[0::2], turns[1::2] = highest, lowest
    right: Rights = labels[turns] == (np.arange(len(turns)) % 2 == 0)
    return right


def guess(right: Rights, guesses: int) -> Guesses:
    """The first guesses of all.

    Args:
        right: (coins,) whether each guess would be right, the surest first.
        guesses: How many, fixed beforehand.
    """
    return Guesses(int(np.count_nonzero(right[:guesses])), guesses, len(right))


def select_guesses(others: Rights, coins: int, delta: float, level: float = LEVEL) -> int:
    """How many of the coins to guess, by what other models' would certify: on the train models.

    Args:
        others: (any number,) whether guesses on other models would be right, the surest first.
        coins: Of the models that it is for.
        delta: Of the guarantee that is tested.
        level: Of confidence.

    Returns:
        The number for which the same share of right guesses would certify most; all coins, where none would.
    """
    right = np.cumsum(others)
    best, most = coins, 0.0
    for guesses in np.unique(np.geomspace(min(_FEWEST, coins), coins, _SHARES).astype(int)).tolist():
        seen = max(round(guesses / coins * len(others)), 1)
        # As sure as the train models are of it: their share of right guesses, less a standard error.
        share = right[seen - 1] / seen - np.sqrt(right[seen - 1] * (seen - right[seen - 1]) / seen**3)
        bound = one_run_epsilon(int(share * guesses), guesses, coins, delta, level)
        if bound > most:
            best, most = guesses, bound
    return best
