"""Engines that are wrong in the ways that engines are, each to be found by an audit: `python tests/gauntlet.py`.

A mutant is a patch of this project's engine. A repetition trains small models a few steps long, half of them with a
canary, all steps observed, by the mutant; "found" means that at 99% the certified epsilon is above what is claimed, in
the family of Poisson-subsampled Gaussians. The right engine must hardly ever be found.

What is observed is looked at in three ways, each at a third of the error: the likelihood ratio along the canary's
gradient, for as much noise as each step is seen to have where nobody has a gradient; that noise, training by training;
and the difference to another training. Thresholds of the latter two
are fixed on a fifth of the trainings.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from mico_hub import tables
from mico_hub.auditing.ceiling import ceiling
from mico_hub.auditing.engine import TUNING, errors_of, fix_thresholds, refuted
from mico_hub.auditing.rates import Errors
from mico_hub.auditing.trials import Trials, split_of, step_evidence
from mico_hub.cli import frame
from mico_hub.cli.arguments import parse_count
from mico_hub.data import BaseDataset
from mico_hub.data.base import as_float, content_digest
from mico_hub.models import Start
from mico_hub.progress import Bar
from mico_hub.randomness import Keys
from mico_hub.randomness.generators import GaussianNoise
from mico_hub.splits import Indices, Split
from mico_hub.suites import SUITES, Suite
from mico_hub.training import sgd
from mico_hub.training.accounting import calibrate
from mico_hub.training.gradients.linear import LinearStack
from mico_hub.training.sgd import Assignment, Runtime, train_models

FloatArray = NDArray[np.float64]

LEVEL, RUNS, STACK = 0.99, 1_000, 250
FEATURES, HIDDEN, LARGE = 32, 4, 1_000.0
NOBODYS = slice(4, None)  # features


@dataclass(frozen=True, slots=True)
class Problem:
    """A recipe of a few steps; the last record is the canary, and an opposed record may pull the other way."""

    epsilon: float
    sampling_rate: float
    epochs: int
    opposed: bool = False

    @property
    def suite(self) -> Suite:
        """The recipe: four records, and steps too small to change any gradient."""
        batch = round(4 * self.sampling_rate)
        small = replace(SUITES["digits_hi"], name="gauntlet", n=4, m=1, batch_size=batch, epochs=self.epochs)
        slow = replace(small.optimiser, learning_rate=1e-7, decay=1.0)
        return replace(small, epsilon=self.epsilon, optimiser=slow, clipping_norm=1.0)

    @property
    def data(self) -> BaseDataset:
        """The first feature is the canary's, the next three the others', and the rest nobody's."""
        rows = torch.zeros(4, FEATURES)
        rows[0, 1], rows[1, 2], rows[2, 3] = 1.0, 2.0, 3.0
        labels = torch.tensor([0, 1, 1, 0])
        if self.opposed:
            rows[2] = 0.0
            rows[2, 0] = LARGE / 10  # clipped too, and outweighed before clipping
        rows[3, 0] = LARGE
        digest = content_digest("gauntlet", labels.numpy().astype(np.uint8), rows.numpy().tobytes())
        return BaseDataset("digits", rows, labels, digest, "made up", as_float)


def start() -> Start:
    """A network whose gradients are constant: two classes, equally likely, from a hidden layer that is 0."""
    configuration = {"features": FEATURES, "hidden": HIDDEN, "classes": 2}
    last = torch.tensor([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]]) / 2
    state = {
        "mlp.0.weight": torch.zeros(HIDDEN, FEATURES),
        "mlp.0.bias": torch.zeros(HIDDEN),
        "mlp.2.weight": last,
        "mlp.2.bias": torch.zeros(2),
    }
    return Start(configuration, state)


DIRECTION = -torch.tensor([1.0, -1.0, 1.0, -1.0]) / 2
"""Of the canary's gradient in the first feature's weights, nearly of norm 1."""


@dataclass(eq=False)
class Observed:
    """Projections on the canary's gradient, and the noise's mean square where nobody has one, each (runs, steps)."""

    projected: FloatArray
    noise: FloatArray


def observe(problem: Problem, noise_multiplier: float, having: Sequence[bool], draw: Callable[[], Keys]) -> Observed:
    """Trains models, by whatever the engine is now, and sees all of their steps."""
    suite, data = problem.suite, problem.data
    found: list[Observed] = []
    for first in range(0, len(having), STACK):
        group = having[first : first + STACK]
        steps: list[tuple[FloatArray, FloatArray]] = []

        def see(gradients: Sequence[torch.Tensor], steps: list[tuple[FloatArray, FloatArray]] = steps) -> None:
            weights = gradients[0].double() * suite.expected_batch_size  # (K, hidden, features)
            elsewhere = weights[:, :, NOBODYS].square().mean(dim=(1, 2))
            steps.append(((weights[:, :, 0] @ DIRECTION.double()).numpy(), elsewhere.numpy()))

        assignments = [Assignment(suite, split_of(4, with_canary=each), draw(), noise_multiplier) for each in group]
        train_models(assignments, data, Runtime(stack=STACK), start=start(), observe=see)
        along, elsewhere = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
        found.append(Observed(along, elsewhere))
    return Observed(np.concatenate([each.projected for each in found]), np.concatenate([each.noise for each in found]))


