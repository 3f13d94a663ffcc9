"""What an answer of an open phase tells, and how many bits of the truth it can give away at most.

The bits of an answer are log2 of how many answers there could have been: no strategy learns more from it, however it
chooses what to submit, and of several answers no more than their sum (there are at most as many transcripts as the
product). A suite's truth has models x log2 C(2m, m) bits. `ladder` follows Blum and Hardt, The Ladder, ICML 2015: a
number is told where it beats one's best by more than a step, rounded down to a multiple of the step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mico_hub.boards.live.rules import Rules
from mico_hub.scoring import MAX_FPRS, RANKING

DECIMALS = 4
SIX = tuple(f"TPR_FPR_{int(1e4 * rate)}" for rate in MAX_FPRS)
"""The scores that the competition told: the true positive rate below six false positive rates."""

Told = dict[str, dict[str, float]]
"""Suite -> key of a score -> its value; of a suite that the ladder is silent about, what it told last."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told of one submission."""

    told: Told
    mean: float | None  # over the suites of the score that ranks; None: the ladder has told nothing of one of them
    bits: Mapping[str, float]  # suite -> bits of its truth that this answer can give away, at most


def answer(rules: Rules, scores: Mapping[str, Mapping[str, float]], levels: Mapping[str, int], best: Told) -> Answer:
    """What is told of a submission's scores.

    Args:
        rules: With `answers`, and `step` for the ladder.
        scores: Suite -> `SIX` at least.
        levels: Suite -> `levels_of` it.
        best: What the ladder told this participant before; empty at first.
    """
    told: Told = {}
    bits: dict[str, float] = {}
    for suite, of in scores.items():
        if rules.answers == "ladder":
            before = best.get(suite, {}).get(RANKING, 0.0)
            steps = math.floor(of[RANKING] / rules.step + 1e-9)
            rungs = math.floor(1 / rules.step + 1e-9) - round(before / rules.step)  # above, the last one told
            bits[suite] = math.log2(max(rungs, 0) + 1)
            if steps * rules.step > before + 1e-9:
                told[suite] = {RANKING: round(steps * rules.step, DECIMALS)}
            elif suite in best:
                told[suite] = dict(best[suite])
        else:
            keys = (RANKING,) if rules.answers == "tpr" else SIX
            told[suite] = {key: round(of[key], DECIMALS) for key in keys}
            bits[suite] = bits_of_rates(levels[suite], len(keys))
    known = [told[suite][RANKING] for suite in scores if suite in told]
    mean = round(math.fsum(known) / len(known), DECIMALS) if len(known) == len(scores) else None
    return Answer(told, mean, bits)


def bits_of_rates(levels: int, rates: int) -> float:
    """log2 of how many falling or equal sequences of true positives there are at so many false positive rates.

    Each is one of `levels` + 1 numbers, and none is below the one before: C(levels + rates, rates).
    """
    return math.log2(math.comb(levels + rates, rates))


def levels_of(members: int | None) -> int:
    """How many values, less one, a true positive rate has as it is told.

    Args:
        members: Among all points; None: their number is not public, as where each is one by a coin.
    """
    most: int = 10**DECIMALS
    return most if members is None else min(members, most)


def bits_of_truth(models: int, m: int) -> float:
    """Of a suite: which m of 2m records were members, for each model."""
    return models * math.log2(math.comb(2 * m, m))


def error(share: float, members: int) -> float:
    """Half of a 95% interval of a true positive rate: binomial, a function of what was told alone."""
    return 1.96 * math.sqrt(max(share * (1 - share), 0.0) / members)
