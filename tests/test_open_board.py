"""An open board: entries are added, checked without running them, run again, and shown."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_browser import BROWSER, browse

from mico_hub import submissions
from mico_hub.boards import open_board, page
from mico_hub.boards.entry import BoardError, Entry, parse_entry
from mico_hub.cli import main
from mico_hub.release.format import FormatError
from mico_hub.scoring import compare, headline_scores

MINE = """
from pathlib import Path
import numpy as np
Path("was_run").write_text("")
SIGNALS = ("margin",)
def score(evidence):
    values = evidence.signals["margin"]
    return values.target - values.shadows.mean(axis=0)
"""
NAMES = ("digits_inf", "digits_hi", "digits_lo")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an attack, its predictions, and a board with the references loss and lira, and that attack."""
    folder = tmp_path_factory.mktemp("open")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MICO_HUB_DATASET", str(published))
        patch.setenv("MICO_HUB_CACHE", str(folder / "cache"))
        (folder / "mine.py").write_text(MINE)
        more = ("--tag", "quick", "--write-up", "https://example.org/p")
        assert main(["attack", "digits", "--attack", "mine.py", "--zip", "mine.zip"]) == 0
        assert main(["board", "open", "references", "digits", "--attack", "loss,lira"]) == 0
        assert main(["board", "open", "add", "mine.zip", "--attack", "mine.py", *more]) == 0
        (folder / "was_run").unlink()
    return folder


