"""MICO as a living benchmark: membership inference on models trained with and without differential privacy.

Importing this package makes `load_dataset("mico", SUITE)` and `evaluate.load("mico_score")` work. What it offers is
imported when it is used.
"""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mico_hub.hooks import install, uninstall

if TYPE_CHECKING:
    from mico_hub.attacks import attack
    from mico_hub.auditing.scores import Claim, audit_scores
    from mico_hub.handle import Challenge, Handle
    from mico_hub.loading import (
        load_challenge,
        load_data,
        load_manifest,
        load_model,
        load_signals,
        load_suite,
        open_suite,
    )
    from mico_hub.reporting.scores import score
    from mico_hub.suites import SUITES, Suite, get_suite

__version__ = version("mico-hub")

__all__ = [
    "SUITES",
    "Challenge",
    "Claim",
    "Handle",
    "Suite",
    "attack",
    "audit_scores",
    "get_suite",
    "install",
    "load_challenge",
    "load_data",
    "load_manifest",
    "load_model",
    "load_signals",
    "load_suite",
    "open_suite",
    "score",
    "uninstall",
]

_ROOMS = {
    "attack": "attacks",
    "Challenge": "handle",
    "Handle": "handle",
    "score": "reporting.scores",
    "Claim": "auditing.scores",
    "audit_scores": "auditing.scores",
    **dict.fromkeys(("SUITES", "Suite", "get_suite"), "suites"),
}
"""Where the names are that are not in `loading`."""


def __getattr__(name: str) -> Any:
    """A name of `__all__`, or a module of the package, imported now."""
    if name in __all__:
        return getattr(import_module(f"mico_hub.{_ROOMS.get(name, 'loading')}"), name)
    if not name.startswith("_") and find_spec(f"mico_hub.{name}") is not None:
        return import_module(f"mico_hub.{name}")
    raise AttributeError(f"module 'mico_hub' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


install()
