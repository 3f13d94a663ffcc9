"""A live board under load, over loopback: 50 participants at once, one submission's score, 500 entries, memory.

python benchmarks/live_board.py [--submissions 1000]     the server in a process of its own; digits, whole tracks

Printed: uploads accepted a second and how long they took, until all were scored, what was lost (nothing may be); the
seconds that a judge takes; bytes of the page with 500 entries, and its first paint where playwright and a browser are;
the server's memory as submissions come.
"""

import argparse
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import requests

from mico_hub import submissions
from mico_hub.attacks import attack
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.judge import judge
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import SCORING, Store
from mico_hub.loading import open_suite
from mico_hub.suites import tracks

TRACK = "digits"
PARTICIPANTS, ENTRIES = 50, 500
PORT = 8765
URL = f"http://127.0.0.1:{PORT}"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=200, help="of which memory is measured (default: 200)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        content = whole(folder / "whole.zip")
        print(f"a whole track: {len(content) / 1e3:.0f} kB, dev and final, {PARTICIPANTS} participants")
        (folder / "board.toml").write_text("daily = 100000\ntotal = 100000\nminutely = 100000\n")
        command = ["board", "serve", "--rules", "board.toml", "--port", f"{PORT}", "--judges", "2"]
        server = subprocess.Popen([sys.executable, "-m", "mico_hub.cli", *command], cwd=folder)
        try:
            store = Store(folder / "board.sqlite") if wait_for(server) else None
            if store is None:
                raise SystemExit("the server did not start")
            at_once(store, content)
            one(store, folder / "whole.zip")
            page(store)
            memory(store, server.pid, content, asked.submissions)
            store.close()
        finally:
            server.terminate()
            server.wait()


def whole(path: Path) -> bytes:
    """A whole submission."""
    suites = [open_suite(suite.name) for suite in tracks()[TRACK]]
    found = {
        (suite, split): attack("loss", suite.split(split), suite.train)
        for suite in suites
        for split in ("dev", "final")
    }
    submissions.write(path, found)
    return path.read_bytes()


def wait_for(server: "subprocess.Popen[bytes]") -> bool:
    """Whether it answers."""
    while server.poll() is None:
        try:
            return requests.get(URL, timeout=60).ok
        except requests.ConnectionError:
            time.sleep(0.1)
    return False


def send(token: str, content: bytes) -> str:
    """Submits; gives the number."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/zip"}
    answer = requests.post(
        f"{URL}/api/submissions", data=content, params={"track": TRACK}, headers=headers, timeout=600
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def until_scored(store: Store) -> None:
    """Waits for all."""
    season = store.season(TRACK)
    while any(each.state in ("waiting", SCORING) for each in store.submissions(season.id)):
        time.sleep(0.2)


def at_once(store: Store, content: bytes) -> None:
    """All participants submit at the same moment."""
    until_scored(store)  # the baselines
    tokens = [store.add_participant(f"participant {number}") for number in range(PARTICIPANTS)]
    seconds: list[float] = []
    numbers: list[str] = []
    together = threading.Barrier(PARTICIPANTS)

    def work(token: str) -> None:
        together.wait()
        started = time.perf_counter()
        numbers.append(send(token, content))
        seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=work, args=(token,)) for token in tokens]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accepted = time.perf_counter() - started
    until_scored(store)
    done = time.perf_counter() - started
    season = store.season(TRACK)
    scored = {each.id for each in store.submissions(season.id) if each.state == "scored"}
    slowest = statistics.quantiles(seconds, n=100, method="inclusive")[98]
    print(
        f"at once: {PARTICIPANTS / accepted:.0f} accepted a second, median {statistics.median(seconds):.2f} s, "
        f"99th percentile {slowest:.2f} s; all scored after {done:.1f} s; lost {len(set(numbers) - scored)}"
    )


def one(store: Store, path: Path) -> None:
    """What a judge takes for one submission when nothing else runs."""
    wanted = Board(store, Rules()).on(TRACK).wanted
    taken = []
    for _ in range(10):
        started = time.perf_counter()
        verdict = judge(path, wanted)
        taken.append(time.perf_counter() - started)
        if verdict.scores is None:
            raise SystemExit(f"not scored: {verdict.problems}")
    print(
        f"one submission, 3 suites: median {statistics.median(taken):.2f} s, at most {max(taken):.2f} s of {len(taken)}"
    )


def page(store: Store) -> None:
    """The page with many entries."""
    season = store.season(TRACK)
    told = {suite.name: {"TPR_FPR_1000": 0.1234} for suite in tracks()[TRACK]}
    about = {
        "title": "an attack",
        "threat_model": "black-box",
        "tags": [],
        "code": "https://x.org/code",
        "write_up": "",
    }
    db = sqlite3.connect(store.path)  # past the server, whose judges would take them
    for number in range(ENTRIES):
        store.add_participant(f"entry {number}")
        db.execute(
            "INSERT INTO submissions (id, season, participant, received, size, sha256, about, state, told, mean, bits) "
            "SELECT ?, ?, id, ?, 1, '', ?, 'scored', ?, ?, '{}' FROM participants WHERE name = ?",
            (
                f"entry{number}", season.id, store.now().isoformat(), json.dumps(about), json.dumps(told),
                0.1 + number / 10_000, f"entry {number}",
            ),
        )  # fmt: skip
        db.commit()
    db.close()
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        answer = requests.get(URL, timeout=60)
        taken.append(time.perf_counter() - started)
    rows = answer.text.count("<tr")
    print(
        f"page: {rows} rows, {len(answer.content) / 1e3:.0f} kB, answered in {statistics.median(taken):.2f} s{paint()}"
    )


def paint() -> str:
    """Seconds to the first paint in a browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return ""
    if browser is None:
        return ""
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = opened.new_page()
        shown.goto(URL)
        asked = "performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)"
        while not (found := shown.evaluate(asked)):
            time.sleep(0.05)
        first = found[0]
        opened.close()
    return f", first paint after {first / 1e3:.2f} s"


def memory(store: Store, pid: int, content: bytes, number: int) -> None:
    """The server's memory as submissions come, one after the other; they are scored meanwhile."""
    token = store.add_participant("many")
    process = psutil.Process(pid)
    seen = [process.memory_info().rss / 1e6]
    for turn in range(number):
        send(token, content)
        if (turn + 1) % max(1, number // 10) == 0:
            seen.append(process.memory_info().rss / 1e6)
    print(f"memory over {number:,} submissions, MB: {', '.join(f'{each:.0f}' for each in seen)}")


if __name__ == "__main__":
    main()
