"""Trains suites into folders, resuming what was begun.

python upload_scripts/train_suite.py digits_hi
python upload_scripts/train_suite.py purchase100_hi --models 4/2/2 --data ~/data
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mico_hub.data import DataError
from mico_hub.folder import FolderError
from mico_hub.models import default_device
from mico_hub.suites import Suite, UnknownSuiteError, get_suite
from mico_hub.training import Runtime, default_processes, train_suite


def parse_models(text: str) -> tuple[int, int, int]:
    """`4/2/2` -> models in train, dev and final.

    Raises:
        argparse.ArgumentTypeError: It is not three counts, the first at least 1.
    """
    try:
        train, dev, final = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected TRAIN/DEV/FINAL, such as 4/2/2, got {text!r}") from None
    if train < 1 or min(dev, final) < 0:
        raise argparse.ArgumentTypeError(f"expected at least one train model and no negative count, got {text!r}")
    return train, dev, final


def main() -> int:
    """Trains the suites named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", metavar="SUITE")
    parser.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    parser.add_argument("--out", type=Path, default=Path("suites"), help="folder of suite folders (default: suites)")
    parser.add_argument("--data", type=Path, help="folder of the base datasets (default: MICO_HUB_DATA, else the Hub)")
    parser.add_argument("--device", default=str(default_device()), help="default: %(default)s")
    parser.add_argument("--processes", type=int, help="models at a time (default: one a core; one on a GPU)")
    parser.add_argument("--microbatch", type=int, default=32, help="records whose gradients are held at once")
    parser.add_argument("--pretrained", help="folder or Hub model that text models start from")
    options = parser.parse_args()

    runtime = Runtime(
        device=options.device,
        microbatch=options.microbatch,
        processes=options.processes or (default_processes() if options.device == "cpu" else 1),
        data=options.data,
        pretrained=options.pretrained,
    )
    try:
        chosen: list[Suite] = [get_suite(name) for name in options.suites]
        for suite in chosen:
            wanted = suite if options.models is None else suite.with_models(*options.models)
            folder = train_suite(wanted, options.out / suite.name, runtime)
            sys.stdout.write(f"{suite.name} is complete in {folder.root}\n")
    except (DataError, FolderError, UnknownSuiteError, OSError) as error:
        sys.stderr.write(f"train_suite: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ntrain_suite: interrupted; finished models are kept, the same command goes on from there\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
