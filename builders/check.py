"""Checks a published folder before it goes online: it holds what it should, as it would be built, and nothing else.

Every file is either a checkpoint, whose header is that of its whole suite and whose digest is in a row, or it is
written again here from what it says and must come out the same, byte for byte. So nothing can ride along in it. Of
files of signals the values are taken as they are, and all else comes from the rows.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from huggingface_hub import DatasetCard

from builders.build import derived
from mico_hub import checkpoint, repository, signals
from mico_hub.checkpoint import sha256_of
from mico_hub.data import DATASETS
from mico_hub.disclosure import Row, hidden_splits
from mico_hub.folder import PUBLIC_SCHEMA, SIGNALS, FolderError, Manifest, each_row, problems_of, write_rows
from mico_hub.messages import listed
from mico_hub.signals import Frame, Layout, SignalError, signals_of
from mico_hub.suites import SPLITS


def check(root: Path) -> dict[str, str]:
    """The files of a published folder, by their paths in it, each with the SHA-256 of what was looked at.

    Raises:
        FolderError: Something is missing, is not what it should be, or has no place there; the message lists all.
    """
    if not root.is_dir():
        raise FolderError(f"{root}: expected a published folder, as build_repo.py makes one; there is none")
    try:
        manifests = repository.suites_in(root)
        if not manifests:
            raise FolderError(f"{root}: expected a published folder with a suite in it, as build_repo.py makes one")
        checkpoints = {manifest.suite.name: _checkpoints(root, manifest) for manifest in manifests}
    except FolderError as error:
        raise FolderError(f"nothing can be published: {error}") from error
    expected = {repository.CARD, repository.VERSIONS, repository.CROISSANT}
    for manifest in manifests:
        name = manifest.suite.name
        expected |= {f"{name}/{repository.MANIFEST}", *checkpoints[name]}
        expected |= {f"{name}/{path.name}" for path in _parquet_files(root, manifest)}
        expected |= {f"{name}/{SIGNALS}/{signal}.safetensors" for signal in _signals(root, manifest)}
    problems = list(_strange(root, expected))
    for manifest in manifests:
        name = manifest.suite.name
        problems += [f"{name}: {problem}" for problem in _wrong_suite(root, manifest, list(checkpoints[name]))]
    if not problems:
        problems += [f"{each.suite.name}: {problem}" for each in manifests for problem in _wrong_signals(root, each)]
        problems += _wrong_derived(root)
    if problems:
        raise FolderError(listed(f"{root} cannot be published, {len(problems)} problems:", problems))
    of_rows = {path: digest for of_suite in checkpoints.values() for path, digest in of_suite.items()}
    return {path: of_rows.get(path) or sha256_of(root / path) for path in sorted(expected)}


def rows_of_suite(root: Path, manifest: Manifest) -> Iterator[Row]:
    """The rows of a suite in a published folder, by id; a few are held at a time.

    Raises:
        FolderError: A Parquet file is not what it should be.
    """
    for path in _parquet_files(root, manifest):
        yield from each_row(path, PUBLIC_SCHEMA)


def _parquet_files(root: Path, manifest: Manifest) -> list[Path]:
    paths = [root / manifest.suite.name / repository.parquet_name(split) for split in SPLITS]
    return [path for path in paths if path.exists()]


def _checkpoints(root: Path, manifest: Manifest) -> dict[str, str]:
    """Path of each checkpoint -> SHA-256, as the rows say."""
    return {row["checkpoint"]: row["sha256"] for row in rows_of_suite(root, manifest)}


def _strange(root: Path, expected: set[str]) -> Iterator[str]:
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
        yield f"{relative}: no part of a published folder; move it away"
    for relative in sorted(expected - found):
        yield f"{relative}: no such file"


def _wrong_suite(root: Path, manifest: Manifest, checkpoints: Sequence[str]) -> Iterator[str]:
    suite = manifest.suite
    yield from problems_of(manifest, rows_of_suite(root, manifest), lambda row: root / row["checkpoint"])
    path = root / suite.name / repository.MANIFEST
    if path.read_bytes() != manifest.to_json():
        yield f"{repository.MANIFEST}: it is not as it would be written; build the folder again"
    with TemporaryDirectory() as scratch:
        for path in _parquet_files(root, manifest):
            again = Path(scratch) / path.name
            write_rows(each_row(path, PUBLIC_SCHEMA), PUBLIC_SCHEMA, again)
            if again.read_bytes() != path.read_bytes():
                yield f"{path.name}: it is not as it would be written; build the folder again"
    if not manifest.origin and set(manifest.commitments) != set(hidden_splits(suite)):
        yield (
            f"expected a commitment to the truth of {hidden_splits(suite)}, got {sorted(manifest.commitments)}: it was "
            f"begun by a version that made none, and nobody could show that its truth was fixed"
        )
    yield from _wrong_headers(root, manifest, checkpoints)


def _wrong_headers(root: Path, manifest: Manifest, checkpoints: Sequence[str]) -> Iterator[str]:
    """All checkpoints of a suite begin with the same bytes, and those fit the network."""
    headers: dict[bytes, str] = {}
    for name in checkpoints:
        path = root / name
        if not path.is_file():
            continue
        try:
            header = checkpoint.header_of(path)
            if header not in headers:
                checkpoint.check_header(path, manifest.suite.model)
                headers[header] = name
        except checkpoint.CheckpointError as error:
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
    layout = Layout.of(rows_of_suite(root, manifest), DATASETS[manifest.suite.dataset].num_records)
    frame = Frame.of(layout, rows_of_suite(root, manifest))
    for name in names:
        path = root / manifest.suite.name / SIGNALS / f"{name}.safetensors"
        try:
            yield from (f"{SIGNALS}/{path.name}: {problem}" for problem in _wrong_signal(path, frame))
        except SignalError as error:
            yield f"{SIGNALS}/{path.name}: {error}"


def _wrong_signal(path: Path, frame: Frame) -> Iterator[str]:
    values = frame.values_of(signals.read(path))
    if not all(np.isfinite(tensor).all() for tensor in values.values()):
        yield "expected finite values"
    if hashlib.sha256(frame.file(path.stem, values)).hexdigest() != sha256_of(path):
        yield "it is not as it would be written; delete it and compute it again"


def _wrong_derived(root: Path) -> Iterator[str]:
    known = repository.versions(root)
    digests = {m.suite.name: repository.content_digest(root, m.suite.name) for m in repository.suites_in(root)}
    if not known or known[-1].suites != digests:
        yield f"{repository.VERSIONS}: its last version is not what the folder holds; build the folder again"
    if (root / repository.VERSIONS).read_bytes() != repository.versions_json(known):
        yield f"{repository.VERSIONS}: it is not as it would be written; build the folder again"
    for name, content in derived(root).items():
        if (root / name).read_bytes() != content:
            yield f"{name}: it is not what the suites give; build the folder again"
    DatasetCard.load(root / repository.CARD)
