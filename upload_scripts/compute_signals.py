"""Computes the signals of suite folders: a number for each model and record, published with the suite.

python upload_scripts/compute_signals.py suites/digits_hi
python upload_scripts/compute_signals.py suites/cifar10_* --signals loss margin --data ~/data
python upload_scripts/compute_signals.py suites/sst2_hi --data ~/data --ray 10.0.0.1:6379 --device cuda
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mico_hub.data import DataError, load_base
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.format import FormatError
from mico_hub.signals import THERE_ARE
from mico_hub.signals.suite import compute_suite
from mico_hub.workers import WorkerError
from mico_hub.workers.options import add_arguments, parse, workers_of


def run(options: argparse.Namespace) -> None:
    """Computes what is missing, one suite after the other."""
    with workers_of(options) as workers:
        for root in options.suites:
            data = load_base(SuiteFolder(root).manifest().suite.dataset, options.data)
            new: list[str] = []
            paths = compute_suite(root, options.signals, workers, device=options.device, data=data, announce=new.append)
            size = sum(path.stat().st_size for path in paths)
            computed = f"{', '.join(new)} computed" if new else "nothing was missing"
            sys.stdout.write(f"{root}: {computed}; {len(paths)} here, {size / 1e6:,.1f} MB, in {paths[0].parent}\n")


def main() -> int:
    """Computes the signals of the folders named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", type=Path, metavar="FOLDER", help="suite folders, complete")
    parser.add_argument(
        "--signals",
        nargs="+",
        metavar="NAME",
        help=f"of {THERE_ARE} (default: all)",
    )
    parser.add_argument("--data", type=Path, help="folder of the base datasets (default: MICO_HUB_DATA, else the Hub)")
    add_arguments(parser)
    options = parse(parser)
    try:
        run(options)
    except WorkerError as error:
        sys.stderr.write(f"compute_signals: {error}\nWhat is done is kept; the same command goes on from there.\n")
        return 2
    except (DataError, FormatError, OSError) as error:
        sys.stderr.write(f"compute_signals: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ncompute_signals: interrupted; the same command goes on from there\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
