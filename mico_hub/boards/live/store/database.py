"""The SQLite file of a live board, in WAL mode: its tables, reads, and changes that happen whole or not at all."""

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from filelock import FileLock

from mico_hub.cache import DiskError, atomic_path
from mico_hub.messages import InputError

VERSION = 1
"""Of the tables; `PRAGMA user_version`."""

DATABASE, UPLOADS = "board.sqlite", "uploads"
"""Names of what a board is kept in, in a backup and in a repository."""

BUSY_SECONDS = 30.0
"""How long one who writes waits for another."""

TABLES = """
CREATE TABLE participants (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, token TEXT NOT NULL UNIQUE, created TEXT NOT NULL,
  revoked TEXT, baseline INTEGER NOT NULL DEFAULT 0);
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, participant INTEGER NOT NULL REFERENCES participants (id), csrf TEXT NOT NULL,
  created TEXT NOT NULL);
CREATE TABLE seasons (
  id INTEGER PRIMARY KEY, track TEXT NOT NULL, source TEXT NOT NULL, truth TEXT NOT NULL, fingerprints TEXT NOT NULL,
  started TEXT NOT NULL);
CREATE TABLE phases (
  season INTEGER NOT NULL REFERENCES seasons (id), split TEXT NOT NULL, state TEXT NOT NULL, changed TEXT NOT NULL,
  PRIMARY KEY (season, split));
CREATE TABLE submissions (
  id TEXT PRIMARY KEY, season INTEGER NOT NULL REFERENCES seasons (id),
  participant INTEGER NOT NULL REFERENCES participants (id), received TEXT NOT NULL, size INTEGER NOT NULL,
  sha256 TEXT NOT NULL, about TEXT NOT NULL, splits TEXT NOT NULL DEFAULT '[]', state TEXT NOT NULL, server TEXT,
  problems TEXT, told TEXT, mean REAL, bits TEXT);
CREATE INDEX by_participant ON submissions (season, participant, received);
CREATE INDEX by_state ON submissions (state, received);
CREATE TABLE reports (
  season INTEGER NOT NULL REFERENCES seasons (id), split TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
  content BLOB NOT NULL, PRIMARY KEY (season, split, name));
"""

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], T]
"""What is done in one transaction; it raises to have nothing done."""


class StoreError(InputError):
    """A store that cannot be used."""


class Keeper(Protocol):
    """Has changes kept elsewhere before they are seen here; see `store.keeper`."""

    def later(self, change: Change[T], files: Mapping[str, Path | None]) -> Future[T]:
        """Makes a change in its turn: `Database.later`."""

    def fetch(self, name: str, path: Path) -> None:
        """Brings a file that was kept with an earlier change."""

    def close(self) -> None:
        """Ends when what was asked for is done."""


class Database:
    """An open store."""

    def __init__(self, path: Path, keeper: Callable[["Database"], Keeper] | None = None) -> None:
        """Opens the file, or makes it.

        Args:
            path: The file; uploads are in a folder beside it.
            keeper: Makes the one who keeps changes elsewhere, too; None: the file is all there is.

        Raises:
            StoreError: It is of a newer version, or no store.
        """
        self.path = path
        self.uploads = path.with_name(f"{path.name}.uploads")
        self.uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.server = secrets.token_hex(8)
        self._lock = FileLock(self._lock_of(self.server), thread_local=False)
        self._lock.acquire()
        if not path.exists():
            path.touch(mode=0o600)
        try:
            with self.connection() as db:
                self._prepare(db)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: not a board's store: {error}") from error
        self._keeper = keeper(self) if keeper else None

    def close(self) -> None:
        """Gives the lock up; what this server was scoring is another's from now on."""
        if self._keeper:
            self._keeper.close()
        self._lock.release()
        self._lock_of(self.server).unlink(missing_ok=True)

    def _lock_of(self, server: str) -> Path:
        return self.uploads / f"server-{server}.lock"

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN EXCLUSIVE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(f"{self.path}: of version {version}, this mico-hub knows {VERSION}; install a newer one")
        if version == 0:
            for statement in TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for a moment."""
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        try:
            yield db
        finally:
            db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it or nothing. It is of this file alone; see `change` for what is kept."""
        with self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                    raise DiskError(f"{self.path}: the disk is full") from error
                raise

    def change(self, change: Change[T], files: Mapping[str, Path | None] | None = None) -> T:
        """Makes a change in one transaction; when this returns it is kept, and nobody has seen it before.

        Args:
            change: What to do.
            files: Name, such as uploads/ID.zip -> a file that is to be kept with it, or None for an upload that is not
                kept any more.
        """
        return self.later(change, files).result()

    def later(self, change: Change[T], files: Mapping[str, Path | None] | None = None) -> Future[T]:
        """Makes a change in its turn, after those that were asked for before; does not wait for it to be kept."""
        if self._keeper:
            return self._keeper.later(change, files or {})
        done: Future[T] = Future()
        try:
            with self.transaction() as db:
                result = change(db)
            self.forget(files or {})
            done.set_result(result)
        except Exception as error:
            done.set_exception(error)
        return done

    def forget(self, files: Mapping[str, Path | None]) -> None:
        """Removes those of the uploads that are not kept any more."""
        for name, path in files.items():
            if path is None:
                (self.uploads / Path(name).name).unlink(missing_ok=True)

    def all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self.connection() as db:
            return db.execute(query, values).fetchall()

    def now(self) -> datetime:
        """The time, which never goes back: at least that of the last submission."""
        with self.connection() as db:
            return now(db)

    def backup(self, path: Path) -> None:
        """Writes a copy of the database, as it is at one moment."""
        with atomic_path(path) as temporary, self.connection() as db:
            copy = sqlite3.connect(temporary)
            try:
                db.backup(copy)
            finally:
                copy.close()


def now(db: sqlite3.Connection) -> datetime:
    """A clock that was put back does not put deadlines off, nor give a day twice."""
    told = datetime.now(UTC)
    return max(told, last(db) or told)


def last(db: sqlite3.Connection) -> datetime | None:
    """When the last submission came; None: there is none."""
    (received,) = db.execute("SELECT max(received) FROM submissions").fetchone()
    return datetime.fromisoformat(received) if received else None


def to_be_kept(path: Path) -> None:
    """Takes out of a database what is of one server alone: who is logged in, and what is being scored."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("DELETE FROM sessions")
        db.execute("UPDATE submissions SET state = 'waiting', server = NULL WHERE state = 'scoring'")
        db.execute("VACUUM")
    finally:
        db.close()


def text(time: datetime) -> str:
    """A time as it is kept: in an order that is the order of times."""
    return time.isoformat(timespec="microseconds")


def digest(secret: str) -> str:
    """What is kept of a token or a session."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
