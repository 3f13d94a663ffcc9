"""An attack of your own: a function, an object with its fields, or a file with them, run like any other.

score(evidence)            `base.Evidence` -> (P,) numbers, one a challenge record, higher = more likely a member
signals = ("margin",)      of `signals.SIGNALS`; optional, the margin by default
needs = ("shadows",)       of `base.Need`; optional, shadow models by default
name, title                optional

In a file the names are score, SIGNALS and NEEDS; a function is `score` itself, and may have the others as attributes.
"""

import importlib.util
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mico_hub.attacks.base import Attack, AttackError, Evidence, FloatArray


def of_file(path: Path) -> Attack:
    """The attack in a file; its code runs.

    Raises:
        AttackError: The file cannot be run, or lacks `score`, or asks for what does not exist.
        OSError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}{', it is a folder' if path.is_dir() else ''}")
    module = _run(path)
    given = {field: getattr(module, name) for field, name in _IN_A_FILE.items() if hasattr(module, name)}
    return _attack(str(path), path.stem, getattr(module, "score", None), given)


def of_object(given: object) -> Attack:
    """The attack that a function is, or an object with a method `score`.

    Raises:
        AttackError: It lacks `score`, or asks for what does not exist.
    """
    score = getattr(given, "score", given)
    name = str(getattr(given, "name", getattr(given, "__name__", type(given).__name__)))
    fields = {field: getattr(given, field) for field in ("title", *_IN_A_FILE) if hasattr(given, field)}
    return _attack(name, name, score, fields)


_IN_A_FILE = {"signals": "SIGNALS", "needs": "NEEDS"}


def _attack(where: str, name: str, score: Any, fields: dict[str, Any]) -> Attack:
    given: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()
    }
    attack = Attack(where, score, reference=where, with_few_shadows="left to its author", **given)
    return replace(attack, name=name, title=given.get("title", name), score=_checked(where, attack))


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mico_hub_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise AttackError(f"{path} is not an attack: expected a Python file, name.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise AttackError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def _checked(where: str, attack: Attack) -> Callable[[Evidence], FloatArray]:
    """Its `score`, whose errors say where they are, and whose result is looked at."""
    file = getattr(getattr(attack.score, "__code__", None), "co_filename", None)

    def score(evidence: Evidence) -> FloatArray:
        shadows, records = evidence.member.shape
        try:
            got: Any = attack.score(evidence)
            scores = np.asarray(np.nan if got is None else got, dtype=np.float64)
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
            line = f", line {lines[-1]}" if lines else ""
            raise AttackError(
                f"{where}{line}: score(evidence) failed: {type(error).__name__}: {error} (it is given the signals "
                f"{', '.join(attack.signals) or 'none'}, {shadows} shadow models, and needs {', '.join(attack.needs)})"
            ) from error
        if scores.shape != (records,) or not np.isfinite(scores).all():
            what = f"shape {scores.shape}, {np.count_nonzero(~np.isfinite(scores))} of them not finite"
            raise AttackError(
                f"{where}: expected score(evidence) to give {records} finite numbers, got "
                f"{'None; does it return them?' if got is None else what} ({shadows} shadow models)"
            )
        return scores

    return score
