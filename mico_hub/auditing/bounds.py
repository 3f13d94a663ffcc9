"""Lower bounds of epsilon from guesses of coins, and the estimate beside them, as they are shown."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from mico_hub.auditing.gaussian import gdp_epsilon, mu_of_auc
from mico_hub.auditing.one_run import fdp_epsilon, gdp_one_run_epsilon, one_run_epsilon
from mico_hub.auditing.pairs import Guesses
from mico_hub.scoring import LEVEL, Interval

HEADERS = ("epsilon", "value", "")


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
    def of(cls, guesses: Guesses, delta: float, curve: tuple[float, Interval | None], level: float = LEVEL) -> "Bounds":
        """Everything that follows from the counts.

        Args:
            guesses: Of coins, see `one_run`.
            delta: Of the guarantee that is tested.
            curve: AUC of all scores, with its interval.
            level: Of confidence.
        """
        counts = (guesses.correct, guesses.guesses, guesses.coins, delta, level)
        certified, by_trade_off = one_run_epsilon(*counts), fdp_epsilon(*counts)
        least = max(certified, by_trade_off)
        auc, interval = curve
        value, *ends = (max(gdp_epsilon(mu_of_auc(each), delta), least) for each in (auc, *(interval or ())))
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
            f"{bounds.gaussian:.2f}",
            f"at {level:.0%}; an assumption, not proved",
        ),
        ("estimate, no bound", f"{bounds.estimate:.2f}", f"{around}; whole curve, as if Gaussian"),
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
