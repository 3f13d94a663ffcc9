"""The table: every suite is a row of `SUITES`, and everything else iterates it.

A suite is one scenario of the benchmark and one config of the published dataset: models trained by one recipe on
different random splits of one base dataset. The recipes of the twelve suites are the competition's
(https://github.com/microsoft/MICO); the others are ours, small enough to train anywhere.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Literal

from mico_hub.messages import InputError, did_you_mean

NAME = "mico"
"""Of the published dataset, and of a folder that `load_dataset` finds by it."""

SPLITS = ("train", "dev", "final")
"""What is revealed: everything (train), or what `Suite.disclosure` says (dev, final)."""

Order = Literal["sequential", "shuffled", "poisson"]
Disclosure = Literal["challenge", "training"]
Design = Literal["exact", "coins"]
Precision = Literal["float32", "bfloat16"]
OptimiserName = Literal["sgd", "adam", "adamw"]


@dataclass(frozen=True, slots=True)
class Optimiser:
    """An optimiser and its schedule: the learning rate is multiplied by `decay` after every `decay_epochs` epochs."""

    name: OptimiserName
    learning_rate: float
    decay: float = 1.0
    decay_epochs: int = 1

    def __str__(self) -> str:
        title = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[self.name]
        every = "each epoch" if self.decay_epochs == 1 else f"every {self.decay_epochs} epochs"
        return f"{title} {self.learning_rate:g}, " + ("constant" if self.decay == 1 else f"x{self.decay:g} {every}")


@dataclass(frozen=True, slots=True)
class Suite:
    """One row of the table."""

    name: str
    track: str  # the suites of a track are ranked together
    dataset: str  # a name in `mico_hub.data.DATASETS`
    model: str  # a name in `mico_hub.models.MODELS`
    n: int  # training records per model, the member challenges among them; with coins on average
    m: int  # member challenges per model; as many non-members; with coins on average
    epsilon: float  # claimed budget, add or remove one record; inf: trained without DP
    delta: float | None  # None without DP
    batch_size: int  # records; with Poisson sampling see `sampling_rate`
    order: Order
    epochs: int
    optimiser: Optimiser
    clipping_norm: float | None = None  # L2 norm that each record's gradient is clipped to; None without DP
    max_grad_norm: float | None = None  # L2 norm that the batch's mean gradient is clipped to; None: not clipped
    disclosure: Disclosure = "challenge"  # what dev and final reveal: the challenge, or the training records too
    models: tuple[int, int, int] = (100, 50, 50)  # in train, dev and final
    design: Design = "exact"  # how members are drawn: exactly m of the 2m challenge records, or each by a fair coin
    precision: Precision = "float32"  # of the operands of products; sums, noise and weights are always float32

    @property
    def private(self) -> bool:
        """Whether the models are trained with DP-SGD."""
        return math.isfinite(self.epsilon)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the last one smaller when n is no multiple of the batch size."""
        return math.ceil(self.n / self.batch_size)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.steps_per_epoch * self.epochs

    @property
    def sampling_rate(self) -> float:
        """q, the probability that Poisson sampling puts a record into a batch: 1 / batches in an epoch."""
        return 1 / self.steps_per_epoch

    @property
    def expected_batch_size(self) -> int:
        """int(n q): the public constant that the noisy sum of clipped gradients is divided by."""
        return self.n // self.steps_per_epoch

    @property
    def model_ids(self) -> Mapping[str, range]:
        """Split -> its model ids, contiguous over train, dev, final."""
        train, dev, final = self.models
        return MappingProxyType(
            {
                "train": range(train),
                "dev": range(train, train + dev),
                "final": range(train + dev, train + dev + final),
            }
        )

    def split_of(self, model_id: int) -> str:
        """The split that a model id belongs to.

        Raises:
            ValueError: No split of the suite has that id.
        """
        for split, ids in self.model_ids.items():
            if model_id in ids:
                return split
        raise ValueError(f"{self.name}: expected a model_id from 0 to {sum(self.models) - 1}, got {model_id}")

    def with_models(self, train: int, dev: int, final: int) -> "Suite":
        """The same suite with fewer (or more) models, for a trial."""
        return replace(self, models=(train, dev, final))


def _cifar10(name: str, epsilon: float, track: str = "cifar10", disclosure: Disclosure = "challenge") -> Suite:
    dp = math.isfinite(epsilon)
    return Suite(
        name=name,
        track=track,
        dataset="cifar10",
        model="cnn",
        n=50_000,
        m=100,
        epsilon=epsilon,
        delta=1e-5 if dp else None,
        batch_size=512 if dp else 32,
        order="poisson" if dp else "sequential",
        epochs=50,
        optimiser=Optimiser("sgd", 0.5 if dp else 0.005, decay=0.96),
        clipping_norm=2.6 if dp else None,
        disclosure=disclosure,
    )


def _purchase100(name: str, epsilon: float, track: str = "purchase100", disclosure: Disclosure = "challenge") -> Suite:
    dp = math.isfinite(epsilon)
    return Suite(
        name=name,
        track=track,
        dataset="purchase100",
        model="mlp",
        n=150_000,
        m=100,
        epsilon=epsilon,
        delta=1e-5 if dp else None,
        batch_size=512,
        order="poisson" if dp else "sequential",
        epochs=30,
        optimiser=Optimiser("adam", 0.001, decay=0.9, decay_epochs=5),
        clipping_norm=2.6 if dp else None,
        disclosure=disclosure,
    )


