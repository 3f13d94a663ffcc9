"""What the competition published: repositories, archives, the layout of both, and its recipes where they differ."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from mico_hub.messages import InputError
from mico_hub.suites import SPLITS, SUITES, Suite

CHECKPOINTS = ("model.pt", "pytorch_model.bin")
CONFIGURATION = "config.json"  # beside a checkpoint of transformers
SMALL = ("seed_challenge", "seed_training", "seed_membership", "solution.csv")


@dataclass(frozen=True, slots=True)
class Release:
    """Where the models of a track are."""

    repository: str  # dataset repository on the Hub
    archives: Mapping[str, str]  # file name -> md5
    folder: str = ""  # of the track in the repository, in front of the suite's


RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        "cifar10": Release("szanella/MICO-CIFAR10", {"cifar10.zip": "c615b172eb42aac01f3a0737540944b1"}),
        "purchase100": Release("szanella/MICO-purchase100", {"purchase100.zip": "67eba1f88d112932fe722fef85fb95fd"}),
        "sst2": Release(
            "szanella/MICO-SST2",
            {
                "sst2_lo.tar.gz": "205414dd0217065dcebe2d8adc1794a3",
                "sst2_hi.tar.gz": "d285958529fcad486994347478feccd2",
                "sst2_inf.tar.gz": "7dca44b191a0055edbde5c486a8fc671",
            },
        ),
        "ddp": Release("szanella/MICO-DDP", {"ddp.tar.gz": "1b9587c2bdf7867e43fb9da345f395eb"}, folder="ddp/"),
    }
)
"""Track -> release."""

ARCHIVES: Mapping[str, str] = MappingProxyType(
    {name: md5 for release in RELEASES.values() for name, md5 in release.archives.items()}
)
"""File name of an archive -> its md5."""

_NOISE_MULTIPLIERS: Mapping[tuple[str, float], float] = MappingProxyType(
    {
        ("cifar10", 10): 0.6985861772346713,
        ("cifar10", 4): 1.0439581843328838,
        ("purchase100", 10): 0.5415591087480112,
        ("purchase100", 4): 0.7067022435373795,
        ("sst2", 10): 0.5022247504213323,
        ("sst2", 4): 0.6891512670153738,
    }
)
"""(base dataset, target epsilon) -> noise multiplier, as the competition's scripts found it with prv-accountant 0.2.0:

    prv_accountant.dpsgd.find_noise_multiplier(
        sampling_probability=q, num_steps=steps, target_epsilon=epsilon, target_delta=1e-5, eps_error=0.1)

with (q, steps) of `accounted_sampling`.
"""


def released(suite: str) -> bool:
    """Whether the competition published a suite of that name."""
    return suite in SUITES and SUITES[suite].track in RELEASES


SUITE_NAMES = tuple(filter(released, SUITES))
"""The competition's suites, in the table's order."""


def original_suite(name: str) -> Suite:
    """The suite as the competition trained it: the table's row, but SST-2 with DP had shuffled batches."""
    suite = SUITES[name]
    return replace(suite, order="shuffled") if suite.dataset == "sst2" else suite


def noise_multiplier(suite: Suite) -> float | None:
    """What the competition trained the suite with; None without DP.

    Raises:
        InputError: It trained no such suite.
    """
    if suite.private and (suite.dataset, suite.epsilon) not in _NOISE_MULTIPLIERS:
        raise InputError(
            f"{suite.name}: suite.json names an origin, which only the competition's suites have "
            f"({', '.join(SUITE_NAMES)}), and the competition trained none on {suite.dataset} with epsilon "
            f"{suite.epsilon:g}; leave origin empty"
        )
    return _NOISE_MULTIPLIERS[suite.dataset, suite.epsilon] if suite.private else None


def accounted_sampling(suite: Suite) -> tuple[float, int]:
    """(sampling rate, steps) that the competition's accounting assumed.

    For SST-2 that was Poisson sampling of batch / n, though its batches were shuffled and of one size: the epsilon is
    nominal.
    """
    rate = suite.batch_size / suite.n if suite.dataset == "sst2" else suite.sampling_rate
    return rate, suite.steps


@cache
def recomputed_epsilon(suite: Suite) -> float:
    """The epsilon at `suite.delta` of the competition's noise and accounting, by our accountant; inf without DP."""
    from mico_hub.training import accounting  # opacus takes a second to import

    return accounting.epsilon(suite, noise_multiplier(suite), *accounted_sampling(suite))


@dataclass(frozen=True, slots=True)
class Location:
    """Which file of the competition a path in its layout names."""

    suite: str
    split: str
    model_id: int
    file: str

    @property
    def path(self) -> str:
        """The path in the repository on the Hub."""
        folder = RELEASES[SUITES[self.suite].track].folder
        return f"{folder}{self.suite}/{self.split}/model_{self.model_id}/{self.file}"

    def beside(self, file: str) -> "Location":
        """Another file of the same model."""
        return replace(self, file=file)


_LAYOUT = re.compile(
    rf"(?:[\w-]+/)?(?P<suite>{'|'.join(SUITE_NAMES)})/(?P<split>{'|'.join(SPLITS)})/model_(?P<id>0|[1-9]\d{{0,5}})/"
    rf"(?P<file>{'|'.join(map(re.escape, (*CHECKPOINTS, CONFIGURATION, *SMALL)))})",
    re.ASCII,
)


def locate(path: str) -> Location | None:
    """What a path names, below the folder of a track or not; None for other files than the competition's."""
    match = _LAYOUT.fullmatch(path)
    return Location(match["suite"], match["split"], int(match["id"]), match["file"]) if match else None
