"""Trains suites into folders, resuming what was begun.

python upload_scripts/train_suite.py digits_hi
python upload_scripts/train_suite.py purchase100_hi --models 4/2/2 --data ~/data
python upload_scripts/train_suite.py cifar10_hi cifar10_lo --data ~/data --ray 10.0.0.1:6379
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from mico_hub.data import DataError, load_base
from mico_hub.models import MODELS
from mico_hub.release.format import FormatError
from mico_hub.suites import Suite, UnknownSuiteError, get_suite
from mico_hub.training.sgd import DeviceError, Runtime
from mico_hub.training.suite import train_suite
from mico_hub.workers import WorkerError
from mico_hub.workers.options import add_arguments, parse, parse_count, workers_of


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


def train_all(suites: Sequence[Suite], options: argparse.Namespace) -> None:
    """Trains one suite after the other; where there are several, a second bar shows how far all of them are."""
    runtime = Runtime(options.device, options.stack, options.microbatch)
    costs = [MODELS[suite.model].flops * suite.n * suite.epochs * sum(suite.models) for suite in suites]
    # The upper bar is in percent, of the arithmetic of all suites.
    form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    with (
        workers_of(options) as workers,
        tqdm(desc="all suites", total=sum(costs), bar_format=form, disable=len(suites) == 1) as bar,
    ):
        for number, suite in enumerate(suites):
            before, cost = sum(costs[:number]), costs[number]

            def progress(share: float, before: float = before, cost: float = cost) -> None:
                bar.update(before + share * cost - bar.n)

            folder = train_suite(
                suite,
                options.out / suite.name,
                runtime,
                workers,
                data=load_base(suite.dataset, options.data),
                pretrained=options.pretrained,
                announce=lambda line: tqdm.write(line, file=sys.stdout),
                progress=progress,
            )
            tqdm.write(f"{suite.name} is complete in {folder.root}", file=sys.stdout)


def main() -> int:
    """Trains the suites named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", metavar="SUITE")
    parser.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    parser.add_argument("--out", type=Path, default=Path("suites"), help="folder of suite folders (default: suites)")
    parser.add_argument("--data", type=Path, help="folder of the base datasets (default: MICO_HUB_DATA, else the Hub)")
    parser.add_argument("--pretrained", help="folder or Hub model that text models start from")
    add_arguments(parser)
    parser.add_argument("--stack", type=parse_count, help="small models computed as one (default: 1; 256 on a GPU)")
    parser.add_argument("--microbatch", type=parse_count, help="records whose gradients are held at once (default: 16)")
    options = parse(parser)
    try:
        chosen = [get_suite(name) for name in dict.fromkeys(options.suites)]
        train_all([suite.with_models(*options.models) if options.models else suite for suite in chosen], options)
    except (DataError, DeviceError, FormatError, UnknownSuiteError, WorkerError, OSError) as error:
        sys.stderr.write(f"train_suite: {error}\n")
        if isinstance(error, WorkerError | OSError):  # the others would come again
            sys.stderr.write("Finished models are kept; the same command goes on from there.\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ntrain_suite: interrupted; finished models are kept, the same command goes on from there\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
