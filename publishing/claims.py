"""Whether what a published folder claims is true, as far as it can be computed again.

From the folder alone (`check` asks): the recipe is the table's, and epsilon is what the recipe spends with its noise
multiplier. With the private part at hand (the leak check asks): the rows are what training recorded, keys and splits
are fresh, and some models, drawn anew each time, have the accuracy and the member loss that were recorded. Only
`retrained` finds that a model got less noise than all of these say: it trains some again.

Of a suite imported from the competition nothing is recomputed: its card quotes what the competition said.
"""

import argparse
import hashlib
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache, lru_cache

import numpy as np
import torch
from opacus.accountants import RDPAccountant

from mico_hub.cli.arguments import parse_count
from mico_hub.data import BaseDataset
from mico_hub.models import Start, initialise
from mico_hub.randomness import Keys
from mico_hub.release import checkpoints
from mico_hub.release.disclosure import ACCURACY_DECIMALS
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.splits import Indices, Split
from mico_hub.suites import Suite
from mico_hub.training import accounting, engine
from mico_hub.training.job import TrainingJob
from mico_hub.training.sgd import Assignment, Runtime, accuracy, mean_loss
from mico_hub.training.suite import differing
from mico_hub.workers import Common

SLACK = 1e-3  # of epsilon, between versions of the accountant
LOSS_SLACK = 1e-3  # of a loss, between machines
ROUNDED = 0.05  # of the distance that training went: what rounding on another machine may add up to
SECONDS = 20.0  # that models of a suite are computed again for
SEEDS = 1_000  # small numbers that are tried as seeds


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--trial` and `--retrain`."""
    parser.add_argument("--trial", action="store_true", help="also suites that differ from the table; cards say so")
    parser.add_argument("--retrain", type=parse_count, default=0, metavar="N", help="train N models of a suite again")


def wrong_recipe(manifest: Manifest) -> Iterator[str]:
    """How a suite is another one than the table has."""
    if others := manifest.differences:
        yield (
            f"suite.json: not the recipe of the table: {'; '.join(others)}; it can be published as a trial with "
            f"--trial, and its card says so"
        )


def wrong_epsilon(manifest: Manifest, rows: Iterable[Row]) -> Iterator[str]:
    """An epsilon in suite.json or rows that is less than what recipe and noise multiplier spend."""
    suite, multiplier = manifest.suite, manifest.noise_multiplier
    if manifest.origin or not suite.private or multiplier is None:
        return
    spent = _spent(suite, multiplier)
    if spent > suite.epsilon * (1 + SLACK):
        yield (
            f"suite.json: it claims epsilon {suite.epsilon:g}; recomputed, {suite.steps:,} steps at sampling rate "
            f"{suite.sampling_rate:.4g} with its noise multiplier {multiplier:g} spend {spent:.4g}"
        )
    said = min((row["epsilon"] or 0.0 for row in rows), default=spent)
    if said < spent * (1 - SLACK):
        yield f"rows: epsilon {said:.6g}, recomputed {spent:.6g}"


@cache
def _spent(suite: Suite, multiplier: float) -> float:
    """By PRV; far above the claim by RDP, for PRV would take hours and gigabytes there."""
    rdp = RDPAccountant()
    rdp.history = [(multiplier, suite.sampling_rate, suite.steps)]
    rough = float(rdp.get_epsilon(delta=suite.delta))
    return rough if rough > 2 * suite.epsilon + 1 else accounting.spent_epsilon(suite, multiplier)


def wrong_records(folder: SuiteFolder, manifest: Manifest, rows: Iterable[Row]) -> Iterator[str]:
    """What differs from what training recorded, in suite.json and in rows."""
    if (begun := folder.begun()) is not None and begun != manifest:
        before, now = asdict(begun), asdict(manifest)
        before |= before.pop("suite")
        now |= now.pop("suite")
        for key in sorted(before.keys() - {"data_note"}):  # words
            if before[key] != now[key]:
                yield f"suite.json: {key} is {now[key]!r}, training wrote {before[key]!r}"
    if not folder.finished():
        return
    for row in rows:
        name, recorded = f"{row['split']}/model_{row['model_id']}", folder.recorded(manifest.suite, row["model_id"])
        if recorded is None:
            yield f"{name}: what training recorded of it is gone or changed"
            continue
        rounded = None if recorded.accuracy is None else round(recorded.accuracy, ACCURACY_DECIMALS)
        expected = {"sha256": recorded.sha256, "num_bytes": recorded.num_bytes, "accuracy": rounded,
                    "epsilon": recorded.epsilon, "delta": recorded.delta}  # fmt: skip
        for key, value in expected.items():
            if (said := row[key]) != value:  # type: ignore[literal-required]
                yield f"{name}: {key} {said}, training recorded {value}"


def wrong_keys(folders: Mapping[SuiteFolder, int]) -> Iterator[str]:
    """Keys and splits that are not fresh: the same twice, or made of small numbers.

    Args:
        folders: Suite folders, with how many records the base dataset of each has.
    """
    keys, splits = defaultdict[bytes, list[str]](list), defaultdict[bytes, list[str]](list)
    small = {seed.to_bytes(16, order) for seed in range(SEEDS) for order in ("little", "big")}
    for folder, num_records in folders.items():
        suite = folder.manifest().suite
        guessable = seeded(num_records, suite.m)
        for model_id, (of_model, split) in enumerate(zip(folder.keys(), folder.splits(num_records), strict=True)):
            name = f"{suite.name}/model_{model_id}"
            for purpose, key in _each(of_model):
                keys[key].append(f"{name} {purpose}")
                if key in small or len(set(key)) == 1:
                    yield f"{name}: its key for {purpose} is a small number, which anyone can guess"
            splits[np.concatenate([split.challenge, split.membership]).tobytes()].append(name)
            if (how := guessable.of(split)) is not None:
                yield f"{name}: its split is what {how} gives, which anyone can guess"
    for what, found in (("key", keys), ("split", splits)):
        for names in found.values():
            if len(names) > 1:
                yield f"expected a {what} of its own for each, got one for {', '.join(names[:3])}" + (
                    f" and {len(names) - 3} more" if len(names) > 3 else ""
                )


def _each(keys: Keys) -> Iterator[tuple[str, bytes]]:
    return ((purpose, bytes.fromhex(key)) for purpose, key in keys.to_hex().items())


@lru_cache(maxsize=1)
def seeded(num_records: int, m: int) -> "Seeded":
    """`Seeded`, kept for the next suite of the kind."""
    return Seeded(num_records, m)


class Seeded:
    """Splits that a small seed gives: the challenge, or its members, are the first or last of a permutation."""

    def __init__(self, num_records: int, m: int) -> None:
        """Draws all that are tried: a second for 50,000 records."""
        self._made: dict[bytes, str] = {}
        for seed in range(SEEDS):
            for name, order in _permutations(seed, num_records):
                for taken in (order[: 2 * m], order[-2 * m :], order[:m], order[-m:]):
                    self._made.setdefault(_digest(taken), name)

    def of(self, split: Split) -> str | None:
        """What gives a split, if anything that was tried does."""
        parts = (split.challenge, split.member, split.nonmember)
        return next((self._made[key] for part in parts if (key := _digest(part)) in self._made), None)


def _permutations(seed: int, number: int) -> Iterator[tuple[str, Indices]]:
    yield f"numpy.random.default_rng({seed})", np.random.default_rng(seed).permutation(number)
    yield f"numpy.random.RandomState({seed})", np.random.RandomState(seed).permutation(number)
    yield f"torch.manual_seed({seed})", torch.randperm(number, generator=torch.Generator().manual_seed(seed)).numpy()


def _digest(records: Indices) -> bytes:
    return hashlib.sha256(np.sort(records).astype("<i8").tobytes()).digest()


def sampled(rows: Sequence[Row], seconds: float = SECONDS) -> Iterator[Row]:
    """One row of each split, and as many more as the time allows; another draw in every run."""
    draw, started = random.SystemRandom(), time.monotonic()
    order = draw.sample(rows, len(rows))
    first = {row["split"]: row for row in order}
    for row in (*first.values(), *(row for row in order if row is not first[row["split"]])):
        if row is not first[row["split"]] and time.monotonic() > started + seconds:
            return
        yield row


def wrong_model(
    folder: SuiteFolder, row: Row, network: torch.nn.Module, split: Split, data: BaseDataset
) -> Iterator[str]:
    """How a published checkpoint differs from the model that training measured.

    Args:
        folder: With what training recorded.
        row: Its public row.
        network: The checkpoint.
        split: The model's records.
        data: The base dataset.
    """
    name = f"{row['split']}/model_{row['model_id']}"
    right, recorded = (
        accuracy(network, data, split.evaluation),
        folder.recorded(folder.manifest().suite, row["model_id"]),
    )
    if right is not None and row["accuracy"] is not None:
        allowed = 0.5 * 10**-ACCURACY_DECIMALS + 2.5 / len(split.evaluation)  # two records that rounding decides
        if abs(right - row["accuracy"]) > allowed:
            yield f"{name}: accuracy {row['accuracy']}, recomputed from the published checkpoint {right:.3f}"
    if recorded is not None and recorded.member_loss is not None:
        loss = mean_loss(network, data, split.member)
        if abs(loss - recorded.member_loss) > LOSS_SLACK * max(loss, 0.01):
            yield (
                f"{name}: the mean loss of its members is {loss:.5g} with the published checkpoint, training recorded "
                f"{recorded.member_loss:.5g}: another model, or other members"
            )


def retrained(
    folder: SuiteFolder,
    rows: Sequence[Row],
    number: int,
    common: Common,
    weights_of: Callable[[Row], bytes],
    runtime: Runtime | None = None,
) -> Iterator[tuple[str, bool]]:
    """Trains some models again from their keys: a line each, and whether it is as it should be.

    On the machine and with the settings that trained the suite they come out bit for bit. Elsewhere sums are rounded
    otherwise, which is told apart from less noise or other records by how far the weights are from each other.

    Args:
        folder: With keys and splits.
        rows: The suite's public rows.
        number: How many models, drawn at random.
        common: Base dataset and weights to start from.
        weights_of: A row's published checkpoint.
        runtime: As for `train_suite`.
    """
    manifest = folder.manifest()
    if others := [f"{name} {before}, here {here}" for name, before, here in differing(manifest)]:
        yield f"trained with {'; '.join(others)}: install these to train it again", False
        return
    runtime = runtime or Runtime(manifest.randomness or "cpu")
    keys, wanted = folder.keys(), random.SystemRandom().sample(rows, min(number, len(rows)))
    ids = {row["model_id"] for row in wanted}
    splits = {i: split for i, split in enumerate(folder.splits(len(common.data))) if i in ids}
    for row in sorted(wanted, key=lambda row: row["model_id"]):
        model_id, name = row["model_id"], f"{row['split']}/model_{row['model_id']}"
        given = Assignment(manifest.suite, splits[model_id], keys[model_id], manifest.noise_multiplier)
        job = TrainingJob((model_id,), (given,), runtime, engine.installed(), common.data.digest, manifest.start_digest)
        (again,) = job.run(common, lambda steps: None)
        published = weights_of(row)
        if again.weights == published:
            yield f"{name}: trained again, bit for bit", True
            continue
        apart, went = _apart(_weights(again.weights), published), _apart(_begun(given, common.start), published)
        same = apart <= ROUNDED * went
        verdict = "to rounding" if same else "another model: other noise, records or keys than are recorded"
        yield f"{name}: trained again, {apart / went:.2g} of the way that training went apart: {verdict}", same


def _begun(given: Assignment, start: Start | None) -> torch.Tensor:
    """The weights that a model's training began with, in one."""
    return _flat(initialise(given.suite.model, given.keys.initialisation, start).state_dict())


def _flat(state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.double().flatten() for _, value in sorted(state.items())])


def _weights(checkpoint: bytes) -> torch.Tensor:
    return _flat(checkpoints.deserialise(checkpoint).state_dict())


def _apart(weights: torch.Tensor, published: bytes) -> float:
    return float((weights - _weights(published)).norm())
