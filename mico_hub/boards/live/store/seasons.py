"""Seasons of tracks, their phases, and the reports that phases show when they are over."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mico_hub.boards.live.store.database import Database, now, text


@dataclass(frozen=True, slots=True)
class Season:
    """A track's suites while their truth is hidden; a fresh suite begins another season."""

    id: int
    track: str
    source: str  # the published folder or repository; empty: wherever `mico` is
    truth: str  # the folder with its hidden membership; empty: the cache
    fingerprints: Mapping[str, str]
    started: str


class Seasons(Database):
    """The tables of seasons, phases and reports."""

    def add_season(
        self,
        track: str,
        source: str,
        truth: str,
        fingerprints: Mapping[str, str],
        files: Mapping[str, Path | None] | None = None,
    ) -> Season:
        """Begins a track's next season, with dev open and final hidden; one of the same suites is begun once.

        Args:
            track: The track.
            source: Where its suites are; empty: wherever `mico` is.
            truth: The folder with their hidden membership; empty: where the store has it.
            fingerprints: Suite -> its fingerprint.
            files: As of `Database.change`, to be kept with it.
        """

        def add(db: sqlite3.Connection) -> None:
            began, prints = text(now(db)), json.dumps(dict(fingerprints))
            query = "SELECT fingerprints FROM seasons WHERE track = ? ORDER BY id DESC LIMIT 1"
            if (last := db.execute(query, (track,)).fetchone()) and last["fingerprints"] == prints:
                return
            values = (track, source, truth, prints, began)
            query = "INSERT INTO seasons (track, source, truth, fingerprints, started) VALUES (?, ?, ?, ?, ?)"
            number = db.execute(query, values).lastrowid
            for split, state in (("dev", "open"), ("final", "hidden")):
                db.execute("INSERT INTO phases VALUES (?, ?, ?, ?)", (number, split, state, began))

        self.change(add, files)
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
        rows = self.all("SELECT * FROM seasons WHERE track = ? ORDER BY id", track)
        if not rows:
            raise KeyError(track)
        return [Season(**{**dict(row), "fingerprints": json.loads(row["fingerprints"])}) for row in rows]

    def phase(self, season: int, split: str) -> str:
        """`open`, `closed` (dev), `hidden` or `opened` (final)."""
        (row,) = self.all("SELECT state FROM phases WHERE season = ? AND split = ?", season, split)
        return str(row["state"])

    def set_phase(self, season: int, split: str, state: str, reports: Mapping[str, tuple[str, bytes]]) -> None:
        """Changes a phase, together with the reports that it shows from now on: name -> type and content."""

        def set_(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE phases SET state = ?, changed = ? WHERE season = ? AND split = ?",
                (state, text(now(db)), season, split),
            )
            for name, (kind, content) in reports.items():
                db.execute(
                    "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?)", (season, split, name, kind, content)
                )

        self.change(set_)

    def report(self, season: int, split: str, name: str) -> tuple[str, bytes] | None:
        """Type and content; None: there is none, or not yet."""
        query = "SELECT type, content FROM reports WHERE season = ? AND split = ? AND name = ?"
        rows = self.all(query, season, split, name)
        return (rows[0]["type"], rows[0]["content"]) if rows else None

    def reports(self, season: int, split: str) -> list[str]:
        """Names of reports."""
        query = "SELECT name FROM reports WHERE season = ? AND split = ? ORDER BY name"
        return [row["name"] for row in self.all(query, season, split)]
