"""Reference attacks, one a file, and how they are run on a suite.

A module here that has `ATTACKS` adds its own.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mico_hub.attacks import arrays, custom
from mico_hub.attacks.arrays import Arrays, OnPopulation
from mico_hub.attacks.base import Attack, AttackError, Evidence, FloatArray, Population, TooFewShadowsError, Values
from mico_hub.attacks.evidence import Prepared, prepare
from mico_hub.handle import Handle
from mico_hub.messages import did_you_mean, explained
from mico_hub.registry import modules_with

_FOUND: dict[Attack, str] = {
    attack: "white_box" if attack.white_box else module.__name__.rpartition(".")[2]
    for module in modules_with("ATTACKS", __name__)
    for attack in module.ATTACKS
}

ATTACKS: Mapping[str, Attack] = MappingProxyType(
    {attack.name: attack for attack in sorted(_FOUND, key=lambda attack: (attack.trains, len(attack.needs)))}
)
"""Name -> attack, those that need least first; those that train models last."""

KINDS: Mapping[str, str] = MappingProxyType({attack.name: kind for attack, kind in _FOUND.items()})
"""Name -> kind: `white_box`, or else the file that the attack is in, with those it is a variant of."""

LADDER = tuple(attack for attack in ATTACKS.values() if not attack.trains)
"""The attacks that need published models only."""


def ladder(suite: Handle) -> tuple[Attack, ...]:
    """`LADDER` but for the attacks that read a signal that is not at hand, see `Handle.at_hand`."""
    return tuple(attack for attack in LADDER if all(map(suite.at_hand, attack.signals)))


class HasScore(Protocol):
    """An object that is an attack; `custom` lists what else it may have."""

    def score(self, evidence: Evidence, /) -> Any:
        """(P,) numbers, higher = more likely a member."""
        ...


AnyAttack = str | Attack | Callable[[Evidence], Any] | HasScore

logger = logging.getLogger("mico_hub")


def attack(name: AnyAttack, targets: Any, shadows: Any = None, source: str | None = None) -> list[FloatArray]:
    """Attacks models with a reference attack, or with one of your own.

    Args:
        name: A key of `ATTACKS`, a file of your own, `mine.py`, an `Attack`, a function of `Evidence`, or an object
            with the fields that `attacks.custom` lists.
        targets: The models to attack: a `Dataset` in any format, rows, or one row; of a suite's name, a suite
            (`open_suite`) or all of its splits (`load_dataset`) the train models.
        shadows: Models whose training records are known, in the same forms, usually the suite's train split. None: the
            targets themselves, each attacked with the others (leave one model out), so their membership must be known.
        source: Where the suite is, as for `load_model`.

    Returns:
        For each target (2m,) predictions in [0, 1], in the order of its `challenge`, higher = member: the attack's
        scores by their rank among all points of all targets.

    Raises:
        ValueError: No such attack; no targets; a shadow model whose training records are hidden.
        TypeError: The targets are nothing of a suite.
        KeyError: No such suite.
        OSError: No such file.
    """
    return to_predictions(attack_scores(name, targets, shadows, source))


@explained()
def attack_scores(name: AnyAttack, targets: Any, shadows: Any = None, source: str | None = None) -> list[FloatArray]:
    """As `attack`, but the scores themselves: (2m,) for each target on any scale, from it and its shadows alone."""
    found = find(name)
    prepared = prepare([found], targets, shadows, source)
    if few := prepared.too_few(found):
        logger.warning("%s: %s", found.name, few)
    return prepared.scores(found)


def run(
    name: AnyAttack,
    target: Arrays,
    shadows: Arrays | None = None,
    member: npt.ArrayLike | None = None,
    population: OnPopulation | None = None,
) -> FloatArray:
    """An attack's scores on anybody's signals, without a suite: `arrays.run`, of whatever `find` takes.

    `signals.of_outputs` makes signals of logits; `np.stack` of S models' gives `shadows`.
    """
    return arrays.run(find(name), target, shadows, member, population)


def find(name: AnyAttack) -> Attack:
    """The attack of that name, in a file of that name, or that a function or object is.

    Raises:
        AttackError: No attack has the name, or the object is not an attack.
        OSError: There is no such file.
    """
    if isinstance(name, Attack):
        return name
    if not isinstance(name, str):
        return custom.of_object(name)
    if name.endswith(".py"):
        return custom.of_file(Path(name))
    if name not in ATTACKS:
        hint = did_you_mean(name, ATTACKS)
        raise AttackError(f"unknown attack {name!r}.{hint} There are: {', '.join(ATTACKS)}, or a file NAME.py")
    return ATTACKS[name]


def to_predictions(scores: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    """Maps scores to [0, 1] by their rank among all of them: strictly monotone, and no new tie.

    A sigmoid would make ties where it saturates.

    Args:
        scores: One array for each model, finite.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    arrays = [np.asarray(of_model, dtype=np.float64) for of_model in scores]
    pooled = np.concatenate([np.empty(0), *arrays])
    if not np.isfinite(pooled).all():
        raise ValueError(f"expected finite scores, got {(~np.isfinite(pooled)).sum()} of {len(pooled)} that are not")
    distinct = np.unique(pooled)
    return [(np.searchsorted(distinct, of_model) + 0.5) / len(distinct) for of_model in arrays]


__all__ = [
    "ATTACKS",
    "LADDER",
    "Attack",
    "AttackError",
    "Evidence",
    "OnPopulation",
    "Population",
    "Prepared",
    "TooFewShadowsError",
    "Values",
    "attack",
    "attack_scores",
    "find",
    "ladder",
    "prepare",
    "run",
    "to_predictions",
]
