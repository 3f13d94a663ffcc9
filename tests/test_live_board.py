"""A live board's server over loopback: who submits what, what is told, and what nobody is told."""

import io
import json
import re
import signal
import socket
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import pandas as pd
import pytest
import requests
from live_server import Live

import mico_hub
from mico_hub import submissions
from mico_hub.boards.live import archive, judge, phases
from mico_hub.boards.live.board import BoardError
from mico_hub.boards.live.phases import close_dev, open_final
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import Store
from mico_hub.cli import main
from mico_hub.scoring import headline_scores
from mico_hub.submissions import limits
from mico_hub.submissions.folder import files_of
from mico_hub.submissions.limits import EndedError
from mico_hub.submissions.writing import complete

NAMES = ("digits_inf", "digits_hi", "digits_lo")
XSS = "<script>alert(1)</script>"


def packed(published: Path, splits: tuple[str, ...] = ("dev", "final"), seed: int = 0) -> bytes:
    """A right submission with random predictions."""
    rng = np.random.default_rng(seed)
    content = {}
    for name in NAMES:
        suite = mico_hub.open_suite(name, published)
        for split in splits:
            content[suite, split] = [rng.random(200) for _ in suite.challenges(split)]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files_of(complete(content), {}):
            out.writestr(name, data)
    return written.getvalue()


@pytest.fixture
def live(published: Path, trained: Path, tmp_path: Path, fresh_cache: Path) -> Iterator[Live]:
    with Live(tmp_path, published, trained) as running:
        yield running


@pytest.fixture(scope="module")
def right(published: Path) -> bytes:
    return packed(published)


def our_scores(published: Path, trained: Path, content: bytes, split: str, folder: Path) -> dict[str, float]:
    """Suite -> TPR at 10% FPR."""
    (folder / "check.zip").write_bytes(content)
    found = {}
    for name in NAMES:
        suite = mico_hub.open_suite(name, published)
        predictions = submissions.read(folder / "check.zip", suite.manifest.suite, split)
        labels = np.concatenate([*suite.truth(split, trained).values()])
        found[name] = headline_scores(labels, np.concatenate([*predictions.values()]))["TPR_FPR_1000"]
    return found


def test_a_submission_is_kept_scored_and_on_the_board(
    live: Live, right: bytes, published: Path, trained: Path, tmp_path: Path
) -> None:
    token = live.board.store.add_participant("alice")
    answer = live.send(token, right, title="mine", code="https://example.org/code", tag="side information")
    assert answer.status_code == 202
    kept = answer.json()
    assert (kept["state"], kept["told"], kept["mean"]) == ("waiting", {}, None)
    live.scored(kept["id"])
    own = live.get(f"/api/submissions/{kept['id']}", headers={"Authorization": f"Bearer {token}"}).json()
    expected = our_scores(published, trained, right, "dev", tmp_path)
    assert {suite: told["TPR_FPR_1000"] for suite, told in own["told"].items()} == pytest.approx(expected, abs=5e-5)
    assert own["mean"] == pytest.approx(np.mean([*expected.values()]), abs=1e-4)
    assert {*own["told"]["digits_hi"]} == {"TPR_FPR_1000"}
    board = live.get("/api/boards/digits").json()
    (row,) = board["rows"]
    assert (row["place"], row["participant"], row["mean"], row["baseline"]) == (1, "alice", own["mean"], False)
    assert row["about"]["tags"] == ["side information"]
    levels = 2 * 100  # members of two models
    assert board["given_bits"]["digits_hi"] == pytest.approx(np.log2(levels + 1))
    page = live.get("/").text
    assert "alice" in page
    assert f"{100 * own['mean']:.2f}%" in page
    assert 'href="https://example.org/code"' in page
    assert live.get("/boards/digits?threat=white-box").text.count("alice") == 0