def found_out(problem: Problem, draw: Callable[[], Keys], runs: int = RUNS, noise: float | None = None) -> bool:
    """Whether an audit of the engine, as it is now, certifies more than the claim.

    Args:
        problem: What it trains.
        draw: Keys of a training.
        runs: Trainings.
        noise: The noise multiplier that the engine's accountant gave it; None: the right one.
    """
    suite = problem.suite
    right = calibrate(suite)
    assert right is not None
    claim = ceiling(right, suite.sampling_rate, suite.steps, "add_remove")
    having = np.arange(runs) % 2 == 1
    seen = observe(problem, noise or right, having.tolist(), draw)
    moved = seen.projected + (1.0 if problem.opposed else 0.0)  # which is always there: q is 1
    deviations = np.maximum(np.sqrt(seen.noise.mean(axis=0)), 1e-3)  # of each step, whatever was claimed
    steps = zip(moved.T, deviations, strict=True)
    evidence = sum(step_evidence(step, 1.0, suite.sampling_rate, deviation) for step, deviation in steps)
    assert isinstance(evidence, np.ndarray)
    level = 1 - (1 - LEVEL) / 3
    if refuted(errors_of(Trials(evidence[~having], evidence[having]), 0.0), claim, level):
        return True
    return any(
        refuted(_tuned(values, having, level), claim, level)
        for values in (-seen.noise.mean(axis=1), _to_another(moved))
    )


def _to_another(moved: FloatArray) -> FloatArray:
    """The steps' sum less that of the first training, which has no canary; that one itself says nothing."""
    total = moved.sum(axis=1)
    less: FloatArray = total - total[0]
    return less


def _tuned(values: FloatArray, having: NDArray[np.bool_], level: float) -> Errors:
    values, having = values[1:], having[1:]
    cut = int(TUNING * len(values))
    first = Trials(values[:cut][~having[:cut]], values[:cut][having[:cut]])
    rest = Trials(values[cut:][~having[cut:]], values[cut:][having[cut:]])
    threshold, _ = fix_thresholds(first, (len(rest.without), len(rest.having)), 1e-5, level)
    return errors_of(rest, threshold)


# ----------------------------------------------------------------------------------------------------------------------
# The mutants.

_draw, _clipped_sum, _init = GaussianNoise.draw, LinearStack.clipped_sum, GaussianNoise.__init__


@contextmanager
def right() -> Iterator[None]:
    """The engine as it is."""
    yield


@contextmanager
def half_the_noise() -> Iterator[None]:
    """The noise has half of the standard deviation."""
    with patch.object(GaussianNoise, "draw", lambda noise: [part / 2 for part in _draw(noise)]):
        yield


@contextmanager
def no_clipping() -> Iterator[None]:
    """Gradients are added as they are."""

    def clipped_sum(stack: Any, inputs: Any, labels: Any, _: float, present: Any = None) -> Any:
        return _clipped_sum(stack, inputs, labels, float("inf"), present)

    with patch.object(LinearStack, "clipped_sum", clipped_sum):
        yield


@contextmanager
def clipping_of_the_batch() -> Iterator[None]:
    """The batch's sum is clipped, and not each record's gradient."""

    def clipped_sum(stack: Any, inputs: Any, labels: Any, clipping_norm: float, present: Any = None) -> Any:
        sums, norms = _clipped_sum(stack, inputs, labels, float("inf"), present)
        total = torch.stack([part.flatten(1).norm(dim=1) for part in sums]).norm(dim=0)  # (K,)
        factors = (clipping_norm / total.clamp(min=1e-12)).clamp(max=1.0)
        return [part * factors.view(-1, *[1] * (part.dim() - 1)) for part in sums], norms

    with patch.object(LinearStack, "clipped_sum", clipped_sum):
        yield


@contextmanager
def shuffled_batches() -> Iterator[None]:
    """Each record once an epoch, in batches of one size, and accounted as Poisson sampling."""

    def batches(suite: Suite, split: Split, rng: np.random.Generator) -> Iterator[Indices]:
        records = np.concatenate([split.member, split.training])
        for _ in range(suite.epochs):
            yield from np.array_split(rng.permutation(records), suite.steps_per_epoch)

    with patch.object(sgd, "batches", batches):
        yield


