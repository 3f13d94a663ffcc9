"""An attack of your own: a Python file with one function, run like any other.

SIGNALS = ("margin",)      of `signals.SIGNALS`; optional, the margin by default
SHADOWS = True             whether it uses shadow models; optional, yes by default
POPULATION = False         whether it asks for records from the population; optional, no by default

def score(points):         `base.Points`
    return ...             a number for each of the P challenge records, higher = more likely a member
"""

import importlib.util
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from mico_hub.attacks.base import Attack, AttackError, FloatArray, Points
from mico_hub.signals import THERE_ARE, is_signal, white_box


def load(path: Path) -> Attack:
    """The attack in a file; its code runs.

    Raises:
        AttackError: The file cannot be run, or lacks `score`, or asks for what there is not.
        OSError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}{', it is a folder' if path.is_dir() else ''}")
    module = _run(path)
    function = getattr(module, "score", None)
    asked = getattr(module, "SIGNALS", ("margin",))
    problems = [] if callable(function) else ["expected a function score(points)"]
    if isinstance(asked, str) or not all(map(is_signal, asked)) or not asked:
        problems.append(f"expected SIGNALS to be a tuple of some of {THERE_ARE}, got {asked!r}")
    if function is None or problems:
        raise AttackError(f"{path} is no attack: {'; '.join(problems)}")
    return Attack(
        name=path.stem,
        title=path.stem,
        reference=str(path),
        signals=tuple(asked),
        score=_checked(path, function, tuple(asked)),
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


def _checked(path: Path, function: Callable[[Points], object], asked: Sequence[str]) -> Callable[[Points], FloatArray]:
    def score(points: Points) -> FloatArray:
        records = points.member.shape[1]
        try:
            got = function(points)
            scores = np.asarray(np.nan if got is None else got, dtype=np.float64)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
            where = f", line {lines[-1]}" if lines else ""
            raise AttackError(
                f"{path}{where}: score(points) failed: {type(error).__name__}: {error} "
                f"(it is given {', '.join(asked)} of SIGNALS, and {len(points.member)} shadow models)"
            ) from error
        if scores.shape != (records,) or not np.isfinite(scores).all():
            what = f"shape {scores.shape}, {np.count_nonzero(~np.isfinite(scores))} of them not finite"
            raise AttackError(
                f"{path}: expected score(points) to give {records} finite numbers, got "
                f"{'None; does it return them?' if got is None else what} ({len(points.member)} shadow models)"
            )
        return scores

    return score
