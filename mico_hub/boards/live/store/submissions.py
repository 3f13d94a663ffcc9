"""Submissions: accepted, scored by one server at a time, and told or refused."""

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from mico_hub.boards.live.answers import Answer, Told
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store.database import UPLOADS, Database, last, now, text
from mico_hub.boards.live.store.participants import Participant
from mico_hub.boards.live.store.seasons import Season
from mico_hub.cache import atomic_path
from mico_hub.messages import InputError

WAITING, SCORING, SCORED, REFUSED = "waiting", "scoring", "scored", "refused"
State = Literal["waiting", "scoring", "scored", "refused"]


class RefusedError(InputError):
    """A submission that is not accepted, for no fault of its content."""

    def __init__(self, message: str, *, status: int = 429) -> None:
        self.status = status  # of an HTTP answer
        super().__init__(message)


class NotClaimedError(Exception):
    """A submission is not, or not any more, this server's to score."""


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


class Submissions(Database):
    """The table of submissions, and the folder with their uploads.

    A submission is accepted when its upload and then its row are kept, in that order: nothing that was accepted is
    lost, whatever is killed, and an upload without a row is no submission.
    """

    def accept(
        self, rules: Rules, season: Season, participant: Participant, content: bytes, about: Mapping[str, Any]
    ) -> Submission:
        """Keeps a submission, to be scored; when this returns it is on the disk.

        Raises:
            RefusedError: The phase is closed, or a limit is reached; it says which, and until when.
            DiskError: There is no room.
        """
        with self.connection() as db:
            asked = now(db)  # what counts, though it may wait to be kept
            if not participant.baseline:
                _allow(db, rules, season, participant, asked)  # what a limit refuses is not written first
        number, digest = secrets.token_hex(8), hashlib.sha256(content).hexdigest()
        path = self._upload(number)
        with atomic_path(path, len(content)) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

        def accept(db: sqlite3.Connection) -> None:
            received = max(asked, last(db) or asked)
            if not participant.baseline:
                _allow(db, rules, season, participant, received)
            row = (number, season.id, participant.id, text(received), len(content), digest, json.dumps(dict(about)))
            db.execute(
                "INSERT INTO submissions (id, season, participant, received, size, sha256, about, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, WAITING),
            )

        try:
            self.change(accept, {f"{UPLOADS}/{path.name}": path})
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return self.submission(number)

    def upload(self, submission: str) -> Path:
        """Where its content is."""
        path = self._upload(submission)
        if self._keeper and not path.exists():
            self._keeper.fetch(f"{UPLOADS}/{path.name}", path)
        return path

    def _upload(self, submission: str) -> Path:
        return self.uploads / f"{submission}.zip"

    def left(self, rules: Rules, season: Season, participant: Participant) -> tuple[int, int]:
        """How many submissions a participant has left today, and in all."""
        with self.connection() as db:
            today, in_all = _used(db, season, participant, now(db))
        return max(0, min(rules.daily - today, rules.total - in_all)), max(0, rules.total - in_all)

    def claim(self, season: int | None = None) -> Submission | None:
        """A submission that waits, for this server to score; None: none waits.

        Participants take turns, so that whoever sends many keeps nobody waiting; of one's own the first comes first.

        Args:
            season: Whose; None: any.
        """
        with self.transaction() as db:
            lately = text(now(db) - timedelta(hours=1))
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
        for row in self.all("SELECT id FROM submissions WHERE state = ? AND server = ?", SCORING, self.server):
            if own is not None and row["id"] not in own:
                self.wait_again(row["id"])
                released += 1
        for row in self.all("SELECT DISTINCT server FROM submissions WHERE state = ?", SCORING):
            if row["server"] == self.server:
                continue
            lock = FileLock(self._lock_of(row["server"]))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                with self.transaction() as db:
                    query = "UPDATE submissions SET state = ?, server = NULL WHERE state = ? AND server = ?"
                    released += db.execute(query, (WAITING, SCORING, row["server"])).rowcount
            finally:
                lock.release()
        return released

    def wait_again(self, submission: str) -> None:
        """Has a submission that was claimed wait again."""
        with self.transaction() as db:
            query = "UPDATE submissions SET state = ?, server = NULL WHERE id = ? AND state = ?"
            db.execute(query, (WAITING, submission, SCORING))

    def under_way(self, season: int | None = None) -> list[str]:
        """Those that wait or are being scored, of a season or of all."""
        query = "SELECT id FROM submissions WHERE state IN (?, ?) AND (? IS NULL OR season = ?)"
        return [row["id"] for row in self.all(query, WAITING, SCORING, season, season)]

    def refuse(self, submission: str, problems: Sequence[str], *, keep: bool = False) -> Future[None]:
        """Says what is wrong with a submission that was claimed; it counts against no limit.

        Args:
            submission: Its number.
            problems: What is wrong with it.
            keep: Whether its upload stays, for it was perhaps not at fault.

        Returns:
            Done when that is kept; nobody sees it before. It raises NotClaimedError where the claim was lost.
        """

        def refuse(db: sqlite3.Connection) -> None:
            query = "UPDATE submissions SET state = ?, problems = ?, server = NULL WHERE id = ? AND state = ?"
            _one(db.execute(query, (REFUSED, json.dumps(list(problems)), submission, SCORING)))

        return self.later(refuse, {} if keep else {f"{UPLOADS}/{submission}.zip": None})

    def tell(self, submission: str, splits: Sequence[str], answer: Callable[[Told], Answer]) -> Future[None]:
        """Says what comes of a submission that was claimed.

        Args:
            submission: Its number.
            splits: What it has predictions for.
            answer: What is told, given what its participant was told last.

        Returns:
            Done when that is kept; nobody sees it before. It raises NotClaimedError where the claim was lost.
        """

        def tell(db: sqlite3.Connection) -> None:
            last = db.execute(_LAST_TOLD, (submission, SCORED)).fetchone()
            told = answer(json.loads(last["told"]) if last else {})
            values = (SCORED, json.dumps(list(splits)), json.dumps(told.told), told.mean, json.dumps(dict(told.bits)))
            query = (
                "UPDATE submissions SET state = ?, splits = ?, told = ?, mean = ?, bits = ?, server = NULL "
                "WHERE id = ? AND state = ?"
            )
            _one(db.execute(query, (*values, submission, SCORING)))

        return self.later(tell)

    def submission(self, number: str) -> Submission:
        """One of them.

        Raises:
            KeyError: There is none.
        """
        rows = self.all(f"{_SELECT} WHERE submissions.id = ?", number)
        if not rows:
            raise KeyError(number)
        return _submission(rows[0])

    def submissions(self, season: int, participant: str | None = None) -> list[Submission]:
        """Those of a season, or of a participant in it, as they came."""
        query, values = f"{_SELECT} WHERE submissions.season = ?", [season]
        more = [] if participant is None else [participant]
        query += " AND participants.name = ?" if more else ""
        rows = self.all(f"{query} ORDER BY submissions.received, submissions.rowid", *values, *more)
        return [_submission(row) for row in rows]

    def counting(self, season: int, order: str) -> list[Submission]:
        """Of each participant the submission that counts, of those of which a mean was told.

        Args:
            season: Whose.
            order: `last` or `best`.
        """
        with self.connection() as db:
            return [_submission(row) for row in db.execute(_COUNTING, {"order": order, "season": season})]

    def bits(self, season: int, participant: str | None = None) -> dict[str, float]:
        """Suite -> the sum of the bits of answers, to one participant or to all."""
        query = (
            "SELECT key, sum(value) AS total FROM submissions JOIN participants ON participants.id = participant, "
            "json_each(submissions.bits) WHERE season = ? AND (? IS NULL OR participants.name = ?) GROUP BY key"
        )
        return {row["key"]: row["total"] for row in self.all(query, season, participant, participant)}

    def waiting_before(self, submission: Submission) -> int:
        """How many are to be scored before it."""
        query = "SELECT count(*) FROM submissions WHERE state IN (?, ?) AND received < ?"
        (row,) = self.all(query, WAITING, SCORING, submission.received)
        return int(row[0])


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

_LAST_TOLD = """
SELECT before.told FROM submissions AS one JOIN submissions AS before USING (season, participant)
WHERE one.id = ? AND before.state = ? ORDER BY before.received DESC LIMIT 1
"""

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


def _one(changed: sqlite3.Cursor) -> None:
    if not changed.rowcount:
        raise NotClaimedError("another server has taken it up")


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
    a_minute_ago = text(now - timedelta(minutes=1))
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
