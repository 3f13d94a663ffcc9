"""Signals: a number per (model, record) that tells how the model treats the record. Files and the layout in them."""

from typing import TYPE_CHECKING, Any

from mico_hub.signals.files import ABOUT, Frame, Signals, read
from mico_hub.signals.layout import KNOWN, POPULATION, Layout
from mico_hub.signals.names import (
    GRADIENT_COEFFICIENT,
    GRADIENT_NORM,
    SIGNALS,
    THERE_ARE,
    SignalError,
    is_signal,
    signals_of,
    white_box,
)
from mico_hub.signals.outputs import OUTPUT_SIGNALS, of_outputs

if TYPE_CHECKING:
    from mico_hub.signals.coefficient import gradient_coefficients
    from mico_hub.signals.values import compute, outputs_of, values_of

__all__ = [
    "ABOUT",
    "GRADIENT_COEFFICIENT",
    "GRADIENT_NORM",
    "KNOWN",
    "OUTPUT_SIGNALS",
    "POPULATION",
    "SIGNALS",
    "THERE_ARE",
    "Frame",
    "Layout",
    "SignalError",
    "Signals",
    "compute",
    "gradient_coefficients",
    "is_signal",
    "of_outputs",
    "outputs_of",
    "read",
    "signals_of",
    "values_of",
    "white_box",
]


def __getattr__(name: str) -> Any:
    """What computes signals needs torch, and reading them does not."""
    if name == "gradient_coefficients":
        from mico_hub.signals.coefficient import gradient_coefficients

        return gradient_coefficients
    if name not in ("compute", "outputs_of", "values_of"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mico_hub.signals import values

    return getattr(values, name)
