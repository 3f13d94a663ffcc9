"""From the competition's files to the rows of a suite, the same columns as ours."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mico_hub.data import DATASETS
from mico_hub.messages import counted, listed
from mico_hub.release.disclosure import Measured, disclose_original, reveals
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.sources.original.files import CHECKPOINT_BYTES, SMALL_BYTES, Entry, OriginalError, Readable
from mico_hub.sources.original.release import CHECKPOINTS, SMALL, Location, noise_multiplier, original_suite
from mico_hub.splits import OriginalSplit, original_split
from mico_hub.suites import SPLITS, Suite

SHOWN = 20
"""Problems that an error lists before it only counts them."""


@dataclass(frozen=True, slots=True)
class Model:
    """One of the competition's models: its files by name."""

    suite: Suite
    split: str
    model_id: int
    files: Mapping[str, Entry]

    def __str__(self) -> str:
        return f"{self.suite.name}/{self.split}/model_{self.model_id}"

    @property
    def checkpoint(self) -> Entry:
        """The file with the weights."""
        return next(self.files[name] for name in CHECKPOINTS if name in self.files)


def find_models(entries: Iterable[Entry], suite: Suite, where: str) -> list[Model]:
    """The models in a listing, by id.

    Raises:
        OriginalError: No model, or an incomplete or misplaced one; the message lists all problems.
    """
    files: dict[tuple[str, int], dict[str, Entry]] = {}
    for entry in entries:
        files.setdefault((entry.location.split, entry.location.model_id), {})[entry.location.file] = entry
    models = [
        Model(suite, split, model_id, files[split, model_id])
        for split, model_id in sorted(files, key=lambda key: (SPLITS.index(key[0]), key[1]))
    ]
    if not models:
        raise OriginalError(f"{where}: expected models of {suite.name}, got none")
    _raise(where, [f"{model}: {problem}" for model in models for problem in _incomplete(model)])
    return models


def _incomplete(model: Model) -> Iterable[str]:
    if model.model_id not in model.suite.model_ids[model.split]:
        ids = model.suite.model_ids[model.split]
        yield f"expected a model_id from {ids[0]} to {ids[-1]} in {model.split}"
    weights = [name for name in CHECKPOINTS if name in model.files]
    if len(weights) != 1:
        yield f"expected one of {' and '.join(CHECKPOINTS)}, got {' and '.join(weights) or 'none'}"
    membership, training = reveals(model.suite, model.split)
    wanted = {"seed_challenge": True, "seed_training": training, "seed_membership": membership}
    for name, needed in wanted.items():
        if needed and name not in model.files:
            yield f"expected {name}, got no such file"
        if not needed and name in model.files:
            yield f"{name} is hidden truth, which the competition never published: remove it"
    if not membership and "solution.csv" in model.files:
        yield "solution.csv is hidden truth, which the competition never published: remove it"
    for name, entry in model.files.items():
        most = CHECKPOINT_BYTES if name in CHECKPOINTS else SMALL_BYTES
        if entry.size > most:
            yield f"{name}: expected at most {most:,} bytes, got {entry.size:,}"


def make_rows(files: Readable, name: str) -> tuple[Manifest, list[Row]]:
    """The manifest and the public rows of a suite of the competition, from its seeds.

    Args:
        files: Where it is; of that suite alone the small files are read, and of no other.
        name: The suite.

    Returns:
        The manifest, and a row for each model that is there, by id; `checkpoint` is the path in the competition's
        repository, `sha256` that of the file there where the source knows it, else None.

    Raises:
        OSError: The files was not found.
        OriginalError: They are not the competition's; the message lists all problems and names the models.
    """
    suite = original_suite(name)
    models = find_models(files.listing(name), suite, files.where)
    contents = files.read([model.files[file].location for model in models for file in SMALL if file in model.files])
    rows: list[Row] = []
    problems: list[str] = []
    for model in models:
        try:
            rows.append(_row(model, contents))
        except ValueError as error:
            problems.append(f"{model}: {error}")
    _raise(files.where, problems)
    there = {model.model_id for model in models}
    missing = tuple(i for ids in suite.model_ids.values() for i in ids if i not in there)
    info = DATASETS[suite.dataset]
    manifest = Manifest(
        suite=suite,
        noise_multiplier=noise_multiplier(suite),
        data_digest=info.official_digest,
        data_official=True,
        data_note="",
        versions={},
        origin=files.origin(name),
        missing=missing,
    )
    return manifest, rows


def _row(model: Model, contents: Mapping[Location, bytes]) -> Row:
    small = {file: contents[model.files[file].location] for file in SMALL if file in model.files}
    seeds = {file: parse_seed(small[file], file) for file in small if file.startswith("seed_")}
    suite = model.suite
    split = original_split(DATASETS[suite.dataset].num_records, suite.n, suite.m, **seeds)
    if "solution.csv" in small:
        _check_solution(split, small["solution.csv"])
    entry = model.checkpoint
    measured = Measured(entry.location.path, entry.sha256, entry.size, accuracy=None, epsilon=None, delta=None)
    return disclose_original(suite, model.model_id, split, measured)


def parse_seed(content: bytes, where: str) -> int:
    """The number in a seed file.

    Raises:
        ValueError: The content is not one integer.
    """
    if not re.fullmatch(rb"-?\d{1,30}\s*", content):
        raise ValueError(f"{where}: expected one integer, got {content[:40]!r}")
    return int(content)


def _check_solution(split: OriginalSplit, content: bytes) -> None:
    lines = content.decode("ascii", errors="replace").split()
    labels = lines[0].split(",") if len(lines) == 1 else []
    if len(labels) != len(split.challenge) or not set(labels) <= {"0", "1"}:
        raise ValueError(
            f"solution.csv: expected one line of {len(split.challenge)} labels 0 or 1, got {content[:40]!r}"
        )
    differ = int(np.count_nonzero(split.membership != np.array(labels, dtype=np.int8)))
    if differ:
        raise ValueError(
            f"solution.csv contradicts the seeds in {differ} of {len(labels)} labels: the files belong to different "
            f"models, or were changed"
        )


def _raise(where: str, problems: list[str]) -> None:
    if problems:
        raise OriginalError(listed(f"{where}: {counted(len(problems), 'problem')}", problems, SHOWN))
