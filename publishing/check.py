"""Checks a published folder before it goes online: it holds what it should, as it would be built, and nothing else.

Checkpoints go online as they are: their header is that of their whole suite, and their digest is in a row. Of all other
files the values are checked and written anew (`fresh`), so nothing can ride along in them; JSON and Markdown must be
here as they would be written.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import DatasetCard

from builders.build import derived
from mico_hub import signals
from mico_hub.data import DATASETS
from mico_hub.messages import counted, listed
from mico_hub.models import MODELS
from mico_hub.release import repository
from mico_hub.release.checkpoints import check_header
from mico_hub.release.consistency import problems_of
from mico_hub.release.disclosure import hidden_splits
from mico_hub.release.folder import SIGNALS
from mico_hub.release.format import METADATA_KEY, FormatError, unexpected_keys
from mico_hub.release.manifest import Manifest, unexpected
from mico_hub.release.parquet import FolderError, unexpected_columns
from mico_hub.release.tensors import CheckpointError, header_of, metadata_of, sha256_of
from mico_hub.signals import Frame, SignalError, signals_of
from mico_hub.training import engine
from publishing import claims
from publishing.eval_yaml import framework_of
from publishing.fresh import frame_of, write_fresh


def check(root: Path, fresh: Path, *, trial: bool = False) -> dict[str, str]:
    """The files that go online, by their paths, each with the SHA-256 of what was looked at.

    Args:
        root: The published folder; its checkpoints go online as they are.
        fresh: An empty folder; all other files are written into it from the checked values (`fresh.write_fresh`).
        trial: Whether a suite may differ from the table's, as its card then says.

    Raises:
        FolderError: Something is missing, is not what it should be, or has no place there; the message lists all.
    """
    if not root.is_dir():
        raise FolderError(f"{root}: expected a published folder, as build_repo.py makes one; not found")
    try:
        manifests = repository.suites_in(root)
        if not manifests:
            raise FolderError(f"{root}: expected a published folder with a suite in it, as build_repo.py makes one")
        checkpoints = {manifest.suite.name: _checkpoints(root, manifest) for manifest in manifests}
    except FormatError as error:
        raise FolderError(f"nothing can be published: {error}") from error
    expected = {repository.CARD, repository.VERSIONS, repository.CROISSANT}
    expected |= {repository.EVAL} if framework_of(root) else set()
    for manifest in manifests:
        name = manifest.suite.name
        expected |= {f"{name}/{repository.MANIFEST}", *checkpoints[name]}
        expected |= {f"{name}/{path.name}" for path in repository.parquet_files(root, name)}
        expected |= {f"{name}/{SIGNALS}/{signal}.safetensors" for signal in _signals(root, manifest)}
    problems = list(_unexpected_files(root, expected))
    for manifest in manifests:
        name = manifest.suite.name
        problems += [f"{name}: {problem}" for problem in _wrong_suite(root, manifest, list(checkpoints[name]))]
        problems += [] if trial else [f"{name}: {problem}" for problem in claims.wrong_recipe(manifest)]
    if not problems:
        for each in manifests:
            wrong = claims.wrong_epsilon(each, repository.each_row_of(root, each.suite.name))
            problems += [f"{each.suite.name}: {problem}" for problem in (*wrong, *_wrong_signals(root, each))]
        problems += _wrong_derived(root)
    if problems:
        raise FolderError(listed(f"{root} cannot be published, {counted(len(problems), 'problem')}:", problems))
    held = write_fresh(root, fresh)
    if repository.versions(fresh)[-1].suites != held:
        raise FolderError(f"{root} has changed while it was checked, or a file says what it would not be written with")
    of_rows = {path: digest for of_suite in checkpoints.values() for path, digest in of_suite.items()}
    return {path: of_rows.get(path) or sha256_of(fresh / path) for path in sorted(expected)}


def state_of(root: Path) -> dict[str, tuple[object, ...]]:
    """What differs once a folder was changed: each file's SHA-256; a checkpoint's, which a row has, size and time."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        if path.match("model_*.safetensors")
        else (sha256_of(path),)
        for path in root.rglob("*")
        if path.is_file()
    }


def _checkpoints(root: Path, manifest: Manifest) -> dict[str, str]:
    """Path of each checkpoint -> SHA-256, as the rows say."""
    return {row["checkpoint"]: row["sha256"] or "" for row in repository.each_row_of(root, manifest.suite.name)}


def _unexpected_files(root: Path, expected: set[str]) -> Iterator[str]:
    """Files that are missing, and whatever else there is."""
    found = set()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                yield f"{relative}: expected no link, it leads to {path.readlink()}"
            elif not path.is_dir():
                found.add(relative)
    for relative in sorted(found - expected):
        yield f"{relative}: not part of a published folder; move it away"
    for relative in sorted(expected - found):
        yield f"{relative}: no such file"


