"""The store of a live board: limits, servers that die, clocks that jump, disks that are full."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fresh
import pytest

from mico_hub.boards.live import archive
from mico_hub.boards.live.answers import Answer, Told
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import NotClaimedError, Participant, RefusedError, Season, Store, StoreError
from mico_hub.boards.live.store import database as store_module
from mico_hub.cache import DiskError

ABOUT = {"title": "mine", "threat_model": "black-box", "tags": [], "code": "", "write_up": ""}
ANSWER = Answer({"digits_hi": {"TPR_FPR_1000": 0.2}}, 0.2, {"digits_hi": 12.3})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "board.sqlite")
    yield made
    made.close()


def begun(store: Store, name: str = "alice") -> tuple[Season, Participant]:
    """A season and a participant."""
    try:
        season = store.season("digits")
    except KeyError:
        season = store.add_season("digits", "mico", "suites", {"digits_hi": "f" * 64})
    found = store.participant_of(store.add_participant(name))
    assert found is not None
    return season, found


def scored(store: Store, number: str, answer: Answer = ANSWER) -> None:
    """Claims what waits, until that one is claimed, and keeps an answer."""
    while (claimed := store.claim()) is not None:
        store.tell(claimed.id, ["dev"], lambda _: answer).result()
        if claimed.id == number:
            return


def at_once(work: Callable[[], None]) -> None:
    """Runs it in four threads."""
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Clock(datetime):
    """A clock that a test sets."""

    at = datetime(2027, 1, 1, 23, 0, tzinfo=UTC)

    @classmethod
    def now(cls, _: Any = None) -> datetime:  # type: ignore[override]
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "at", datetime(2027, 1, 1, 23, 0, tzinfo=UTC))
    monkeypatch.setattr(store_module, "datetime", Clock)
    return Clock


def test_limits_are_a_day_in_utc_and_in_all(store: Store, clock: type[Clock]) -> None:
    season, alice = begun(store)
    rules = Rules(daily=2, total=3, minutely=100)
    for left in (2, 1):
        assert store.left(rules, season, alice) == (left, left + 1)
        store.accept(rules, season, alice, b"x", ABOUT)
    with pytest.raises(RefusedError, match="2 submissions today, 2 are allowed; the next at 00:00 UTC"):
        store.accept(rules, season, alice, b"x", ABOUT)
    _, bob = begun(store, "bob")
    store.accept(rules, season, bob, b"x", ABOUT)  # whose limit is another
    clock.at += timedelta(hours=1)
    store.accept(rules, season, alice, b"x", ABOUT)
    assert store.left(rules, season, alice) == (0, 0)
    clock.at += timedelta(days=1)
    with pytest.raises(RefusedError, match="3 submissions, 3 are allowed in all"):
        store.accept(rules, season, alice, b"x", ABOUT)
    assert len(list(store.uploads.glob("*.zip"))) == 4


def test_what_is_refused_counts_against_no_limit_and_is_gone(store: Store, clock: type[Clock]) -> None:
    season, alice = begun(store)
    rules = Rules(daily=1, total=1)
    for _ in range(3):
        number = store.accept(rules, season, alice, b"x", ABOUT).id
        claimed = store.claim()
        assert claimed is not None
        store.refuse(number, ["model_3: missing"])
        assert store.submission(number).problems == ("model_3: missing",)
        clock.at += timedelta(minutes=1)
    assert not list(store.uploads.glob("*.zip"))
    assert store.counting(season.id, "last") == []
    scored(store, store.accept(rules, season, alice, b"x", ABOUT).id)
    with pytest.raises(RefusedError):
        store.accept(rules, season, alice, b"x", ABOUT)


def test_uploads_are_bounded_in_a_minute_whatever_becomes_of_them(store: Store, clock: type[Clock]) -> None:
    season, alice = begun(store)
    rules = Rules(minutely=3)
    for _ in range(3):
        store.accept(rules, season, alice, b"x", ABOUT)
        claimed = store.claim()
        assert claimed is not None
        store.refuse(claimed.id, ["no"])
    with pytest.raises(RefusedError, match="3 uploads within a minute, 3 are allowed: wait a minute"):
        store.accept(rules, season, alice, b"x", ABOUT)
    clock.at += timedelta(seconds=61)
    store.accept(rules, season, alice, b"x", ABOUT)


def test_a_clock_that_is_put_back_gives_no_day_twice_and_puts_off_no_deadline(store: Store, clock: type[Clock]) -> None:
    season, alice = begun(store)
    rules = Rules(daily=1, minutely=100, deadline=datetime(2027, 1, 2, 12, tzinfo=UTC))
    store.accept(rules, season, alice, b"x", ABOUT)
    clock.at = datetime(2027, 1, 2, 11, tzinfo=UTC)
    store.accept(rules, season, alice, b"x", ABOUT)
    clock.at = datetime(2026, 12, 1, tzinfo=UTC)
    with pytest.raises(RefusedError, match="1 submissions today"):
        store.accept(rules, season, alice, b"x", ABOUT)
    _, bob = begun(store, "bob")
    assert store.accept(rules, season, bob, b"x", ABOUT).received.startswith("2027-01-02T11")
    clock.at = datetime(2027, 1, 2, 12, tzinfo=UTC)
    with pytest.raises(RefusedError, match="the deadline was 2027-01-02 12:00 UTC"):
        store.accept(rules, season, bob, b"x", ABOUT)


def test_a_closed_phase_and_a_revoked_token_accept_nothing(store: Store) -> None:
    season, alice = begun(store)
    store.revoke("alice")
    with pytest.raises(RefusedError, match="this token was revoked"):
        store.accept(Rules(), season, alice, b"x", ABOUT)
    _, bob = begun(store, "bob")
    store.set_phase(season.id, "dev", "closed", {"report.html": ("text/html", b"<p>")})
    with pytest.raises(RefusedError, match="the dev phase is closed"):
        store.accept(Rules(), season, bob, b"x", ABOUT)
    assert store.report(season.id, "dev", "report.html") == ("text/html", b"<p>")
    assert not list(store.uploads.glob("*.zip"))


def test_tokens_and_sessions_are_kept_as_digests_alone(store: Store) -> None:
    token = store.add_participant("alice")
    alice = store.participant_of(token)
    assert alice is not None
    secret, csrf = store.begin_session(alice)
    content = store.path.read_bytes()
    assert token.encode() not in content
    assert secret.encode() not in content
    assert store.session(secret) == (alice, csrf)
    assert store.session(secret[:-1]) is None
    store.revoke("alice")
    assert store.session(secret) is None
    assert store.participant_of(token) is None
    for name in ("alice", "", " x", "a\nb", "x" * 61):
        with pytest.raises(StoreError):
            store.add_participant(name)
    with pytest.raises(StoreError, match="there is no participant 'bob'"):
        store.revoke("bob")
    assert store.path.stat().st_mode & 0o077 == 0
    assert store.uploads.stat().st_mode & 0o077 == 0


def test_the_last_or_the_best_counts(store: Store) -> None:
    season, alice = begun(store)
    last_told: list[Told] = []

    def tell(mean: float, last: Told) -> Answer:
        last_told.append(last)
        return Answer({"s": {"TPR_FPR_1000": mean}}, mean, {"s": 1.0})

    for mean in (0.2, 0.4, 0.4, 0.3):
        store.accept(Rules(), season, alice, b"x", ABOUT)
        claimed = store.claim()
        assert claimed is not None
        store.tell(claimed.id, ["dev"], partial(tell, mean)).result()
    every = store.submissions(season.id)
    assert [each.id for each in store.counting(season.id, "last")] == [every[3].id]
    assert [each.id for each in store.counting(season.id, "best")] == [every[1].id]
    assert last_told == [{}, *(each.told for each in every[:3])]
    assert store.bits(season.id) == store.bits(season.id, "alice") == {"s": 4.0}
    assert store.bits(season.id, "bob") == {}


def test_two_servers_share_the_work_and_what_a_dead_one_had_is_done_by_another(store: Store, tmp_path: Path) -> None:
    season, alice = begun(store)
    numbers = [store.accept(Rules(), season, alice, b"x", ABOUT).id for _ in range(4)]
    code = """
        import sys, time
        from pathlib import Path
        from mico_hub.boards.live.store import Store
        store = Store(Path(sys.argv[1]))
        print(store.claim().id, store.claim().id, flush=True)
        time.sleep(600)
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(store.path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    theirs = other.stdout.readline().split()
    claimed = store.claim()
    assert claimed is not None
    assert theirs == numbers[:2]
    assert claimed.id == numbers[2]
    assert store.release_dead() == 0  # it lives
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert store.release_dead() == 2
    assert {each.id for each in iter(store.claim, None)} == {*theirs, numbers[3]}


def test_a_submission_is_claimed_once_whoever_asks(store: Store) -> None:
    season, alice = begun(store)
    rules = Rules(daily=100, minutely=100)
    numbers = {store.accept(rules, season, alice, b"x", ABOUT).id for _ in range(30)}
    found: list[str] = []

    def work() -> None:
        own = Store(store.path)
        while (claimed := own.claim()) is not None:
            found.append(claimed.id)
        own.close()

    at_once(work)
    assert len(found) == 30
    assert set(found) == numbers


def test_limits_hold_for_those_who_ask_at_once(store: Store) -> None:
    season, alice = begun(store)
    rules, kept, refused = Rules(daily=5, minutely=100), [], []

    def work() -> None:
        own = Store(store.path)
        for _ in range(5):
            try:
                kept.append(own.accept(rules, season, alice, b"x", ABOUT).id)
            except RefusedError as error:
                refused.append(error)
        own.close()

    at_once(work)
    assert (len(kept), len(refused)) == (5, 15)
    assert len(list(store.uploads.glob("*.zip"))) == 5


KILLED = """
import os, random, sys
from pathlib import Path
from mico_hub.boards.live.answers import Answer, Told
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import Store
store = Store(Path(sys.argv[1]))
season, (alice,) = store.season("digits"), store.participants()
rules = Rules(daily=10**6, total=10**6, minutely=10**6)
while True:
    store.release_dead()
    content = os.urandom(200_000)
    kept = store.accept(rules, season, alice, content, {"title": content[:4].hex()})
    os.write(1, f"{kept.id}\\n".encode())
    claimed = store.claim()
    if claimed is not None and random.random() < 0.5:
        store.tell(claimed.id, ["dev"], lambda _: Answer({"s": {"TPR_FPR_1000": 0.5}}, 0.5, {"s": 1.0})).result()
"""


@pytest.mark.long
def test_no_accepted_submission_is_lost_and_none_is_half_there_though_servers_are_killed(
    store: Store, tmp_path: Path
) -> None:
    """100 kills of two servers at any moment; what one said was kept is there, and whole."""
    season, _ = begun(store)
    said: set[str] = set()
    running = [fresh.start("-c", KILLED, store.path, cwd=tmp_path) for _ in range(2)]
    for turn in range(100):
        victim = running[turn % 2]
        while victim.poll() is None and not victim.printed:
            time.sleep(0.005)
        time.sleep(0.002 * (turn % 7))
        victim.send_signal(signal.SIGKILL)
        ended = victim.wait()
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        said |= {line for line in ended.stdout.splitlines() if len(line) == 16}
        if turn < 98:
            running[turn % 2] = fresh.start("-c", KILLED, store.path, cwd=tmp_path)
    there = {each.id: each for each in store.submissions(season.id)}
    assert len(said) >= 100
    assert said <= there.keys()
    for each in there.values():
        content = store.upload(each.id).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each.sha256
        assert each.about["title"] == content[:4].hex()
        assert each.state in ("waiting", "scoring", "scored")
        assert (each.mean is not None) == (each.state == "scored")
    store.release_dead()
    for claimed in iter(store.claim, None):
        store.tell(claimed.id, ["dev"], lambda _: ANSWER).result()
    assert {each.state for each in store.submissions(season.id)} == {"scored"}


def test_a_full_disk_keeps_nothing_and_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    season, alice = begun(store)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="full") as caught:
        store.accept(Rules(), season, alice, b"x", ABOUT)
    assert type(caught.value).__name__ == "DiskError"
    assert store.submissions(season.id) == []
    assert not list(store.uploads.glob("*.zip"))


