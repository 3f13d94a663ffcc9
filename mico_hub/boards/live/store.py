"""What a live board keeps: an SQLite file, and beside it a folder with the uploads.

A submission is accepted when its upload and then its row are on the disk, in that order: nothing that was accepted is
lost, whatever is killed, and an upload without a row is no submission. Several servers on one host may share a store:
each holds a lock for its life, so that what a dead one was scoring is taken up again, whatever the clock says.
"""

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from mico_hub.boards.live.answers import Answer, Told
from mico_hub.boards.live.rules import Rules
from mico_hub.cache import DiskError, atomic_path
from mico_hub.messages import InputError

VERSION = 1
"""Of the tables; `PRAGMA user_version`."""

WAITING, SCORING, SCORED, REFUSED = "waiting", "scoring", "scored", "refused"
State = Literal["waiting", "scoring", "scored", "refused"]

BUSY_SECONDS = 30.0
"""How long one who writes waits for another."""

_TABLES = """
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


class StoreError(InputError):
    """A store that cannot be used."""


class RefusedError(InputError):
    """A submission that is not accepted, for no fault of its content."""

    def __init__(self, message: str, *, status: int = 429) -> None:
        self.status = status  # of an HTTP answer
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Participant:
    """Who may submit."""

    id: int
    name: str
    created: str
    revoked: str | None
    baseline: bool


@dataclass(frozen=True, slots=True)
class Season:
    """A track's suites while their truth is hidden; a fresh suite begins another season."""

    id: int
    track: str
    source: str  # the published folder or repository; empty: wherever `mico` is
    truth: str  # the folder with its hidden membership; empty: the cache
    fingerprints: Mapping[str, str]
    started: str


@dataclass(frozen=True, slots=True)
class Submission:
    """One upload and what became of it."""

    id: str
    season: int
    participant: str
    baseline: bool
    received: str
    size: int
    sha256: str
    about: Mapping[str, Any]  # title, threat_model, tags, code, write_up
    splits: tuple[str, ...]
    state: State
    problems: tuple[str, ...]
    told: Told
    mean: float | None
    bits: Mapping[str, float]


