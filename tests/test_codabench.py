"""A competition for Codabench: what the platform's unpacker reads, what its worker runs, and where its truth is."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import competition
import numpy as np
import pytest
import yaml

import mico_hub
from mico_hub import submissions
from mico_hub.boards.codabench import Dates, bundle, write_bundle
from mico_hub.cli import main
from mico_hub.scoring import headline_scores
from mico_hub.suites import tracks

DATES = Dates(datetime(2027, 1, 1), datetime(2027, 3, 1))
NAMES = ("digits_inf", "digits_hi", "digits_lo")

# What src/apps/competitions/unpackers/v2.py and base_unpacker.py of codalab/codabench read, and its documentation's
# types; a key that is none of these would be dropped without a word.
COMPETITION = {
    "version": int, "title": str, "description": str, "image": str, "terms": str, "competition_type": str,
    "registration_auto_approve": bool, "docker_image": str, "make_programs_available": bool,
    "make_input_data_available": bool, "enable_detailed_results": bool, "auto_run_submissions": bool,
    "can_participants_make_submissions_public": bool, "forum_enabled": bool, "queue": str, "fact_sheet": dict,
    "reward": str, "contact_email": str, "show_detailed_results_in_submission_panel": bool,
    "show_detailed_results_in_leaderboard": bool, "pages": list, "phases": list, "tasks": list, "solutions": list,
    "leaderboards": list,
}  # fmt: skip
PAGE = {"title": str, "file": str}
PHASE = {
    "index": int, "name": str, "description": str, "start": str, "end": str, "tasks": list, "max_submissions": int,
    "max_submissions_per_day": int, "auto_migrate_to_this_phase": bool, "execution_time_limit": int,
    "hide_output": bool, "hide_prediction_output": bool, "hide_score_output": bool, "starting_kit": str,
    "public_data": str,
}  # fmt: skip
TASK = {
    "index": int, "name": str, "description": str, "scoring_program": str, "reference_data": str, "input_data": str,
    "ingestion_program": str, "ingestion_only_during_scoring": bool, "key": str,
}  # fmt: skip
SOLUTION = {"index": int, "name": str, "description": str, "path": str, "tasks": list, "key": str}
LEADERBOARD = {"title": str, "key": str, "submission_rule": str, "hidden": bool, "columns": list}
COLUMN = {
    "title": str, "key": str, "index": int, "sorting": str, "precision": int, "hidden": bool, "computation": str,
    "computation_indexes": list,
}  # fmt: skip
RULES = ("Add", "Add_And_Delete", "Add_And_Delete_Multiple", "Force_Last", "Force_Latest_Multiple", "Force_Best")

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def made(published: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundle.zip, of dev and final, and dev.zip, of dev alone."""
    folder = tmp_path_factory.mktemp("codabench")
    suites = [mico_hub.open_suite(name, published) for name in NAMES]
    more: Any = {"truth": trained, "baselines": ("loss",), "source": str(published)}
    write_bundle(folder / "bundle.zip", suites, DATES, **more)
    write_bundle(folder / "dev.zip", suites, Dates(DATES.dev), **more)
    write_bundle(folder / "again.zip", suites, DATES, **more)
    return folder


