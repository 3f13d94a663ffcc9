"""Predictions as the competition took them: a zip with `<track>/<suite>/<split>/model_N/prediction.csv`.

Nothing is unpacked onto the disk: the members that are looked for are read, each no further than its points could need,
and of all others the names alone. What archive programs add (a folder around it all, `__MACOSX`, `.DS_Store`,
backslashes) does no harm.
"""

import io
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from numpy.typing import ArrayLike

from mico_hub.cache import atomic_write
from mico_hub.messages import counted
from mico_hub.metrics.mico_score.scoring import prediction_fields
from mico_hub.submissions.check import (
    ABOUT,
    ABOUT_BYTES,
    BYTES_PER_VALUE,
    FILE_NAME,
    SubmissionError,
    Wanted,
    listed,
    misnamed,
    read_bounded,
)
from mico_hub.suites import Suite, tracks

SUFFIX = ".zip"
MOST_MEMBERS = 50_000
_ADDED = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|\._[^/]*$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
"""What archive programs and file managers add."""
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
"""What reading a member raises where it is damaged, or packed in a way that is not read."""


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Writes a zip of (name, content), whole or not at all."""
    atomic_write(path, archive_bytes(members))


def archive_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of (name, content); the same members give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            member = zipfile.ZipInfo(name)  # of 1980
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, data)
    return content.getvalue()


class Archive:
    """The members of a submission's zip by their names, with slashes, without what archive programs add.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, no zip, or has a member that a submission cannot have; all of these are named.
    """

    def __init__(self, path: Path, suite: Suite, points: int) -> None:
        self.name = path.name
        values = sum(sum(each.models) * (2 * each.m + 1) for each in tracks().get(suite.track, ()))
        content = read_bounded(path, BYTES_PER_VALUE * max(values, sum(suite.models) * (points + 1)))
        # Each member takes one of these; the list is bounded before it is made.
        if (members := content.count(b"PK\x01\x02")) > MOST_MEMBERS:
            raise ValueError(f"{self.name} has {counted(members, 'member')}, more than {MOST_MEMBERS:,}")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise ValueError(f"{self.name} is not a zip archive, or is damaged: {error}") from error
        named = [(member.filename.replace("\\", "/"), member) for member in self._zip.infolist()]
        kept = [(name, member) for name, member in named if not name.endswith("/") and not _ADDED.search(name)]
        self.members: Mapping[str, zipfile.ZipInfo] = dict(kept)
        if problems := list(_problems(kept)):
            raise ValueError(f"{self.name}: {'; '.join(problems)}")

    def splits(self, suites: Iterable[Suite]) -> set[tuple[str, str]]:
        """Which splits of suites there are, as (suite, split)."""
        return {
            (suite.name, split)
            for suite in suites
            for split in suite.model_ids
            if any(f"/{suite.track}/{suite.name}/{split}/" in f"/{name}" for name in self.members)
        }

    def read(
        self, suite: Suite, split: str, wanted: Wanted
    ) -> tuple[list[tuple[str, ArrayLike | Exception]], bytes | None]:
        """What is there for each model, by its folder's name, and `submission.json`.

        Raises:
            SubmissionError: There is nothing for the split, or it is there more than once.
            ValueError: `submission.json` cannot be read.
        """
        inner = f"{suite.track}/{suite.name}/{split}/"
        below: dict[str, dict[str, zipfile.ZipInfo]] = {}  # the folder around it all -> path below the split -> member
        for name, member in self.members.items():
            around, found, rest = f"/{name}".rpartition(f"/{inner}")
            if found and rest.startswith("model_"):
                below.setdefault(around, {})[rest] = member
        if not below:
            raise SubmissionError(
                wanted.where, [f"expected {inner}model_N/{FILE_NAME} in {self.name}, {self._has(suite)}"]
            )
        if len(below) > 1:
            raise SubmissionError(wanted.where, [f"{inner} is there {len(below)} times, in {listed(sorted(below))}"])
        ((around, members),) = below.items()
        known = {f"model_{model_id}" for model_id in wanted.models}
        if about := self.members.get(f"{around}/{inner}{ABOUT}".lstrip("/")):
            members[ABOUT] = about
        found_here: list[tuple[str, ArrayLike | Exception]] = []
        of_model: dict[str, list[str]] = {}
        for rest in members:
            model, below_model, name = rest.partition("/")
            if below_model:
                of_model.setdefault(model, []).append(name)
        for model, files in sorted(of_model.items()):
            try:
                if FILE_NAME not in files and model not in known:
                    continue  # a note, or what a file manager left
                if FILE_NAME not in files:
                    raise ValueError(misnamed(files))
                content = self._read(members[f"{model}/{FILE_NAME}"], BYTES_PER_VALUE * (wanted.points + 1))
                found_here.append((model, prediction_fields(content, wanted.points, FILE_NAME)))
            except ValueError as problem:
                found_here.append((model, problem))
        return found_here, self._read(members[ABOUT], ABOUT_BYTES) if ABOUT in members else None

    def _has(self, suite: Suite) -> str:
        """What there is instead of a split."""
        if splits := [split for _, split in sorted(self.splits([suite]))]:
            return f"of {suite.name} it has {' and '.join(splits)} alone"
        if any(f"/{suite.name}/" in f"/{name}" for name in self.members):
            return f"the folder {suite.name} is there, but not in a folder {suite.track}"
        there = sorted({"/".join(name.split("/")[:-2]) for name in self.members if name.endswith(FILE_NAME)})
        return f"there is {listed(there)}" if there else f"there is no {FILE_NAME} at all"

    def _read(self, member: zipfile.ZipInfo, limit: int) -> bytes:
        """A member's content. ValueError where it is larger than the limit, or damaged."""
        name = member.filename.replace("\\", "/").rpartition("/")[2]
        try:
            with self._zip.open(member) as stream:
                content = stream.read(limit + 1)
        except _BROKEN as error:
            raise ValueError(f"{name} cannot be unpacked: {error}") from error
        if len(content) > limit or member.file_size > limit:
            raise ValueError(f"{name} is larger than the {limit} bytes that its points could need")
        return content


def _problems(members: list[tuple[str, zipfile.ZipInfo]]) -> Iterator[str]:
    """What no member of a submission may be; names alone are looked at."""
    twice = [name for name, times in Counter(name for name, _ in members).items() if times > 1]
    outside = [name for name, _ in members if ".." in name.split("/") or re.match("/|[A-Za-z]:", name)]
    links = [name for name, member in members if stat.S_ISLNK(member.external_attr >> 16)]
    locked = [name for name, member in members if member.flag_bits & 1]
    # Of other ways to pack, zipfile unpacks a whole piece at once, whatever it is asked for.
    odd = [name for name, member in members if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    for names, what in (
        (twice, "more than once"),
        (outside, "outside the archive's folder"),
        (links, "a link; put the file itself there"),
        (locked, "encrypted; make the archive without a password"),
        (odd, "packed in another way than deflate; make the archive anew with an ordinary program"),
    ):
        if names:
            yield f"{listed(sorted(names))}: {what}"
