"""What an attack is, and the evidence that it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from mico_hub.messages import InputError
from mico_hub.signals.names import GRADIENT_COEFFICIENT, THERE_ARE, is_signal, of_gradients, white_box
from mico_hub.splits import Indices

if TYPE_CHECKING:
    from torch import nn

    from mico_hub.data import Inputs
    from mico_hub.release.rows import Row

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

Need = Literal["shadows", "own_shadows", "population", "records", "logits", "model"]
"""Evidence beside the target's signals, by the names in `Attack.needs`:

shadows         the published models whose training records are known
own_shadows     models that are trained for each target, on its revealed training records and half of its challenge
population      records from the population
records         inputs and labels of the challenge records
logits          the target's outputs on them
model           the target itself: white-box
"""

FEWEST = 2
"""IN or OUT models below which a record has no variance of its own, and an attack has to say what it does."""


class AttackError(InputError, ValueError):
    """Not an attack, or one that gives no scores or cannot be run on these models; the message has the reason."""


class TooFewShadowsError(AttackError):
    """An attack that has not enough shadow models to fit anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """One signal on P records: the target's values, and those of S shadow models."""

    target: FloatArray  # (P,)
    shadows: FloatArray  # (S, P)


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Records from the population, the same for all targets; whether they were members is not known of the target."""

    signals: Mapping[str, Values]  # by the names in `signals.SIGNALS`, on Z records
    member: Mask  # (S, Z) whether the shadow model was trained on the record


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What an attack is given of one target and its P challenge records: signals, and what it `needs`."""

    signals: Mapping[str, Values]  # by the names in `signals.SIGNALS`, those that the attack reads
    member: Mask  # (S, P) whether the shadow model was trained on the record: IN, else OUT; S = 0 without shadow models
    population: Population | None = None
    row: "Row | None" = None  # the target's, its membership left out
    records: Indices | None = None  # (P,) indices into the base dataset
    inputs: "Inputs | None" = None  # (P, ...) as the target takes them
    labels: npt.NDArray[np.int64] | None = None  # (P,)
    logits: npt.NDArray[np.float32] | None = None  # (P, classes)
    model: "nn.Module | None" = None  # in eval mode, on the CPU


@dataclass(frozen=True, slots=True)
class Attack:
    """A membership inference attack.

    Raises:
        AttackError: It reads or needs what does not exist; all such names are listed.
    """

    name: str
    score: Callable[[Evidence], FloatArray]  # -> (P,) numbers, higher = more likely a member, on any scale
    title: str = ""  # for people; the name by default
    reference: str = ""  # the paper
    signals: tuple[str, ...] = ("margin",)  # that it reads, names in `signals.SIGNALS`
    needs: tuple[Need, ...] = ("shadows",)
    with_few_shadows: str = ""  # what it does with a record that has fewer than `FEWEST` IN or OUT models

    def __post_init__(self) -> None:
        problems = [
            f"expected {field} to be a tuple of some of {known}, got {given!r}"
            for field, given, known, there in (
                ("signals", self.signals, THERE_ARE, is_signal),
                ("needs", self.needs, ", ".join(get_args(Need)), get_args(Need).__contains__),
            )
            if isinstance(given, str) or not all(map(there, given))
        ]
        if not problems and self.trains and any(map(of_gradients, self.signals)):
            problems.append(f"own_shadows have signals of outputs and {GRADIENT_COEFFICIENT}, got {self.signals}")
        if not callable(self.score):
            problems.append("expected a function score(evidence)")
        if problems:
            raise AttackError(f"{self.name} is not an attack: {'; '.join(problems)}")
        if not self.title:
            object.__setattr__(self, "title", self.name)

    @property
    def uses_shadows(self) -> bool:
        """Whether it compares the target with other models."""
        return "shadows" in self.needs or self.trains

    @property
    def trains(self) -> bool:
        """Whether models are trained for it."""
        return "own_shadows" in self.needs

    @property
    def white_box(self) -> bool:
        """Whether it needs more than the model's outputs."""
        return "model" in self.needs or any(map(white_box, self.signals))


def mean_over(values: FloatArray, mask: Mask) -> FloatArray:
    """(P,) means over the models that the mask selects, NaN for a record that has none.

    Args:
        values: (S, P).
        mask: (S, P).
    """
    counts = mask.sum(axis=0)
    sums = np.where(mask, values, 0.0).sum(axis=0)
    means: FloatArray = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means


def out_means(values: FloatArray, member: Mask) -> FloatArray:
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
