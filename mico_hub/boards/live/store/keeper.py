"""Keeps a live board in a repository of the Hub: a change is a commit there before anybody sees it here.

Changes that come while one is on its way go together with the next commit. The Hub takes 128 commits an hour of a
repository; the first ones are made at once, and when many came they are spaced out and carry more. What only this
server needs to know, who is logged in and what is being scored, is not kept.
"""

import logging
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mico_hub.boards.live.store.database import DATABASE, VERSION, Change, Database, StoreError, T, to_be_kept
from mico_hub.boards.live.store.repository import ChangedError, OvertakenError, Repository
from mico_hub.sources.retries import RequestError

AT_ONCE, SECONDS_EACH = 20, 34.0
"""Commits that may follow each other, and how long it takes until there may be another: at most 126 in any hour."""
LOOK_SECONDS = 5.0
"""How often it looks whether somebody else, a maintainer's command say, changed the repository."""
TRIES = 5
"""How often a change is made anew because somebody else's came first."""

logger = logging.getLogger("mico_hub.board")


@dataclass(frozen=True, slots=True)
class _Asked:
    change: Callable[[sqlite3.Connection], Any]
    files: Mapping[str, Path | None]
    done: "Future[Any]"


class HubKeeper:
    """Makes the changes of a database, in their order, on a thread of its own."""

    def __init__(self, database: Database, repository: Repository, *, kept: bool, look: bool) -> None:
        """Begins.

        Args:
            database: As it is in the repository at its head.
            repository: Where it is kept.
            kept: Whether there is a database in it.
            look: Whether to look for others' changes while there are none of one's own.
        """
        self._database, self._repository = database, repository
        self._look = LOOK_SECONDS if look else None
        self._asked: queue.Queue[_Asked | None] = queue.Queue()
        self._open, self._closed = threading.Lock(), False  # nothing comes after None
        self._kept = kept
        self._stale = False  # whether the repository has to be looked at first
        self._may = float(AT_ONCE)
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def later(self, change: Change[T], files: Mapping[str, Path | None]) -> Future[T]:
        """See `Database.later`."""
        done: Future[T] = Future()
        with self._open:
            if self._closed:
                raise RequestError(f"{self._repository.name} is closed")
            self._asked.put(_Asked(change, files, done))
        return done

    def fetch(self, name: str, path: Path) -> None:
        """Brings a file."""
        if not self._repository.fetch(name, path):
            raise StoreError(f"{self._repository.name}: {name} is missing")

    def close(self) -> None:
        """Ends when what was asked for is done."""
        with self._open:
            self._closed = True
            self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        ends = False
        while not ends:
            try:
                first = self._asked.get(timeout=self._look)
            except queue.Empty:
                self._look_again()
                continue
            if first is None:
                return
            self._wait()
            batch = [first]
            while not self._asked.empty():
                asked = self._asked.get()
                if asked is None:
                    ends = True
                else:
                    batch.append(asked)
            try:
                self._keep(batch)
            except Exception as error:
                self._stale = True  # whether it was kept is not known
                for asked in batch:
                    asked.done.set_exception(error)

    def _wait(self) -> None:
        """Until the Hub takes another commit."""
        now = time.monotonic()
        self._may = min(self._may + (now - self._since) / SECONDS_EACH, AT_ONCE)
        self._since = now
        if self._may < 1:
            time.sleep((1 - self._may) * SECONDS_EACH)
            self._since, self._may = time.monotonic(), 1.0
        self._may -= 1

    def _keep(self, batch: list[_Asked]) -> None:
        """Makes changes in one transaction, of which the repository's commit is a part.

        Raises:
            Exception: None of them was made, as far as is known.
        """
        for _ in range(TRIES):
            if self._stale:
                self._reload()
            outcomes: list[Any] = []
            try:
                with self._database.transaction() as db:
                    outcomes = [_made(db, asked.change) for asked in batch]
                    made = [asked for asked, outcome in zip(batch, outcomes, strict=True) if outcome[1] is None]
                    if made:
                        self._push(db, made)
            except ChangedError:
                self._stale = True
                continue
            except OvertakenError:  # what was made is in what comes
                self._reload()
            self._kept |= bool(made)
            for asked in made:
                self._database.forget(asked.files)
            for asked, (result, error) in zip(batch, outcomes, strict=True):
                if error is None:
                    asked.done.set_result(result)
                else:
                    asked.done.set_exception(error)
            return
        raise RequestError(f"{self._repository.name}: others changed it {TRIES} times in a row; try again")

    def _push(self, db: sqlite3.Connection, made: list[_Asked]) -> None:
        contents: dict[str, bytes | Path | None] = {name: path for asked in made for name, path in asked.files.items()}
        with tempfile.TemporaryDirectory(dir=self._database.uploads) as scratch:
            path = Path(scratch) / DATABASE
            path.write_bytes(db.serialize())
            to_be_kept(path)
            contents[DATABASE] = path.read_bytes()
        self._repository.push(contents, f"{len(made)} of a board's changes")

    def _look_again(self) -> None:
        """Takes over what somebody else changed."""
        try:
            self._stale |= self._repository.latest() != self._repository.head
            if self._stale:
                self._reload()
        except Exception as error:  # it looks again in a moment, and before anything is changed
            logger.warning("%s was not looked at: %r", self._repository.name, error)

    def _reload(self) -> None:
        """The database as it is in the repository now, but for what is of this server alone."""
        head = self._repository.latest()
        with tempfile.TemporaryDirectory(dir=self._database.uploads) as scratch:
            path = Path(scratch) / DATABASE
            there = self._repository.fetch(DATABASE, path, head)
            if self._kept and not there:
                raise StoreError(f"{self._repository.name}: {DATABASE} was removed; put it back from the history")
            self._repository.head = head  # whoever sees what is taken over reads what belongs to it
            if there:
                self._take_over(path)
                self._kept = True
        self._stale = False

    def _take_over(self, path: Path) -> None:
        with self._database.connection() as db:
            db.execute("ATTACH ? AS kept", (str(path),))
            (version,) = db.execute("PRAGMA kept.user_version").fetchone()
            if version != VERSION:
                raise StoreError(f"{self._repository.name}: of version {version}, this mico-hub knows {VERSION}")
            db.execute("PRAGMA foreign_keys = OFF")  # tables come one after the other
            db.executescript(_TAKE_OVER)


