"""Audits of the training engine, again and again: how much of the claim they certify.

python benchmarks/engine_audits.py                         ten of each; an hour on two cores
python benchmarks/engine_audits.py --only digits_hi-gradient --repetitions 3
"""

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np

from mico_hub import tables
from mico_hub.auditing.engine import audit_engine, full_batches
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_count
from mico_hub.data import load_base
from mico_hub.suites import SUITES
from mico_hub.workers import on_this_machine


@dataclass(frozen=True, slots=True)
class Case:
    """An audit."""

    suite: str
    canary: str
    runs: int
    whole: bool = False  # full batches


CASES = {
    "digits_hi-gradient": Case("digits_hi", "gradient", 2_000),
    "digits_lo-gradient": Case("digits_lo", "gradient", 10_000),
    "digits_hi-crafted": Case("digits_hi", "crafted", 2_000),
    "digits_hi-crafted-full": Case("digits_hi", "crafted", 2_000, whole=True),
    "digits_hi-mislabelled": Case("digits_hi", "mislabelled", 2_000),
    "digits_hi-blank": Case("digits_hi", "blank", 2_000),
}
HEADERS = (
    "suite",
    "canary",
    "trainings",
    "claimed",
    "no assumption",
    "in the family",
    "if Gaussian",
    "80% in the family",
    "above",
    "seconds",
)


def measure(options: argparse.Namespace) -> None:
    """Prints a row a case: mean bounds, their range, how many certify 80% in the family, and how many too much."""
    rows = []
    for name in options.only or CASES:
        case = CASES[name]
        suite = full_batches(SUITES[case.suite]) if case.whole else SUITES[case.suite]
        begun = time.perf_counter()
        found = [
            audit_engine(suite, load_base(suite.dataset), on_this_machine(), canary=case.canary, runs=case.runs)
            for _ in range(options.repetitions)
        ]
        seconds = (time.perf_counter() - begun) / options.repetitions
        cells = [
            case.suite,
            case.canary + (", full batches" if case.whole else ""),
            f"{case.runs:,}",
            f"{suite.epsilon:g}",
        ]
        for kind in ("free", "family", "gaussian"):
            values = np.array([getattr(each, kind) for each in found])
            cells.append(f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})")
        near = sum(each.family >= 0.8 * suite.epsilon for each in found)
        above = sum(max(each.free, each.family) > suite.epsilon for each in found)
        rows.append([*cells, f"{near} of {len(found)}", f"{above} of {len(found)}", f"{seconds:.0f}"])
        sys.stdout.write(tables.text(HEADERS, rows[-1:]) + "\n\n")
        sys.stdout.flush()
    sys.stdout.write(tables.text(HEADERS, rows) + "\n")


def main() -> int:
    """Measures."""
    parser = frame.script(__doc__, measure)
    parser.add_argument("--repetitions", type=parse_count, default=10, help="of each (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=list(CASES), help="cases (default: all)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
