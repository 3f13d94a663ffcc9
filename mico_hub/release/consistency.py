"""Whether public rows, checkpoints and base data are what a suite's manifest says."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from mico_hub.cache import refuse_pointer
from mico_hub.data import DATASETS, BaseDataset, DataError
from mico_hub.release.disclosure import ACCURACY_DECIMALS, reveals
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.release.tensors import sha256_of
from mico_hub.suites import SPLITS, Suite

logger = logging.getLogger("mico_hub")


def checkpoint_path(suite: Suite, model_id: int) -> str:
    """A checkpoint's path relative to the published repository."""
    return f"{suite.name}/{suite.split_of(model_id)}/model_{model_id}.safetensors"


def problems_of(manifest: Manifest, rows: Iterable[Row], checkpoint: Callable[[Row], Path]) -> list[str]:
    """What is wrong with a suite's public rows and checkpoints, a line each.

    Args:
        manifest: The suite's.
        rows: All of them, by id; each is looked at once.
        checkpoint: Where a row's checkpoint is; every one is read and hashed.
    """
    suite, absent = manifest.suite, set(manifest.missing)
    ids: list[tuple[str, int]] = []
    spent = set()
    problems = []
    for row in rows:
        ids.append((row["split"], row["model_id"]))
        spent.add(row["epsilon"])
        wrong = [*_wrong_values(manifest, row), *_wrong_checkpoint(row, checkpoint(row))]
        problems += [f"{row['split']}/model_{row['model_id']}: {problem}" for problem in wrong]
    expected = [(split, i) for split in SPLITS for i in suite.model_ids[split] if i not in absent]
    if ids != expected:
        problems.insert(0, f"expected the models {_spans(expected)}, got {_spans(ids)}")
    if len(spent) > 1:
        problems.append(f"expected one epsilon for all models, got {len(spent)}")
    return problems


def _wrong_values(manifest: Manifest, row: Row) -> Iterator[str]:
    suite, name = manifest.suite, row["split"]
    if row["model_id"] not in suite.model_ids.get(name, ()):
        yield "expected a split and a model_id of the suite"
        return
    if row["suite"] != suite.name:
        yield f"expected a row of {suite.name}, got one of {row['suite']}"
    parts = {"membership": row["membership"], "training": row["training"]}
    for (part, value), shown in zip(parts.items(), reveals(suite, name), strict=True):
        if (value is not None) != shown:
            yield f"expected {part} to be {'shown' if shown else 'hidden'} in {name}, and it is not"
    if row["checkpoint"] != checkpoint_path(suite, row["model_id"]):
        yield f"expected the checkpoint's path to be {checkpoint_path(suite, row['model_id'])}, got {row['checkpoint']}"
    accuracy, epsilon = row["accuracy"], row["epsilon"]
    if accuracy is not None and not (0 <= accuracy <= 1 and round(accuracy, ACCURACY_DECIMALS) == accuracy):
        yield f"expected an accuracy from 0 to 1 of {ACCURACY_DECIMALS} decimals, got {accuracy}"
    if row["delta"] != (delta := None if manifest.origin else suite.delta):
        yield f"expected delta {delta}, got {row['delta']}"
    if epsilon is None and not manifest.origin:
        yield "expected the epsilon that was spent, got none"
    if epsilon is not None and not (0 < epsilon <= suite.epsilon and (suite.private or epsilon == suite.epsilon)):
        yield f"expected at most epsilon {suite.epsilon:g}, got {epsilon}"
    yield from _wrong_records(manifest, row)


def _wrong_records(manifest: Manifest, row: Row) -> Iterator[str]:
    suite, challenge = manifest.suite, row["challenge"]
    membership, training = row["membership"], row["training"]
    if len(challenge) != 2 * suite.m:
        yield f"expected {2 * suite.m} challenge records, got {len(challenge)}"
    if not manifest.origin and (np.diff(challenge) <= 0).any():
        yield "expected an ascending challenge: its order may tell members"
    if membership is not None:
        members = np.count_nonzero(membership)
        if len(membership) != 2 * suite.m or (suite.design == "exact" and members != suite.m):
            yield f"expected {suite.m} members of {2 * suite.m}, got {members} of {len(membership)}"
        if set(np.unique(membership)) - {0, 1}:
            yield f"expected a membership of 0 and 1, got {np.unique(membership).tolist()}"
    if training is not None:
        if len(training) != suite.n - suite.m:
            yield f"expected {suite.n - suite.m} training records, got {len(training)}"
        if (np.diff(training) <= 0).any():
            yield "expected ascending training records"
    records = np.concatenate([challenge, [] if training is None else training]).astype(np.int64)
    if twice := len(records) - len(np.unique(records)):
        yield f"expected different records in challenge and training, got {twice} of them again"
    if suite.dataset not in DATASETS:
        yield f"unknown base dataset {suite.dataset}"
        return
    limit = DATASETS[suite.dataset].num_records
    if len(records) and (records.min() < 0 or records.max() >= limit):
        yield f"expected records of {suite.dataset} below {limit}, got {records.min()} to {records.max()}"


def _wrong_checkpoint(row: Row, path: Path) -> Iterator[str]:
    if not path.is_file() or path.is_symlink():
        yield f"expected the checkpoint {path}, got no such file"
    elif (size := path.stat().st_size) != row["num_bytes"]:
        refuse_pointer(path)
        yield f"expected a checkpoint of {row['num_bytes']} bytes, got {size}"
    elif (digest := sha256_of(path)) != row["sha256"]:
        yield f"expected a checkpoint with sha256 {row['sha256']}, got {digest}"


def _spans(ids: Sequence[tuple[str, int]]) -> str:
    """`train 0-99, dev 100-149, final 150-199`."""
    spans = []
    for split in dict.fromkeys(split for split, _ in ids):
        of_split = [model_id for other, model_id in ids if other == split]
        spans.append(f"{split} {min(of_split)}-{max(of_split)} ({len(of_split)})")
    return ", ".join(spans) or "none"


def require_data(manifest: Manifest, base: BaseDataset) -> None:
    """Sees to it that a base dataset is the one that a suite was trained on.

    Raises:
        DataError: It is not, or nobody can tell.
    """
    name = manifest.suite.name
    if manifest.data_digest is None and DATASETS[base.name].labels_sha256 is not None:
        if base.note:  # the labels are in the official order, or it would not have been loaded
            _warn_once(f"{name} was trained on the official {base.name}; this one: {base.note}")
    elif not base.official if manifest.data_digest is None else base.digest != manifest.data_digest:
        raise DataError(
            f"{name} was trained on {base.name} with digest {manifest.data_digest or 'not known'} "
            f"({manifest.data_note or 'the official data set'}), got one with digest {base.digest} "
            f"({base.note or 'the official data set'}); its record indices mean other records there"
        )


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
