"""How well the target does on a record, less how well other models do on it.

Some records are easy for every model, whether it was trained on them or not. With s the target's value on a record
(minus its loss, or the probability of its label), and mu and sd over shadow models that were trained on it (IN) or not
(OUT):

    difficulty      s - mu_out                      Watson et al. 2022
    reference       the same of the probability     Fleshman, second on SST-2 in MICO
    midpoint        s - (mu_in + mu_out) / 2        the winner of MICO, as are the other two
    in              s - mu_in
    standardised    (s - mu_all) / sd_all           over IN and OUT together, ddof 1

The second of MICO's SST-2 track trained a reference model for each target, by the recipe without DP on all of its
records that are no challenge. With the published models alone the OUT models stand in for it.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mico_hub.attacks.base import FEWEST, Attack, Evidence, FloatArray, Mask, TooFewShadowsError, mean_over, out_means

Formula = Callable[[FloatArray, FloatArray, Mask], FloatArray]

WINNER = "tianjian10 2023, winner of MICO"


def difficulty(target: FloatArray, shadows: FloatArray, member: Mask) -> FloatArray:
    """The target less mu_out, (P,); a record without OUT models takes the mean of all of its models.

    Args:
        target: (P,) s.
        shadows: (S, P) the shadow models' s.
        member: (S, P) which are IN.
    """
    return target - out_means(shadows, member)


def midpoint(target: FloatArray, shadows: FloatArray, member: Mask) -> FloatArray:
    """The target less (mu_in + mu_out) / 2, (P,); arguments as of `difficulty`."""
    inside, outside = _sides(shadows, member)
    return target - (inside + outside) / 2


def inside(target: FloatArray, shadows: FloatArray, member: Mask) -> FloatArray:
    """The target less mu_in, (P,); arguments as of `difficulty`."""
    return target - _sides(shadows, member)[0]


def standardised(target: FloatArray, shadows: FloatArray, member: Mask) -> FloatArray:
    """The target less mu_all, over sd_all, (P,); where OUT is replaced by IN, IN counts twice.

    Raises:
        TooFewShadowsError: No record has two different values to take a deviation from.
    """
    weights = _weights(member).astype(float)  # (S, P) how often a value counts
    counts = weights.sum(axis=0)
    means = (weights * shadows).sum(axis=0) / counts
    squares = (weights * (shadows - means) ** 2).sum(axis=0)
    deviations = np.sqrt(squares / np.maximum(counts - 1, 1))
    usual = deviations > 0
    if not usual.any():
        raise TooFewShadowsError(f"expected at least {FEWEST} shadow models that differ on a record, got none")
    scores: FloatArray = (target - means) / np.where(usual, deviations, deviations[usual].mean())
    return scores


def _weights(member: Mask) -> npt.NDArray[np.int64]:
    """How often each value counts, (S, P).

    IN and OUT once; IN twice and OUT never, where there is at most one OUT model; OUT twice where there is no IN model.
    """
    if not len(member):
        raise TooFewShadowsError("expected shadow models, got none")
    times = np.ones(member.shape, dtype=np.int64)
    few_out = ((~member).sum(axis=0) < FEWEST) & member.any(axis=0)
    times[:, few_out] = np.where(member[:, few_out], 2, 0)
    none_in = ~member.any(axis=0)
    times[:, none_in] = 2
    return times


def _sides(shadows: FloatArray, member: Mask) -> tuple[FloatArray, FloatArray]:
    """(P,) means of IN and of OUT, each of which takes the place of the other where that is too few."""
    if not len(member):
        raise TooFewShadowsError("expected shadow models, got none")
    mean_in, mean_out = mean_over(shadows, member), mean_over(shadows, ~member)
    few_out = ((~member).sum(axis=0) < FEWEST) & ~np.isnan(mean_in)
    mean_out = np.where(few_out, mean_in, mean_out)
    return np.where(np.isnan(mean_in), mean_out, mean_in), mean_out


def _attack(name: str, title: str, reference: str, formula: Formula, probability: bool, few: str) -> Attack:
    def score(evidence: Evidence) -> FloatArray:
        loss = evidence.signals["loss"]
        if probability:
            return formula(np.exp(-loss.target), np.exp(-loss.shadows), evidence.member)
        return formula(-loss.target, -loss.shadows, evidence.member)

    return Attack(name, score, title, reference, signals=("loss",), with_few_shadows=few)


_NO_OUT = "without OUT models the mean of all models"
_FEW_OUT = "with at most one OUT model, IN stands for OUT; without IN, OUT for IN"
_WATSON = "Watson et al. 2022, On the Importance of Difficulty Calibration"
_FLESHMAN = "Fleshman 2023, second of MICO's SST-2 track"

ATTACKS = (
    _attack("difficulty", "calibrated loss", _WATSON, difficulty, probability=False, few=_NO_OUT),
    _attack("reference", "target less reference", _FLESHMAN, difficulty, probability=True, few=_NO_OUT),
    *(
        _attack(f"{name}_{of}", f"{title}, {of}", WINNER, formula, probability=of == "probability", few=_FEW_OUT)
        for name, title, formula in (
            ("midpoint", "less midpoint of IN and OUT", midpoint),
            ("in", "less IN", inside),
            ("standardised", "standardised", standardised),
        )
        for of in ("loss", "probability")
    ),
)
