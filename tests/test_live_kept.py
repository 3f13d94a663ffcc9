"""A live board that is kept in a private repository of a Hub: nothing is told that is not kept there first."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fresh
import pytest
import requests
from huggingface_hub import constants
from loopback_hub import LoopbackHub
from test_live_board import packed

from mico_hub.boards.live import archive
from mico_hub.boards.live.answers import Answer
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import (
    Participant,
    RefusedError,
    Season,
    Store,
    StoreError,
    keeper,
    open_store,
    repository,
)
from mico_hub.cli import main
from mico_hub.sources import retries
from mico_hub.sources.retries import RequestError

BOARD = "org/board"
DATA = f"hf://datasets/{BOARD}"
COMMIT = r"POST /api/datasets/org/board/commit"
ABOUT = {"title": "mine", "threat_model": "black-box", "tags": [], "code": "", "write_up": ""}
ANSWER = Answer({"digits_hi": {"TPR_FPR_1000": 0.2}}, 0.2, {"digits_hi": 12.3})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub that this process is logged in at, with an empty private repository."""
    with LoopbackHub() as running:
        running.add("dataset", BOARD, {"README.md": b"a board"}, private=True)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(retries, "PAUSES", (0.01, 0.01, 0.01))
        monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.1)
        for name, value in (("HF_TOKEN", running.token), ("TMPDIR", str(tmp_path))):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tempfile.tempdir", None)
        yield running


@pytest.fixture
def opened(hub: LoopbackHub) -> Iterator[Callable[[], Store]]:
    """Opens the board, as often as it is called."""
    stores: list[Store] = []

    def open_it(**more: bool) -> Store:
        stores.append(open_store(DATA, new=True, **more))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


def rows(hub: LoopbackHub, query: str) -> list[Any]:
    """Of the database as it is kept."""
    db = sqlite3.connect(":memory:")
    with closing(db):
        db.deserialize(hub.files("dataset", BOARD)["board.sqlite"])
        return db.execute(query).fetchall()


def begun(store: Store, name: str = "alice") -> tuple[Season, Participant]:
    season = store.add_season("digits", "mico", "", {"digits_hi": "f" * 64})
    found = store.participant_of(store.add_participant(name))
    assert found is not None
    return season, found


def test_what_is_kept_has_no_session_and_another_opens_it(
    hub: LoopbackHub, opened: Callable[[], Store], tmp_path: Path
) -> None:
    store = opened()
    token = store.add_participant("alice")
    alice = store.participant_of(token)
    assert alice is not None
    secret, csrf = store.begin_session(alice)
    store.add_participant("bob")
    assert store.session(secret) == (alice, csrf)
    assert rows(hub, "SELECT name FROM participants") == [("alice",), ("bob",)]
    assert rows(hub, "SELECT * FROM sessions") == []
    assert token.encode() not in hub.files("dataset", BOARD)["board.sqlite"]
    assert opened().participant_of(token) == alice
    for each in tmp_path.glob("mico-board-*"):
        assert each.stat().st_mode & 0o077 == 0
        assert (each / "board.sqlite").stat().st_mode & 0o077 == 0


def test_nothing_stays_on_the_machine(hub: LoopbackHub, tmp_path: Path) -> None:
    store = open_store(DATA, new=True)
    store.add_participant("alice")
    store.close()
    assert not list(tmp_path.glob("mico-board-*"))


def test_a_public_repository_and_one_that_is_not_there_are_refused(hub: LoopbackHub) -> None:
    hub.add("dataset", "org/public", {"README.md": b""})
    with pytest.raises(StoreError, match="org/public: a public repository"):
        open_store("hf://datasets/org/public", new=True)
    with pytest.raises(RequestError, match="no such repository"):
        open_store("hf://datasets/org/nowhere", new=True)
    with pytest.raises(StoreError, match="expected a file or hf://datasets/ORG/NAME, got 'hf://org/board'"):
        open_store("hf://org/board", new=True)
    with pytest.raises(StoreError, match="no such board"):
        open_store(DATA)