class Store:
    """An open store."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it.

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
            with self._connection() as db:
                self._prepare(db)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: not a board's store: {error}") from error

    def close(self) -> None:
        """Gives the lock up; what this server was scoring is another's from now on."""
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
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        try:
            yield db
        finally:
            db.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it or nothing."""
        with self._connection() as db:
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

    def _all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._connection() as db:
            return db.execute(query, values).fetchall()

    # participants

    def add_participant(self, name: str, *, baseline: bool = False) -> str:
        """Adds a participant; gives the token, which is kept nowhere.

        Raises:
            StoreError: There is one of that name, or it is no name.
        """
        if not 0 < len(name) <= 60 or not name.isprintable() or name != name.strip():
            raise StoreError(f"expected a name of 1 to 60 characters, got {name!r:.80}")
        token = secrets.token_urlsafe(32)
        with self._change() as db:
            if db.execute("SELECT 1 FROM participants WHERE name = ?", (name,)).fetchone():
                raise StoreError(f"there is a participant {name!r}")
            db.execute(
                "INSERT INTO participants (name, token, created, baseline) VALUES (?, ?, ?, ?)",
                (name, _digest(token), _now(db), baseline),
            )
        return token

    def revoke(self, name: str) -> None:
        """Ends a participant's token and sessions; submissions stay.

        Raises:
            StoreError: There is no such participant.
        """
        with self._change() as db:
            found = db.execute("UPDATE participants SET revoked = ? WHERE name = ?", (_now(db), name))
            if not found.rowcount:
                raise StoreError(f"there is no participant {name!r}")
            db.execute("DELETE FROM sessions WHERE participant = (SELECT id FROM participants WHERE name = ?)", (name,))

    def participants(self) -> list[Participant]:
        """All, by name."""
        return [_participant(row) for row in self._all("SELECT * FROM participants ORDER BY name")]

    def participant_of(self, token: str) -> Participant | None:
        """Whose token it is; None: nobody's, or a revoked one."""
        query = "SELECT * FROM participants WHERE token = ? AND revoked IS NULL"
        rows = self._all(query, _digest(token))
        return _participant(rows[0]) if rows else None

    def begin_session(self, participant: Participant) -> tuple[str, str]:
        """A session's secret, for a cookie, and its CSRF token, for forms."""
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._change() as db:
            row = (_digest(secret), participant.id, csrf, _now(db))
            db.execute("INSERT INTO sessions (id, participant, csrf, created) VALUES (?, ?, ?, ?)", row)
        return secret, csrf

    def session(self, secret: str) -> tuple[Participant, str] | None:
        """Whose session it is, and its CSRF token; None: it is over, or was none."""
        query = (
            "SELECT participants.*, sessions.csrf, sessions.created AS began FROM sessions JOIN participants "
            "ON participants.id = sessions.participant WHERE sessions.id = ? AND participants.revoked IS NULL"
        )
        rows = self._all(query, _digest(secret))
        if not rows or datetime.fromisoformat(rows[0]["began"]) < self.now() - timedelta(days=30):
            return None
        return _participant(rows[0]), rows[0]["csrf"]

    def end_session(self, secret: str) -> None:
        """Ends it."""
        with self._change() as db:
            db.execute("DELETE FROM sessions WHERE id = ?", (_digest(secret),))

    # seasons and phases

    def add_season(self, track: str, source: str, truth: str, fingerprints: Mapping[str, str]) -> Season:
        """Begins a track's next season, with dev open and final hidden."""
        with self._change() as db:
            now = _now(db)
            values = (track, source, truth, json.dumps(dict(fingerprints)), now)
            query = "INSERT INTO seasons (track, source, truth, fingerprints, started) VALUES (?, ?, ?, ?, ?)"
            number = db.execute(query, values).lastrowid
            for split, state in (("dev", "open"), ("final", "hidden")):
                db.execute("INSERT INTO phases VALUES (?, ?, ?, ?)", (number, split, state, now))
        return self.season(track)

    def season(self, track: str) -> Season:
        """A track's current season.

        Raises:
            KeyError: It has none.
        """
        return self.seasons(track)[-1]

    def seasons(self, track: str) -> list[Season]:
        """A track's seasons, the first one first.

        Raises:
            KeyError: It has none.
        """
        rows = self._all("SELECT * FROM seasons WHERE track = ? ORDER BY id", track)
        if not rows:
            raise KeyError(track)
        return [Season(**{**dict(row), "fingerprints": json.loads(row["fingerprints"])}) for row in rows]

    def phase(self, season: int, split: str) -> str:
        """`open`, `closed` (dev), `hidden` or `opened` (final)."""
        (row,) = self._all("SELECT state FROM phases WHERE season = ? AND split = ?", season, split)
        return str(row["state"])

    def set_phase(self, season: int, split: str, state: str, reports: Mapping[str, tuple[str, bytes]]) -> None:
        """Changes a phase, together with the reports that it shows from now on: name -> type and content."""
        with self._change() as db:
            db.execute(
                "UPDATE phases SET state = ?, changed = ? WHERE season = ? AND split = ?",
                (state, _now(db), season, split),
            )
            for name, (kind, content) in reports.items():
                db.execute(
                    "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?)", (season, split, name, kind, content)
                )

    def report(self, season: int, split: str, name: str) -> tuple[str, bytes] | None:
        """Type and content; None: there is none, or not yet."""
        query = "SELECT type, content FROM reports WHERE season = ? AND split = ? AND name = ?"
        rows = self._all(query, season, split, name)
        return (rows[0]["type"], rows[0]["content"]) if rows else None

    def reports(self, season: int, split: str) -> list[str]:
        """Names of reports."""
        query = "SELECT name FROM reports WHERE season = ? AND split = ? ORDER BY name"
        return [row["name"] for row in self._all(query, season, split)]

    # submissions

    def accept(
        self, rules: Rules, season: Season, participant: Participant, content: bytes, about: Mapping[str, Any]
    ) -> Submission:
        """Keeps a submission, to be scored; when this returns it is on the disk.

        Raises:
            RefusedError: The phase is closed, or a limit is reached; it says which, and until when.
            DiskError: There is no room.
        """
        if not participant.baseline:
            with self._connection() as db:  # what a limit refuses is not written first
                _allow(db, rules, season, participant, datetime.fromisoformat(_now(db)))
        number, digest = secrets.token_hex(8), hashlib.sha256(content).hexdigest()
        path = self.upload(number)
        with atomic_path(path, len(content)) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            with self._change() as db:
                now = datetime.fromisoformat(_now(db))
                if not participant.baseline:
                    _allow(db, rules, season, participant, now)
                db.execute(
                    "INSERT INTO submissions (id, season, participant, received, size, sha256, about, state) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        number, season.id, participant.id, now.isoformat(), len(content), digest,
                        json.dumps(dict(about)), WAITING,
                    ),
                )  # fmt: skip
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return self.submission(number)

    def upload(self, submission: str) -> Path:
        """Where its content is."""
        return self.uploads / f"{submission}.zip"

    def left(self, rules: Rules, season: Season, participant: Participant) -> tuple[int, int]:
        """How many submissions a participant has left today, and in all."""
        with self._connection() as db:
            today, in_all = _used(db, season, participant, datetime.fromisoformat(_now(db)))
        return max(0, min(rules.daily - today, rules.total - in_all)), max(0, rules.total - in_all)

    def claim(self, season: int | None = None) -> Submission | None:
        """A submission that waits, for this server to score; None: none waits.

        Participants take turns, so that whoever sends many keeps nobody waiting; of one's own the first comes first.

        Args:
            season: Whose; None: any.
        """
        with self._change() as db:
            lately = (datetime.fromisoformat(_now(db)) - timedelta(hours=1)).isoformat(timespec="microseconds")
            row = db.execute(_WAITING_IN_TURN, {"season": season, "lately": lately}).fetchone()
            if row is None:
                return None
            db.execute("UPDATE submissions SET state = ?, server = ? WHERE id = ?", (SCORING, self.server, row["id"]))
        return self.submission(row["id"])

    def release_dead(self, own: Collection[str] | None = None) -> int:
        """Has what servers that are gone were scoring wait again; how many.

        Args:
            own: What this server is scoring; what else it claimed waits again, too. None: nothing is known of that.
        """
        released = 0
        for row in self._all("SELECT id FROM submissions WHERE state = ? AND server = ?", SCORING, self.server):
            if own is not None and row["id"] not in own:
                self.wait_again(row["id"])
                released += 1
        for row in self._all("SELECT DISTINCT server FROM submissions WHERE state = ?", SCORING):
            if row["server"] == self.server:
                continue
            lock = FileLock(self._lock_of(row["server"]))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                with self._change() as db:
                    query = "UPDATE submissions SET state = ?, server = NULL WHERE state = ? AND server = ?"
                    released += db.execute(query, (WAITING, SCORING, row["server"])).rowcount
            finally:
                lock.release()
        return released

    def wait_again(self, submission: str) -> None:
        """Has a submission that was claimed wait again."""
        with self._change() as db:
            query = "UPDATE submissions SET state = ?, server = NULL WHERE id = ? AND state = ?"
            db.execute(query, (WAITING, submission, SCORING))

    def under_way(self, season: int | None = None) -> list[str]:
        """Those that wait or are being scored, of a season or of all."""
        query = "SELECT id FROM submissions WHERE state IN (?, ?) AND (? IS NULL OR season = ?)"
        return [row["id"] for row in self._all(query, WAITING, SCORING, season, season)]

    def refuse(self, submission: str, problems: Sequence[str], *, keep: bool = False) -> None:
        """Says what is wrong with a submission that was claimed; it counts against no limit.

        Args:
            submission: Its number.
            problems: What is wrong with it.
            keep: Whether its upload stays, for it was perhaps not at fault.
        """
        with self._change() as db:
            query = "UPDATE submissions SET state = ?, problems = ?, server = NULL WHERE id = ? AND state = ?"
            changed = db.execute(query, (REFUSED, json.dumps(list(problems)), submission, SCORING)).rowcount
        if changed and not keep:
            self.upload(submission).unlink(missing_ok=True)

    def told(self, submission: str, splits: Sequence[str], answer: Answer) -> None:
        """Keeps what is told of a submission."""
        values = (SCORED, json.dumps(list(splits)), json.dumps(answer.told), answer.mean, json.dumps(dict(answer.bits)))
        with self._change() as db:
            db.execute(
                "UPDATE submissions SET state = ?, splits = ?, told = ?, mean = ?, bits = ?, server = NULL "
                "WHERE id = ? AND state = ?",
                (*values, submission, SCORING),
            )

    def submission(self, number: str) -> Submission:
        """One of them.

        Raises:
            KeyError: There is none.
        """
        rows = self._all(f"{_SELECT} WHERE submissions.id = ?", number)
        if not rows:
            raise KeyError(number)
        return _submission(rows[0])

    def submissions(self, season: int, participant: str | None = None) -> list[Submission]:
        """Those of a season, or of a participant in it, as they came."""
        query, values = f"{_SELECT} WHERE submissions.season = ?", [season]
        more = [] if participant is None else [participant]
        query += " AND participants.name = ?" if more else ""
        rows = self._all(f"{query} ORDER BY submissions.received, submissions.rowid", *values, *more)
        return [_submission(row) for row in rows]

    def counting(self, season: int, order: str) -> list[Submission]:
        """Of each participant the submission that counts, of those of which a mean was told.

        Args:
            season: Whose.
            order: `last` or `best`.
        """
        with self._connection() as db:
            return [_submission(row) for row in db.execute(_COUNTING, {"order": order, "season": season})]

    def last_scored(self, season: int, participant: str) -> Submission | None:
        """A participant's latest submission that was scored; None: there is none."""
        query = f"{_SELECT} WHERE season = ? AND participants.name = ? AND state = ? ORDER BY received DESC LIMIT 1"
        rows = self._all(query, season, participant, SCORED)
        return _submission(rows[0]) if rows else None

    def bits(self, season: int, participant: str | None = None) -> dict[str, float]:
        """Suite -> the sum of the bits of answers, to one participant or to all."""
        query = (
            "SELECT key, sum(value) AS total FROM submissions JOIN participants ON participants.id = participant, "
            "json_each(submissions.bits) WHERE season = ? AND (? IS NULL OR participants.name = ?) GROUP BY key"
        )
        return {row["key"]: row["total"] for row in self._all(query, season, participant, participant)}

    def waiting_before(self, submission: Submission) -> int:
        """How many are to be scored before it."""
        query = "SELECT count(*) FROM submissions WHERE state IN (?, ?) AND received < ?"
        (row,) = self._all(query, WAITING, SCORING, submission.received)
        return int(row[0])

    def now(self) -> datetime:
        """The time, which never goes back: at least that of the last submission."""
        with self._connection() as db:
            return datetime.fromisoformat(_now(db))

    def backup(self, path: Path) -> None:
        """Writes a copy of the database, as it is at one moment."""
        with atomic_path(path) as temporary, self._connection() as db:
            copy = sqlite3.connect(temporary)
            try:
                db.backup(copy)
            finally:
                copy.close()


