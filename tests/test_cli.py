import csv
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mico_hub
from builders.build import build
from mico_hub import cli, submissions
from mico_hub.attacks import ATTACKS, LADDER
from mico_hub.release.folder import SuiteFolder
from mico_hub.suites import SUITES
from mico_hub.training.suite import train_suite


@pytest.fixture
def work(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the published folder as ./mico, and no other source."""
    shutil.copytree(published, tmp_path / "mico")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_suites_lists_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "suites")
    assert code == 0
    assert len(out.splitlines()) == len(SUITES) + 2
    assert all(name in out for name in SUITES)
    widths = {len(line.rstrip()) for line in out.splitlines()}
    assert max(widths) <= 160


def test_attacks_lists_what_each_sees_and_needs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "attacks")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 180
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert list(rows) == list(ATTACKS)
    needs = {"rmia": "black-box  published      population  ", "gradient_norm": "white-box  published      -  ",
             "distinguisher": "black-box  its own        revealed training records  margin  "}  # fmt: skip
    assert all(words in rows[name] for name, words in needs.items())
    assert rows["lira"].endswith("Carlini et al. 2022")


@pytest.mark.usefixtures("work")
def test_fetch_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "fetch", "digits_hi", "--split", "dev")
    assert code == 0
    assert out.startswith("2 checkpoints, 0.0 MB, in ")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_attack_writes_what_score_reads(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    code, attacked, _ = run(capsys, "attack", "digits_inf", "--split", split, "--out", "predictions")
    assert code == 0
    assert (work / "predictions" / "digits" / "digits_inf" / split).is_dir()
    truth = ["--truth", str(trained / "digits_inf" / "private")] if split == "dev" else []
    arguments = ["score", "predictions", "--suite", "digits_inf", "--split", split, "--json", "s.json", *truth]
    code, scored, _ = run(capsys, *arguments)
    assert code == 0
    assert "TPR at FPR < 0.1 " in scored
    assert (work / "s.json").exists()
    if split == "train":
        where, _, scores = scored.partition("\n\n")
        assert where in attacked
        assert scores in attacked


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ((), "name a folder with --out"),
        (("--out", "p", "--html", "a.html"), "`mico-hub score` writes --html with --truth"),
        (("--out", "p", "--csv", "a.csv", "--figures", "f"), "`mico-hub score` writes --csv, --figures with --truth"),
    ],
)
def test_an_attack_on_hidden_models_is_not_run_for_nothing(
    work: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], problem: str
) -> None:
    code, _, err = run(capsys, "attack", "digits_inf", "--split", "dev", *more)
    assert code == 2
    assert problem in err
    assert not (work / "p").exists()


@pytest.mark.usefixtures("work")
def test_hidden_truth_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "attack", "digits_inf", "--split", "dev", "--attack", "loss", "--out", "predictions")
    code, _, err = run(capsys, "score", "predictions", "--suite", "digits_inf", "--split", "dev")
    assert code == 2
    assert "the membership of dev is hidden; name the suite's private folder with --truth" in err


def test_the_truth_of_another_training_is_refused(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "attack", "digits_inf", "--split", "dev", "--attack", "loss", "--out", "predictions")
    other = work / "private"
    shutil.copytree(trained / "digits_hi" / "private", other)
    code, _, err = run(capsys, "score", "predictions", "--suite", "digits_inf", "--split", "dev", "--truth", str(other))
    assert code == 2
    assert "2 of 2 models are missing or of another challenge" in err


def test_all_that_is_wrong_with_predictions_is_listed(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = SuiteFolder(work / "mico" / "digits_inf").manifest().suite
    submissions.write(work / "predictions", {(suite, "train"): {i: np.full(200, 0.5) for i in range(4)}})
    folder = work / "predictions" / "digits" / "digits_inf" / "train"
    shutil.rmtree(folder / "model_0")
    (folder / "model_1" / "prediction.csv").write_text(",".join(["0.5"] * 198))
    (folder / "model_2" / "prediction.csv").write_text(",".join(["0.5"] * 198 + ["nan", "1.2"]))
    code, _, err = run(capsys, "score", "predictions", "--suite", "digits_inf")
    assert code == 2
    for part in ("model_0 missing", "expected 200 predictions, got 198", "position 198 is nan", "position 199 is 1.2"):
        assert part in err


@pytest.mark.parametrize(
    "arguments", [("fetch", "digits_high"), ("attack", "cifar10_hi"), ("score", "x", "--suite", "y")]
)
def test_bad_input_gives_exit_code_2_and_one_message(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("mico-hub: ")
    assert "Traceback" not in err
    assert out == ""


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).parent / "mico-hub"
    for program in ([command], [sys.executable, "-m", "mico_hub"]):
        done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"mico-hub {mico_hub.__version__}\n"


@pytest.mark.parametrize("command", ["suites", "attacks", "fetch", "attack", "score"])
def test_every_command_has_an_example_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"example: mico-hub {command}" in capsys.readouterr().out


def attacked(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suite in ("digits_inf", "digits_hi", "digits_lo"):
        for attack in ("loss", "lira"):
            code, _, err = run(capsys, "attack", suite, "--attack", attack, "--out", attack)
            assert code == 0, err


def test_score_compares_attacks_over_a_track_and_writes_all_forms(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacked(work, capsys)
    arguments = ["score", "loss", "lira", "--suite", "digits", "--json", "s.json", "--html", "r.html"]
    more = ["--csv", "s.csv", "--latex", "s.tex", "--figures", "figures", "--format", "pdf"]
    code, out, err = run(capsys, *arguments, *more)
    assert code == 0, err
    assert out.count(": 2 attacks, 95% intervals in brackets\n") == 3
    assert "LiRA, online (lira)\ndigits_hi train: 4 models, 800 points" in out
    assert "13 pictures in figures" in out
    read = json.loads((work / "s.json").read_text())
    results = read["results"]
    average = read["tracks"]["digits"]["attacks"]["lira"]["average_TPR_FPR_1000"]
    of_lira = [each["scores"]["TPR_FPR_1000"] for each in results if each["attack"] == "lira"]
    assert average == pytest.approx(sum(of_lira) / 3)
    assert re.search(rf"^LiRA, online \(lira\) +{100 * average:.1f}% \(", out, re.M)
    with (work / "s.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert sorted(float(line["TPR_FPR_1000"]) for line in lines if line["attack"] == "lira") == sorted(of_lira)
    assert (work / "s.tex").read_text().count(r"\midrule") == 3
    assert [(each["suite"], each["attack"], each["title"]) for each in results[:2]] == [
        ("digits_inf", "loss", "loss threshold"),
        ("digits_inf", "lira", "LiRA, online"),
    ]
    assert (work / "r.html").read_text().count('role="img"') == 13
    assert len(list((work / "figures").glob("*.pdf"))) == 13


def test_everything_that_is_wrong_is_said_at_once(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attacked(work, capsys)
    folder = work / "loss" / "digits" / "digits_inf" / "train"
    shutil.rmtree(folder / "model_0")
    (folder / "model_1" / "prediction.csv").write_text(",".join(["0.5"] * 198))
    (folder / "model_2" / "prediction.csv").write_text(",".join(["nan", "1.2", *["0.5"] * 198]))
    shutil.rmtree(work / "lira" / "digits" / "digits_inf" / "train" / "model_3")
    code, out, err = run(capsys, "score", "loss", "lira", "--suite", "digits_inf", "--json", "s.json")
    assert code == 2
    assert out == ""
    for problem in (
        "model_0 missing",
        "model_1: expected 200 predictions, got 198",
        "model_2: 1 of 200 predictions is NaN: position 0 is nan",
        "1 of 200 predictions is outside [0, 1]: position 1 is 1.2",
        "model_3 missing",
    ):
        assert problem in err
    assert not (work / "s.json").exists()


def test_the_truth_may_be_named_by_the_folder_of_suites(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "attack", "digits_hi", "--split", "dev", "--attack", "loss", "--out", "loss")
    for truth in (trained, trained / "digits_hi" / "private", trained / "digits_hi" / "private" / "rows.parquet"):
        arguments = ["score", "loss", "--suite", "digits_hi", "--split", "dev", "--truth", str(truth)]
        assert run(capsys, *arguments)[0] == 0
    code, _, err = run(capsys, *arguments[:-1], str(work))
    assert code == 2
    assert "the truth of digits_hi, as its training wrote it, was not found. Looked for:" in err


def test_the_truth_is_found_in_all_that_people_have_of_it(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A suite's folder, and the repository with the truth, which has `SUITE/rows.parquet`."""
    run(capsys, "attack", "digits_hi", "--split", "dev", "--attack", "loss", "--out", "loss")
    for name in ("digits_hi", "digits_lo"):
        (work / "mico-truth" / name).mkdir(parents=True)
        shutil.copy(trained / name / "private" / "rows.parquet", work / "mico-truth" / name)
    for truth in (trained / "digits_hi", work / "mico-truth"):
        arguments = ["score", "loss", "--suite", "digits_hi", "--split", "dev", "--truth", str(truth)]
        code, _, err = run(capsys, *arguments)
        assert code == 0, err


@pytest.mark.parametrize("command", [("score", "p", "--suite"), ("audit",)])
def test_where_the_truth_is_not_is_said_before_anything_is_trained(
    tmp_path: Path,
    fresh_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    code, _, err = run(capsys, *command, "digits_inf", "--split", "dev", "--truth", "nowhere")
    assert code == 2
    assert err == "mico-hub: nowhere: no such folder; expected the truth of digits_inf, as its training wrote it\n"
    (tmp_path / "nowhere").mkdir()
    code, _, err = run(capsys, *command, "digits_inf", "--split", "dev", "--truth", "nowhere")
    assert code == 2
    places = ("rows.parquet", "private/rows.parquet", "digits_inf/private/rows.parquet", "digits_inf/rows.parquet")
    assert err.splitlines()[1:] == [f"  nowhere/{place}" for place in places]
    assert not fresh_cache.exists()


def test_predictions_that_are_not_there_are_said_before_anything_is_trained(
    tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "score", "lira", "loss", "--suite", "digits_inf")
    assert (code, err) == (2, "mico-hub: no such file or folder of predictions: lira, loss\n")
    assert not fresh_cache.exists()


def test_the_truth_of_a_suite_that_was_trained_here_is_found(
    digits_inf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICO_HUB_CACHE", str(digits_inf))
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    for split in ("dev", "final"):
        run(capsys, "attack", "digits_inf", "--split", split, "--attack", "lira", "--out", "lira")
        code, out, err = run(capsys, "score", "lira", "--suite", "digits_inf", "--split", split)
        assert code == 0, err
        auc = re.search(r"^AUC +(0\.\d+)", out, re.M)
        assert auc is not None
        assert float(auc[1]) > 0.6
    code, _, err = run(capsys, "audit", "digits_inf", "--attack", "loss", "--split", "dev")
    assert code == 0, err


def test_audit_sets_bound_and_estimates_beside_the_claim(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "audit", "digits_hi", "--attack", "loss", "--split", "dev", "--truth", str(trained))
    assert code == 0, err
    assert re.search(r"^claimed, add or remove one record +10$", out, re.M)
    ceiling = re.search(r"^at most, substitution +(\d+\.\d\d)  by PLD$", out, re.M)
    assert ceiling is not None
    assert float(ceiling[1]) > 10
    found = re.search(
        r"^at least, substitution +\S+  certified at 95%: ([\d,]+) of ([\d,]+) guesses right, ", out, re.M
    )
    assert found is not None
    docs = (Path(__file__).parents[1] / "docs" / "scores.md").read_text()
    documented = re.search(r"<!-- audit.*?-->\n```\n(.*?)```", docs, re.S)
    assert documented is not None
    shapes = [
        re.sub(r"(inf|[\d.,])+", "0", re.sub(r"-+", "", text)).split() for text in (documented[1], out.split("\n\n")[1])
    ]
    assert shapes[0] == shapes[1]
    assert out.count("no bound") == 2  # estimate and headroom
    assert "a number fixed on the train models" in out
    assert run(capsys, "audit", "digits_hi", "--attack", "loss", "--split", "dev", "--truth", str(trained))[1] == out
    assert run(capsys, "audit", "digits_hi", "--attack", "loss,lira", "--truth", str(trained))[0] == 2
    assert run(capsys, "audit", "digits_hi", "--truth", str(work))[0] == 2


def test_an_audit_has_its_section_in_a_report(work: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", "digits_hi", "--attack", "loss", "--split", "dev", "--truth", str(trained)]
    code, out, err = run(capsys, *arguments, "--html", "audit.html", "--json", "audit.json")
    assert code == 0, err
    page = html.unescape((work / "audit.html").read_text())
    section = page.partition('<section class="audit">')[2].partition("</section>")[0]
    for line in filter(None, out.splitlines()):
        for cell in re.split(" {2,}", line):
            assert cell in section or set(cell) <= {"-"}
    assert 'aria-label="Epsilon of digits_hi, dev: claimed, add or remove 10; substitution at most ' in section
    read = json.loads((work / "audit.json").read_text())
    assert (read["suite"], read["split"], read["claimed"], read["delta"]) == ("digits_hi", "dev", 10, 1e-5)
    assert re.search(rf"^at least, substitution +{read['at_least']:.2f} ", out, re.M)
    assert re.search(rf"^estimate, no bound +{read['estimate']['value'] or 0:.2f} ", out, re.M)
    (command,) = page.partition("<pre><code>")[2].partition("</code>")[0].splitlines()
    assert run(capsys, *shlex.split(command)[1:])[1] == out


def test_all_attacks_are_a_ladder(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "attack", "digits_inf", "--attack", "all", "--html", "report.html", "--out", "all")
    assert code == 0, err
    for attack in LADDER:
        named = re.escape(f"{attack.title} ({attack.name})")
        assert re.search(rf"^[\d-]+ +{named} +\d+\.\d% \(\d+\.\d to ", out, re.M), attack.title
        assert (work / "all" / attack.name / "digits" / "digits_inf" / "train" / "model_0" / "prediction.csv").is_file()
    assert "lira_offline, lira_fixed, lira: " in out
    assert "records have fewer than 2 IN or OUT models" in out
    page = (work / "report.html").read_text()
    assert all(f"{attack.title} ({attack.name})" in page for attack in LADDER)


OWN = """
SIGNALS = ("loss", "margin")

def score(evidence):
    margin = evidence.signals["margin"]
    return margin.target - margin.shadows.mean(axis=0)
"""


def test_an_attack_of_ones_own_is_run_by_the_same_command(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "mine.py").write_text(OWN)
    code, out, err = run(capsys, "attack", "digits_inf", "--attack", "mine.py", "--out", "mine")
    assert code == 0, err
    assert "TPR at FPR < 0.1" in out
    assert "mine: 800 of 800 records have fewer than 2 IN or OUT models: left to its author" in out
    code, scored, _ = run(capsys, "score", "mine", "--suite", "digits_inf")
    assert code == 0
    assert scored.splitlines()[0] in out
    assert scored.splitlines()[2] in out
    rows = mico_hub.load_suite("digits_inf")["train"]
    ids = [row["model_id"] for row in rows]
    stored = submissions.read(work / "mine", SUITES["digits_inf"], "train", models=ids)
    for model_id, predictions in zip(ids, mico_hub.attack("mine.py", rows), strict=True):
        assert np.array_equal(stored[model_id], predictions)


@pytest.mark.parametrize("many", [["--attack", "lira,loss", "--attack", "mine.py"], ["--attack", "mine.py,all,loss"]])
def test_several_attacks_are_one_ranking(work: Path, capsys: pytest.CaptureFixture[str], many: list[str]) -> None:
    (work / "mine.py").write_text(OWN)
    code, out, err = run(capsys, "attack", "digits_inf", *many, "--out", "predictions")
    assert code == 0, err
    names = {"lira", "loss", "mine"} if len(many) == 4 else {"mine", *(attack.name for attack in LADDER)}
    assert f"digits_inf train: {len(names)} attacks, 95%" in out
    assert {path.name for path in (work / "predictions").iterdir()} == names


def test_the_names_of_several_attacks_are_checked_at_once(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "lira.py").write_text(OWN)
    code, _, err = run(capsys, "attack", "digits_inf", "--attack", "lira,los,lira.py", "--attack", "x")
    assert code == 2
    assert "unknown attack 'los'. Did you mean 'loss'?" in err
    assert "expected attacks with names of their own, got lira for lira, lira.py" in err
    assert "unknown attack 'x'." in err
    (work / "a,b.py").write_text(OWN)
    assert run(capsys, "attack", "digits_inf", "--attack", "a,b.py")[0] == 0


def test_predictions_for_another_training_are_refused(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although it is of the same suite, and both folders are called `mico`."""
    suite = SUITES["digits_inf"].with_models(4, 2, 2)
    train_suite(suite, work / "suites" / "digits_inf")
    build([work / "suites" / "digits_inf"], work / "elsewhere" / "mico")
    assert run(capsys, "attack", "digits_inf", "--attack", "loss", "--out", "p")[0] == 0
    code, out, _ = run(capsys, "score", "p", "--suite", "digits_inf")
    assert code == 0
    assert out.startswith(f"digits_inf from {work / 'mico'}, fingerprint ")
    code, out, err = run(capsys, "score", "p", "--suite", "digits_inf", "--source", str(work / "elsewhere" / "mico"))
    assert (code, out) == (2, "")
    assert "made on other models than those here: the predictions carry the fingerprint " in err
    (work / "p" / "digits" / "digits_inf" / "train" / "submission.json").unlink()  # as the competition's have none
    code, out, _ = run(capsys, "score", "p", "--suite", "digits_inf", "--source", str(work / "elsewhere" / "mico"))
    assert code == 0
    assert out.startswith(f"digits_inf from {work / 'elsewhere' / 'mico'}, fingerprint ")
    assert "\np: no fingerprint, so on which models they were made is not known\n" in out


@pytest.mark.parametrize(
    "line",
    [
        "attack digits_inf --attack lira",
        "attack digits_inf --attack all --source mico",
        "attack digits_hi --attack './my own.py'",
        "score 'my run' --suite digits_hi",
        "score 'my run' loss/digits/digits_hi --suite digits_hi --split dev --truth suites",
    ],
)
def test_the_command_that_a_report_prints_gives_its_number_again(
    work: Path, trained: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    (work / "my own.py").write_text(OWN)
    (work / "suites").symlink_to(trained)
    for attack, out in (("lira", "my run"), ("loss", "loss")):
        for split in ("train", "dev"):
            assert run(capsys, "attack", "digits_hi", "--split", split, "--attack", attack, "--out", out)[0] == 0
    assert run(capsys, *shlex.split(line), "--html", "report.html")[0] == 0
    page = html.unescape((work / "report.html").read_text())
    commands = page.partition("<pre><code>")[2].partition("</code>")[0].splitlines()
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "mico-hub"
        code, printed, err = run(capsys, *arguments)
        assert code == 0, err
    number = re.search(r"^TPR at FPR < 0\.1 +(\d\.\d+) ", printed, re.M)
    assert number is not None
    shown = [float(cell) for cell in re.findall(r'<td class="main">([\d.]+)%', page)]
    assert float(number[1]) == pytest.approx(max(shown) / 100, abs=0.0006)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def score(evidence)", "mine.py cannot be run: SyntaxError"),
        ("import nothing_of_that_name", "mine.py cannot be run: ModuleNotFoundError"),
        ("SIGNALS = ('los',)", "expected signals to be a tuple of some of loss"),
        ("SIGNALS = 'loss'\ndef score(evidence): pass", "expected signals to be a tuple of some of"),
        ("def score(evidence): return [1.0]", "expected score(evidence) to give 200 finite numbers, got shape (1,)"),
        ("def score(evidence): return evidence.signals['margin'].target * float('nan')", "200 of them not finite"),
        (
            "def score(evidence):\n    return evidence.signals['loss'].target",
            "mine.py, line 2: score(evidence) failed: KeyError: 'loss' (it is given the signals margin, 3 shadow model",
        ),
        ("def score(evidence): pass", "to give 200 finite numbers, got None; does it return them? (3 shadow models)"),
    ],
)
def test_what_is_wrong_with_an_attack_of_ones_own_is_said(
    work: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    (work / "mine.py").write_text(text)
    code, _, err = run(capsys, "attack", "digits_inf", "--attack", "mine.py")
    assert code == 2
    assert problem in err


def test_an_attack_that_there_is_not_is_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "attack", "digits_inf", "--attack", "lire")
    assert code == 2
    assert "unknown attack 'lire'. Did you mean 'lira'? There are: entropy, loss, difficulty," in err
    assert err.endswith("distinguisher_joint, or a file NAME.py, or all\n")
    code, _, err = run(capsys, "attack", "digits_inf", "--attack", "none.py")
    assert code == 2
    assert "no file none.py" in err
    (work / "folder.py").mkdir()
    code, _, err = run(capsys, "attack", "digits_inf", "--attack", "folder.py")
    assert code == 2
    assert "no file folder.py, it is a folder" in err