@pytest.mark.parametrize(("status", "after"), [(503, True), (0, True), (503, False), (0, False)])
def test_an_answer_that_is_lost_changes_nothing_twice(
    hub: LoopbackHub, opened: Callable[[], Store], status: int, after: bool
) -> None:
    store = opened()
    store.add_participant("alice")
    hub.fail(COMMIT, 1, status, after=after)
    store.add_participant("bob")
    assert rows(hub, "SELECT name FROM participants") == [("alice",), ("bob",)]


@pytest.mark.parametrize("done", [False, True])
def test_what_was_not_kept_is_not_seen_and_what_is_not_known_is_looked_up(
    hub: LoopbackHub, opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    store = opened()
    season, alice = begun(store)
    monkeypatch.setattr(repository, "RETRIES", 0)
    hub.fail(COMMIT, 1, after=done)
    with pytest.raises(RequestError, match="keeping the board in org/board"):
        store.accept(Rules(), season, alice, b"content", ABOUT)
    assert store.submissions(season.id) == []
    assert not list(store.uploads.glob("*.zip"))
    store.add_participant("bob")
    found = store.submissions(season.id)
    assert len(found) == done == len(rows(hub, "SELECT * FROM submissions"))
    for each in found:
        assert store.upload(each.id).read_bytes() == b"content"


def test_a_change_is_seen_only_when_it_is_kept(
    hub: LoopbackHub, opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a commit is on its way pages are answered, with what was before."""
    store = opened()
    season, alice = begun(store)
    going, go = threading.Event(), threading.Event()
    push = repository.Repository.push

    def waits(self: repository.Repository, *arguments: Any) -> str:
        going.set()
        assert go.wait(30)
        return push(self, *arguments)

    monkeypatch.setattr(repository.Repository, "push", waits)
    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(store.accept, Rules(), season, alice, b"x", ABOUT)
        assert going.wait(30)
        assert store.submissions(season.id) == []
        assert store.left(Rules(), season, alice) == (30, 1000)
        assert not accepted.done()
        go.set()
        number = accepted.result().id
    assert rows(hub, "SELECT id FROM submissions") == [(number,)]
    assert hub.files("dataset", BOARD)[f"uploads/{number}.zip"] == b"x"


def test_changes_that_come_together_are_one_commit_and_limits_hold(
    hub: LoopbackHub, opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    season, alice = begun(store)
    before = len(hub.repositories["dataset", BOARD].revisions)
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(store.accept, Rules(daily=20), season, alice, b"x", ABOUT) for _ in range(30)]
    kept = [each.result().id for each in asked if each.exception() is None]
    assert len(kept) == 20 == len(rows(hub, "SELECT * FROM submissions"))
    commits = len(hub.repositories["dataset", BOARD].revisions) - before
    assert commits < 10
    assert {f"uploads/{each}.zip" for each in kept} == {
        name for name in hub.files("dataset", BOARD) if name.startswith("uploads/")
    }


def test_commits_are_spaced_out_when_many_came(
    hub: LoopbackHub, opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AT_ONCE", 3)
    monkeypatch.setattr(keeper, "SECONDS_EACH", 0.5)
    store = opened()
    began = time.monotonic()
    for number in range(7):
        store.add_participant(f"participant {number}")
    assert time.monotonic() - began >= 4 * 0.5 - 0.1


def test_what_a_hub_that_has_enough_says_is_passed_on(hub: LoopbackHub, opened: Callable[[], Store]) -> None:
    store = opened()
    hub.fail(COMMIT, 1, 429)
    with pytest.raises(RequestError, match="org/board takes no more changes for now"):
        store.add_participant("alice")
    store.add_participant("alice")


def test_two_who_change_it_at_once_lose_nothing(hub: LoopbackHub, opened: Callable[[], Store]) -> None:
    """Each has its own copy; the repository tells one of them to look again."""
    first = opened()
    begun(first)
    second = opened()

    def add(store: Store, name: str) -> None:
        for number in range(5):
            store.add_participant(f"{name} {number}")

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(add, first, "first"), pool.submit(add, second, "second")]:
            done.result()
    expected = {"alice", *(f"{name} {number}" for name in ("first", "second") for number in range(5))}
    assert {name for (name,) in rows(hub, "SELECT name FROM participants")} == expected
    with pytest.raises(StoreError, match="there is a participant"):  # though this copy has not seen it
        second.add_participant("first 4")


def test_sessions_and_what_is_being_scored_outlive_others_changes(hub: LoopbackHub, opened: Any) -> None:
    server = opened(look=True)
    season, alice = begun(server)
    token = server.add_participant("carol")
    carol = server.participant_of(token)
    assert carol is not None
    secret, other = server.begin_session(alice)[0], server.begin_session(carol)[0]
    server.accept(Rules(), season, alice, b"x", ABOUT)
    claimed = server.claim()
    assert claimed is not None
    command = opened()
    assert command.submission(claimed.id).state == "waiting"
    command.add_participant("bob")
    command.revoke("carol")
    deadline = time.monotonic() + 30
    while server.participant_of(token) is not None:  # it looks by itself
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert {each.name for each in server.participants()} == {"alice", "bob", "carol"}
    assert server.session(secret) is not None
    assert server.session(other) is None
    assert server.submission(claimed.id).state == "scoring"
    server.tell(claimed.id, ["dev"], lambda _: ANSWER).result()
    assert rows(hub, "SELECT state, mean FROM submissions") == [("scored", 0.2)]


def test_what_is_refused_is_removed_there_too(hub: LoopbackHub, opened: Callable[[], Store]) -> None:
    store = opened()
    season, alice = begun(store)
    number = store.accept(Rules(), season, alice, b"x", ABOUT).id
    assert store.claim() is not None
    store.refuse(number, ["no"]).result()
    assert f"uploads/{number}.zip" not in hub.files("dataset", BOARD)
    assert not list(store.uploads.glob("*.zip"))


def test_a_newer_version_there_is_refused(hub: LoopbackHub, opened: Callable[[], Store], tmp_path: Path) -> None:
    store = opened()
    store.add_participant("alice")
    path = tmp_path / "newer.sqlite"
    path.write_bytes(hub.files("dataset", BOARD)["board.sqlite"])
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    hub.add("dataset", BOARD, {"board.sqlite": path.read_bytes()})
    with pytest.raises(StoreError, match="of version 99"):
        store.add_participant("bob")
    with pytest.raises(StoreError, match="of version 99"):
        open_store(DATA)


def test_a_backup_becomes_a_board_in_a_repository(
    hub: LoopbackHub, opened: Callable[[], Store], tmp_path: Path
) -> None:
    local = Store(tmp_path / "board.sqlite")
    season, alice = begun(local)
    number = local.accept(Rules(), season, alice, b"content", ABOUT).id
    archive.backup(local, tmp_path / "backup.zip")
    local.close()
    assert archive.restore(tmp_path / "backup.zip", DATA) == 1
    store = opened()
    assert store.upload(number).read_bytes() == b"content"
    archive.backup(store, tmp_path / "again.zip")
    with pytest.raises(StoreError, match="there is a board already"):
        archive.restore(tmp_path / "again.zip", DATA)


KILLED = """
import random, sys
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import open_store
store = open_store("hf://datasets/org/board")
season, (alice,) = store.season("digits"), store.participants()
rules = Rules(daily=10**6, total=10**6, minutely=10**6)
while True:
    content = random.randbytes(50)
    number = store.accept(rules, season, alice, content, {"title": content.hex()}).id
    print(number, content.hex(), flush=True)
"""


def environment(hub: LoopbackHub, folder: Path) -> dict[str, str]:
    cache = {"MICO_HUB_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    return {**hub.environment(folder), "HF_TOKEN": hub.token, **cache}


@pytest.mark.long
def test_no_accepted_submission_is_lost_though_its_server_is_killed(
    hub: LoopbackHub, opened: Callable[[], Store], tmp_path: Path
) -> None:
    begun(opened())
    said: dict[str, str] = {}
    for turn in range(12):
        running = fresh.start("-c", KILLED, cwd=tmp_path, env=environment(hub, tmp_path))
        while len(running.printed.splitlines()) < 1 + turn % 3:
            assert running.poll() is None, running.wait().stderr
            time.sleep(0.01)
        time.sleep(0.013 * turn)
        running.send_signal(signal.SIGKILL)
        said |= dict(line.split() for line in running.wait().stdout.splitlines() if len(line.split()) == 2)
    files = hub.files("dataset", BOARD)
    kept = {number: json.loads(about)["title"] for number, about in rows(hub, "SELECT id, about FROM submissions")}
    assert len(said) >= 12
    assert said.items() <= kept.items()
    assert {number: files[f"uploads/{number}.zip"].hex() for number in kept} == kept


def add_suites(hub: LoopbackHub, published: Path, trained: Path, more: Mapping[str, bytes]) -> None:
    """The suites in a public repository; their truth, and more, in the board's."""
    hub.add("dataset", "org/mico", published)
    paths = [path for path in trained.glob("*/private/*") if path.is_file()]
    truth = {f"truth/{path.relative_to(trained).as_posix()}": path.read_bytes() for path in paths}
    hub.add("dataset", BOARD, {**truth, **more}, private=True)


class Space:
    """A server on a machine of its own, which is gone when it ends."""

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self._hub, self._folder = hub, folder
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._port = int(taken.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self.machines = 0

    def start(self) -> None:
        machine = self._folder / f"machine-{self.machines}"
        machine.mkdir()
        self.machines += 1
        asked = ["board", "serve", "--data", DATA, "--source", "org/mico", "--port", str(self._port)]
        variables = environment(self._hub, machine) | {"SPACE_ID": "org/space"}
        self._running = fresh.start("-m", "mico_hub", *asked, cwd=machine, env=variables)
        self.until(self._answers)

    def command(self, *asked: str) -> "subprocess.CompletedProcess[str]":
        """From the maintainer's machine."""
        variables = environment(self._hub, self._folder)
        return fresh.run("-m", "mico_hub", "board", *asked, "--data", DATA, cwd=self._folder, env=variables)

    def _answers(self) -> bool:
        try:
            return self.get("/").ok
        except requests.ConnectionError:
            return False

    def end(self, number: int) -> int:
        self._running.send_signal(number)
        return self._running.wait().returncode

    def until(self, found: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not found():
            said = (Path(self._running.scratch.name) / "err").read_text()[-3000:]
            assert self._running.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, headers=headers, timeout=60)

    def board(self) -> dict[str, Any]:
        return dict(self.get("/api/boards/digits").json())

    def send(self, token: str, content: bytes) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(f"{self.url}/api/submissions?track=digits", data=content, headers=headers, timeout=60)


@pytest.mark.long
def test_a_board_outlives_its_machine_and_its_maintainers_reach_it(
    hub: LoopbackHub, published: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a Space that is stopped and begins again elsewhere, with commands from another machine meanwhile."""
    add_suites(hub, published, trained, {"board.toml": b'title = "A kept board"\n'})
    space, right = Space(hub, tmp_path), packed(published)
    space.start()
    assert main(["board", "participants", "add", "alice", "--data", DATA]) == 0
    token = capsys.readouterr().out.strip()
    own = "/api/submissions?track=digits"
    space.until(lambda: space.get(own, Authorization=f"Bearer {token}").ok)
    accepted = space.send(token, right)
    assert accepted.status_code == 202
    space.end(signal.SIGKILL)
    assert f"uploads/{accepted.json()['id']}.zip" in hub.files("dataset", BOARD)
    space.start()
    space.until(lambda: any(row["participant"] == "alice" for row in space.board()["rows"]))
    assert len(space.board()["rows"]) == 3
    framed = space.get("/", **{"Sec-Fetch-Dest": "iframe"})
    assert "frame-ancestors https://huggingface.co" in framed.headers["Content-Security-Policy"]
    assert "open the board in a tab of its own" in framed.text
    assert "A kept board" in framed.text
    hub.fail(COMMIT, 50)
    assert space.send(token, right).status_code == 503
    hub._planned.clear()
    assert space.command("phase", "close", "digits").returncode == 0
    space.until(lambda: space.board()["dev"] == "closed")
    assert space.send(token, right).status_code == 409
    assert space.command("phase", "open", "digits").returncode == 0
    space.until(lambda: space.board()["final"] == "opened")
    for name in ("report.html", "scores.json", "opening-digits_hi.json"):
        assert space.get(f"/boards/digits/1/final/{name}").ok
    assert space.end(signal.SIGINT) == 0
    assert not list(tmp_path.glob("machine-1/mico-board-*"))


@pytest.mark.long
def test_a_board_in_a_repository_is_renewed(
    hub: LoopbackHub, published: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_suites(hub, published, trained, {})
    space = Space(hub, tmp_path)
    space.start()
    space.until(lambda: len(space.board()["rows"]) == 2)
    script = Path(__file__).parents[1] / "upload_scripts" / "renew.py"
    asked = ("digits", "--board", DATA, "--out", tmp_path / "seasons", "--models", "4/2/2")
    assert fresh.run(script, *asked, cwd=tmp_path, env=environment(hub, tmp_path)).returncode == 2
    done = fresh.run(script, *asked, "--to", "org/mico-2", cwd=tmp_path, env=environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "a fresh season, on org/mico-2@v1;" in done.stdout
    fresh_truth = tmp_path / "seasons" / "digits-2" / "suites" / "digits_hi" / "private" / "rows.parquet"
    assert hub.files("dataset", BOARD)["truth/digits_hi/private/rows.parquet"] == fresh_truth.read_bytes()
    space.until(lambda: "/boards/digits/1/final/opening-digits_hi.json" in space.get("/").text)
    assert main(["board", "participants", "add", "alice", "--data", DATA]) == 0
    token = capsys.readouterr().out.strip()
    space.until(lambda: space.get("/api/submissions?track=digits", Authorization=f"Bearer {token}").ok)
    assert space.send(token, packed(tmp_path / "seasons" / "digits-2" / "mico")).status_code == 202
    space.until(lambda: len(space.board()["rows"]) == 3)
    assert space.end(signal.SIGINT) == 0


# ---- what a hostile reader found


@pytest.mark.parametrize("status", [403, 503])
def test_a_file_that_cannot_be_asked_for_is_not_taken_for_one_that_is_not_there(
    hub: LoopbackHub, opened: Any, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a board would be begun anew over one that is there."""
    hub.add("dataset", BOARD, {"board.toml": b"daily = 2"})
    first, second = opened(), opened()
    begun(first)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.fail(r"HEAD .*/board.sqlite", 100, status)
    with pytest.raises(RequestError):
        opened()
    with pytest.raises(RequestError):
        second.add_participant("bob")  # it has to look again, and cannot
    hub._planned.clear()
    second.add_participant("bob")
    assert rows(hub, "SELECT name FROM participants") == [("alice",), ("bob",)]
    hub.fail(r"HEAD .*/board.toml", 100, status)
    with pytest.raises(RequestError):
        second.rules()


def test_a_board_that_is_removed_is_not_begun_anew_by_a_server(hub: LoopbackHub, opened: Any) -> None:
    store = opened()
    store.add_participant("alice")
    hub.repositories["dataset", BOARD].commit({"README.md": b"a board"})
    with pytest.raises(StoreError, match=r"board\.sqlite was removed"):
        store.add_participant("bob")


def test_a_change_is_a_commit_though_nothing_is_other_than_it_was(hub: LoopbackHub, opened: Any) -> None:
    first, second = opened(), opened()
    season, alice = begun(first)
    own = second.repository.head  # before all that
    with pytest.raises(repository.ChangedError):
        second.repository.push({"README.md": b"a board"}, "the same")
    assert second.repository.head == own
    first.accept(Rules(), season, alice, b"x", ABOUT)
    second.add_participant("bob")
    assert len(rows(hub, "SELECT * FROM submissions")) == 1


def test_an_answer_that_is_lost_before_somebody_elses_change_is_found(
    hub: LoopbackHub, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = opened(), opened()
    season, alice = begun(first)
    second.add_participant("bob")

    overtaken = threading.Event()

    class Waits(threading.Event):
        """Of `retry`, between its tries."""

        def wait(self, timeout: float | None = None) -> bool:
            if not overtaken.is_set():
                overtaken.set()
                second.add_participant("carol")
            return super().wait(timeout)

    first.add_participant("dave")
    with monkeypatch.context() as patch:
        patch.setattr("mico_hub.sources.retries.threading.Event", Waits)
        hub.fail(COMMIT, 1, 0, after=True)
        number = first.accept(Rules(), season, alice, b"x", ABOUT).id
    assert overtaken.is_set()
    assert rows(hub, "SELECT id FROM submissions") == [(number,)]
    assert {each.name for each in first.participants()} == {"alice", "bob", "carol", "dave"}


def test_a_hub_that_says_nothing_is_given_up(hub: LoopbackHub, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "SILENCE", 0.3)
    store = opened()
    store.add_participant("alice")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(store.repository._api, "endpoint", address)
        with pytest.raises(RequestError):
            store.add_participant("bob")
        store.close()


def test_nothing_is_asked_of_a_store_that_is_closed(hub: LoopbackHub) -> None:
    store = open_store(DATA, new=True)
    store.add_participant("alice")
    store.close()
    with pytest.raises(RequestError, match="is closed"):
        store.add_participant("bob")


def test_a_board_from_a_backup_has_no_sessions(hub: LoopbackHub, tmp_path: Path) -> None:
    local = Store(tmp_path / "board.sqlite")
    season, alice = begun(local)
    local.begin_session(alice)
    local.accept(Rules(), season, alice, b"content", ABOUT)
    assert local.claim() is not None
    archive.backup(local, tmp_path / "backup.zip")
    local.close()
    archive.restore(tmp_path / "backup.zip", DATA)
    assert rows(hub, "SELECT * FROM sessions") == []
    assert rows(hub, "SELECT state, server FROM submissions") == [("waiting", None)]


def test_what_is_sent_in_time_is_in_time(hub: LoopbackHub, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it waits to be kept."""
    store = opened()
    season, alice = begun(store)
    rules = Rules(deadline=datetime.now(UTC) + timedelta(seconds=1))
    monkeypatch.setattr(keeper.HubKeeper, "_wait", lambda _: time.sleep(1.5))
    assert store.accept(rules, season, alice, b"x", ABOUT).state == "waiting"
    with pytest.raises(RefusedError, match="the deadline was"):
        store.accept(rules, season, alice, b"x", ABOUT)


def test_two_servers_that_begin_at_once_begin_one_season(hub: LoopbackHub, opened: Any) -> None:
    first, second = opened(), opened()
    for store in (first, second):
        store.add_season("digits", "mico", "", {"digits_hi": "f" * 64})
        store.add_participant("baseline: loss", baseline=True)
    assert [each.id for each in second.seasons("digits")] == [1]
    second.add_season("digits", "mico", "", {"digits_hi": "e" * 64})
    assert [each.id for each in second.seasons("digits")] == [1, 2]


def test_a_renewal_that_is_interrupted_goes_on(
    published: Path, trained: Path, tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither opens the season that it has just begun, nor begins another."""
    from mico_hub.boards.live.board import Board
    from mico_hub.boards.live.phases import close_dev
    from upload_scripts import renew

    data = tmp_path / "board.sqlite"
    board = Board(Store(data), Rules())
    board.begin("digits", str(published), trained)
    list(board.add_baselines("digits"))
    board.score_waiting(1)
    with monkeypatch.context() as patch:  # a first interruption: between the end of dev and its reports
        patch.setattr("mico_hub.boards.live.phases._reports", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            close_dev(board, "digits")
    board.store.set_phase(1, "dev", "closed", {})  # as a kill would leave it
    board.store.close()
    arguments = ["renew.py", "digits", "--board", str(data), "--out", str(tmp_path / "seasons"), "--models", "4/2/2"]
    monkeypatch.setattr("sys.argv", arguments)
    with monkeypatch.context() as patch:  # a second one: after the season began
        patch.setattr(Board, "add_baselines", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert renew.main() == 130
    assert renew.main() == 0
    store = Store(data)
    assert [each.id for each in store.seasons("digits")] == [1, 2]
    assert [store.phase(number, split) for number in (1, 2) for split in ("dev", "final")] == [
        "closed", "opened", "open", "hidden",
    ]  # fmt: skip
    assert len(store.submissions(2)) == 2
    store.close()
