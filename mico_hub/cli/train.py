"""`mico-hub train` and `mico-hub signals`: a suite of one's own."""

import argparse
import sys
from collections.abc import Sequence

from mico_hub.cli.frame import keeping
from mico_hub.cli.workers import device_of, workers_of
from mico_hub.data import load_base
from mico_hub.models import MODELS
from mico_hub.progress import Bar
from mico_hub.release.folder import SuiteFolder
from mico_hub.signals.suite import compute_suite
from mico_hub.suites import Suite, get_suite
from mico_hub.training.sgd import Runtime
from mico_hub.training.suite import train_suite


def train(options: argparse.Namespace) -> None:
    """Trains what is missing of suites."""
    suites = [get_suite(name) for name in dict.fromkeys(options.suites)]
    _train_all([suite.with_models(*options.models) if options.models else suite for suite in suites], options)


def _train_all(suites: Sequence[Suite], options: argparse.Namespace) -> None:
    """Trains one suite after the other; where there are several, a second bar shows how far all of them are."""
    device = device_of(options)
    runtime = Runtime(device, options.stack, options.microbatch)
    costs = [MODELS[suite.model].flops * suite.n * suite.epochs * sum(suite.models) for suite in suites]
    # The upper bar is in percent, of the arithmetic of all suites.
    form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    with (
        keeping(options, lambda: anything_kept("train", options)),
        workers_of(options, device) as workers,
        Bar(desc="all suites", total=sum(costs), bar_format=form, disable=len(suites) == 1) as bar,
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
                announce=lambda line: Bar.write(line, file=sys.stdout),
                progress=progress,
            )
            Bar.write(f"{suite.name} is complete in {folder.root}", file=sys.stdout)


def signals(options: argparse.Namespace) -> None:
    """Computes what is missing of suites' signals."""
    device = device_of(options)
    with keeping(options, lambda: anything_kept("signals", options)), workers_of(options, device) as workers:
        for root in options.suites:
            data = load_base(SuiteFolder(root).manifest().suite.dataset, options.data)
            new: list[str] = []
            paths = compute_suite(root, options.signals, workers, device=device, data=data, announce=new.append)
            size = sum(path.stat().st_size for path in paths)
            computed = f"{', '.join(new)} computed" if new else "nothing was missing"
            sys.stdout.write(f"{root}: {computed}; {len(paths)} here, {size / 1e6:,.1f} MB, in {paths[0].parent}\n")


def anything_kept(command: str, options: argparse.Namespace) -> bool:
    """Whether something of what `train` or `signals` was asked for is there; an audit keeps nothing."""
    if command not in ("train", "signals"):
        return False
    if command == "train":
        return any(SuiteFolder(options.out / name).finished() for name in options.suites)
    folders = [SuiteFolder(root) for root in options.suites]
    return any(any(path.glob("*")) for folder in folders for path in (folder.signals, folder.unfinished_signals))