def test_another_version_and_another_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.sqlite"
    made = Store(path)
    made.close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="of version 99, this mico-hub knows 1; install a newer one"):
        Store(path)
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a board's store"):
        Store(other)
    assert other.read_bytes() == b"no database at all" * 100


def test_a_backup_is_all_of_it(store: Store, tmp_path: Path) -> None:
    season, alice = begun(store)
    token = store.add_participant("bob")
    kept = store.accept(Rules(), season, alice, b"content", ABOUT)
    scored(store, kept.id)
    refused = store.accept(Rules(), season, alice, b"other", ABOUT)
    assert store.claim() is not None
    store.refuse(refused.id, ["no"])
    out = tmp_path / "backup.zip"
    assert archive.backup(store, out) == 1
    assert out.stat().st_mode & 0o777 == 0o600
    assert archive.restore(out, str(tmp_path / "new" / "board.sqlite")) == 1
    again = Store(tmp_path / "new" / "board.sqlite")
    assert again.submissions(season.id) == store.submissions(season.id)
    assert again.upload(kept.id).read_bytes() == b"content"
    assert again.participant_of(token) is not None
    again.close()
    with pytest.raises(StoreError, match="there is a board already"):
        archive.restore(out, str(tmp_path / "new" / "board.sqlite"))
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(StoreError, match="not a board's backup"):
        archive.restore(tmp_path / "bad.zip", str(tmp_path / "third.sqlite"))
    assert not (tmp_path / "third.sqlite").exists()