def test_wrong_files_are_refused_with_all_that_is_wrong_and_count_against_no_limit(
    published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path
) -> None:
    with zipfile.ZipFile(io.BytesIO(right)) as held:
        files = {name: held.read(name) for name in held.namelist()}
    wrong = io.BytesIO()
    with zipfile.ZipFile(wrong, "w") as out:
        for name, data in files.items():
            if "digits_hi/dev/model_4" not in name:
                out.writestr(name, b"0.5" if "digits_lo/final/model_6" in name else data)
    with Live(tmp_path, published, trained, Rules(daily=1, total=1)) as live:
        token = live.board.store.add_participant("alice")
        for content, expected in (
            (
                wrong.getvalue(),
                ["digits_hi/dev: model_4 missing", "digits_lo/final: model_6: expected 200 predictions"],
            ),
            (b"no zip", ["not a zip archive"]),
            (packed(published, ("final",)), ["digits_inf/dev: expected digits/digits_inf/dev/model_N"]),
        ):
            found = live.scored(live.send(token, content).json()["id"])
            assert found["state"] == "refused"
            said = "\n".join(found["problems"])  # type: ignore[arg-type]
            assert all(each in said for each in expected), said
        assert live.get("/api/boards/digits").json()["rows"] == []
        assert live.scored(live.send(token, right).json()["id"])["state"] == "scored"
        refused = live.send(token, right)
        assert (refused.status_code, "allowed in all" in refused.json()["detail"]) == (429, True)


def test_who_is_nobody_submits_nothing(live: Live, right: bytes) -> None:
    for token in ("", "x", "a" * 43):
        assert live.send(token, right).status_code == 401
    token = live.board.store.add_participant("alice")
    live.board.store.revoke("alice")
    assert live.send(token, right).status_code == 401
    assert live.board.store.submissions(live.board.store.season("digits").id) == []


def test_what_is_said_of_a_submission_is_text_and_links_are_https(live: Live, right: bytes) -> None:
    token = live.board.store.add_participant(XSS)
    for about, expected in (
        ({"title": "a\nb"}, "title: expected a line"),
        ({"title": "x" * 81}, "title: expected a line"),
        ({"code": "javascript:alert(1)", "threat_model": "grey"}, "threat_model: expected .*; code: expected a link"),
        ({"write_up": 'https://x"onload='}, "write_up: expected a link"),
        ({"tag": XSS}, "tag: expected some of"),
    ):
        refused = live.send(token, right, **about)
        assert refused.status_code == 422
        assert re.search(expected, refused.json()["detail"])
    assert live.send(token, right, track="nothing").status_code == 404
    live.scored(live.send(token, right, title=XSS).json()["id"])
    page = live.get("/").text
    assert XSS not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert XSS not in live.get(f"/boards/{XSS}").text


def log_in(live: Live, token: str) -> tuple[requests.Session, str]:
    """A session and the token of its forms."""
    session = requests.Session()
    answer = session.post(f"{live.url}/login", data={"token": token}, timeout=60)
    assert answer.status_code == 200
    csrf = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert csrf is not None
    return session, csrf[1]


def test_forms_need_their_session_and_their_site(live: Live, right: bytes) -> None:
    token = live.board.store.add_participant("alice")
    session, csrf = log_in(live, token)
    answer = requests.post(f"{live.url}/login", data={"token": token}, allow_redirects=False, timeout=60)
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    fields = {"track": "digits", "threat_model": "black-box"}
    file = {"file": ("out.zip", right, "application/zip")}

    def post(who: Any, **more: Any) -> requests.Response:
        answer: requests.Response = who.post(f"{live.url}/submit", timeout=60, **more)
        return answer

    assert post(session, data=fields, files=file).status_code == 403
    assert post(session, data={**fields, "csrf": "x"}, files=file).status_code == 403
    _, other = log_in(live, live.board.store.add_participant("bob"))
    assert post(session, data={**fields, "csrf": other}, files=file).status_code == 403
    assert post(requests, data={**fields, "csrf": csrf}, files=file).status_code == 401
    elsewhere = {"Origin": "https://evil.example"}
    assert post(session, data={**fields, "csrf": csrf}, files=file, headers=elsewhere).status_code == 403
    assert requests.post(f"{live.url}/login", data={"token": token}, headers=elsewhere, timeout=60).status_code == 403
    assert live.board.store.submissions(live.board.store.season("digits").id) == []
    answer = post(session, data={**fields, "csrf": csrf, "title": "by form"}, files=file)
    assert answer.status_code == 200
    assert "by form" in answer.text
    assert session.post(f"{live.url}/logout", data={"csrf": "x"}, timeout=60).status_code == 403
    assert session.post(f"{live.url}/logout", data={"csrf": csrf}, timeout=60).status_code == 200
    assert post(session, data={**fields, "csrf": csrf}, files=file).status_code == 401
    assert requests.post(f"{live.url}/login", data={"token": "no"}, timeout=60).status_code == 401


