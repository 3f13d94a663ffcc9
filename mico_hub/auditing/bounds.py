"""Lower bounds of epsilon from guesses of coins, and the estimate beside them, as they are shown."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from mico_hub.auditing.gaussian import gdp_epsilon, mu_of_auc, mu_of_tpr
from mico_hub.auditing.one_run import fdp_epsilon, gdp_one_run_epsilon, one_run_epsilon
from mico_hub.auditing.pairs import Guesses
from mico_hub.scoring import LEVEL, Interval, estimates

HEADERS = ("epsilon", "value", "")

Curve = tuple[float, Interval | None]
"""The mu of a Gaussian trade-off, and its interval by resampling models."""
RATES = {0.1: "TPR_FPR_1000", 0.01: "TPR_FPR_100", 0.001: "TPR_FPR_10"}
"""False positive rate -> the score at it."""


def curve_of(membership: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> Curve:
    """The largest mu that a curve shows: by its area, or by its TPR at a false positive rate that has an interval.

    Args:
        membership: One (points,) list of 0 and 1 for each model, two models at least.
        scores: Aligned with it.
    """
    found = estimates(membership, scores)
    shown = [(found["AUC"], mu_of_auc)]
    shown += [(found[score], partial(mu_of_tpr, fpr)) for fpr, score in RATES.items()]
    curves = [
        (of(each.value), Interval(of(interval.low), of(interval.high)))
        for each, of in shown
        if (interval := each.interval()) is not None and 0 < each.value < 1
    ]
    return max(curves, key=lambda curve: curve[0], default=(0.0, None))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds of epsilon from the same guesses, each at 95% by itself, and what the whole curve looks like."""

    guesses: Guesses
    delta: float
    certified: float  # one-run, no assumption
    by_trade_off: float  # f-DP one-run, no assumption
    gaussian: float  # the same, assuming a Gaussian trade-off
    estimate: float  # of the whole curve, assuming a Gaussian trade-off; no bound
    interval: Interval | None  # of the estimate, models resampled

    @classmethod
    def of(cls, guesses: Guesses, delta: float, curve: Curve, level: float = LEVEL) -> "Bounds":
        """Everything that follows from the counts.

        Args:
            guesses: Of coins, see `one_run`.
            delta: Of the guarantee that is tested.
            curve: See `curve_of`.
            level: Of confidence.
        """
        counts = (guesses.correct, guesses.guesses, guesses.coins, delta, level)
        certified, by_trade_off = one_run_epsilon(*counts), fdp_epsilon(*counts)
        least = max(certified, by_trade_off)
        mu, interval = curve
        value, *ends = (max(gdp_epsilon(each, delta), least) for each in (mu, *(interval or ())))
        return cls(
            guesses=guesses,
            delta=delta,
            certified=certified,
            by_trade_off=by_trade_off,
            gaussian=gdp_one_run_epsilon(*counts),
            estimate=value,
            interval=Interval(*ends) if ends else None,
        )


def bound_rows(bounds: Bounds, unit: str, level: float = LEVEL) -> list[tuple[str, str, str]]:
    """The rows of a table with bounds and estimate.

    Args:
        bounds: What to show.
        unit: What a coin decides: the name of the adjacency.
        level: Of confidence.
    """
    of, interval = bounds.guesses, bounds.interval
    around = "no interval" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}, models resampled"
    return [
        (
            f"at least, {unit}",
            f"{bounds.certified:.2f}",
            f"certified at {level:.0%}: {of.correct:,} of {of.guesses:,} guesses right, {of.coins:,} coins; one-run",
        ),
        (
            "at least, by trade-off",
            f"{bounds.by_trade_off:.2f}",
            f"certified at {level:.0%} by f-DP one-run",
        ),
        (
            "at least, if Gaussian",
            f"{bounds.gaussian:.2f}" if bounds.delta else "-",
            f"at {level:.0%}; an assumption, not proved",
        ),
        (
            "estimate, no bound",
            f"{bounds.estimate:.2f}" if bounds.delta else "-",
            f"{around}; whole curve, as if Gaussian",
        ),
    ]


def bounds_json(bounds: Bounds, level: float = LEVEL) -> dict[str, Any]:
    """Bounds and estimate for a machine."""
    interval = bounds.interval
    return {
        "delta": bounds.delta,
        "level": level,
        "guesses": asdict(bounds.guesses),
        "at_least": bounds.certified,
        "at_least_by_trade_off": bounds.by_trade_off,
        "if_gaussian": finite(bounds.gaussian),
        "estimate": {
            "value": finite(bounds.estimate),
            "interval": None if interval is None else [*map(finite, interval)],
        },
    }


def finite(value: float) -> float | None:
    """The number, or null for JSON where it is infinite."""
    return value if math.isfinite(value) else None
