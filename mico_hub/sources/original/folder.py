"""The competition's files in an extracted archive, or a copy of its repository."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mico_hub.sources.original.base import Original
from mico_hub.sources.original.files import (
    CHECKPOINTS_AT_ONCE,
    SMALL_BYTES,
    Entry,
    T,
    bounded,
    digest,
    identity,
    side_by_side,
)
from mico_hub.sources.original.release import CHECKPOINTS, Location, locate
from mico_hub.suites import SPLITS, SUITES


class Folder(Original):
    """An extracted archive, or a copy of the repository: `<suite>/` or `<track>/<suite>/` below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[str, Path] = {}  # suite -> its folder, looked for once and not for each of its files

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.root)

    def origin(self, suite: str) -> str:
        """By the content of the small files; does not name the folder, whose path is this machine's."""
        small = sorted(
            (entry.location for entry in self.listing(suite) if entry.location.file not in CHECKPOINTS),
            key=lambda location: location.path,
        )
        contents = self.read(small)
        found = digest(f"{location.path} {contents[location]!r}" for location in small)
        return f"an extracted folder (sha256 over its small files {found})"

    def _suite(self, suite: str) -> Path | None:
        for place in (self.root / suite, self.root / SUITES[suite].track / suite):
            if suite not in self._found and any(place.glob("*/model_*/seed_challenge")):
                self._found[suite] = place
        return self._found.get(suite)

    def holds(self, suite: str) -> bool:
        """Whether a model of it is there."""
        return self._suite(suite) is not None

    def listing(self, suite: str) -> list[Entry]:
        """From the folders themselves."""
        base = self._suite(suite)
        if base is None:
            raise FileNotFoundError(f"{self.root}: expected {suite}/SPLIT/model_N/seed_challenge, got none")
        entries = []
        for path in (path for split in SPLITS for path in base.glob(f"{split}/model_*/*")):
            location = locate(f"{suite}/{path.relative_to(base).as_posix()}")
            if location is not None and path.is_file():
                entries.append(Entry(location, path.stat().st_size))
        return entries

    def fingerprint(self, suite: str) -> str:
        """Over the paths, sizes and times of its files."""
        return digest(sorted(self.key(entry.location) for entry in self.listing(suite)))

    def key(self, location: Location) -> str:
        """Over path, size and time of last change."""
        return identity(self._path(location))

    def _path(self, location: Location) -> Path:
        base = self._suite(location.suite)
        if base is None:
            raise FileNotFoundError(f"no folder {location.suite} in {self.root}")
        return base / location.split / f"model_{location.model_id}" / location.file

    def read(self, locations: Sequence[Location]) -> dict[Location, bytes]:
        """Straight from the folder."""
        contents = {}
        for location in locations:
            path = self._path(location)
            with path.open("rb") as file:
                contents[location] = bounded(file.read(SMALL_BYTES + 1), path)
        return contents

    def each(
        self, locations: Sequence[Location], use: Callable[[Location, Path], T]
    ) -> Iterator[tuple[Location, T | Exception]]:
        """Straight from the folder."""
        return side_by_side(lambda location: use(location, self._path(location)), locations, CHECKPOINTS_AT_ONCE)