@pytest.fixture
def board(made: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which a test may change; the test runs beside it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICO_HUB_DATASET", str(published))
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "board"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mico-hub board open`: exit code, what it printed, and errors."""

    def of(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["board", "open", *arguments])
        return code, *capsys.readouterr()

    return of


def entry(board: Path, name: str = "mine") -> Entry:
    return open_board.read_entry(board / "digits" / name)


def test_an_entry_says_what_was_scored_on_which_models(board: Path, run: Run) -> None:
    import mico_hub

    found = entry(board)
    values = json.loads((board / "digits" / "mine" / "entry.json").read_bytes())
    assert values["format"] == 1
    assert (found.threat_model, found.tags, found.attack, found.reference) == (
        "black-box",
        ("quick",),
        "attack.py",
        False,
    )
    for name in NAMES:
        suite = mico_hub.open_suite(name)
        predictions = submissions.read(board / "digits" / "mine" / "predictions.parquet", suite.manifest.suite, "train")
        truth = np.concatenate([row["membership"] for row in suite.challenges("train")])
        scores = headline_scores(truth, np.concatenate([*predictions.values()]))
        assert {key: found.suites[name].scores[key][0] for key in scores} == pytest.approx(scores)
        assert found.suites[name].fingerprint == suite.fingerprint
        below = np.concatenate([*predictions.values()])
        assert found.suites[name].false_positives["0.1"] <= 0.1 * found.suites[name].non_members == 0.05 * len(below)
    assert found.average[0] == pytest.approx(np.mean([found.suites[name].scores["TPR_FPR_1000"][0] for name in NAMES]))
    assert entry(board, "lira").reference
    assert run("references", "digits", "--attack", "loss,lira")[1] == "digits/loss: is there\ndigits/lira: is there\n"


def test_a_file_gives_back_the_entry(board: Path) -> None:
    for found in open_board.entries(board):
        assert parse_entry(found.to_json(), "x") == found
        assert len(found.to_json().splitlines()) < 300


def test_check_scores_again_and_runs_nothing(board: Path, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("check")
    assert (code, out) == (0, "board: 3 entries, scored again: nothing is wrong\n")
    again = {"on": "2026-01-01", "mico_hub": "1", "average": entry(board).average[0], "came_out": True}
    edit(reproduced=again)(board / "digits" / "mine")
    assert "by the word of who wrote their entry.json these were run again: digits/mine\n" in run("check")[1]
    edit(attack="", code="https://example.org", reproduced=again)(board / "digits" / "mine")
    assert "reproduced: it has no attack that could have been run again" in run("check")[2]
    edit(attack="attack.py", reproduced=again | {"average": 0.99})(board / "digits" / "mine")
    assert "as came_out says" in run("check")[2]
    assert not (tmp_path / "was_run").exists()


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / "entry.json").read_bytes())
        (folder / "entry.json").write_text(json.dumps(values | changes))

    return change


def better(folder: Path) -> None:
    values = json.loads((folder / "entry.json").read_bytes())
    values["suites"]["digits_hi"]["scores"]["TPR_FPR_1000"][0] += 0.01
    (folder / "entry.json").write_text(json.dumps(values))


def other_predictions(folder: Path) -> None:
    content = (folder.parent / "loss" / "predictions.parquet").read_bytes()
    (folder / "predictions.parquet").write_bytes(content)


def link(folder: Path) -> None:
    (folder / "attack.py").unlink()
    (folder / "attack.py").symlink_to("/etc/passwd")


def huge(folder: Path) -> None:
    with (folder / "entry.json").open("wb") as stream:
        stream.truncate(1 << 40)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (better, r"digits/mine: digits_hi.TPR_FPR_1000: expected 0\.\d+, .* got 0\.\d+"),
        (edit(average=[0.99, 0.98, 1.0]), r"digits/mine: average: expected 0\.\d+, .*, got 0.99, 0.98, 1"),
        (edit(draws=[0.5] * 2000), "digits/mine: draws: expected .*, got 0.5, 0.5, 0.5"),
        (other_predictions, "digits/mine: predictions: expected sha256"),
        (lambda folder: (folder / "run.sh").write_text(""), r"expected the files attack\.py, .* got .* run\.sh"),
        (lambda folder: (folder / "attack.py").unlink(), r"expected the files attack\.py"),
        (lambda folder: (folder / "predictions.parquet").unlink(), "expected the files .*predictions.parquet, got"),
        (link, r"got attack\.py, .* \(links: attack\.py\)"),
        (huge, "digits/mine: entry.json is larger than the 400000 bytes"),
        (
            lambda folder: (folder / "attack.py").write_bytes(b"#" * 300_000),
            "attack.py is larger than the 200000 bytes",
        ),
        (lambda folder: (folder / "entry.json").unlink(), "digits/mine/entry.json: no such file"),
        (lambda folder: (folder / "entry.json").write_text("[]"), "expected a JSON object, got list"),
        (edit(name="other"), "digits/mine/entry.json: it is of digits/other, which should be its folder"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(
    board: Path, run: Run, tmp_path: Path, change: Callable[[Path], None], expected: str
) -> None:
    change(board / "digits" / "mine")
    code, _, err = run("check")
    assert code == 2
    assert re.search(expected, err), err
    assert "digits/loss" not in err
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("digitz/mine/entry.json", "'digitz': expected tracks, cifar10"),
        ("digits/evil.html", "digits/'evil.html': expected folders of entries alone"),
        ("digits/.hidden/entry.json", "digits/'.hidden': expected folders of entries alone"),
        ("digits/x\n::error::/entry.json", r"digits/'x\n::error::': expected a name of lower-case letters"),
    ],
)
def test_what_is_no_entry_does_not_hide_on_a_board(board: Path, run: Run, path: str, expected: str) -> None:
    (board / path).parent.mkdir(parents=True, exist_ok=True)
    (board / path).write_text("{}")
    code, _, err = run("check")
    assert code == 2
    assert expected in err
    assert len(err.splitlines()) == 2
    (board / "README.md").write_text("a board")
    assert "'README.md'" not in run("check")[2]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"track": "nothing"}, "track: expected a track, got 'nothing'"),
        ({"track": ["digits"]}, "track: expected a track"),
        ({"name": "../x"}, "name: expected lower-case letters"),
        ({"title": "a\nb"}, "title: expected a line"),
        ({"title": "x" * 121}, "title: expected a line of 1 to 120"),
        ({"threat_model": "grey"}, "threat_model: expected black-box or white-box, got 'grey'"),
        ({"code": "javascript:alert(1)"}, "code: expected a link, https://"),
        ({"code": 'https://x/"onclick='}, "code: expected a link, https://"),
        ({"write_up": "../secret.md"}, "write_up: expected a link, https://, or README.md"),
        ({"attack": "../../x.py"}, "attack: expected the name of a reference attack, or attack.py"),
        ({"attack": "evil.py"}, "attack: expected the name of a reference attack, or attack.py"),
        ({"attack": ""}, "code: expected a link to the attack's code, or the attack itself, got neither"),
        ({"attack": "gradient_norm"}, "threat_model: gradient_norm is white-box"),
        ({"reference": True}, "reference: expected a reference attack by its name and title"),
        ({"reference": 1}, "reference: expected true or false"),
        ({"added": "2026-99-99"}, "added: expected a date"),
        ({"average": [10**400]}, "average: expected a score in [0, 1]"),
        ({"draws": [10**400] * 2_000}, "draws: expected 2,000 numbers"),
        ({"code": "https://..."}, "code: expected a link, https://"),
        ({"tags": ["<b>"]}, "tags: expected short words"),
        ({"tags": ["a"] * 11}, "tags: expected 10 at most, got 11"),
        ({"tags": 7}, "expected objects under suites and reproduced, and a list of tags"),
        ({"average": [2.0]}, "average: expected a score in [0, 1]"),
        ({"average": True}, "average: expected a score in [0, 1]"),
        ({"draws": [0.1]}, "draws: expected 2,000 numbers"),
        ({"suites": {}}, "suites: expected digits_hi, digits_inf, digits_lo, got []"),
        ({"suites": {"digits_hi": 3}}, "expected objects under suites"),
        ({"suites": {"digits_hi": {}}}, "missing: fingerprint, dataset"),
        ({"reference": "yes"}, "reference: expected true or false"),
        ({"predictions": "x"}, "predictions: expected the sha256 of a file"),
        (
            {"reproduced": {"on": "today", "mico_hub": "1", "average": 0.1, "came_out": True}},
            "reproduced: expected a date",
        ),
        ({"requires": ["secret"]}, "it is of format 1 and requires secret"),
    ],
)
def test_a_strangers_file_is_not_trusted(board: Path, changes: dict[str, Any], expected: str) -> None:
    values = json.loads(entry(board).to_json()) | changes
    with pytest.raises((BoardError, FormatError), match=re.escape(expected)):
        parse_entry(json.dumps(values).encode(), "entry.json")


@pytest.mark.parametrize("field", ["fingerprint", "dataset", "models", "scores", "false_positives", "curve"])
@pytest.mark.parametrize("value", [None, "", -1, [], {}, [[1], [0]], "<script>"])
def test_each_field_of_a_suite_is_looked_at(board: Path, field: str, value: Any) -> None:
    if (field, value) == ("dataset", ""):
        return
    values = json.loads(entry(board).to_json())
    values["suites"]["digits_hi"][field] = value
    with pytest.raises(BoardError, match=re.escape(f"suites.digits_hi.{field}: expected")):
        parse_entry(json.dumps(values).encode(), "entry.json")


def test_reproduce_runs_the_attack_and_says_whether_it_came_out(board: Path, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("reproduce", "mine")
    assert code == 0
    assert re.fullmatch(r"digits/mine: (\d+\.\d\d%) in the entry, \1 now: it came out\n", out)
    assert (tmp_path / "was_run").exists()
    found = entry(board).reproduced
    assert found is not None
    assert found.came_out
    assert run("check")[0] == 0

    file = board / "digits" / "mine" / "attack.py"
    file.write_text(file.read_text().replace("values.target -", "0 * values.target + 0 *"))
    code, out, _ = run("reproduce", "digits/mine")
    assert code == 1
    assert "it did not come out" in out
    assert entry(board).reproduced != found

    assert run("reproduce", "digits/lira")[0] == 0
    code, _, err = run("reproduce", "digits/liro")
    assert code == 2
    assert "expected one entry, TRACK/NAME, got 'digits/liro'. Did you mean 'digits/lira'?" in err


def test_what_cannot_be_added_leaves_nothing(board: Path, run: Run, tmp_path: Path) -> None:
    before = sorted(board.rglob("*"))
    for arguments, expected in (
        (("mine.zip",), "expected the attack's code: a link with --code, or a file with --attack"),
        (("mine.zip", "--attack", "mine.py"), "there is an entry of that name"),
        (("mine.zip", "--code", "https://x.org", "--name", "b"), "expected what the attack sees: --threat-model"),
        (("mine.zip", "--code", "ftp://x", "--threat-model", "black-box", "--name", "b"), "code: expected a link"),
        (("mine.zip", "--attack", "mine.py", "--name", "No Name"), "name: expected lower-case letters"),
        (("mine.zip", "--attack", "mine.py", "--name", "b", "--write-up", "none.md"), "none.md"),
        (("nothing.zip", "--attack", "mine.py"), "nothing.zip: no such file"),
        (("mine.zip", "--attack", "mine.py", "--track", "cifar10"), "cifar10"),
    ):
        code, _, err = run("add", *arguments)
        assert code == 2
        assert expected in err
    assert sorted(board.rglob("*")) == before
    code, _, err = run("references", "digits", "--attack", "mine.py", "--board", "new")
    assert code == 2
    assert "expected reference attacks" in err
    assert not (tmp_path / "new").exists()
    for command in ("check", "render"):
        assert "expected entries, TRACK/NAME/entry.json, found none" in run(command, "--board", "new")[2]


def test_entries_on_other_models_are_not_compared(board: Path, run: Run) -> None:
    values = json.loads(entry(board).to_json())
    values["suites"]["digits_hi"]["fingerprint"] = "b" * 64
    (board / "digits" / "mine" / "entry.json").write_text(json.dumps(values))
    assert "expected 64" not in run("check")[2]
    assert "digits_hi.fingerprint: expected" in run("check")[2]
    assert "scores on other models are not compared" in run("render")[2]
    assert "scores on other models are not compared" in run("references", "digits", "--attack", "entropy")[2]
    assert not (board / "digits" / "entropy").exists()


def test_the_page_is_the_same_each_time_and_needs_no_network(board: Path, run: Run, tmp_path: Path) -> None:
    assert run("render", "--title", "Ours & theirs")[0] == 0
    shown = (tmp_path / "site" / "index.html").read_text()
    assert shown == page.html(open_board.entries(board), "Ours & theirs")
    assert "<title>Ours &amp; theirs</title>" in shown
    assert set(re.findall(r'(?:src|href)="(https?:[^"]*)"', shown)) == {"https://example.org/p"}
    assert shown.index("Reference attacks") < shown.index(">Entries<")
    assert "sdk: static" in (tmp_path / "site" / "README.md").read_text()


def test_places_are_those_of_paired_comparisons(board: Path, run: Run) -> None:
    """Computed from the predictions themselves, suite by suite, without what the entries keep."""
    import mico_hub

    held: dict[str, list[Any]] = {}
    for found in open_board.entries(board):
        for name in NAMES:
            suite = mico_hub.open_suite(name)
            file = board / "digits" / found.name / "predictions.parquet"
            predictions = submissions.read(file, suite.manifest.suite, "train")
            held.setdefault(found.name, []).append([*predictions.values()])
    truth = [[row["membership"] for row in mico_hub.open_suite(name).challenges("train")] for name in NAMES]
    one, other = entry(board, "lira").estimate, entry(board, "mine").estimate
    differences = [
        compare(labels, first, second)["TPR_FPR_1000"].difference
        for labels, first, second in zip(truth, held["lira"], held["mine"], strict=True)
    ]
    assert (one - other).value == pytest.approx(np.mean(differences))
    code, _, _ = run("render")
    assert code == 0


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")
def test_a_threat_model_can_be_hidden_in_the_page(board: Path, tmp_path: Path) -> None:
    found = open_board.entries(board)
    more: Any = {"attack": "attack.py", "threat_model": "white-box", "reference": False}
    found.append(replace(found[0], name="weights", title="weights", **more))
    script = """
      const shown = () => [...document.querySelectorAll("tbody tr")].filter((row) => row.offsetParent !== null).length;
      const before = shown();
      document.querySelector('input[value="g-white-box"]').click();
      const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
      return [before, shown(), wide, document.querySelectorAll("th button").length];
    """
    before, after, overflows, buttons = browse(tmp_path, page.html(found, "Board"), script)
    assert (before, after, overflows) == (4, 3, False)
    assert buttons > 10
