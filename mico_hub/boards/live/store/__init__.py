"""What a live board keeps: an SQLite file, and beside it a folder with the uploads.

Several servers on one host may share a store: each holds a lock for its life, so that what a dead one was scoring is
taken up again, whatever the clock says.
"""

import tempfile
from functools import partial
from pathlib import Path

from mico_hub.boards.live.store.database import DATABASE, StoreError
from mico_hub.boards.live.store.keeper import HubKeeper
from mico_hub.boards.live.store.participants import Participant, Participants
from mico_hub.boards.live.store.repository import RULES, TRUTH, Repository, repository_of
from mico_hub.boards.live.store.seasons import Season, Seasons
from mico_hub.boards.live.store.submissions import (
    REFUSED,
    SCORED,
    SCORING,
    NotClaimedError,
    RefusedError,
    Submission,
    Submissions,
)


class Store(Participants, Seasons, Submissions):
    """An open store."""

    def rules(self) -> Path | None:
        """The rules that are kept with it; None: there are none."""
        return None

    def truth(self) -> Path | None:
        """Hidden membership that is kept with it, as `Handle.truth` takes it; None: none is."""
        return None


class KeptStore(Store):
    """An open store that is kept in a repository of the Hub; what is on this machine is gone when it is closed."""

    def __init__(self, repository: Repository, *, look: bool = False) -> None:
        """Brings the board.

        Args:
            repository: Where it is.
            look: Whether to look for others' changes all the time.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="mico-board-")
        self.repository = repository
        path = Path(self._folder.name) / DATABASE
        self.began = not repository.fetch(DATABASE, path)  # whether there was nothing
        super().__init__(path, partial(HubKeeper, repository=repository, kept=not self.began, look=look))

    def close(self) -> None:
        """Ends when all changes are kept."""
        super().close()
        self._folder.cleanup()

    def rules(self) -> Path | None:
        """See `Store`."""
        path = self.path.with_name(RULES)
        return path if self.repository.fetch(RULES, path) else None

    def truth(self) -> Path | None:
        """See `Store`; as it is in the repository now, for fresh suites bring their own."""
        self.repository.fetch_folder(TRUTH, self.path.parent)
        path = self.path.with_name(TRUTH)
        return path if path.is_dir() else None


def open_store(data: str, *, new: bool = False, look: bool = False) -> Store:
    """Opens what `--data` names.

    Args:
        data: A file, or hf://datasets/ORG/NAME.
        new: Whether one may be made.
        look: Whether to look for others' changes all the time, where it is kept in a repository.

    Raises:
        StoreError: There is none, it is of a newer version, or it is no store.
        RequestError: The repository was not reached.
    """
    name = repository_of(data)
    store: Store
    if name is None:
        there = Path(data).exists()
        if there or new:
            return Store(Path(data))
    else:
        store = KeptStore(Repository(name), look=look)
        if new or not store.began:
            return store
        store.close()
    raise StoreError(f"{data}: no such board; `mico-hub board serve` makes one")


__all__ = [
    "REFUSED",
    "SCORED",
    "SCORING",
    "KeptStore",
    "NotClaimedError",
    "Participant",
    "RefusedError",
    "Season",
    "Store",
    "StoreError",
    "Submission",
    "open_store",
]
