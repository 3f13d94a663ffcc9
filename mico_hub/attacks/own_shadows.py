"""Evidence: shadow models of the target's own, trained on all of its training records but for the challenge.

This is what the threat model of differential privacy grants, and `ddp` suites reveal it. For each target, models are
trained by its suite's recipe, with the same noise and keys of their own, on the revealed training records and half of
the challenge, drawn anew for each: so every challenge record is IN for some and OUT for others, and nothing else
differs between them and the target.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save

from mico_hub.attacks.base import AttackError, FloatArray, Mask
from mico_hub.cache import atomic_write, cache_dir
from mico_hub.progress import Bar
from mico_hub.release.format import FORMAT
from mico_hub.release.rows import Row, name_of
from mico_hub.signals.names import of_gradients, signals_of
from mico_hub.splits import Split, random_order, stored_split
from mico_hub.training import engine

if TYPE_CHECKING:
    from mico_hub.data import BaseDataset
    from mico_hub.models import Start
    from mico_hub.release.manifest import Manifest
    from mico_hub.signals.values import Values
    from mico_hub.training.job import TrainingJob
    from mico_hub.workers import Workers

SHADOWS = 32
"""Models that are trained for each target."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnShadows:
    """Models that were trained for one target, on its challenge records."""

    signals: dict[str, FloatArray]  # by name, see `own_signals` -> (S, 2m)
    member: Mask  # (S, 2m)


def train_shadows(
    rows: Sequence[Row], manifest: "Manifest", data: "BaseDataset", workers: "Workers | None" = None
) -> list[OwnShadows]:
    """Trains `SHADOWS` models for each target; a target's are kept when all are there, and not trained again.

    Args:
        rows: Rows of the targets; their `training` is revealed, and `membership` is not looked at.
        manifest: Of their suite.
        data: Its base dataset.
        workers: Where; None: as many processes as there are cores.

    Raises:
        AttackError: A row does not reveal its training records.
        OSError: The weights that training starts from were not found.
        WorkerError: A worker failed.
    """
    from mico_hub.models import load_start
    from mico_hub.workers import Common, on_this_machine

    if hidden := [row for row in rows if row["training"] is None]:
        raise AttackError(
            f"expected targets whose other training records are revealed, as in `ddp` suites and in train, got "
            f"{len(hidden)} whose are hidden"
        )
    paths = [_kept(row, manifest) for row in rows]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    start = load_start(manifest.suite.model) if missing else None
    memberships: dict[int, Mask] = {}
    workers = workers or on_this_machine()

    def jobs() -> "Iterator[TrainingJob]":
        for number in missing:
            splits = list(_splits(rows[number], len(data)))
            memberships[number] = np.array([split.membership == 1 for split in splits])
            yield _job(number, splits, manifest, data, start)

    steps = manifest.suite.steps * SHADOWS
    bar = Bar(
        desc="models of the targets' own",
        total=steps * len(rows),
        initial=steps * (len(rows) - len(missing)),
        unit=" steps",
        unit_scale=True,
        waiting="starting workers",
    )
    with bar, closing(workers.run(jobs(), Common(data, start), bar.update)) as results:
        for finished in results:
            if len(finished) < SHADOWS:
                continue  # its job failed, and is begun anew the next time
            number = finished[0].model_id // SHADOWS
            values = _signals([model.weights for model in finished], rows[number], data, manifest.suite.model)
            atomic_write(paths[number], save({**values, "member": memberships.pop(number)}))
    return [_read(path) for path in paths]


def _read(path: Path) -> OwnShadows:
    values = load_file(path)
    member = values.pop("member").astype(bool)
    return OwnShadows({name: of_signal.astype(np.float64) for name, of_signal in values.items()}, member)


def _kept(row: Row, manifest: "Manifest") -> Path:
    """Where the results for a target are kept: by all that they are made of."""
    names = " ".join(own_signals(manifest.suite.model))
    engines = f"{FORMAT} {engine.TRAINING} {engine.SIGNALS} {names}"
    of = f"{engines} {row['sha256']} {name_of(row)} {manifest.suite} {manifest.noise_multiplier} {SHADOWS}"
    records = b"".join(np.asarray(row[name], dtype=np.int64).tobytes() for name in ("challenge", "training"))
    key = hashlib.sha256(of.encode() + records).hexdigest()[:32]
    return cache_dir() / "own_shadows" / f"{key}.safetensors"


def _splits(row: Row, num_records: int) -> Iterator[Split]:
    """The target's records, with half of its challenge as members: another half each time."""
    challenge = np.asarray(row["challenge"])
    for _ in range(SHADOWS):
        membership = (random_order(len(challenge)) < len(challenge) // 2).astype(np.int8)
        yield stored_split(num_records, challenge, membership, np.asarray(row["training"]))


def _job(
    number: int, splits: Sequence[Split], manifest: "Manifest", data: "BaseDataset", start: "Start | None"
) -> "TrainingJob":
    from mico_hub.randomness import Keys
    from mico_hub.training.job import TrainingJob
    from mico_hub.training.sgd import Assignment, Runtime

    given = [Assignment(manifest.suite, split, Keys.draw(), manifest.noise_multiplier) for split in splits]
    ids = tuple(range(number * SHADOWS, (number + 1) * SHADOWS))
    digest = None if start is None else start.digest
    return TrainingJob(ids, tuple(given), Runtime(), engine.installed(), data.digest, digest)


def own_signals(network: str) -> tuple[str, ...]:
    """The signals of models of a target's own."""
    return tuple(name for name in signals_of(network) if not of_gradients(name))


def _signals(weights: Sequence[bytes], row: Row, data: "BaseDataset", network: str) -> "Values":
    from mico_hub.release import checkpoints
    from mico_hub.signals.values import values_of

    networks = [checkpoints.deserialise(each) for each in weights]
    return values_of(networks, data, np.asarray(row["challenge"], dtype=np.int64), own_signals(network), "cpu")