def test_one_participant_sees_nothing_of_another(live: Live, right: bytes) -> None:
    alice, bob = (live.board.store.add_participant(name) for name in ("alice", "bob"))
    number = live.send(alice, right, title="secret").json()["id"]
    live.scored(number)
    session, _ = log_in(live, bob)
    assert session.get(f"{live.url}/submissions/{number}", timeout=60).status_code == 404
    assert "secret" not in session.get(f"{live.url}/submissions", timeout=60).text
    assert live.get(f"/api/submissions/{number}", headers={"Authorization": f"Bearer {bob}"}).status_code == 404
    assert live.get(f"/submissions/{number}").status_code == 404
    assert live.get("/api/submissions?track=digits", headers={"Authorization": f"Bearer {bob}"}).json() == []
    session, _ = log_in(live, alice)
    assert "secret" in session.get(f"{live.url}/submissions/{number}", timeout=60).text


def test_uploads_are_bounded(live: Live) -> None:
    token = live.board.store.add_participant("alice")
    assert live.send(token, b"x" * 3_000_000).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = requests.post(
            f"{live.url}/api/submissions?track=digits",
            data=chunks(),
            headers=headers,
            timeout=60,
        )
        assert answer.status_code == 413
    except requests.ConnectionError:
        pass  # it was cut off while it sent
    assert live.send(token, b"").status_code == 400
    with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2]))) as dropped:
        request = f"POST /api/submissions?track=digits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        dropped.sendall(f"{request}Content-Length: 100000\r\n\r\n".encode() + b"x" * 50_000)
    assert live.get("/").status_code == 200
    assert live.board.store.submissions(live.board.store.season("digits").id) == []
    assert not list(live.board.store.uploads.glob("*.zip"))


def test_every_answer_has_a_strict_policy(live: Live) -> None:
    for path in ("/", "/boards/digits", "/submit", "/rules", "/api", "/openapi.json", "/static/board.css", "/nothing"):
        answer = live.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
        if answer.headers["content-type"].startswith("text/html"):
            assert not re.search(r"<script>|\son\w+=|style=", answer.text)
            assert not re.search(r'(src|href)="https?://', answer.text)
    assert live.get("/static/../store.py").status_code == 404
    assert live.get("/static/..%2f..%2fstore.py").status_code == 404


def test_the_api_is_documented(live: Live) -> None:
    schema = live.get("/openapi.json").json()
    page = live.get("/api").text
    for path in ("/api/boards/{track}", "/api/submissions", "/api/submissions/{number}"):
        assert path in schema["paths"]
        assert path in page


