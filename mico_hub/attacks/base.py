"""What an attack is given and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]

FEWEST = 2
"""IN or OUT models below which a record has no variance of its own, and an attack has to say what it does."""


class AttackError(ValueError):
    """An attack that is none, gives no scores, or cannot be run on these models; the message says what was expected."""


class TooFewShadowsError(ValueError):
    """An attack that has not enough shadow models to fit anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One signal on P records: what the target says of them, and what S shadow models say."""

    target: FloatArray  # (P,)
    shadows: FloatArray  # (S, P)


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Records from the population, the same for all targets; whether they were members is not known of the target."""

    signals: Mapping[str, Seen]  # by the names in `signals.SIGNALS`, on Z records
    member: Chosen  # (S, Z) whether the shadow model was trained on the record


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """One target's challenge points, P records, and what is known of them."""

    signals: Mapping[str, Seen]  # by the names in `signals.SIGNALS`, those that the attack asks for
    member: Chosen  # (S, P) whether the shadow model was trained on the record: IN, else OUT
    population: Population | None = None  # for attacks that ask for it


@dataclass(frozen=True, slots=True)
class Attack:
    """A membership inference attack; `score` gives (P,) numbers, higher = more likely a member, on any scale."""

    name: str
    title: str
    reference: str  # the paper
    signals: tuple[str, ...]  # names in `signals.SIGNALS`
    score: Callable[[Points], FloatArray]
    shadows: bool = False  # whether it uses shadow models
    population: bool = False  # whether it asks for records from the population
    white_box: bool = False  # whether its signals need more than the model's outputs
    trains: bool = False  # whether its shadow models are trained for each target, on its revealed training records
    few: str = ""  # what it does with a record that has fewer than `FEWEST` IN or OUT models


def mean_over(values: FloatArray, chosen: Chosen) -> FloatArray:
    """(P,) means over the chosen models, NaN for a record that has none.

    Args:
        values: (S, P).
        chosen: (S, P).
    """
    counts = chosen.sum(axis=0)
    sums = np.where(chosen, values, 0.0).sum(axis=0)
    means: FloatArray = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means


def out_means(values: FloatArray, member: Chosen) -> FloatArray:
    """(P,) means over the OUT models; of a record that has none, over all its models.

    Args:
        values: (S, P).
        member: (S, P).

    Raises:
        TooFewShadowsError: There are no shadow models.
    """
    if not len(values):
        raise TooFewShadowsError("expected shadow models, got none")
    means = mean_over(values, ~member)
    return np.where(np.isnan(means), values.mean(axis=0), means)