def _sst2(name: str, epsilon: float, track: str = "sst2", disclosure: Disclosure = "challenge") -> Suite:
    dp = math.isfinite(epsilon)
    return Suite(
        name=name,
        track=track,
        dataset="sst2",
        model="roberta",
        n=67_349,
        m=100,
        epsilon=epsilon,
        delta=1e-5 if dp else None,
        batch_size=1_024 if dp else 96,
        order="poisson" if dp else "shuffled",
        epochs=3,
        optimiser=Optimiser("adamw", 5e-4 if dp else 5e-5),
        clipping_norm=0.1 if dp else None,
        max_grad_norm=None if dp else 1.0,
        disclosure=disclosure,
    )


def _digits(name: str, epsilon: float) -> Suite:
    dp = math.isfinite(epsilon)
    return Suite(
        name=name,
        track="digits",
        dataset="digits",
        model="digits_mlp",
        n=400,
        m=100,
        epsilon=epsilon,
        delta=1e-5 if dp else None,
        batch_size=200,
        order="poisson" if dp else "shuffled",
        epochs=40,
        optimiser=Optimiser("sgd", 5.0 if dp else 0.5, decay=0.95),
        clipping_norm=0.3 if dp else None,
    )


def _location30(name: str, epsilon: float) -> Suite:
    """Found by trying 215 recipes with DP, 2 to 8 models each, on these records: docs/real_data.md."""
    dp = math.isfinite(epsilon)
    return Suite(
        name=name,
        track="location30",
        dataset="location30",
        model="location30_mlp",
        n=2_500,
        m=100,
        epsilon=epsilon,
        delta=1e-5 if dp else None,
        batch_size=500 if dp else 100,
        order="poisson" if dp else "shuffled",
        epochs=30,
        optimiser=Optimiser("sgd", 8.0 if dp else 0.5, decay=0.97),
        clipping_norm=0.3 if dp else None,
    )


def _digits_audit(name: str, epsilon: float) -> Suite:
    """Made to be audited: 600 canaries, each trained on by a fair coin of its own."""
    return replace(
        _digits(name, epsilon),
        track="digits_audit",
        dataset="digits_canaries",
        n=700,
        m=300,
        batch_size=350,
        design="coins",
        models=(300, 100, 100),
    )


def _table() -> Iterator[Suite]:
    yield _cifar10("cifar10_inf", math.inf)
    yield _cifar10("cifar10_hi", 10)
    yield _cifar10("cifar10_lo", 4)
    yield _purchase100("purchase100_inf", math.inf)
    yield _purchase100("purchase100_hi", 10)
    yield _purchase100("purchase100_lo", 4)
    yield _sst2("sst2_inf", math.inf)
    yield _sst2("sst2_hi", 10)
    yield _sst2("sst2_lo", 4)
    yield _cifar10("cifar10_ddp", 4, track="ddp", disclosure="training")
    yield _purchase100("purchase100_ddp", 4, track="ddp", disclosure="training")
    yield _sst2("sst2_ddp", 4, track="ddp", disclosure="training")
    yield _digits("digits_inf", math.inf)
    yield _digits("digits_hi", 10)
    yield _digits("digits_lo", 4)
    yield _location30("location30_inf", math.inf)
    yield _location30("location30_hi", 10)
    yield _location30("location30_lo", 4)
    yield _digits_audit("digits_audit_hi", 10)
    yield _digits_audit("digits_audit_lo", 4)


SUITES: Mapping[str, Suite] = MappingProxyType({suite.name: suite for suite in _table()})
"""Name -> suite, in the order of the tracks."""


def tracks() -> dict[str, list[Suite]]:
    """Track -> its suites, both in the table's order."""
    grouped: dict[str, list[Suite]] = {}
    for suite in SUITES.values():
        grouped.setdefault(suite.track, []).append(suite)
    return grouped


def get_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        KeyError: There is no such suite; the message lists those there are and the nearest names.
    """
    if name in SUITES:
        return SUITES[name]
    raise UnknownSuiteError(name)


def differences(suite: Suite) -> list[str]:
    """How a recipe differs from the one that the table has under its name: `epochs 5 (40 in the table)`."""
    if suite.name not in SUITES:
        return ["the table has no suite of that name"]
    known = SUITES[suite.name]
    return [
        f"{field.name} {_said(getattr(suite, field.name))} ({_said(getattr(known, field.name))} in the table)"
        for field in fields(Suite)
        if getattr(suite, field.name) != getattr(known, field.name)
    ]


def _said(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


class UnknownSuiteError(InputError, KeyError):
    """A suite's name that is not in the table."""

    def __init__(self, name: str) -> None:
        hint = did_you_mean(str(name), SUITES)
        if name in (of_track := tracks()):
            hint = f" It is a track; its suites are {', '.join(suite.name for suite in of_track[name])}."
        self.message = f"unknown suite {name!r}.{hint} There are: {', '.join(SUITES)}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message  # KeyError would print it in quotes
