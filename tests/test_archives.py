"""Submissions as one zip: what people's archive programs make of one, and what strangers might."""

import re
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import competition
import fresh
import numpy as np
import pytest

from mico_hub import submissions
from mico_hub.cli import main
from mico_hub.scoring import headline_scores
from mico_hub.submissions import SubmissionError
from mico_hub.suites import SUITES, tracks

SUITE = SUITES["cifar10_hi"].with_models(2, 3, 1)
INNER = "cifar10/cifar10_hi/dev"
CSV = f"{INNER}/model_3/prediction.csv"
POINTS = 2 * SUITE.m

Members = dict[str, bytes]


def predictions() -> submissions.Predictions:
    rng = np.random.default_rng(0)
    return {model_id: rng.random(POINTS) for model_id in SUITE.model_ids["dev"]}


@pytest.fixture
def whole(tmp_path: Path) -> Members:
    """The members of a valid zip for dev."""
    submissions.write(tmp_path / "whole.zip", {(SUITE, "dev"): predictions()})
    with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, content: Members | list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items() if isinstance(content, dict) else content:
            archive.writestr(name, data)
    return path


def problems(path: Path) -> str:
    with pytest.raises(SubmissionError) as caught:
        submissions.read(path, SUITE, "dev")
    return "\n".join(caught.value.problems)


def is_whole(path: Path) -> bool:
    found = submissions.read(path, SUITE, "dev")
    return all(np.array_equal(found[i], values) for i, values in predictions().items()) and len(found) == 3


def test_a_zip_gives_back_the_very_same_bits_and_is_the_same_each_time(tmp_path: Path) -> None:
    given = {(SUITE, "dev"): predictions()}
    for name in ("a.zip", "b.zip"):
        submissions.write(tmp_path / name, given, fingerprints={SUITE.name: "a" * 64})
    assert is_whole(tmp_path / "a.zip")
    assert submissions.load(tmp_path / "a.zip", SUITE, "dev").fingerprint == "a" * 64
    with pytest.raises(SubmissionError, match="made on other models"):
        submissions.read(tmp_path / "a.zip", SUITE, "dev", fingerprint="b" * 64)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_arrays_in_the_order_of_the_split_are_written_by_the_suites_name(tmp_path: Path) -> None:
    suite = SUITES["digits_hi"]
    values = list(np.random.default_rng(0).random((50, 2 * suite.m)))
    submissions.write(tmp_path / "out.zip", {("digits_hi", "dev"): values})
    assert np.array_equal(submissions.read(tmp_path / "out.zip", suite, "dev")[100], values[0])
    with pytest.raises(SubmissionError, match="expected predictions for 50 models, got 49"):
        submissions.write(tmp_path / "short.zip", {("digits_hi", "dev"): values[1:]})
    with pytest.raises(KeyError, match="digits_hi"):
        submissions.write(tmp_path / "short.zip", {("digits_ho", "dev"): values})
    assert not (tmp_path / "short.zip").exists()


def everyday() -> list[tuple[str, Callable[[Members], Members]]]:
    """What archive programs and file managers add."""
    return [
        ("a folder around it all", lambda m: {f"my attack/v2/{name}": data for name, data in m.items()}),
        ("macOS", lambda m: m | {f"__MACOSX/{CSV.replace('pred', '._pred')}": b"x", f"{INNER}/.DS_Store": b"x"}),
        ("Windows", lambda m: {name.replace("/", "\\"): data for name, data in m.items()} | {"Thumbs.db": b"x"}),
        ("folders of their own", lambda m: {f"{INNER}/": b"", f"{INNER}/model_3/": b""} | m),
        (
            "what a file manager left",
            lambda m: m | {f"{INNER}/model_999/Thumbs.db": b"x", f"{INNER}/model_notes.txt": b""},
        ),
        ("a note of the same split", lambda m: m | {f"backup/{INNER}/notes.txt": b"x"}),
        ("a note", lambda m: m | {"README.md": b"hello", "code/attack.py": b"raise SystemExit"}),
        ("the other tracks", lambda m: m | {"sst2/sst2_hi/dev/model_100/prediction.csv": b"0.5"}),
        ("scientific notation", lambda m: m | {CSV: ",".join(f"{v:.17e}" for v in predictions()[3]).encode()}),
        ("UTF-16 and CRLF", lambda m: m | {CSV: (m[CSV].decode() + "\r\n").encode("utf-16")}),
    ]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in everyday()])
