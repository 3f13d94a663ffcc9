"""The golden scores under every definition, and how long scores and intervals take.

python benchmarks/scoring.py
"""

import json
import os
import platform
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np

from mico_hub import tables
from mico_hub.scoring import (
    competition_tpr_at_fpr,
    full_roc_curve,
    full_scores,
    full_tpr_at_fpr,
    hull_tpr_at_fpr,
    tied_groups,
)

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "scores.json"

INTERVALS = """
    import resource, time
    import numpy as np
    from mico_hub.scoring import intervals
    rng = np.random.default_rng(1)
    membership = np.tile([0, 1], (50, 100))
    predictions = rng.normal(size=membership.shape) + 0.5 * membership
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for decimals in (2, 4, 16):
        times = []
        for _ in range(5):
            started = time.process_time()
            intervals(membership, np.round(predictions, decimals), rng=np.random.default_rng(0))
            times.append(time.process_time() - started)
        print(decimals, sorted(times)[2])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6)
"""


def golden() -> str:
    """A table: each golden case at a false positive rate of 10%, as the competition counts and as the others do."""
    rows = []
    for case in json.loads(GOLDEN.read_text())["cases"]:
        points = case["solutions"], case["predictions"]
        try:
            competition = competition_tpr_at_fpr(*points)
        except (ValueError, TypeError):
            continue  # a case that is refused
        fpr, tpr, _ = full_roc_curve(*points)
        rows.append(
            (
                case["name"],
                f"{len(points[0]):,}",
                f"{tied_groups(points[1]):,}",
                f"{competition:.4f}",
                f"{tpr[fpr < 0.1].max():.4f}",
                f"{full_tpr_at_fpr(*points):.4f}",
                f"{hull_tpr_at_fpr(*points):.4f}",
            )
        )
    headers = ("case", "points", "ties", "competition", "whole curve, <", "whole curve, <=", "randomised threshold")
    return tables.markdown(headers, rows)


def main() -> int:
    """Prints the table and the times."""
    print(golden())
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    rng = np.random.default_rng(0)
    membership = rng.integers(0, 2, 1_000_000)
    predictions = rng.random(1_000_000) + 0.1 * membership
    times = []
    for _ in range(5):
        started = time.perf_counter()
        full_scores(membership, predictions)
        times.append(time.perf_counter() - started)
    print(f"1,000,000 points, all scores of the whole curve: {sorted(times)[2]:.2f} s (median of 5)")
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERVALS)],
        cwd=ROOT,
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=True,
    )
    *timed, megabytes = done.stdout.splitlines()
    for line in timed:
        decimals, seconds = line.split()
        print(
            f"50 models x 200 points, 2,000 draws, intervals of all 21 scores, predictions of {decimals} decimals, "
            f"one core: {float(seconds):.2f} s of CPU (median of 5)"
        )
    print(f"  {float(megabytes):.0f} MB of memory more than before; peak of this process "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:.0f} MB")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
