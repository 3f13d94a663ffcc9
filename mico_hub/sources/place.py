"""What a place is that suites are read from. Each kind of place is a file beside this one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from mico_hub.messages import InputError
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row


class SourceError(InputError, LookupError):
    """A suite or a file that no source has; the message lists the places tried."""


class SettingError(InputError, ValueError):
    """A value of MICO_HUB_DATASET that names nothing."""


class Place(Protocol):
    """Where suites are read from."""

    def suites(self) -> list[str]:
        """The names of the suites it has.

        Raises:
            OSError: It cannot be read.
        """

    def has(self, suite: str) -> bool:
        """Whether it has the suite.

        Raises:
            OSError: It cannot be read.
        """

    def recognises(self, checkpoint: str) -> bool:
        """Whether a row whose `checkpoint` is that path can be of here."""

    def at(self, revision: str) -> "Place":
        """The same place at another revision.

        Raises:
            ValueError: It has none.
        """

    def dataset(self, suite: str) -> dict[str, Any]:
        """What `datasets.load_dataset` takes for the suite, beside its name.

        Raises:
            OSError: It was not found.
        """

    def manifest(self, suite: str) -> Manifest:
        """The manifest of a suite it has.

        Raises:
            OSError: It was not found.
            FormatError: It is not a manifest, or of a newer format.
        """

    def signals(self, suite: str, name: str) -> Path | None:
        """The local file of a signal of a suite it has; None where it is missing.

        Raises:
            OSError: There is no way to it.
        """

    def checkpoint(self, row: Row) -> Path:
        """The local safetensors file of a row, brought here and converted where that is needed.

        Raises:
            OSError: There is no such file, or no way to it.
            SourceError: It is another one than the row says.
            CheckpointError: It holds anything but what it should.
        """

    def checkpoints(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Path | Exception]]:
        """As `checkpoint` for many rows, several at once; each row with its file or with what went wrong."""
