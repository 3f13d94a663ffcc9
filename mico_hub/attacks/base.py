"""What an attack is given and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class TooFewShadowsError(ValueError):
    """An attack that has not enough shadow models to fit anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """One target's challenge points: P records, and what S shadow models say of them."""

    target: FloatArray  # (P,) the target's signal
    shadows: FloatArray  # (S, P) the shadow models' signal
    member: npt.NDArray[np.bool_]  # (S, P) whether the shadow model was trained on the record


@dataclass(frozen=True, slots=True)
class Attack:
    """A membership inference attack; `score` gives (P,) numbers, higher = more likely a member, on any scale."""

    name: str
    title: str
    reference: str  # the paper
    signal: str  # a name in `signals.SIGNALS`
    shadows: bool  # whether it uses shadow models
    score: Callable[[Points], FloatArray]
