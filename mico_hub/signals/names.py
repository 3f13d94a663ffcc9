"""What signals there are."""

import re
from typing import TYPE_CHECKING

from mico_hub.release.format import FormatError
from mico_hub.signals.outputs import OUTPUT_SIGNALS

if TYPE_CHECKING:
    from torch import nn

GRADIENT_NORM = "gradient_norm"
"""The norm of the gradient of a record's loss over all parameters; it needs the model's weights."""

GRADIENT_COEFFICIENT = "gradient_coefficient"
"""How much of a record's gradient is in the weights, see `signals.coefficient`; of small networks."""

SIGNALS = (*OUTPUT_SIGNALS, GRADIENT_NORM)
"""Those of every suite."""

THERE_ARE = f"{', '.join(SIGNALS)}, and of small networks {GRADIENT_COEFFICIENT}, {GRADIENT_NORM}_layer_1, ..."
"""All, in words."""


class SignalError(FormatError):
    """A file of signals that is not what it should be, or signals that there are not."""


_OF_LAYER = re.compile(rf"{GRADIENT_NORM}_layer_([1-9])")


def signals_of(network: str) -> tuple[str, ...]:
    """The signals of a network's suites: `SIGNALS`, and for small ones the coefficient and each layer's gradient norm.

    Args:
        network: A key of `models.MODELS`.
    """
    import torch

    from mico_hub import models

    with torch.device("meta"):
        layers = layers_of(models.build(network))
    coefficient = (GRADIENT_COEFFICIENT,) if layers else ()
    return (*SIGNALS, *coefficient, *(f"{GRADIENT_NORM}_layer_{number}" for number in range(1, layers + 1)))


def layers_of(network: "nn.Module") -> int:
    """How many layers of a small network have signals of their own; 0 for any other network."""
    from torch import nn

    from mico_hub.training.gradients import stackable

    return sum(isinstance(part, nn.Linear) for part in network.modules()) if stackable(network) else 0


def is_signal(name: str) -> bool:
    """Whether there is such a signal, perhaps not of every network."""
    return name in SIGNALS or white_box(name)


def white_box(name: str) -> bool:
    """Whether it needs the model's weights."""
    return name == GRADIENT_COEFFICIENT or of_gradients(name)


def of_gradients(name: str) -> bool:
    """Whether it is a norm of a record's gradient."""
    return name == GRADIENT_NORM or layer_of(name) is not None


def layer_of(name: str) -> int | None:
    """Which layer's gradient norm it is, from 0; None for any other signal."""
    found = _OF_LAYER.fullmatch(name)
    return int(found[1]) - 1 if found else None
