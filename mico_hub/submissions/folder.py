"""Predictions as the competition's scorer reads them: a folder with `<track>/<suite>/<split>/model_N/prediction.csv`.

Each is one line of comma-separated numbers in [0, 1], in challenge order, higher = member.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from numpy.typing import ArrayLike

from mico_hub.cache import atomic_write
from mico_hub.metrics.mico_score.scoring import prediction_fields
from mico_hub.submissions.check import (
    ABOUT,
    ABOUT_BYTES,
    BYTES_PER_VALUE,
    FILE_NAME,
    Content,
    SubmissionError,
    Wanted,
    about,
    misnamed,
    read_bounded,
)
from mico_hub.suites import Suite


def files_of(content: Content, fingerprints: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The files of a submission: path below its root, with slashes, and content, which gives back the same float64."""
    for (suite, split), predictions in content.items():
        folder = f"{suite.track}/{suite.name}/{split}"
        if suite.name in fingerprints:
            yield f"{folder}/{ABOUT}", about({suite.name: fingerprints[suite.name]})
        for model_id, values in predictions.items():
            line = ",".join(map(repr, values.tolist())) + "\n"
            yield f"{folder}/model_{model_id}/{FILE_NAME}", line.encode()


def write_folder(root: Path, content: Content, fingerprints: Mapping[str, str]) -> None:
    """Writes the files, each whole or not at all."""
    for suite, split in content:
        (root / suite.track / suite.name / split / ABOUT).unlink(missing_ok=True)  # not about what comes now
    for name, data in files_of(content, fingerprints):
        atomic_write(root / name, data)


def read_about(path: Path, suite: Suite, split: str, where: str) -> bytes | None:
    """`submission.json`; None: there is none.

    Raises:
        SubmissionError: As `read_folder`.
        OSError: It cannot be read.
        ValueError: It is too large, or a link out of `path`.
    """
    file = _split_folder(path, suite, split, where) / ABOUT
    return _read_inside(file, _roots(path), ABOUT_BYTES) if file.exists() else None


def read_folder(path: Path, suite: Suite, split: str, wanted: Wanted) -> list[tuple[str, ArrayLike | Exception]]:
    """What is there for each model, by its folder's name: its numbers as text, or why they cannot be read.

    Raises:
        SubmissionError: The split's folder is missing, lies outside `path`, or could be one of several.
    """
    folder = _split_folder(path, suite, split, wanted.where)
    roots = _roots(path)
    known = [f"model_{model_id}" for model_id in wanted.models]
    found: list[tuple[str, ArrayLike | Exception]] = []
    for name in known:
        try:
            found.append((name, _read_csv(folder / name / FILE_NAME, roots, wanted.points)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as problem:
            found.append((name, problem))
    there = {entry.parent.name for entry in folder.glob(f"model_*/{FILE_NAME}")}
    return [*found, *((name, []) for name in sorted(there.difference(known)))]


def splits_in_folder(path: Path, suites: Iterable[Suite]) -> set[tuple[str, str]]:
    """The (suite, split) of which there is a folder."""
    return {
        (suite.name, split)
        for suite in suites
        for split in suite.model_ids
        if any(folder.is_dir() for folder in _split_folders(path, suite, split))
    }


def _split_folder(path: Path, suite: Suite, split: str, where: str) -> Path:
    """The folder of the split, in a path that may itself end with the track, the suite or the split."""
    parts = (suite.track, suite.name, split)
    folders = [folder for folder in _split_folders(path, suite, split) if folder.is_dir()]
    if len(folders) > 1:
        raise SubmissionError(where, [f"more than one folder can be meant by {'/'.join(parts)}"])
    if not folders and path.is_dir() and any("\\" in entry.name for entry in path.iterdir()):
        raise SubmissionError(
            where,
            ["file names have backslashes, from an archive that Windows made; unpack it with `unzip` or `7z`"],
        )
    if not folders:
        raise SubmissionError(where, [f"expected a zip, a Parquet file or a folder with {'/'.join(parts)}"])
    if not folders[0].resolve().is_relative_to(path.resolve()):
        raise SubmissionError(where, [f"{'/'.join(parts)} is a link out of the submission"])
    return folders[0]


def _split_folders(path: Path, suite: Suite, split: str) -> list[Path]:
    """What can be meant by a path that may itself end with the track, the suite or the split."""
    parts, given = (suite.track, suite.name, split), path.absolute().parts
    return [path.joinpath(*parts[k:]) for k in range(4) if k == 0 or given[-k:] == parts[:k]]


def _roots(path: Path) -> list[Path]:
    """Where a submission's files may be; those of a snapshot in the Hub's cache are links into `blobs/` beside it."""
    root = path.resolve()
    commits = [folder for folder in (root, *root.parents) if folder.parent.name == "snapshots"]
    return [root, *(each.parent.with_name("blobs") for each in commits if re.fullmatch("[0-9a-f]{40}", each.name))]


def _read_inside(path: Path, roots: Iterable[Path], limit: int) -> bytes:
    """As `read_bounded`, of a file inside one of `roots`."""
    try:
        real = path.resolve(strict=True)
    except RuntimeError:
        raise ValueError(f"{path.name} is a link to itself") from None
    if not any(map(real.is_relative_to, roots)):
        raise ValueError(f"{path.name} is a link out of the submission; copy the files themselves, as `cp -rL` does")
    return read_bounded(real, limit)


def _read_csv(path: Path, roots: Iterable[Path], points: int) -> list[str]:
    """The fields of the file's one line. OSError or ValueError where it is not as it should be."""
    if path.parent.is_dir() and not os.path.lexists(path) and (others := [e.name for e in path.parent.iterdir()]):
        raise ValueError(misnamed(others))
    return prediction_fields(_read_inside(path, roots, BYTES_PER_VALUE * (points + 1)), points, FILE_NAME)