_SELECT = (
    "SELECT submissions.*, participants.name AS who, participants.baseline FROM submissions "
    "JOIN participants ON participants.id = submissions.participant"
)


_WAITING_IN_TURN = """
SELECT id FROM submissions AS one WHERE state = 'waiting' AND (:season IS NULL OR season = :season)
ORDER BY (
  SELECT count(*) FROM submissions AS before
  WHERE before.season = one.season AND before.participant = one.participant AND before.received > :lately
    AND (before.state != 'waiting' OR before.received < one.received)
), received, rowid LIMIT 1
"""
"""Those first whose participant had the fewest before it, of late."""

_COUNTING = """
SELECT * FROM (
  SELECT submissions.*, participants.name AS who, participants.baseline, row_number() OVER (
    PARTITION BY participant
    ORDER BY CASE WHEN :order = 'best' THEN -mean END, CASE WHEN :order = 'best' THEN received END, received DESC
  ) AS choice
  FROM submissions JOIN participants ON participants.id = submissions.participant
  WHERE season = :season AND state = 'scored' AND mean IS NOT NULL)
WHERE choice = 1
"""


def _now(db: sqlite3.Connection) -> str:
    """A clock that was put back does not put deadlines off, nor give a day twice."""
    (last,) = db.execute("SELECT max(received) FROM submissions").fetchone()
    now = datetime.now(UTC)
    return max(now, datetime.fromisoformat(last) if last else now).isoformat(timespec="microseconds")


