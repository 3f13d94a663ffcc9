"""MICO as a living benchmark: membership inference on models trained with and without differential privacy.

Importing this package makes `load_dataset("mico", SUITE)` and `evaluate.load("mico_score")` work.
"""

from importlib.metadata import version

from mico_hub.attacks import attack
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
from mico_hub.sources.hooks import install, uninstall
from mico_hub.suites import SUITES, Suite, get_suite

__version__ = version("mico-hub")

__all__ = [
    "SUITES",
    "Challenge",
    "Handle",
    "Suite",
    "attack",
    "get_suite",
    "install",
    "load_challenge",
    "load_data",
    "load_manifest",
    "load_model",
    "load_signals",
    "load_suite",
    "open_suite",
    "uninstall",
]

install()