def test_participants_take_turns(store: Store) -> None:
    season, alice = begun(store)
    _, bob = begun(store, "bob")
    rules = Rules(minutely=100)
    first = [store.accept(rules, season, alice, b"x", ABOUT).id for _ in range(3)]
    last = store.accept(rules, season, bob, b"x", ABOUT).id
    claimed = [each.id for each in iter(store.claim, None)]
    assert claimed.index(last) == 1  # not after all of alice's
    assert [each for each in claimed if each != last] == first


def test_what_a_limit_refuses_is_not_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    season, alice = begun(store)
    store.accept(Rules(daily=1), season, alice, b"x", ABOUT)
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it was written"))
    with pytest.raises(RefusedError):
        store.accept(Rules(daily=1), season, alice, b"x", ABOUT)


def test_what_is_refused_during_a_backup_is_refused_in_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season, alice = begun(store)
    kept = store.accept(Rules(), season, alice, b"content", ABOUT)
    copied = Store.backup

    def then_refused(self: Store, path: Path) -> None:
        copied(self, path)
        assert self.claim() is not None
        self.refuse(kept.id, ["no"])

    monkeypatch.setattr(Store, "backup", then_refused)
    assert archive.backup(store, tmp_path / "backup.zip") == 0
    assert archive.restore(tmp_path / "backup.zip", str(tmp_path / "again.sqlite")) == 0
    again = Store(tmp_path / "again.sqlite")
    assert again.submission(kept.id).state == "refused"
    again.close()


def test_only_what_was_claimed_is_refused(store: Store) -> None:
    season, alice = begun(store)
    kept = store.accept(Rules(), season, alice, b"content", ABOUT)
    for asked in (store.refuse(kept.id, ["no"]), store.tell(kept.id, ["dev"], lambda _: ANSWER)):
        assert isinstance(asked.exception(), NotClaimedError)
    assert store.submission(kept.id).state == "waiting"
    assert store.upload(kept.id).read_bytes() == b"content"


def test_a_database_without_room_is_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    season, alice = begun(store)
    db = sqlite3.connect(store.path)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.close()
    connect = sqlite3.connect

    def small(*arguments: Any, **more: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*arguments, **more)
        made.execute(f"PRAGMA max_page_count = {pages}")
        return made

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(DiskError, match="the disk is full"):
        store.accept(Rules(), season, alice, b"x", ABOUT | {"title": "x" * 50_000})
    monkeypatch.undo()
    assert len(list(store.uploads.glob("*.zip"))) == len(store.submissions(season.id))