def _used(db: sqlite3.Connection, season: Season, participant: Participant, now: datetime) -> tuple[int, int]:
    query = "SELECT received FROM submissions WHERE season = ? AND participant = ? AND state != ?"
    rows = db.execute(query, (season.id, participant.id, REFUSED)).fetchall()
    return sum(datetime.fromisoformat(row["received"]).date() == now.date() for row in rows), len(rows)


def _allow(db: sqlite3.Connection, rules: Rules, season: Season, participant: Participant, now: datetime) -> None:
    """Raises RefusedError where the rules do not allow another submission."""
    if db.execute("SELECT revoked FROM participants WHERE id = ?", (participant.id,)).fetchone()["revoked"]:
        raise RefusedError("this token was revoked", status=401)
    query = "SELECT state FROM phases WHERE season = ? AND split = 'dev'"
    if db.execute(query, (season.id,)).fetchone()["state"] != "open":
        raise RefusedError(f"{season.track}: the dev phase is closed", status=409)
    if rules.deadline is not None and now >= rules.deadline:
        raise RefusedError(f"{season.track}: the deadline was {rules.deadline:%Y-%m-%d %H:%M} UTC", status=409)
    a_minute_ago = (now - timedelta(minutes=1)).isoformat(timespec="microseconds")
    query = "SELECT count(*) FROM submissions WHERE participant = ? AND received > ?"
    (recent,) = db.execute(query, (participant.id, a_minute_ago)).fetchone()
    if recent >= rules.minutely:
        raise RefusedError(f"{recent} uploads within a minute, {rules.minutely} are allowed: wait a minute")
    today, in_all = _used(db, season, participant, now)
    if in_all >= rules.total:
        raise RefusedError(f"{season.track}: {in_all} submissions, {rules.total} are allowed in all")
    if today >= rules.daily:
        raise RefusedError(
            f"{season.track}: {today} submissions today, {rules.daily} are allowed; the next at 00:00 UTC"
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _participant(row: sqlite3.Row) -> Participant:
    return Participant(row["id"], row["name"], row["created"], row["revoked"], bool(row["baseline"]))


def _submission(row: sqlite3.Row) -> Submission:
    return Submission(
        id=row["id"],
        season=row["season"],
        participant=row["who"],
        baseline=bool(row["baseline"]),
        received=row["received"],
        size=row["size"],
        sha256=row["sha256"],
        about=json.loads(row["about"]),
        splits=tuple(json.loads(row["splits"])),
        state=row["state"],
        problems=tuple(json.loads(row["problems"] or "[]")),
        told=json.loads(row["told"] or "{}"),
        mean=row["mean"],
        bits=json.loads(row["bits"] or "{}"),
    )