def _wrong_suite(root: Path, manifest: Manifest, paths: Sequence[str]) -> Iterator[str]:
    suite = manifest.suite
    if suite.dataset not in DATASETS or suite.model not in MODELS:
        yield f"expected a base dataset and a network that mico-hub has, got {suite.dataset} and {suite.model}"
        return
    yield from problems_of(manifest, repository.each_row_of(root, suite.name), lambda row: root / row["checkpoint"])
    path = root / suite.name / repository.MANIFEST
    if extra := unexpected(path.read_bytes(), str(path)):
        yield f"{repository.MANIFEST}: unknown keys, which nothing is published with: {', '.join(extra)}"
    elif path.read_bytes() != manifest.to_json():
        yield f"{repository.MANIFEST}: differs from what would be written; build the folder again"
    if extra := sorted(manifest.versions.keys() - {"mico-hub", *engine.PACKAGES}):
        yield f"{repository.MANIFEST}: versions of other packages: {', '.join(extra)}"
    for path in repository.parquet_files(root, suite.name):
        if extra := unexpected_columns(path):
            yield f"{path.name}: unknown columns, which nothing is published with: {', '.join(extra)}"
    if not manifest.origin and set(manifest.commitments) != set(hidden_splits(suite)):
        yield (
            f"expected a commitment to the truth of {hidden_splits(suite)}, got {sorted(manifest.commitments)}: it was "
            f"begun by a version that made none, and nobody could show that its truth was fixed"
        )
    yield from _wrong_headers(root, manifest, paths)


def _wrong_headers(root: Path, manifest: Manifest, paths: Sequence[str]) -> Iterator[str]:
    """All checkpoints of a suite begin with the same bytes, and those fit the network."""
    headers: dict[bytes, str] = {}
    for name in paths:
        path = root / name
        if not path.is_file():
            continue
        try:
            header = header_of(path)
            if header not in headers:
                check_header(path, manifest.suite.model)
                headers[header] = name
        except CheckpointError as error:
            yield str(error)
            return
    if len(headers) > 1:
        yield f"expected checkpoints with one header, got {len(headers)}, of {', '.join(headers.values())}"


def _signals(root: Path, manifest: Manifest) -> list[str]:
    """The suite's signals that are there."""
    there = {path.stem for path in repository.signal_files(root, manifest.suite.name)}
    return [name for name in signals_of(manifest.suite.model) if name in there]


def _wrong_signals(root: Path, manifest: Manifest) -> Iterator[str]:
    names = _signals(root, manifest)
    if not names:
        return
    frame = frame_of(root, manifest)
    for name in names:
        path = root / manifest.suite.name / SIGNALS / f"{name}.safetensors"
        try:
            yield from (f"{SIGNALS}/{path.name}: {problem}" for problem in _wrong_signal(path, name, frame))
        except SignalError as error:
            yield f"{SIGNALS}/{path.name}: {error}"


def _wrong_signal(path: Path, name: str, frame: Frame) -> Iterator[str]:
    found = signals.read(path)
    values = frame.values_of(found)
    if not all(np.isfinite(tensor).all() for tensor in values.values()):
        yield "expected finite values"
    if extra := sorted(found.tensors.keys() - frame.tensors.keys() - values.keys()):
        yield f"unknown tensors, which nothing is published with: {', '.join(extra)}"
    metadata = metadata_of(path)
    about = json.loads(metadata[METADATA_KEY])
    if extra := [*(metadata.keys() - {METADATA_KEY}), *unexpected_keys(about, signals.ABOUT)]:
        yield f"unknown metadata, which nothing is published with: {', '.join(extra)}"
    if found.name != name or found.engine != engine.SIGNALS or not frame.fits(found):
        yield "it belongs to other models, or was computed by another version; delete it and compute it again"


def _wrong_derived(root: Path) -> Iterator[str]:
    known = repository.versions(root)
    digests = repository.content_digests(root)
    if not known or known[-1].suites != digests:
        yield f"{repository.VERSIONS}: its last version is not what the folder holds; build the folder again"
    if (root / repository.VERSIONS).read_bytes() != repository.versions_json(known):
        yield f"{repository.VERSIONS}: differs from what would be written; build the folder again"
    for name, content in derived(root, digests, framework_of(root)).items():
        if (root / name).read_bytes() != content:
            yield f"{name}: differs from what the suites give; build the folder again"
    DatasetCard.load(root / repository.CARD)
