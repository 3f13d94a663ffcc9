"""The competition's archives, read without trusting them.

An archive's md5 is checked before anything else. No member is unpacked under its own name. An archive is refused that
has a name which leads outside or comes twice, a link or a device, or more bytes than files of weights unpack to.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, TypeVar, cast

from filelock import FileLock, Timeout

from mico_hub.cache import atomic_write, refuse_pointer, writable
from mico_hub.progress import Bar
from mico_hub.sources.original.base import Original
from mico_hub.sources.original.files import CHECKPOINT_BYTES, SMALL_BYTES, Entry, OriginalError, bounded, home, identity
from mico_hub.sources.original.release import ARCHIVES, CHECKPOINTS, Location, locate

T = TypeVar("T")

SUFFIXES = (".zip", ".tar.gz", ".tgz")
MOST_MEMBERS = 100_000
EXPANSION = 20
"""What unpacks to more than this many times its size is no archive of weights: those hardly shrink."""

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, and how to open it; a stream's can only be read before the next member is asked for."""

    name: str  # with slashes, also where Windows wrote backslashes
    size: int  # bytes, as the archive claims
    harmless: bool  # a regular file, neither encrypted nor packed so that reading it cannot be bounded
    open: Callable[[], IO[bytes]]


class Archive(Original):
    """`cifar10.zip`, `sst2_lo.tar.gz`: folders `<track>/<suite>/...` or `<suite>/...`."""

    def __init__(self, path: Path, md5: str | None = None) -> None:
        """An archive of that md5; by default the one that the competition gave for a file of that name.

        Raises:
            OSError: There is no such file.
            OriginalError: The md5 is neither given nor known.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no archive {path}")
        refuse_pointer(path)
        self.path = path
        self.md5 = (md5 or ARCHIVES.get(path.name, "")).lower()
        if not re.fullmatch("[0-9a-f]{32}", self.md5):
            raise OriginalError(
                f"{path}: expected one of the competition's archives under its own name ({', '.join(ARCHIVES)}); "
                f"for another one name its md5: {path.name}@MD5"
            )

    @property
    def where(self) -> str:
        """See `Original`."""
        return str(self.path)

    def origin(self, suite: str) -> str:
        """File name and md5."""
        return f"{self.path.name}, md5 {self.md5}"

    def holds(self, suite: str) -> bool:
        """Whether a file of it is there."""
        return any(location.suite == suite for location in self._index)

    def listing(self, suite: str) -> list[Entry]:
        """From the archive's index; a tar archive is read once from end to end for it."""
        return [Entry(location, size) for location, (size, _) in self._index.items() if location.suite == suite]

    def fingerprint(self, suite: str) -> str:
        """The md5."""
        return self.md5

    def key(self, location: Location) -> str:
        """The md5 and the path."""
        return f"{self.md5}/{location.path}"

    def read(self, locations: Sequence[Location]) -> dict[Location, bytes]:
        """From memory: small files are kept when the index is made."""
        missing = [location.path for location in locations if location not in self._index]
        if missing:
            raise FileNotFoundError(f"{self.path} has no {', '.join(missing)}")
        return {location: self._index[location][1] for location in locations}

    def each(
        self, locations: Sequence[Location], use: Callable[[Location, Path], T]
    ) -> Iterator[tuple[Location, T | Exception]]:
        """One after another in the archive's order, in one pass, each unpacked to a temporary file."""
        wanted = set(locations)
        for location in sorted(wanted - self._index.keys(), key=lambda missing: missing.path):
            wanted.discard(location)
            yield location, FileNotFoundError(f"{self.path} has no {location.path}")
        if not wanted:
            return
        with _temporary_folder(home() / "unpacked") as folder:
            try:
                for member in self._members():
                    found = locate(member.name)
                    if found is None or found not in wanted:
                        continue
                    wanted.discard(found)
                    yield found, self._used(member, folder / found.file, partial(use, found))
                    if not wanted:
                        return
            except OriginalError as error:  # the archive cannot be read any further
                for location in wanted:
                    yield location, error

    def _used(self, member: Member, path: Path, use: Callable[[Path], T]) -> T | Exception:
        try:
            with writable(path, member.size), self._reading(), member.open() as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            return use(path)
        except (OSError, ValueError) as error:
            return error
        finally:
            path.unlink(missing_ok=True)

    @cached_property
    def _index(self) -> dict[Location, tuple[int, bytes]]:
        """(size, content of a small file) of each of the competition's files in the archive, kept in the cache.

        Raises:
            OriginalError: The archive is another one, damaged, or not to be trusted.
        """
        self._check_md5()
        kept = home() / "archives" / f"{self.md5}.json"
        if kept.is_file():
            found = ((locate(path), size, content) for path, size, content in json.loads(kept.read_bytes()))
            return {location: (size, content.encode("latin1")) for location, size, content in found if location}
        index = self._make_index()
        listed = [(location.path, size, content.decode("latin1")) for location, (size, content) in index.items()]
        atomic_write(kept, json.dumps(listed).encode())
        return index

    def _make_index(self) -> dict[Location, tuple[int, bytes]]:
        index: dict[Location, tuple[int, bytes]] = {}
        names: set[str] = set()
        for member in self._members():
            problem = self._problem(member, names)
            if problem:
                raise OriginalError(f"{self.path} is refused, nothing was unpacked: member {problem}")
            names.add(member.name)
            location = locate(member.name)
            if location is None:
                continue
            if location in index:
                raise OriginalError(f"{self.path} is refused: it has {location.path} twice")
            content = b""
            if location.file not in CHECKPOINTS:
                with self._reading(), member.open() as file:
                    content = bounded(file.read(SMALL_BYTES + 1), f"{self.path}: {location.path}")
            index[location] = (member.size, content)
        return index

    def _problem(self, member: Member, names: set[str]) -> str:
        """Why an archive with such a member is not to be trusted; empty: it may be."""
        pure = PurePosixPath(member.name)
        if pure.is_absolute() or ".." in pure.parts or ":" in member.name.split("/", 1)[0]:
            return f"{member.name!r} leads outside"
        if not member.harmless:
            return f"{member.name!r} is a link, a device, encrypted or packed otherwise than by deflate"
        if member.name in names:
            return f"{member.name!r} comes twice"
        if len(names) >= MOST_MEMBERS:
            return f"{member.name!r} is one of more than {MOST_MEMBERS:,}"
        if not 0 <= member.size <= CHECKPOINT_BYTES:
            return f"{member.name!r} claims {member.size:,} bytes; expected at most {CHECKPOINT_BYTES:,}"
        return ""

    def _members(self) -> Iterator[Member]:
        """The files in the archive; folders are passed over."""
        with self.path.open("rb") as file:
            walk = self._zip_members if file.read(2) == b"PK" else self._tar_members
        with self._reading():
            yield from walk()

    def _zip_members(self) -> Iterator[Member]:
        with zipfile.ZipFile(self.path) as archive:
            infos = [info for info in archive.infolist() if not _name(info.filename).endswith("/")]
            if sum(info.file_size for info in infos) > self._most_bytes:
                raise self._expands()
            for info in infos:
                kind = stat.S_IFMT(info.external_attr >> 16)
                bounded_reads = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                harmless = kind in (0, stat.S_IFREG) and not info.flag_bits & 1 and bounded_reads
                yield Member(_name(info.filename), info.file_size, harmless, partial(archive.open, info))

    def _tar_members(self) -> Iterator[Member]:
        with (
            self.path.open("rb") as file,
            _progress(file, f"reading {self.path.name}", self.path.stat().st_size) as packed,
            gzip.GzipFile(fileobj=packed) as unpacked,
            tarfile.open(
                None, "r|", _Bounded(unpacked, self._most_bytes, self._expands), tarinfo=_SmallHeaders
            ) as archive,
        ):
            for number, info in enumerate(archive):
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if number >= MOST_MEMBERS:
                    raise OriginalError(f"{self.path} is refused: it has more than {MOST_MEMBERS:,} members")
                if not info.isdir():
                    harmless = info.isreg() and not info.issparse()
                    content = cast("Callable[[], IO[bytes]]", partial(archive.extractfile, info))  # None for no file
                    yield Member(_name(info.name), info.size, harmless, content)

    @property
    def _most_bytes(self) -> int:
        return EXPANSION * self.path.stat().st_size + (1 << 20)

    def _expands(self) -> OriginalError:
        return OriginalError(
            f"{self.path} is refused: it unpacks to more than {self._most_bytes:,} bytes, {EXPANSION} times its size"
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise OriginalError(
                f"{self.path}: expected a whole .zip or .tar.gz, got a damaged or truncated one "
                f"({type(error).__name__}: {error}); download it again"
            ) from error

    def _check_md5(self) -> None:
        """Compares the whole file's md5, once for a file of that size and time."""
        size = self.path.stat().st_size
        kept = home() / "md5" / identity(self.path.resolve())
        found = kept.read_text() if kept.is_file() else None
        if found is None:
            with self.path.open("rb") as file, _progress(file, f"md5 of {self.path.name}", size) as watched:
                digest = hashlib.md5(usedforsecurity=False)
                while part := watched.read(1 << 20):
                    digest.update(part)
            found = digest.hexdigest()
            atomic_write(kept, found.encode())
        if found != self.md5:
            raise OriginalError(
                f"{self.path}: expected md5 {self.md5}, got {found} over {size:,} bytes: a download that "
                f"broke off, so download it again; or another archive, so name it {self.path.name}@{found}"
            )


def _name(written: str) -> str:
    return written.replace("\\", "/").removeprefix("./")


class _Bounded(io.BufferedIOBase):
    """A file that raises once more than so many bytes were read from it."""

    def __init__(self, file: gzip.GzipFile, most: int, error: Callable[[], Exception]) -> None:
        self._file, self._left, self._error = file, most, error

    def read(self, size: int | None = -1, /) -> bytes:
        """As the file itself."""
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise self._error()
        return content


class _SmallHeaders(tarfile.TarInfo):
    """Headers; what is no file must be small, since tarfile reads headers that extend others whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isfile() and self.size > SMALL_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        try:
            info: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]  # typeshed does not know it
        except OriginalError:
            raise
        except ValueError as error:  # of numbers in extended headers
            raise tarfile.ReadError(f"bad header: {error}") from error
        return info


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder that is removed in the end; those that killed processes left are removed first."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob("*.lock"):
        with suppress(Timeout), FileLock(left, timeout=0):
            shutil.rmtree(left.with_suffix(""), ignore_errors=True)
            left.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    lock = folder.with_suffix(".lock")
    with FileLock(lock):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)


def _progress(file: BinaryIO, what: str, size: int) -> AbstractContextManager[Any]:
    """The file, with a bar over what is read of it once that takes more than a second."""
    return Bar.wrapattr(file, "read", total=size, desc=what, delay=1, leave=False)


def split_md5(text: str) -> tuple[str, str | None]:
    """`cifar10.zip@MD5` -> (path, md5 or None).

    Raises:
        OriginalError: What follows an archive's name and an @ is no md5.
    """
    path, at, md5 = text.rpartition("@")
    if not at or not path.endswith(SUFFIXES):
        return text, None
    if not re.fullmatch("[0-9a-fA-F]{32}", md5):
        raise OriginalError(f"{text}: expected an md5 of 32 hexadecimal digits after the @, got {md5!r}")
    return path, md5