def test_what_archive_programs_do_does_no_harm(
    change: Callable[[Members], Members], whole: Members, tmp_path: Path
) -> None:
    assert is_whole(pack(tmp_path / "out.zip", change(whole)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: {}, f"expected {INNER}/model_N/prediction.csv in out.zip, there is no"),
        (
            lambda m: {n.removeprefix("cifar10/"): d for n, d in m.items()},
            "the folder cifar10_hi is there, but not in a folder cifar10",
        ),
        (lambda m: m | {f"copy/{n}": d for n, d in m.items()}, f"{INNER}/ is there 2 times, in , /copy"),
        (lambda m: {n.replace("prediction.", "predictions."): d for n, d in m.items()}, "got predictions.csv"),
        (lambda m: {n: d for n, d in m.items() if n != CSV}, "model_3 missing"),
        (lambda m: m | {f"{INNER}/model_9/prediction.csv": b"0.5"}, "model_9 not expected, only model_2"),
        (lambda m: m | {CSV: b"0.5," * 199 + b"2"}, "position 199 is 2"),
        (lambda m: m | {CSV: b"0" * 40_000_000}, "prediction.csv is larger than the 12864 bytes"),
        (lambda m: m | {f"{INNER}/submission.json": b" " * 20_000}, "submission.json is larger than the 10000 bytes"),
        (lambda m: m | {"../../evil.csv": b""}, "../../evil.csv: outside the archive's folder"),
        (lambda m: m | {"/etc/evil": b"", "C:\\evil": b""}, "/etc/evil, C:/evil: outside the archive's folder"),
        (lambda m: [*m.items(), (CSV, b"0.5")], f"{CSV}: more than once"),
        (lambda m: [*m.items(), (CSV.replace("/", "\\"), b"0.5")], f"{CSV}: more than once"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_wrong_is_said(
    change: Callable[[Members], Members], expected: str, whole: Members, tmp_path: Path
) -> None:
    assert expected in problems(pack(tmp_path / "out.zip", change(whole)))


def test_links_passwords_and_damage_are_refused(whole: Members, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    link = zipfile.ZipInfo(CSV)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(pack(path, {n: d for n, d in whole.items() if n != CSV}), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert f"{CSV}: a link; put the file itself there" in problems(path)

    content = bytearray(pack(path, whole).read_bytes())
    at = content.index(b"PK\x01\x02") + 8  # the flags of the first member
    content[at] |= 1
    path.write_bytes(content)
    assert "encrypted; make the archive without a password" in problems(path)

    content = bytearray(pack(path, whole).read_bytes())
    start = content.index(CSV.encode()) + len(CSV)
    content[start + 20] ^= 0xFF
    path.write_bytes(content)
    assert "model_3: prediction.csv cannot be unpacked" in problems(path)

    for damaged in (pack(path, whole).read_bytes()[:-40], b"PK\x05\x06", b"", b"no zip"):
        path.write_bytes(damaged)
        assert "out.zip is not a zip archive, or is damaged" in problems(path)

    for way in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):  # of which zipfile unpacks gigabytes at once
        with zipfile.ZipFile(path, "w", way) as archive:
            for name, data in whole.items():
                archive.writestr(name, data)
        assert "packed in another way than deflate" in problems(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in whole.items():
            archive.writestr(name, data)
    assert is_whole(path)


def test_a_bomb_takes_neither_time_nor_memory(whole: Members, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    tracemalloc.start()
    pack(path, whole | {CSV: b"0," * 6400})
    content = bytearray(path.read_bytes())
    lie = (100).to_bytes(4, "little")  # it says that it is short
    at = content.rindex(CSV.encode()) - 46 + 24
    assert content[at : at + 4] == (12800).to_bytes(4, "little")
    content[at : at + 4] = lie
    path.write_bytes(content)
    assert "model_3: " in problems(path)
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # sparse
    assert "larger than" in problems(path)
    path.write_bytes(b"PK\x01\x02" * 60_000)
    assert "out.zip has 60,000 members, more than 50,000" in problems(path)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


@pytest.mark.parametrize("form", ["out.zip", "out.parquet", "out"])
def test_a_submission_is_whole_or_everything_that_it_lacks_is_named(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suites = tracks()["cifar10"]
    rng = np.random.default_rng(0)
    given = {(suite, split): list(rng.random((50, 200))) for suite in suites for split in ("dev", "final")}
    submissions.write(form, given)
    assert main(["check-submission", form, "--track", "cifar10"]) == 0
    assert f"{form}: complete for dev and final of cifar10" in capsys.readouterr().out
    found = submissions.load_all(Path(form), suites, ["dev"])
    assert [*found] == [(suite.name, "dev") for suite in suites]

    lacking = tmp_path / f"lacking{Path(form).suffix}"
    submissions.write(lacking, {key: of for key, of in given.items() if key != (suites[1], "final")})
    assert main(["check-submission", lacking.name, "--track", "cifar10"]) == 2
    (problem,) = capsys.readouterr().err.splitlines()[1:]
    assert problem.startswith("  cifar10_hi/final: ")
    assert main(["check-submission", lacking.name, "--track", "cifar10", "--split", "dev"]) == 0
    assert main(["check-submission", lacking.name, "--track", "sst2"]) == 2
    assert "expected predictions for sst2_inf, sst2_hi, sst2_lo in sst2/SUITE/SPLIT" in capsys.readouterr().err
    assert main(["check-submission", "nothing.zip", "--track", "sst2"]) == 2
    assert "nothing.zip: no such file" in capsys.readouterr().err


def test_a_submission_is_compared_with_the_suites_where_they_are(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a trial with a few models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICO_HUB_DATASET", str(published))
    command = ["attack", "digits_hi", "--attack", "loss", "--split", "train,dev", "--zip", "out.zip"]
    assert main(command) == 0
    assert "predictions for 6 models in out.zip" in capsys.readouterr().out
    handle_of_hi = ["--source", str(published)]
    assert main(["check-submission", "out.zip", "--track", "digits", *handle_of_hi]) == 2
    errors = capsys.readouterr().err
    assert "digits_hi" not in errors.replace("digits/digits_hi", "")
    assert main([*command, "--attack", "lira"]) == 2
    assert "expected one --attack for --zip, got 2: loss, lira" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["attack", "digits_hi", "--split", "test"])
    assert "expected some of train, dev, final, got 'test'" in capsys.readouterr().err


@pytest.mark.parametrize("split", competition.SPLITS)
def test_scores_are_those_of_the_competitions_own_program_in_all_numbers(split: str, tmp_path: Path) -> None:
    """It was run by hand on this very zip, unpacked, and these very solutions; see `competition.py`."""
    made = competition.truth_and_predictions()
    submissions.write(tmp_path / "out.zip", {key: values for key, (_, values) in made.items()})
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "res")
    assert competition.digest(tmp_path / "res") == competition.GOLDEN["given"]
    competition.write_solutions(tmp_path / "ref", {key: truth for key, (truth, _) in made.items() if key[1] == split})
    assert competition.digest(tmp_path / "ref") == competition.GOLDEN["truth"][split]

    suites = tracks()[competition.TRACK]
    found = submissions.load_all(tmp_path / "out.zip", suites, [split])
    golden: dict[str, float] = competition.GOLDEN["scores"][split]
    ours: dict[str, float] = {}
    for number, suite in enumerate(sorted(suites, key=lambda each: each.name), start=1):
        truth, predicted = made[suite, split][0], found[suite.name, split].predictions
        scores = headline_scores(np.concatenate([*truth.values()]), np.concatenate([*predicted.values()]))
        ours |= {f"scenario{number}_{key}": scores[key] for key in scores if f"scenario{number}_{key}" in golden}
    assert len(ours) == 27
    ours["average_TPR_FPR_1000"] = float(np.mean([ours[f"scenario{i}_TPR_FPR_1000"] for i in (1, 2, 3)]))
    assert ours == pytest.approx(golden, abs=1e-12)


def test_the_example_of_the_documentation_is_a_submission(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of dev, with fingerprints."""
    text = (Path(__file__).parents[1] / "docs" / "boards.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- example.*?```python\n(.*?)```", text, re.DOTALL)
    assert found
    monkeypatch.setenv("MICO_HUB_DATASET", str(published))
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    done = fresh.run("-c", found[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    assert main(["check-submission", "dev.zip", "--track", "digits", "--source", str(published)]) == 0


@pytest.mark.parametrize("name", ["x.npy", "x.csv", "x.tar"])
def test_no_folder_is_made_where_a_file_was_meant(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME\.zip, NAME\.parquet or a folder"):
        submissions.write(tmp_path / name, {(SUITE, "dev"): predictions()})
    assert not any(tmp_path.iterdir())


def test_the_same_problem_of_many_models_is_one_line(whole: Members, tmp_path: Path) -> None:
    short = {name: b"0.5,0.5" if name.endswith(".csv") else data for name, data in whole.items()}
    said = problems(pack(tmp_path / "out.zip", short))
    assert said == "model_2, model_3, model_4: expected 200 predictions, got 2"