def test_final_is_told_to_nobody_before_it_is_opened(
    live: Live, published: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two who differ in final alone, one right and one wrong throughout, nothing differs that is seen.

    Its scores are not even computed: they are in no page, answer, export, backup or log, nor in the database.
    """
    rng = np.random.default_rng(0)
    dev = {name: [rng.random(200) for _ in range(2)] for name in NAMES}
    for name, right_throughout in (("alice", True), ("bobby", False)):
        content: dict[Any, Any] = {}
        for suite in (mico_hub.open_suite(each, published) for each in NAMES):
            labels = [*suite.truth("final", trained).values()]
            content[suite, "dev"] = dev[suite.name]
            content[suite, "final"] = [of if right_throughout else 1 - of for of in labels]
        submissions.write(tmp_path / f"{name}.zip", content)
        token = live.board.store.add_participant(name)
        answer = live.send(token, (tmp_path / f"{name}.zip").read_bytes()).json()
        assert live.scored(answer["id"])["state"] == "scored"
    one, other = live.get("/api/boards/digits").json()["rows"]
    its_own = {"participant", "submission", "received"}
    assert {key: one[key] for key in one.keys() - its_own} == {key: other[key] for key in other.keys() - its_own}
    rows = [row.split("</tr>")[0] for row in live.get("/").text.split("<tr>")[2:]]
    assert len(rows) == 2
    assert rows[0].replace("alice", "bobby") == rows[1]
    with closing(sqlite3.connect(live.board.store.path)) as db:
        kept = db.execute("SELECT splits, state, server, problems, told, mean, bits FROM submissions").fetchall()
    assert kept[0] == kept[1]

    seen = [live.get(path).text for path in ("/", "/boards/digits", "/rules", "/api/boards/digits", "/openapi.json")]
    session, _ = log_in(live, token)
    seen += [session.get(live.url + path, timeout=60).text for path in ("/submit", "/submissions")]
    archive.export(live.board, tmp_path / "export")
    seen.append((tmp_path / "export" / "board.json").read_text())
    archive.backup(live.board.store, tmp_path / "backup.zip")
    with zipfile.ZipFile(tmp_path / "backup.zip") as held:
        seen.append(held.read("board.sqlite").decode("latin-1"))
    for text in (*seen, caplog.text):
        assert "100.00%" not in text  # alice's final
        assert '"TPR_FPR_1000": 1.0' not in text
    assert live.get("/boards/digits/1/final/report.html").status_code == 404
    with pytest.raises(BoardError, match="dev is still open"):
        open_final(live.board, "digits")


def test_phases_end_and_everything_is_shown(
    published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path
) -> None:
    with Live(tmp_path, published, trained, baselines=("loss",)) as live:
        alice, bob = (live.board.store.add_participant(name) for name in ("alice", "bob"))
        live.scored(live.send(alice, right, title="mine").json()["id"])
        live.scored(live.send(bob, packed(published, ("dev",), seed=1)).json()["id"])
        names = close_dev(live.board, "digits")
        assert names == ["report.html", "scores.csv", "scores.json"]
        assert live.send(alice, right).status_code == 409
        report = live.get("/boards/digits/1/dev/report.html")
        assert "sandbox allow-scripts" in report.headers["content-security-policy"]
        assert "alice" in report.text
        found = live.get("/boards/digits/1/dev/scores.json").json()
        assert {each["attack"] for each in found["results"]} == {"alice", "bob", "baseline: loss"}
        assert "intervals" in json.dumps(found)
        with pytest.raises(BoardError, match="dev is closed already"):
            close_dev(live.board, "digits")

        names = open_final(live.board, "digits")
        final = live.get("/boards/digits/1/final/scores.json").json()
        assert {each["attack"] for each in final["results"]} == {"alice", "baseline: loss"}  # bob had none
        ours = our_scores(published, trained, right, "final", tmp_path)
        theirs = {r["suite"]: r["scores"]["TPR_FPR_1000"] for r in final["results"] if r["attack"] == "alice"}
        assert theirs == pytest.approx(ours)
        assert [name for name in names if name.startswith("opening-")] == [f"opening-{n}.json" for n in sorted(NAMES)]
        opening = live.get("/boards/digits/1/final/opening-digits_hi.json")
        (tmp_path / "opening.json").write_bytes(opening.content)
        assert main(["open", str(tmp_path / "opening.json"), "--source", str(published)]) == 0
        with pytest.raises(BoardError, match="final is open already"):
            open_final(live.board, "digits")
        page = live.get("/").text
        assert "Final is open" in page
        assert "/boards/digits/1/final/report.html" in page


def test_what_waited_when_a_server_stopped_is_scored_by_the_next(
    published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path
) -> None:
    with Live(tmp_path, published, trained, judges=0) as live:
        token = live.board.store.add_participant("alice")
        number = live.send(token, right).json()["id"]
        claimed = Store(tmp_path / "board.sqlite").claim()  # by a server that goes away without a word
        assert claimed is not None
        assert claimed.id == number
        del claimed
    with Live(tmp_path, published, trained) as live:
        live.board.store.release_dead()
        assert live.scored(number)["state"] == "scored"


@pytest.mark.parametrize("answers", ["six", "ladder"])
def test_other_answers_tell_what_they_say(
    answers: Any, published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path
) -> None:
    with Live(tmp_path, published, trained, Rules(answers=answers, step=0.01)) as live:
        token = live.board.store.add_participant("alice")
        first = live.scored(live.send(token, right).json()["id"])
        again = live.scored(live.send(token, right).json()["id"])
        assert first["told"] == again["told"]
        told: Any = first["told"]
        if answers == "six":
            assert all(len(of) == 6 for of in told.values())
        else:
            ours = our_scores(published, trained, right, "dev", tmp_path)
            for suite, of in told.items():
                assert ours[suite] - 0.01 < of["TPR_FPR_1000"] <= ours[suite] + 1e-9
        assert live.get("/rules").status_code == 200
        assert live.get("/").status_code == 200


def test_a_judge_that_takes_too_long_or_dies_is_a_sentence(
    tmp_path: Path, right: bytes, monkeypatch: pytest.MonkeyPatch, published: Path, trained: Path
) -> None:
    wanted = {}
    for name in NAMES:
        suite = mico_hub.open_suite(name, published)
        models = {split: [row["model_id"] for row in suite.challenges(split)] for split in ("dev", "final")}
        wanted[name] = judge.Wanted(suite.fingerprint, 200, models, suite.truth("dev", trained))
    (tmp_path / "out.zip").write_bytes(right)
    found = judge.judge(tmp_path / "out.zip", wanted)
    assert found.splits == ("dev", "final")
    assert found.scores is not None
    monkeypatch.setattr("mico_hub.submissions.limits.SECONDS", 0.01)
    assert judge.judge(tmp_path / "out.zip", wanted).problems == ("it took more than 0.01 seconds to read",)
    monkeypatch.undo()
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EndedError, match="within the limits of time and memory"):
        judge.judge(tmp_path / "out.zip", wanted)


def test_the_fingerprint_of_other_models_is_refused(live: Live, published: Path, tmp_path: Path) -> None:
    content = {}
    for name in NAMES:
        suite = mico_hub.open_suite(name, published)
        content[suite.manifest.suite, "dev"] = [np.full(200, 0.5) for _ in suite.challenges("dev")]
    submissions.write(tmp_path / "other.zip", content, fingerprints=dict.fromkeys(NAMES, "b" * 64))
    token = live.board.store.add_participant("alice")
    found = live.scored(live.send(token, (tmp_path / "other.zip").read_bytes()).json()["id"])
    assert "made on other models than those here" in "".join(found["problems"])  # type: ignore[arg-type]


def test_the_command_submits_and_waits(
    live: Live, right: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.zip").write_bytes(right)
    command = ["submit", str(tmp_path / "out.zip"), "--to", live.url, "--title", "mine"]
    monkeypatch.delenv("MICO_HUB_TOKEN", raising=False)
    assert main(command) == 2
    assert "expected your token in the environment variable MICO_HUB_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("MICO_HUB_TOKEN", live.board.store.add_participant("alice"))
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "kept, 0 submissions before it" in out
    assert re.search(r"^mean +\d+\.\d\d%", out, re.M)
    (tmp_path / "out.zip").write_bytes(b"no zip")
    assert main(command) == 2
    errors = capsys.readouterr().err
    assert "not scored; it counts against no limit:" in errors
    assert "is not a zip archive" in errors
    monkeypatch.setenv("MICO_HUB_TOKEN", "wrong")
    assert main(command) == 2
    assert "with a token that is not revoked (401)" in capsys.readouterr().err
    assert main([*command[:3], "http://127.0.0.1:1"]) == 2
    assert "no answer of a board" in capsys.readouterr().err
    assert main([*command[:3], "http://board.example.org"]) == 2
    assert "a token is not sent without encryption; use https://" in capsys.readouterr().err
    assert main([*command[:3], "board"]) == 2
    assert "expected a board's address" in capsys.readouterr().err


def test_an_export_is_what_the_pages_show_with_where_it_comes_from(live: Live, right: bytes, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    token = live.board.store.add_participant("alice")
    live.scored(live.send(token, right).json()["id"])
    assert archive.export(live.board, tmp_path / "out") == ["board.json", "board.parquet"]
    found = json.loads((tmp_path / "out" / "board.json").read_text())
    assert found["tracks"]["digits"]["fingerprints"].keys() == set(NAMES)
    (row,) = found["rows"]
    table = pq.read_table(tmp_path / "out" / "board.parquet")
    assert table.to_pylist()[0]["mean"] == row["mean"] == live.get("/api/boards/digits").json()["rows"][0]["mean"]


def test_a_maintainers_commands_run_a_board(
    published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The server in a process of its own, and commands beside it."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "board.toml").write_text('title = "Ours"\ndaily = 3\n')
    rules = ("--rules", "board.toml")
    command = ("-m", "mico_hub.cli", "board", "serve", "--truth", trained, "--source", published, *rules)
    server = fresh.start(*command, "--port", f"{port}", cwd=tmp_path)
    url = f"http://127.0.0.1:{port}"
    while f"Ours on {url}" not in server.printed:
        assert server.poll() is None, server.wait().stderr
        time.sleep(0.05)
    assert main(["board", "participants", "add", "alice", *rules]) == 0
    token = capsys.readouterr().out.strip()
    (tmp_path / "out.zip").write_bytes(right)
    monkeypatch.setenv("MICO_HUB_TOKEN", token)
    while True:  # the server begins to listen after it has said where
        try:
            assert "Ours" in requests.get(url, timeout=60).text
            break
        except requests.ConnectionError:
            time.sleep(0.05)
    assert main(["submit", "out.zip", "--to", url]) == 0
    board = requests.get(f"{url}/api/boards/digits", timeout=60).json()
    assert {row["participant"] for row in board["rows"]} == {"alice", "baseline: loss", "baseline: lira"}
    assert main(["board", "participants", "list"]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["board", "backup", "backup.zip"]) == 0
    assert main(["board", "export", "--out", "results"]) == 0
    assert main(["board", "phase", "open", "digits"]) == 2
    assert "dev is still open; `board phase close digits` first" in capsys.readouterr().err
    assert main(["board", "phase", "close", "digits", *rules]) == 0
    assert main(["board", "phase", "open", "digits", *rules]) == 0
    assert "final is open; shown are opening-digits_hi.json" in capsys.readouterr().out
    assert "report.html" in requests.get(url, timeout=60).text
    assert main(["board", "participants", "revoke", "alice"]) == 0
    assert main(["submit", "out.zip", "--to", url]) == 2
    server.send_signal(signal.SIGINT)
    ended = server.wait()
    assert ended.returncode in (0, 130), ended.stderr
    assert "Traceback" not in ended.stderr
    assert main(["board", "restore", "backup.zip", "--data", "again.sqlite"]) == 0
    assert main(["board", "participants", "list", "--data", "nowhere.sqlite"]) == 2
    assert "no such board; `mico-hub board serve` makes one" in capsys.readouterr().err


@pytest.mark.long
def test_a_track_is_renewed_while_the_server_runs(
    live: Live, right: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The season before ends with its truth shown; tokens stay, and limits begin anew."""
    token = live.board.store.add_participant("alice")
    live.scored(live.send(token, right).json()["id"])
    script = Path(__file__).parents[1] / "upload_scripts" / "renew.py"
    arguments = ("digits", "--board", tmp_path / "board.sqlite", "--out", tmp_path / "seasons", "--models", "4/2/2")
    done = fresh.run(script, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"its truth is in {tmp_path / 'seasons' / 'digits-2' / 'suites'}, a secret" in done.stdout
    page = live.get("/").text
    for split, name in (("dev", "report.html"), ("final", "scores.json"), ("final", "opening-digits_hi.json")):
        assert f"/boards/digits/1/{split}/{name}" in page
        assert live.get(f"/boards/digits/1/{split}/{name}").status_code == 200
        assert live.get(f"/boards/digits/2/{split}/{name}").status_code == 404
    rows = live.get("/api/boards/digits").json()["rows"]
    assert {row["participant"] for row in rows} == {"baseline: loss", "baseline: lira"}
    fresh_right = packed(tmp_path / "seasons" / "digits-2" / "mico")
    assert live.scored(live.send(token, fresh_right).json()["id"])["state"] == "scored"
    assert len(live.get("/api/boards/digits").json()["rows"]) == 3
    assert live.board.store.season("digits").id == 2


def test_a_disk_that_is_full_while_a_score_is_kept_loses_nothing(
    published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge goes on, and the submission is scored when there is room."""
    monkeypatch.setattr("mico_hub.boards.live.board._LOOK_SECONDS", 0.2)
    full = True
    tell, wait_again = Store.tell, Store.wait_again

    def fails(of: Any) -> Any:
        def called(self: Store, *arguments: Any) -> Any:
            if full:
                raise sqlite3.OperationalError("database or disk is full")
            return of(self, *arguments)

        return called

    monkeypatch.setattr(Store, "tell", fails(tell))
    monkeypatch.setattr(Store, "wait_again", fails(wait_again))
    with Live(tmp_path, published, trained) as live:
        token = live.board.store.add_participant("alice")
        number = live.send(token, right).json()["id"]
        while not live.board.store.under_way():
            time.sleep(0.05)
        time.sleep(3)
        assert live.board.store.submission(number).state == "scoring"
        full = False
        assert live.scored(number)["state"] == "scored"


def test_a_judge_that_is_killed_refuses_nothing(
    published: Path, trained: Path, tmp_path: Path, right: bytes, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a Ctrl-C for all of the server's processes: the submission waits again, and its upload stays."""
    real, killed = limits.run_limited, list[Any]()

    def ended(*arguments: Any) -> Any:
        if len(killed) < 2:
            killed.append(arguments)
            raise EndedError("killed")
        return real(*arguments)

    monkeypatch.setattr(judge, "run_limited", ended)
    with Live(tmp_path, published, trained) as live:
        token = live.board.store.add_participant("alice")
        assert live.scored(live.send(token, right).json()["id"])["state"] == "scored"
        assert len(killed) == 2
        monkeypatch.setattr(judge, "run_limited", lambda *_: real("mico_hub.nothing", [], b""))
        number = live.send(token, right).json()["id"]
        found = live.scored(number)
        assert "perhaps through no fault of yours" in "".join(found["problems"])  # type: ignore[arg-type]
        assert live.board.store.upload(number).read_bytes() == right


def test_odd_requests_are_no_mistakes_of_ours(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    token = live.board.store.add_participant("alice")
    login = f"{live.url}/login"
    assert requests.post(login, data={"token": "x"}, headers={"Origin": "http://["}, timeout=60).status_code == 403
    for charset, value in (("utf-7", b"+2AA-"), ("unicode_escape", rb"\\ud800"), ("undefined", b"x")):
        body = b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n' + value + b"\r\n--b--\r\n"
        kind = f"multipart/form-data; boundary=b; charset={charset}"
        answer = requests.post(login, data=body, headers={"Content-Type": kind}, timeout=60)
        assert answer.status_code in (400, 401), charset
    for path in ("/login", "/api/submissions?track=digits"):
        with socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2]))) as dropped:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n"
            dropped.sendall(head.encode() + b"abc")
    for method in ("PUT", "DELETE", "HEAD", "PATCH"):
        assert requests.request(method, f"{live.url}/submit", timeout=60).status_code in (200, 405)
    monkeypatch.setattr("mico_hub.boards.live.store.database.BUSY_SECONDS", 0.3)
    other = sqlite3.connect(live.board.store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert requests.post(login, data={"token": token}, timeout=60).status_code == 503
    assert live.get("/static/board.css").status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert requests.post(login, data={"token": token}, timeout=60).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_connection_that_sends_no_head_is_closed(live: Live, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that begins another head after an answer."""
    monkeypatch.setattr("mico_hub.boards.live.connections.HEAD_SECONDS", 0.3)
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as waiting:
        waiting.sendall(sent)
        if sent.endswith(b"\r\n\r\n"):
            assert waiting.recv(20).startswith(b"HTTP/1.1 200")
            waiting.sendall(b"GET / HT")
        began = time.monotonic()
        while waiting.recv(65_536):
            pass
        assert 0.2 < time.monotonic() - began < 4  # not the five seconds that a kept connection is left alone


def test_a_slow_upload_is_not_taken_for_no_head(live: Live, right: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mico_hub.boards.live.connections.HEAD_SECONDS", 0.2)
    token = live.board.store.add_participant("alice")

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(right), len(right) // 4):
            yield right[start : start + len(right) // 4]
            time.sleep(0.2)

    assert live.send(token, slowly()).status_code == 202  # type: ignore[arg-type]


def test_a_table_for_spreadsheets_has_no_formulas() -> None:
    table = pd.DataFrame({"attack": ["=1+1", " @SUM(A1)", "-2", "lira", "\t+1"], "score": [-0.5, 1.0, 2.0, 3.0, 4.0]})
    safe = phases.harmless(table)
    assert list(safe["attack"]) == ["'=1+1", "' @SUM(A1)", "'-2", "lira", "'\t+1"]
    assert list(safe["score"]) == list(table["score"])