def _made(db: sqlite3.Connection, change: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
    """What a change gave, or why it was not made; the changes beside it hold."""
    db.execute("SAVEPOINT one")
    try:
        result = change(db)
    except Exception as error:
        db.execute("ROLLBACK TO one")
        db.execute("RELEASE one")
        return None, error
    db.execute("RELEASE one")
    return result, None


_TAKE_OVER = """
BEGIN IMMEDIATE;
CREATE TEMP TABLE claimed AS SELECT id, server FROM main.submissions WHERE state = 'scoring';
DELETE FROM main.participants; INSERT INTO main.participants SELECT * FROM kept.participants;
DELETE FROM main.seasons; INSERT INTO main.seasons SELECT * FROM kept.seasons;
DELETE FROM main.phases; INSERT INTO main.phases SELECT * FROM kept.phases;
DELETE FROM main.submissions; INSERT INTO main.submissions SELECT * FROM kept.submissions;
DELETE FROM main.reports; INSERT INTO main.reports SELECT * FROM kept.reports;
UPDATE main.submissions SET state = 'scoring', server = (SELECT server FROM claimed WHERE claimed.id = submissions.id)
WHERE state = 'waiting' AND id IN (SELECT id FROM claimed);
DELETE FROM main.sessions WHERE participant NOT IN (SELECT id FROM main.participants WHERE revoked IS NULL);
COMMIT;
"""
