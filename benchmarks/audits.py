"""Bounds of epsilon by simulation, on mechanisms whose epsilon for substitution is known: how often above it, how near.

python benchmarks/audits.py [--runs 1000]       a minute: 50 models of 100 pairs, as in a suite's final split; and how
                                                long the headroom of each suite with DP takes

Each run plays MICO's game with 50 models: their members are matched with their non-members at random, and as many pairs
guessed as was fixed on 100 other models. A valid bound at 95% is above the truth in at most 5% of the runs.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mico_hub import tables
from mico_hub.auditing.gaussian import gdp_mu
from mico_hub.auditing.headroom import suite_headroom
from mico_hub.auditing.one_run import fdp_epsilon, gdp_one_run_epsilon, one_run_epsilon
from mico_hub.auditing.pairs import guess, right_pairs, select_guesses
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_count
from mico_hub.progress import Bar
from mico_hub.suites import SUITES
from mico_hub.training.accounting import calibrate

MODELS, SHADOWS, PAIRS, DELTA = 50, 100, 100, 1e-5
Scores = Callable[[float, int, np.random.Generator], NDArray[np.float64]]


def answers(epsilon: float, models: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Differences of pairs under randomised response, half of the pair's epsilon for each record."""
    right = rng.random((2, models, PAIRS)) < 1 / (1 + math.exp(-epsilon / 2))
    told: NDArray[np.float64] = right.sum(axis=0, dtype=np.float64).ravel() - 1
    return told


def gaussian(epsilon: float, models: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Differences of pairs of Gaussian scores, whose members are moved as far as epsilon allows at `DELTA`."""
    mu = gdp_mu(epsilon, DELTA) if epsilon else 0.0
    return rng.normal(mu / math.sqrt(2), math.sqrt(2), models * PAIRS)


def mixed(epsilon: float, models: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One pair of ten is told as epsilon allows, and can be seen to be; the others are not told at all."""
    told = rng.random(models * PAIRS) < 0.1
    right = rng.random(models * PAIRS) < 1 / (1 + math.exp(-epsilon))
    return np.where(told, np.where(right, 10.0, -10.0), rng.normal(size=models * PAIRS))


MECHANISMS: dict[str, tuple[Scores, float]] = {
    "randomised response": (answers, 0.0),
    "Gaussian": (gaussian, DELTA),
    "one pair of ten": (mixed, 0.0),
}
HEADERS = ("mechanism", "epsilon", "guessed", "one-run", "above", "f-DP", "above", "if Gaussian", "above")


def measure(options: argparse.Namespace) -> None:
    """Prints the table."""
    rows = []
    cases = [(name, epsilon) for name in MECHANISMS for epsilon in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)]
    for name, epsilon in Bar(cases, desc="mechanisms", leave=False):
        scores, delta = MECHANISMS[name]
        rng = np.random.default_rng(0)
        guesses = select_guesses(right_pairs(scores(epsilon, SHADOWS, rng)), MODELS * PAIRS, delta or DELTA)
        found = [guess(right_pairs(scores(epsilon, MODELS, rng)), guesses) for _ in range(options.runs)]
        cells = [name, f"{epsilon:g}", f"{guesses:,}"]
        for bound in (one_run_epsilon, fdp_epsilon, gdp_one_run_epsilon):
            values = np.array([bound(each.correct, each.guesses, each.coins, delta or DELTA) for each in found])
            cells += [f"{values.mean():.2f}", f"{np.mean(values > epsilon):.1%}"]
        rows.append(cells)
    sys.stdout.write(
        f"{options.runs:,} runs each, delta {DELTA:g}: mean bound, and how often it is above the truth\n\n"
    )
    sys.stdout.write(tables.text(HEADERS, rows) + "\n\n")
    sys.stdout.write(tables.text(("suite", "headroom at 10% FPR", "seconds"), list(_headrooms())) + "\n")


def _headrooms() -> Iterator[tuple[str, ...]]:
    for name, suite in SUITES.items():
        noise = calibrate(suite)
        begun = time.perf_counter()
        found = suite_headroom(suite, noise)
        if found is not None:
            yield name, f"{float(found.tpr(0.1)):.3f}", f"{time.perf_counter() - begun:.3f}"


def main() -> int:
    """Measures."""
    parser = frame.script(__doc__, measure)
    parser.add_argument("--runs", type=parse_count, default=1_000, help="of each mechanism (default: %(default)s)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
