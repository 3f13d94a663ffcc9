"""`mico-hub train` and `mico-hub signals`: a suite of one's own."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mico_hub.cli.frame import Commands, add_command, add_data, add_suites
from mico_hub.cli.workers import add_workers, device_of, parse_count, workers_of
from mico_hub.data import load_base
from mico_hub.models import MODELS
from mico_hub.release.folder import SuiteFolder
from mico_hub.signals import THERE_ARE
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import Suite, get_suite


def add_commands(commands: Commands) -> None:
    """Adds both."""
    made = add_command(
        commands,
        "train",
        _train,
        "trains suites into folders",
        "train purchase100_hi --models 4/2/2 --data DATA",
        "Finished models are kept; resume with the same command.",
    )
    made.add_argument("suites", nargs="+", metavar="SUITE")
    made.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    add_suites(made, "--out")
    add_data(made)
    made.add_argument("--pretrained", help="folder or Hub model that text models start from")
    add_workers(made)
    made.add_argument("--stack", type=parse_count, help="small models computed as one (default: 1; 256 on a GPU)")
    made.add_argument("--microbatch", type=parse_count, help="records whose gradients are held at once (default: 16)")

    made = add_command(
        commands,
        "signals",
        _signals,
        "computes what attacks need of trained suites",
        "signals suites/cifar10_hi --signals loss margin --data DATA",
        "What is done is kept; resume with the same command.",
    )
    made.add_argument("suites", nargs="+", type=Path, metavar="FOLDER", help="suite folders, complete")
    made.add_argument("--signals", nargs="+", metavar="NAME", help=f"of {THERE_ARE} (default: all)")
    add_data(made)
    add_workers(made)


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


def _train(options: argparse.Namespace) -> None:
    suites = [get_suite(name) for name in dict.fromkeys(options.suites)]
    _train_all([suite.with_models(*options.models) if options.models else suite for suite in suites], options)


def _train_all(suites: Sequence[Suite], options: argparse.Namespace) -> None:
    """Trains one suite after the other; where there are several, a second bar shows how far all of them are."""
    from mico_hub.training.sgd import Runtime
    from mico_hub.training.suite import train_suite  # opacus takes seconds to import

    device = device_of(options)
    runtime = Runtime(device, options.stack, options.microbatch)
    costs = [MODELS[suite.model].flops * suite.n * suite.epochs * sum(suite.models) for suite in suites]
    # The upper bar is in percent, of the arithmetic of all suites.
    form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    with (
        workers_of(options, device) as workers,
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


def _signals(options: argparse.Namespace) -> None:
    device = device_of(options)
    with workers_of(options, device) as workers:
        for root in options.suites:
            data = load_base(SuiteFolder(root).manifest().suite.dataset, options.data)
            new: list[str] = []
            paths = compute_suite(root, options.signals, workers, device=device, data=data, announce=new.append)
            size = sum(path.stat().st_size for path in paths)
            computed = f"{', '.join(new)} computed" if new else "nothing was missing"
            sys.stdout.write(f"{root}: {computed}; {len(paths)} here, {size / 1e6:,.1f} MB, in {paths[0].parent}\n")