def members(content: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def everything(content: bytes, name: str = "") -> Iterator[tuple[str, bytes]]:
    """All files of a zip and of the zips in it."""
    for inner, data in members(content).items():
        yield f"{name}{inner}", data
        if inner.endswith(".zip"):
            yield from everything(data, f"{name}{inner}/")


def check(given: Any, known: Mapping[str, type], where: str) -> None:
    assert isinstance(given, dict), where
    for key, value in given.items():
        assert key in known, f"{where}.{key} is read by nobody"
        assert type(value) is known[key], f"{where}.{key}: {value!r}"


@pytest.mark.parametrize("name", ["bundle.zip", "dev.zip"])
def test_the_yaml_is_what_the_platforms_unpacker_reads(made: Path, name: str) -> None:
    files = members((made / name).read_bytes())
    given = yaml.safe_load(files["competition.yaml"])
    check(given, COMPETITION, "competition")
    assert given["version"] == 2
    for key, known in (("pages", PAGE), ("phases", PHASE), ("tasks", TASK), ("solutions", SOLUTION)):
        for each in given[key]:
            check(each, known, key)
    named = [given["image"], given["terms"], *(page["file"] for page in given["pages"])]
    named += [solution["path"] for solution in given["solutions"]]
    named += [task[key] for task in given["tasks"] for key in ("scoring_program", "reference_data")]
    named += [phase["starting_kit"] for phase in given["phases"]]
    assert set(named) | {"competition.yaml"} == files.keys()
    assert all(files[each] for each in named)
    assert files["logo.png"].startswith(b"\x89PNG")

    indexes = [task["index"] for task in given["tasks"]]
    assert indexes == [phase["index"] for phase in given["phases"]] == [*range(len(indexes))]
    for phase in given["phases"]:
        assert phase["tasks"] == [phase["index"]]
        assert (phase["max_submissions_per_day"], phase["max_submissions"]) == ((30, 1000), (3, 10))[phase["index"]]
        assert datetime.strptime(phase["start"], "%Y-%m-%d %H:%M:%S")
        # What YAML takes for a time loses its hours in the platform's get_datetime, whose first case is any date.
        assert isinstance(phase["start"], str)
    for one, other in zip(given["phases"], given["phases"][1:], strict=False):
        assert one["end"] <= other["start"]
    assert not given["phases"][0]["hide_score_output"]

    (board,) = given["leaderboards"]
    check(board, LEADERBOARD, "leaderboard")
    assert board["submission_rule"] in RULES
    assert board["hidden"] == (name == "bundle.zip")
    for position, column in enumerate(board["columns"]):
        check(column, COLUMN, "column")
        assert column["index"] == position
        assert len(column["title"]) <= 36
        assert len(column["key"]) <= 36
        assert (column["sorting"], column["precision"]) == ("desc", 4)
    mean, *others = board["columns"]
    assert (mean["computation"], mean["computation_indexes"]) == ("avg", [1, 2, 3])
    assert [column["title"] for column in others if not column["hidden"]] == list(NAMES)


def test_titles_and_keys_of_columns_are_short_enough_on_all_tracks() -> None:
    """The platform's fields have 36 characters."""
    for suites in tracks().values():
        for column in bundle._columns([suite.name for suite in suites]):
            assert max(len(column["title"]), len(column["key"])) <= 36


def test_the_same_suites_give_the_same_bytes(made: Path) -> None:
    assert (made / "bundle.zip").read_bytes() == (made / "again.zip").read_bytes()
    assert (made / "bundle.zip").stat().st_mode & 0o777 == 0o600


def truths(trained: Path, published: Path, split: str) -> Iterator[bytes]:
    """The membership of each model of a split in the forms that a file could have it in."""
    for name in NAMES:
        for labels in mico_hub.open_suite(name, published).truth(split, trained).values():
            for separator in (",", ", ", "", "\n", " "):
                yield separator.join(map(str, labels.tolist())).encode()
            yield labels.astype(np.int8).tobytes()
            yield np.packbits(labels.astype(np.uint8)).tobytes()
            yield ",".join(f"{label}.0" for label in labels.tolist()).encode()


@pytest.mark.parametrize(("name", "split", "holds"), [
    ("bundle.zip", "dev", ["reference_data_dev.zip"]), ("bundle.zip", "final", ["reference_data_final.zip"]),
    ("dev.zip", "dev", ["reference_data_dev.zip"]), ("dev.zip", "final", []),
])  # fmt: skip
def test_truth_is_in_the_reference_data_of_its_phase_alone(
    made: Path, trained: Path, published: Path, name: str, split: str, holds: list[str]
) -> None:
    """And that of final only where there is such a phase."""
    forms = [*truths(trained, published, split)]
    found = {
        path.partition("/")[0]
        for path, content in everything((made / name).read_bytes())
        if any(form in content for form in forms)
    }
    assert sorted(found) == holds


def worker(root: Path, content: bytes, ref: Path | bytes, res: Path | bytes) -> subprocess.CompletedProcess[str]:
    """Runs a scoring program as the platform's worker does, in a folder in place of /app, without this package."""
    shutil.rmtree(root, ignore_errors=True)
    for name, given in (("program", content), ("input/ref", ref), ("input/res", res)):
        if isinstance(given, bytes):
            with zipfile.ZipFile(io.BytesIO(given)) as archive:
                archive.extractall(root / name)
        else:
            shutil.copytree(given, root / name)
    (root / "output").mkdir()
    command = yaml.safe_load((root / "program" / "metadata.yaml").read_text())["command"]
    assert command == "python3 /app/program/score.py /app/input/ /app/output/"
    blocked = (
        "import sys; sys.modules['mico_hub'] = sys.modules['socket'] = None; import runpy; sys.argv = sys.argv[1:]; "
    )
    blocked += "sys.path.insert(0, '.'); runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [each.replace("/app", str(root)) for each in command.split()[1:]]
    return subprocess.run(
        [sys.executable, "-c", blocked, *arguments],
        cwd=root / "program", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def program(made: Path) -> bytes:
    return members((made / "dev.zip").read_bytes())["scoring_program.zip"]


@pytest.mark.parametrize("split", competition.SPLITS)
def test_in_the_workers_layout_it_gives_the_golden_scores_and_writes_nothing_more(
    made: Path, tmp_path: Path, split: str
) -> None:
    cases = competition.truth_and_predictions()
    submissions.write(tmp_path / "out.zip", {key: values for key, (_, values) in cases.items()})
    competition.write_solutions(tmp_path / "ref", {key: truth for key, (truth, _) in cases.items() if key[1] == split})
    done = worker(tmp_path / "app", program(made), tmp_path / "ref", (tmp_path / "out.zip").read_bytes())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = [path.name for path in (tmp_path / "app" / "output").iterdir()]
    assert written == ["scores.json"]
    scores = json.loads((tmp_path / "app" / "output" / "scores.json").read_text())
    golden = dict(competition.GOLDEN["scores"][split])
    average = golden.pop("average_TPR_FPR_1000")
    numbered = enumerate(sorted(suite.name for suite in tracks()["cifar10"]), start=1)
    assert scores == {f"{suite}_TPR_FPR_1000": golden[f"scenario{number}_TPR_FPR_1000"] for number, suite in numbered}

    (board,) = yaml.safe_load(members((made / "dev.zip").read_bytes())["competition.yaml"])["leaderboards"]
    columns = [column["key"].replace("digits", "cifar10") for column in board["columns"][1:]]
    assert sorted(columns) == sorted(scores)
    mean = [scores[columns[index - 1]] for index in board["columns"][0]["computation_indexes"]]
    assert np.mean(mean) == pytest.approx(average, abs=1e-15)


def test_the_program_needs_numpy_alone_and_is_the_metrics_code(made: Path) -> None:
    files = members(program(made))
    imported = {
        match.decode().split(".")[0]
        for name, content in files.items()
        if name.endswith(".py")
        for match in re.findall(rb"^(?:from|import) ([\w.]+)", content, re.MULTILINE)
    }
    assert imported - {""} - {*sys.stdlib_module_names} == {"numpy", "mico_score"}
    metric = Path(mico_hub.__file__).parent / "metrics" / "mico_score"
    for name in ("scores.py", "scoring.py"):
        assert files[f"mico_score/{name}"] == (metric / name).read_bytes()


@pytest.fixture(scope="module")
def small(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Files, bytes]:
    """A folder for the worker, the members of a right submission for dev, and the truth of dev."""
    files = members((made / "dev.zip").read_bytes())
    return tmp_path_factory.mktemp("app"), members(files["solutions/loss.zip"]), files["reference_data_dev.zip"]


def packed(files: Files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


A_CSV = "digits/digits_hi/dev/model_4/prediction.csv"


@pytest.mark.parametrize(
    "change",
    [
        lambda files: {f"around/it all/{name}": data for name, data in files.items()},
        lambda files: {name.replace("/", "\\"): data for name, data in files.items()},
        lambda files: files | {f"__MACOSX/{A_CSV}": b"x", f"{A_CSV.rpartition('/')[0]}/._prediction.csv": b"x"},
        lambda files: files | {A_CSV: b"\xef\xbb\xbf" + files[A_CSV].strip() + b"\r\n"},
        lambda files: files | {A_CSV: files[A_CSV].decode().encode("utf-16")},
        lambda files: files | {"digits/digits_hi/dev/model_9/Thumbs.db": b"x", "digits/digits_hi/dev/model_n.txt": b""},
        lambda files: {f"x__MACOSX/{name}": data for name, data in files.items()},
        lambda files: files | {"backup/digits/digits_hi/dev/notes.txt": b"x"},
        lambda files: files | {"notes.txt": b"hello", "digits/digits_hi/final/model_6/prediction.csv": b"0.5"},
    ],
)
def test_everyday_archives_are_scored(
    made: Path, small: tuple[Path, Files, bytes], change: Callable[[Files], Files]
) -> None:
    root, files, truth = small
    done = worker(root / "app", program(made), truth, packed(change(files)))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda files: {},
            "digits/digits_hi/dev/model_N/prediction.csv, there is no such folder, but no file",
        ),
        (lambda files: {n: d for n, d in files.items() if "digits_hi" not in n}, "digits/digits_hi/dev/model_N/pred"),
        (lambda files: {n: d for n, d in files.items() if n != A_CSV}, "model_4: expected prediction.csv, got nothing"),
        (lambda files: {n.replace("tion.csv", "tions.csv"): d for n, d in files.items()}, "got predictions.csv"),
        (lambda files: files | {A_CSV: b"0.5," * 199 + b"1.5"}, "outside [0, 1]: position 199 is 1.5"),
        (lambda files: files | {A_CSV: b"0.5,0.5"}, "digits_hi/dev/model_4: expected 200 predictions, got 2"),
        (lambda files: files | {A_CSV: b"nan," * 199 + b"0"}, "199 of 200 predictions are NaN"),
        (lambda files: files | {A_CSV: b"0" * 20_000}, "prediction.csv is larger than its 200 numbers could need"),
        (lambda files: files | {A_CSV: b"\xff\xfe\x00"}, "model_4: prediction.csv is not text"),
        (lambda files: files | {f"copy/{n}": d for n, d in files.items()}, "it is there 2 times"),
        (lambda files: files | {"digits/digits_hi/dev/model_9/prediction.csv": b"0.5"}, "model_9: not expected"),
        (lambda files: {"metadata.yaml": b"command: true"}, "there is no such folder"),
    ],
)
def test_what_is_no_submission_is_refused_in_a_sentence(
    made: Path, small: tuple[Path, Files, bytes], change: Callable[[Files], Files], expected: str
) -> None:
    root, files, truth = small
    done = worker(root / "app", program(made), truth, packed(change(files)))
    assert done.returncode == 1
    assert done.stderr.startswith("The submission was not scored: ")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not any((root / "app" / "output").iterdir())


