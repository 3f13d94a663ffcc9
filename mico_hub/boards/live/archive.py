"""A board as files: a backup of all of it, and what everybody may see."""

import io
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mico_hub.boards.live.board import Board
from mico_hub.boards.live.store import REFUSED, Store, StoreError
from mico_hub.boards.live.store.database import DATABASE, UPLOADS, to_be_kept
from mico_hub.boards.live.store.repository import Repository, repository_of
from mico_hub.cache import atomic_path, atomic_write
from mico_hub.release.format import canonical, stamped


def backup(store: Store, path: Path) -> int:
    """Writes the database, as it is at one moment, and the uploads that it names; how many.

    The server may go on meanwhile: an upload is on the disk before its row, and what was refused since is left out.
    """
    with tempfile.TemporaryDirectory() as scratch, atomic_path(path) as temporary:
        copy = Path(scratch) / DATABASE
        store.backup(copy)
        number = 0
        temporary.touch(mode=0o600)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in _uploads_of(copy):
                upload = store.upload(name)
                try:
                    archive.write(upload, f"{UPLOADS}/{upload.name}")
                    number += 1
                except FileNotFoundError:
                    if store.submission(name).state != REFUSED:
                        raise
                    _refuse(copy, name, store.submission(name).problems)  # meanwhile
            archive.write(copy, DATABASE)
    return number


def restore(path: Path, data: str) -> int:
    """Makes a board's data from a backup; how many submissions it has.

    Args:
        path: The backup.
        data: A file, or hf://datasets/ORG/NAME.

    Raises:
        StoreError: There is a board already, or it is no backup.
        RequestError: The repository was not reached.
    """
    name = repository_of(data)
    if name is None:
        return _restore(path, Path(data))
    repository = Repository(name)
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / DATABASE
        if repository.fetch(DATABASE, local):
            raise StoreError(f"{data}: there is a board already; name another place with --data")
        number = _restore(path, local)
        to_be_kept(local)
        uploads = {f"{UPLOADS}/{each.name}": each for each in local.with_name(f"{DATABASE}.uploads").glob("*.zip")}
        repository.push({DATABASE: local, **uploads}, "a board from a backup")
    return number


def _restore(path: Path, data: Path) -> int:
    uploads = data.with_name(f"{data.name}.uploads")
    if data.exists() or uploads.exists():
        raise StoreError(f"{data}: there is a board already; name another place with --data")
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=_made(data.parent)) as scratch:
            members = {Path(name).name: name for name in archive.namelist() if name.startswith(f"{UPLOADS}/")}
            copy = Path(scratch) / DATABASE
            copy.touch(mode=0o600)
            copy.write_bytes(archive.read(DATABASE))
            kept = Path(scratch) / UPLOADS
            kept.mkdir(mode=0o700)
            wanted = _uploads_of(copy)
            if lacking := [name for name in wanted if f"{name}.zip" not in members]:
                raise StoreError(f"{path}: expected the uploads of all submissions, {len(lacking)} are missing")
            for name in wanted:
                (kept / f"{name}.zip").write_bytes(archive.read(members[f"{name}.zip"]))
            kept.rename(uploads)
            copy.rename(data)
    except (zipfile.BadZipFile, KeyError, sqlite3.DatabaseError) as error:
        raise StoreError(f"{path}: not a board's backup: {error}") from error
    return len(wanted)


def _refuse(database: Path, name: str, problems: Sequence[str]) -> None:
    db = sqlite3.connect(database)
    try:
        query = "UPDATE submissions SET state = ?, problems = ?, server = NULL WHERE id = ?"
        db.execute(query, (REFUSED, json.dumps(list(problems)), name))
        db.commit()
    finally:
        db.close()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _uploads_of(database: Path) -> list[str]:
    db = sqlite3.connect(database)
    try:
        return [row[0] for row in db.execute("SELECT id FROM submissions WHERE state != ?", (REFUSED,))]
    finally:
        db.close()


def export(board: Board, folder: Path) -> list[str]:
    """Writes the boards, rules and phases as JSON and the boards as Parquet; nothing that a page does not show.

    Returns:
        The files' names.
    """
    rows: list[dict[str, Any]] = []
    tracks: dict[str, Any] = {}
    for track in board.present():
        on = board.on(track)
        tracks[track] = {
            "season": on.season.id,
            "started": on.season.started,
            "fingerprints": dict(on.season.fingerprints),
            "phases": {split: board.store.phase(on.season.id, split) for split in ("dev", "final")},
            "given_bits": board.given(track),
            "spent": board.spent(track),
        }
        for each in board.standings(track):
            of = each.submission
            told = {f"{suite}_{key}": value for suite, values in of.told.items() for key, value in values.items()}
            rows.append(
                {
                    "track": track, "place": each.place, "participant": of.participant, "baseline": of.baseline,
                    "received": of.received, "submission": of.id, "sha256": of.sha256, "mean": of.mean,
                    "title": of.about.get("title", ""), "threat_model": of.about.get("threat_model", ""),
                    "tags": list(of.about.get("tags", ())), "code": of.about.get("code", ""),
                    "write_up": of.about.get("write_up", ""), "told": json.loads(canonical(told)),
                }
            )  # fmt: skip
    about = {
        "title": board.rules.title, "exported": board.store.now().isoformat(), "mico_hub": version("mico-hub"),
        "answers": board.rules.answers, "counts": board.rules.counts, "tracks": tracks,
    }  # fmt: skip
    atomic_write(folder / "board.json", json.dumps(stamped({**about, "rows": rows}), indent=1).encode())
    content = io.BytesIO()
    flat = [{**row, "told": json.dumps(row["told"])} for row in rows]
    table = pa.Table.from_pylist(flat) if flat else pa.table({})
    metadata = {**(table.schema.metadata or {}), b"mico_hub": json.dumps(stamped(about)).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), content)
    atomic_write(folder / "board.parquet", content.getvalue())
    return ["board.json", "board.parquet"]
