"""An attack of your own: a Python file with one function, run like any other.

SIGNALS = ("margin",)      of `signals.SIGNALS`; optional, the margin by default
SHADOWS = True             whether it uses shadow models; optional, yes by default
POPULATION = False         whether it asks for records from the population; optional, no by default

def score(points):
return ...             a number for each of the P challenge records, higher = more likely a member
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from mico_hub.attacks.base import Attack, AttackError, FloatArray, Points
from mico_hub.signals import SIGNALS, is_signal, white_box


def load(path: Path) -> Attack:
    """The attack in a file; its code runs.

    Raises:
        AttackError: The file cannot be run, or lacks `score`, or asks for what there is not.
        OSError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    module = _run(path)
    function = getattr(module, "score", None)
    asked = getattr(module, "SIGNALS", ("margin",))
    problems = [] if callable(function) else ["expected a function score(points)"]
    if isinstance(asked, str) or not all(map(is_signal, asked)) or not asked:
        problems.append(f"expected SIGNALS to be some of {', '.join(SIGNALS)}, gradient_norm_layer_N, got {asked!r}")
    if function is None or problems:
        raise AttackError(f"{path} is no attack: {'; '.join(problems)}")
    return Attack(
        name=path.stem,
        title=path.stem,
        reference=str(path),
        signals=tuple(asked),
        score=_checked(path, function),
        shadows=bool(getattr(module, "SHADOWS", True)),
        population=bool(getattr(module, "POPULATION", False)),
        white_box=any(map(white_box, asked)),
        few="whatever the file does",
    )


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mico_hub_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise AttackError(f"{path} is no attack: expected a Python file, name.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise AttackError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def _checked(path: Path, function: Callable[[Points], object]) -> Callable[[Points], FloatArray]:
    def score(points: Points) -> FloatArray:
        records = points.member.shape[1]
        try:
            scores = np.asarray(function(points), dtype=np.float64)
        except Exception as error:
            raise AttackError(f"{path}: score(points) failed: {type(error).__name__}: {error}") from error
        if scores.shape != (records,) or not np.isfinite(scores).all():
            got = f"shape {scores.shape}, {np.count_nonzero(~np.isfinite(scores))} of them not finite"
            raise AttackError(f"{path}: expected score(points) to give {records} finite numbers, got {got}")
        return scores

    return score
