"""Looks for anything hidden in a published folder, with the private parts of its suites at hand.

python upload_scripts/check_leaks.py mico --suites suites

Swaps hidden membership and rebuilds; rebuilds without private parts; searches every byte for labels, records, keys,
nonces, paths, names and times; and attacks without any model. Exit code 3: something leaks.
"""

import argparse
import sys
from pathlib import Path

import datasets

from mico_hub import tables
from mico_hub.data import DataError, load_base
from mico_hub.messages import listed
from mico_hub.release.format import FormatError
from publishing.secrecy import Findings, inspect

LEAKS = 3  # an exit code that no crash has


def report(findings: Findings) -> str:
    """What was looked at, and what was found."""
    columns = ("suite", "without any model", "standard deviations", "points")
    rows = [
        (suite, each.feature, f"{each.deviations:+.2f}", f"{each.points:,}")
        for suite, tried in findings.tried.items()
        for each in sorted(tried, key=lambda each: -abs(each.deviations))[:3]
    ]
    lines = [*findings.notes, "", "the three that deviate most of each suite:", tables.text(columns, rows), ""]
    lines.append(
        listed(f"{len(findings.problems)} leaks:", findings.problems) if findings.problems else "no leak found"
    )
    return "\n".join(lines)


def main() -> int:
    """Checks the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the published folder, as build_repo.py made it")
    parser.add_argument("--suites", type=Path, default=Path("suites"), help="the suite folders (default: suites)")
    parser.add_argument("--data", type=Path, help="folder of the base datasets (default: MICO_HUB_DATA, else the Hub)")
    options = parser.parse_args()
    datasets.disable_progress_bars()
    try:
        findings = inspect(options.folder, options.suites, lambda name: load_base(name, options.data))
    except (DataError, FormatError, OSError) as error:
        sys.stderr.write(f"check_leaks: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ncheck_leaks: interrupted\n")
        return 130
    sys.stdout.write(report(findings) + "\n")
    return LEAKS if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
