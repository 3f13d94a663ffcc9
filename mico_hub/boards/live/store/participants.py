"""Who may submit: participants, their tokens and sessions, of which digests are kept."""

import secrets
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from mico_hub.boards.live.store.database import Database, StoreError, digest, now, text


@dataclass(frozen=True, slots=True)
class Participant:
    """Who may submit."""

    id: int
    name: str
    created: str
    revoked: str | None
    baseline: bool


class Participants(Database):
    """The tables of participants and sessions. Sessions are of this server alone: a restart elsewhere ends them."""

    def add_participant(self, name: str, *, baseline: bool = False) -> str:
        """Adds a participant; gives the token, which is kept nowhere.

        Args:
            name: Of 1 to 60 characters.
            baseline: Whether it is a reference attack's, whose token nobody has: it may be there.

        Raises:
            StoreError: There is one of that name, or it is no name.
        """
        if not 0 < len(name) <= 60 or not name.isprintable() or name != name.strip():
            raise StoreError(f"expected a name of 1 to 60 characters, got {name!r:.80}")
        token = secrets.token_urlsafe(32)

        def add(db: sqlite3.Connection) -> None:
            there = db.execute("SELECT baseline FROM participants WHERE name = ?", (name,)).fetchone()
            if there and baseline and there["baseline"]:
                return
            if there:
                raise StoreError(f"there is a participant {name!r}")
            db.execute(
                "INSERT INTO participants (name, token, created, baseline) VALUES (?, ?, ?, ?)",
                (name, digest(token), text(now(db)), baseline),
            )

        self.change(add)
        return token

    def revoke(self, name: str) -> None:
        """Ends a participant's token and sessions; submissions stay.

        Raises:
            StoreError: There is no such participant.
        """

        def revoke(db: sqlite3.Connection) -> None:
            found = db.execute("UPDATE participants SET revoked = ? WHERE name = ?", (text(now(db)), name))
            if not found.rowcount:
                raise StoreError(f"there is no participant {name!r}")
            db.execute("DELETE FROM sessions WHERE participant = (SELECT id FROM participants WHERE name = ?)", (name,))

        self.change(revoke)

    def participants(self) -> list[Participant]:
        """All, by name."""
        return [_participant(row) for row in self.all("SELECT * FROM participants ORDER BY name")]

    def participant_of(self, token: str) -> Participant | None:
        """Whose token it is; None: nobody's, or a revoked one."""
        query = "SELECT * FROM participants WHERE token = ? AND revoked IS NULL"
        rows = self.all(query, digest(token))
        return _participant(rows[0]) if rows else None

    def begin_session(self, participant: Participant) -> tuple[str, str]:
        """A session's secret, for a cookie, and its CSRF token, for forms."""
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self.transaction() as db:
            row = (digest(secret), participant.id, csrf, text(now(db)))
            db.execute("INSERT INTO sessions (id, participant, csrf, created) VALUES (?, ?, ?, ?)", row)
        return secret, csrf

    def session(self, secret: str) -> tuple[Participant, str] | None:
        """Whose session it is, and its CSRF token; None: it is over, or was none."""
        query = (
            "SELECT participants.*, sessions.csrf, sessions.created AS began FROM sessions JOIN participants "
            "ON participants.id = sessions.participant WHERE sessions.id = ? AND participants.revoked IS NULL"
        )
        rows = self.all(query, digest(secret))
        if not rows or datetime.fromisoformat(rows[0]["began"]) < self.now() - timedelta(days=30):
            return None
        return _participant(rows[0]), rows[0]["csrf"]

    def end_session(self, secret: str) -> None:
        """Ends it."""
        with self.transaction() as db:
            db.execute("DELETE FROM sessions WHERE id = ?", (digest(secret),))


def _participant(row: sqlite3.Row) -> Participant:
    return Participant(row["id"], row["name"], row["created"], row["revoked"], bool(row["baseline"]))
