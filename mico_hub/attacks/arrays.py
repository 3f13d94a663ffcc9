"""Attacks on anybody's signals: arrays in, scores out, without a suite."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mico_hub.attacks.base import Attack, AttackError, Evidence, FloatArray, Mask, Population, Values
from mico_hub.messages import listed

Arrays = npt.ArrayLike | Mapping[str, npt.ArrayLike]
"""Signal -> values; of an attack that reads margins alone the values will do."""


@dataclass(frozen=True, slots=True)
class OnPopulation:
    """The same as of the challenge records, on Z records that stand for the population."""

    target: Arrays  # (Z,)
    shadows: Arrays  # (S, Z)
    member: npt.ArrayLike  # (S, Z)


def run(
    attack: Attack,
    target: Arrays,
    shadows: Arrays | None = None,
    member: npt.ArrayLike | None = None,
    population: OnPopulation | None = None,
) -> FloatArray:
    """An attack's scores for one model on P records, (P,): higher = more likely a member, on any scale.

    Args:
        attack: What it reads and needs are its `signals` and `needs`.
        target: Signals of the model that is attacked, (P,) each.
        shadows: Those of S models whose training records are known, (S, P) each.
        member: (S, P) whether a shadow model was trained on a record: each record should be in some and out of others.
        population: For attacks that need one.

    Raises:
        AttackError: Signals are missing, shapes do not fit, values are not finite, or it needs what only a suite has;
            all problems are listed.
        TooFewShadowsError: There are too few shadow models to fit anything.
    """
    problems = [f"{attack.name} needs {need}, which only a suite gives" for need in sorted(_SUITES & {*attack.needs})]
    own = _Side(attack, "", target, shadows, member, problems)
    of_population = None
    if "population" in attack.needs:
        if population is None:
            problems.append(f"{attack.name} needs a population")
        else:
            given = population.target, population.shadows, population.member
            side = _Side(attack, "population.", *given, problems)
            of_population = Population(side.values(), side.member)
    values = own.values()
    if problems:
        raise AttackError(listed(f"{attack.name} cannot be run on these arrays:", problems))
    scores = np.asarray(attack.score(Evidence(values, own.member, of_population)), dtype=np.float64)
    if not np.isfinite(scores).all():
        wrong = f"{(~np.isfinite(scores)).sum()} of {scores.size} scores are not finite"
        raise AttackError(f"{attack.name}: {wrong}: do its signals vary?")
    return scores


_SUITES = {"records", "logits", "model"}


class _Side:
    """Signals on some records, looked at."""

    def __init__(
        self,
        attack: Attack,
        where: str,
        target: Arrays,
        shadows: Arrays | None,
        member: npt.ArrayLike | None,
        problems: list[str],
    ) -> None:
        self._attack, self._where, self._problems = attack, where, problems
        self._target = self._by_name("target", target)
        records = next((values.shape[-1] for values in self._target.values() if values.ndim), 0)
        self.member: Mask = np.zeros((0, records), dtype=bool)
        self._shadows = {name: np.empty((0, records)) for name in attack.signals}
        if attack.uses_shadows and (shadows is None or member is None):
            problems.append(f"{attack.name} compares with shadow models: expected {where}shadows and {where}member")
        elif attack.uses_shadows and shadows is not None:
            self.member = self._array("member", member if member is not None else ())
            self._shadows = self._by_name("shadows", shadows)
        problems += self._wrong(records)

    def values(self) -> dict[str, Values]:
        return {
            name: Values(self._target[name], self._shadows[name])
            for name in self._attack.signals
            if name in self._target and name in self._shadows
        }

    def _by_name(self, what: str, given: Arrays) -> dict[str, FloatArray]:
        names: Sequence[str] = self._attack.signals
        wanted = ", ".join(names)
        if not isinstance(given, Mapping):
            if names != ("margin",):
                self._problems.append(f"{self._where}{what}: expected signals by name, {wanted}, got an array")
                return {}
            given = {names[0]: given}
        if any(name not in given for name in names):
            got = ", ".join(map(str, given)) or "none"
            self._problems.append(f"{self._where}{what}: expected the signals {wanted}, got {got}")
        found = {name: self._array(f"{what}, {name}", given[name]) for name in names if name in given}
        wrong = [name for name, values in found.items() if values.dtype.kind not in "biuf"]
        self._problems += [f"{self._where}{what}, {name}: expected numbers" for name in wrong]
        return {name: values.astype(np.float64) for name, values in found.items() if name not in wrong}

    def _array(self, what: str, given: npt.ArrayLike) -> npt.NDArray[Any]:
        try:
            return np.asarray(given)
        except (ValueError, TypeError, RuntimeError) as error:
            self._problems.append(f"{self._where}{what}: expected an array: {error}")
            return np.zeros(0)

    def _wrong(self, records: int) -> Iterator[str]:
        """What is wrong with shapes and values."""
        for name, values in self._target.items():
            if values.shape != (records,):
                yield f"{self._where}target, {name}: expected one number a record, ({records},), got {values.shape}"
        member = self.member
        right = member.ndim == 2 and member.shape[1] == records and member.dtype.kind in "biu"
        if not right or not np.isin(member, (0, 1)).all():
            yield (
                f"{self._where}member: expected booleans of shape (shadow models, {records}), got {member.dtype} of "
                f"shape {member.shape}; `.astype(bool)` makes them of 0 and 1"
            )
            return
        self.member = member.astype(bool)
        for name, values in self._shadows.items():
            if values.shape != member.shape:
                yield f"{self._where}shadows, {name}: expected shape {member.shape}, as member has, got {values.shape}"
        for what, side in (("target", self._target), ("shadows", self._shadows)):
            for name, values in side.items():
                if not np.isfinite(values).all():
                    yield f"{self._where}{what}, {name}: expected finite values, {(~np.isfinite(values)).sum()} are not"