def test_a_participant_goes_from_the_kit_to_a_score(
    made: Path, published: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    files = members((made / "bundle.zip").read_bytes())
    with zipfile.ZipFile(io.BytesIO(files["starting_kit.zip"])) as kit:
        kit.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICO_HUB_DATASET", str(published))
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    done = subprocess.run([sys.executable, "attack.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for submission in ("submission.zip", "example_submission.zip"):
        command = ["check-submission", submission, "--track", "digits", "--split", "dev,final"]
        assert main([*command, "--source", str(published)]) == 0
        for split in ("dev", "final"):
            content = (tmp_path / submission).read_bytes()
            ran = worker(tmp_path / "app", files["scoring_program.zip"], files[f"reference_data_{split}.zip"], content)
            assert ran.returncode == 0, ran.stderr
            scores = json.loads((tmp_path / "app" / "output" / "scores.json").read_text())
            suite = mico_hub.open_suite("digits_hi")
            truth = suite.truth(split, trained)
            predictions = submissions.read(Path(submission), suite.manifest.suite, split)
            ours = headline_scores(*(np.concatenate([*each.values()]) for each in (truth, predictions)))
            assert scores["digits_hi_TPR_FPR_1000"] == ours["TPR_FPR_1000"]
    capsys.readouterr()


def test_the_command_says_what_the_bundle_holds(
    published: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["export", "codabench", "--track", "digits", "--source", str(published), "--baselines", ""]
    assert main(command) == 2
    assert "the membership of dev is hidden; name the suite's private folder with --truth" in capsys.readouterr().err
    command += ["--truth", str(trained)]
    assert main([*command, "--start", "2027-01-01", "--final", "2026-01-01"]) == 2
    assert "expected final to begin after dev" in capsys.readouterr().err
    assert not (tmp_path / "bundle.zip").exists()
    assert main([*command, "--start", "2027-01-01 12:30:00", "--final"]) == 0
    assert (
        "dev from 2027-01-01 12:30:00, final from 2027-04-01 12:30:00, UTC. It holds the truth of dev and final."
        in (capsys.readouterr().out)
    )
    with pytest.raises(SystemExit):
        main([*command, "--start", "tomorrow"])
    assert "expected YYYY-MM-DD or 'YYYY-MM-DD HH:MM:SS', UTC, got 'tomorrow'" in capsys.readouterr().err
