"""Assembles the folder that is published from suite folders; only their public parts are read.

python upload_scripts/build_repo.py suites/digits_inf suites/digits_hi --out mico
"""

import argparse
import sys
from pathlib import Path

from builders.build import build
from mico_hub.release.format import FormatError
from mico_hub.release.repository import suites_in


def main() -> int:
    """Builds the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", type=Path, metavar="SUITE_FOLDER")
    parser.add_argument("--out", type=Path, default=Path("mico"), help="the published folder (default: mico)")
    options = parser.parse_args()
    try:
        build(options.suites, options.out)
    except (FormatError, OSError) as error:
        sys.stderr.write(f"build_repo: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nbuild_repo: interrupted; the same command makes it whole\n")
        return 130
    sys.stdout.write(f"{options.out} holds {', '.join(manifest.suite.name for manifest in suites_in(options.out))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