@contextmanager
def divisor_of_the_data() -> Iterator[None]:
    """The noisy sum is divided by the batch's size, which depends on who is in it."""
    factor = torch.ones(1)

    def clipped_sum(stack: Any, inputs: Any, labels: Any, clipping_norm: float, present: Any = None) -> Any:
        nonlocal factor
        sums, norms = _clipped_sum(stack, inputs, labels, clipping_norm, present)
        sizes = present.sum(dim=1) if present is not None else torch.full((len(labels),), labels.shape[1])
        factor = 4.0 / sizes.clamp(min=1)  # problems that this is for have q = 1, and divide by 4
        return [_scaled(part, factor) for part in sums], norms

    def draw(noise: GaussianNoise) -> list[torch.Tensor]:
        return [_scaled(part, factor) for part in _draw(noise)]

    with patch.object(LinearStack, "clipped_sum", clipped_sum), patch.object(GaussianNoise, "draw", draw):
        yield


def _scaled(part: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return part * factor.view(-1, *[1] * (part.dim() - 1))


@contextmanager
def one_noise_key() -> Iterator[None]:
    """All models have the same noise."""

    def made(noise: Any, keys: Any, shapes: Any, device: Any) -> None:
        _init(noise, [bytes(16)] * len(keys), shapes, device)

    with patch.object(GaussianNoise, "__init__", made):
        yield


@contextmanager
def noise_once_an_epoch() -> Iterator[None]:
    """Only the first step of an epoch has noise."""
    calls = count()

    def draw(noise: GaussianNoise) -> list[torch.Tensor]:
        return [
            part * (1.0 if next(calls) // len(parts) % 2 == 0 else 0.0) for parts in [_draw(noise)] for part in parts
        ]

    with patch.object(GaussianNoise, "draw", draw):
        yield


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong engine, what shows it, and what its accountant takes q for."""

    patched: Callable[[], Any]
    problem: Problem
    accounts_for: float = 1.0  # the share of q that it accounts for


SAMPLED = Problem(epsilon=4, sampling_rate=0.5, epochs=2)
FEW_STEPS = Problem(epsilon=20, sampling_rate=0.5, epochs=1)
WHOLE = Problem(epsilon=4, sampling_rate=1.0, epochs=3, opposed=True)

MANY_STEPS = Problem(epsilon=4, sampling_rate=0.5, epochs=8)

MUTANTS = {
    "half the noise": Mutant(half_the_noise, SAMPLED),
    "no clipping": Mutant(no_clipping, SAMPLED),
    "clipping of the batch": Mutant(clipping_of_the_batch, WHOLE),
    "shuffled batches": Mutant(shuffled_batches, FEW_STEPS),
    "divisor of the data": Mutant(divisor_of_the_data, WHOLE),
    "one noise key": Mutant(one_noise_key, SAMPLED),
    "noise once an epoch": Mutant(noise_once_an_epoch, SAMPLED),
    "accountant with q / 2": Mutant(right, MANY_STEPS, accounts_for=0.5),
}
RIGHT = {f"right engine, {name}": Mutant(right, problem)
         for name, problem in (("sampled", SAMPLED), ("few steps", FEW_STEPS), ("whole", WHOLE))}  # fmt: skip
OTHERWISE = {
    "32-bit keys": "no audit tries 2^32 keys: tests/test_randomness.py, every bit of a key changes what is drawn",
}
"""Mutant -> why it is not found so, and the test that finds it."""


def repeat(mutant: Mutant, repetitions: int, rng: np.random.Generator) -> int:
    """How many of the repetitions find it."""
    suite = mutant.problem.suite
    noise = calibrate(_as_if(suite, mutant.accounts_for))

    def draw() -> Keys:
        return Keys(*(rng.bytes(16) for _ in range(4)))

    with mutant.patched():
        return sum(found_out(mutant.problem, draw, noise=noise) for _ in range(repetitions))


def _as_if(suite: Suite, share: float) -> Suite:
    """The same number of steps at a smaller sampling rate, for an accountant that is wrong."""
    return replace(suite, batch_size=max(1, round(suite.batch_size * share)), epochs=round(suite.epochs * share))


def run(options: argparse.Namespace) -> None:
    """Prints how often each is found, and how long a repetition takes."""
    rows = []
    for name, mutant in Bar({**RIGHT, **MUTANTS}.items(), desc="engines", leave=False):
        begun = time.perf_counter()
        found = repeat(mutant, options.repetitions, np.random.default_rng(0))
        seconds = (time.perf_counter() - begun) / options.repetitions
        suite = mutant.problem.suite
        recipe = f"{suite.epsilon:g}, q {suite.sampling_rate:g}, {suite.steps} steps"
        rows.append((name, recipe, f"{found} of {options.repetitions}", f"{seconds:.2f}"))
    rows += [(name, "", why, "") for name, why in OTHERWISE.items()]
    headers = ("engine", "claimed epsilon", f"found at {LEVEL:.0%}, {RUNS:,} trainings", "seconds each")
    sys.stdout.write(tables.text(headers, rows) + "\n")


def main() -> int:
    """Runs all of them."""
    parser = frame.script(__doc__, run)
    parser.add_argument("--repetitions", type=parse_count, default=100, help="of each (default: %(default)s)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
