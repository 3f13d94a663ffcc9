"""How often 95% intervals cover: simulated suites whose models differ, and whose true scores are known.

python benchmarks/coverage.py [--suites 400]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mico_hub import tables
from mico_hub.scoring import ENOUGH_MODELS, TITLES, Estimate, estimates

FloatArray = NDArray[np.float64]

MODELS = (5, 10, 20, 30, 50, 100)
KEYS = {"TPR_FPR_1000": 0.1, "TPR_FPR_100": 0.01, "TPR_FPR_10": 0.001}
DIFFERENCE = "difference in "
POINTS = 200  # of a model, half of them members


def simulate(models: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Membership and the predictions of two attacks, (models, points) each.

    Predictions are normal. Those of members are higher by 0.8 with a standard deviation of 0.5 over models, those of
    all points of a model shifted by 0.2. The second attack is the first one with noise.
    """
    membership = np.tile([0, 1], (models, POINTS // 2))
    strength, shift = rng.normal(0.8, 0.5, (models, 1)), rng.normal(0, 0.2, (models, 1))
    first = rng.normal(size=membership.shape) + shift + strength * membership
    return membership, first, first + rng.normal(0, 0.7, membership.shape)


def true_scores() -> dict[str, float]:
    """The first attack's scores and its differences to the second, of all models there could be: normal, too."""
    first, second = (
        {key: float(norm.sf((norm.isf(rate) * others - 0.8) / np.hypot(others, 0.5))) for key, rate in KEYS.items()}
        for others in (np.hypot(1, 0.2), np.hypot(np.hypot(1, 0.2), 0.7))  # standard deviations of non-members
    )
    return first | {DIFFERENCE + key: first[key] - second[key] for key in KEYS}


def estimated(models: int, draws: int, rng: np.random.Generator) -> dict[str, Estimate]:
    """The same of a suite, with resamples."""
    membership, *attacks = simulate(models, rng)
    seed = int(rng.integers(2**32))
    first, second = (
        estimates(membership, predictions, rng=np.random.default_rng(seed), draws=draws) for predictions in attacks
    )
    return {key: first[key] for key in KEYS} | {DIFFERENCE + key: first[key] - second[key] for key in KEYS}


def coverage(models: int, suites: int, draws: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """The share of suites whose interval holds the true score; NaN where there is no interval.

    Args:
        models: Of a suite.
        suites: How many.
        draws: Resamples of each.
        rng: Of the suites.

    Returns:
        For "ours", and for "percentile" intervals whatever the number of models and points, the keys of `true_scores`.
    """
    truth = true_scores()
    found = [estimated(models, draws, rng) for _ in range(suites)]
    always = [{key: replace(each, models=ENOUGH_MODELS, enough=True) for key, each in of.items()} for of in found]
    return {
        kind: {key: float(np.mean([_covers(of[key], true) for of in suite])) for key, true in truth.items()}
        for kind, suite in (("ours", found), ("percentile", always))
    }


def _covers(estimate: Estimate, true: float) -> float:
    interval = estimate.interval()
    return np.nan if interval is None else float(interval.low <= true <= interval.high)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=int, default=400)
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args(arguments)
    rows = []
    for models in MODELS:
        shares = coverage(models, options.suites, options.draws, np.random.default_rng(0))
        for kind, of_kind in shares.items():
            cells = ("-" if np.isnan(share) else f"{100 * share:.1f}%" for share in of_kind.values())
            rows.append((f"{models}", kind, *cells))
            sys.stderr.write(f"{' '.join(rows[-1])}\n")
    titles = [TITLES[key].removeprefix("TPR at ") for key in KEYS]
    sys.stdout.write(tables.markdown(("models", "interval", *titles, *(f"paired, {of}" for of in titles)), rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
