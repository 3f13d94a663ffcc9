import codecs
import gzip
import io
import os
import pickle
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub, run_client
from numpy.typing import ArrayLike, NDArray
from parquet_surgery import Kind, decode, encode
from pyarrow import feather

from mico_hub import submissions
from mico_hub.submissions import SubmissionError, limits
from mico_hub.suites import SUITES, Suite

SUITE = SUITES["cifar10_hi"].with_models(2, 3, 1)
POINTS = 2 * SUITE.m
DEV = (2, 3, 4)
WHOLE = [(sum(suite.models), 2 * suite.m) for suite in (*SUITES.values(), SUITE)]
MOST = (sum(models for models, _ in WHOLE), sum(models * (points + 1) for models, points in WHOLE))
"""Rows and values of a file with all suites, and this one again."""
EDGES = [0.0, 1.0, 5e-324, 1 - 2**-53, 0.1 + 0.2, 1 / 3, 2.2250738585072014e-308]


def predictions_for(suite: Suite = SUITE, split: str = "dev", seed: int = 0) -> submissions.Predictions:
    rng = np.random.default_rng(seed)
    models = {model_id: rng.random(POINTS) for model_id in suite.model_ids[split]}
    for values in models.values():
        values[: len(EDGES)] = EDGES
    return models


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A valid submission for dev."""
    submissions.write(tmp_path / "root", {(SUITE, "dev"): predictions_for()})
    return tmp_path / "root"


def csv(root: Path, model_id: int) -> Path:
    return root / "cifar10" / "cifar10_hi" / "dev" / f"model_{model_id}" / "prediction.csv"


def problems(root: Path) -> tuple[str, ...]:
    with pytest.raises(SubmissionError) as caught:
        submissions.read(root, SUITE, "dev")
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    assert str(caught.value).startswith(f"cifar10_hi/dev in {root}: ")
    return caught.value.problems


def same(left: submissions.Predictions, right: submissions.Predictions) -> bool:
    return list(left) == list(right) and all(left[i].tobytes() == right[i].tobytes() for i in left)


def test_csv_gives_back_the_very_same_bits(root: Path) -> None:
    assert same(submissions.read(root, SUITE, "dev"), predictions_for())
    assert csv(root, 2).read_text().count("\n") == 1
    assert np.array_equal(np.loadtxt(csv(root, 2), delimiter=","), predictions_for()[2])  # as the original scorer reads


def test_parquet_gives_back_the_very_same_bits_for_every_suite_and_split_in_it(tmp_path: Path) -> None:
    other = SUITES["cifar10_lo"].with_models(2, 3, 1)
    content = {
        (suite, split): predictions_for(suite, split, s)
        for s, (suite, split) in enumerate([(SUITE, "dev"), (SUITE, "final"), (other, "dev")])
    }
    submissions.write(tmp_path / "new" / "all.parquet", content)
    for (suite, split), models in content.items():
        assert same(submissions.read(tmp_path / "new" / "all.parquet", suite, split), models)
    assert pq.read_schema(tmp_path / "new" / "all.parquet").names == submissions.COLUMNS.names


def test_both_forms_say_which_models_were_attacked_and_others_are_refused(tmp_path: Path) -> None:
    folder, file, bare = tmp_path / "folder", tmp_path / "all.parquet", tmp_path / "bare"
    submissions.write(folder, {(SUITE, "dev"): predictions_for()}, fingerprints={SUITE.name: "a" * 64})
    submissions.write(file, {(SUITE, "dev"): predictions_for()}, fingerprints={SUITE.name: "a" * 64})
    submissions.write(bare, {(SUITE, "dev"): predictions_for()})
    for path in (folder, file):
        assert submissions.load(path, SUITE, "dev").fingerprint == "a" * 64
        assert same(submissions.read(path, SUITE, "dev", fingerprint="a" * 64), predictions_for())
        with pytest.raises(SubmissionError, match="the fingerprint aaaaaaaaaaaa, cifar10_hi has bbbbbbbbbbbb"):
            submissions.read(path, SUITE, "dev", fingerprint="b" * 64)
    assert submissions.load(bare, SUITE, "dev").fingerprint is None
    assert same(submissions.read(bare, SUITE, "dev", fingerprint="b" * 64), predictions_for())
    submissions.write(folder, {(SUITE, "dev"): predictions_for(seed=1)})  # of which nothing is known
    assert submissions.load(folder, SUITE, "dev").fingerprint is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "submission.json: expected JSON"),
        (
            '{"format": 1, "fingerprints": {"cifar10_hi": 7}}',
            "by the names of suites, got {",
        ),
        ('{"format": 1, "fingerprints": "a"}', "by the names of suites, got 'a'"),
        ('{"format": 2, "fingerprints": {}}', "it is of format 2"),
        (" " * 20_000, "submission.json is larger than the 10000 bytes"),
    ],
)
def test_what_a_submission_says_of_itself_is_checked(root: Path, text: str, problem: str) -> None:
    (csv(root, 2).parents[1] / "submission.json").write_text(text)
    with pytest.raises(SubmissionError, match=re.escape(problem)):
        submissions.read(root, SUITE, "dev", fingerprint="b" * 64)


def test_writing_again_replaces_and_leaves_no_partial_file(root: Path) -> None:
    submissions.write(root, {(SUITE, "dev"): predictions_for(seed=1)})
    assert same(submissions.read(root, SUITE, "dev"), predictions_for(seed=1))
    assert {path.name for path in root.rglob("*") if path.is_file()} == {"prediction.csv"}


def test_float32_and_integers_are_accepted() -> None:
    models: dict[int, ArrayLike] = {2: np.full(POINTS, 0.1, np.float32), 3: [0, 1] * SUITE.m, 4: np.ones(POINTS, bool)}
    valid = submissions.validate(models, SUITE, "dev")
    assert valid[2][0] == np.float32(0.1)
    assert {values.dtype for values in valid.values()} == {np.dtype(np.float64)}


def test_models_come_in_ascending_order() -> None:
    assert list(submissions.validate(dict(reversed(predictions_for().items())), SUITE, "dev")) == list(DEV)


@pytest.mark.parametrize("below", ["", "cifar10", "cifar10/cifar10_hi", "cifar10/cifar10_hi/dev"])
def test_the_path_may_be_the_root_the_track_the_suite_or_the_split(
    root: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(submissions.read(root / below, SUITE, "dev")) == 3
    monkeypatch.chdir(root / below)
    assert len(submissions.read(Path(), SUITE, "dev")) == 3


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(",".join, id="no newline"),
        pytest.param(lambda values: ",".join(values) + "\r\n", id="CRLF"),
        pytest.param(lambda values: " " + " , ".join(values) + " \n\n", id="spaces and blank lines"),
        pytest.param(lambda values: "\ufeff" + ",".join(values), id="byte order mark"),
    ],
)
def test_harmless_variations_of_the_text_are_accepted(root: Path, text: Callable[[list[str]], str]) -> None:
    csv(root, 3).write_text(text([repr(value) for value in predictions_for()[3].tolist()]), newline="")
    assert same(submissions.read(root, SUITE, "dev"), predictions_for())


def test_every_problem_is_named_at_once(root: Path) -> None:
    suite_folder = csv(root, 2).parent.parent
    csv(root, 2).write_text(",".join(["0.5"] * 196 + ["nan", "1.2"]))
    csv(root, 3).write_text(",".join(["0.5"] * 199 + ["high"]))
    csv(root, 4).unlink()
    (suite_folder / "model_7").mkdir()
    (suite_folder / "model_7" / "prediction.csv").write_text("0.5")
    (suite_folder / "model_8").mkdir()  # of nothing
    assert problems(root) == (
        "model_4 missing",
        "model_7 not expected, only model_2, model_3, model_4",
        "model_2: expected 200 predictions, got 198; 1 of 198 predictions is NaN: position 196 is nan; "
        "1 of 198 predictions is outside [0, 1]: position 197 is 1.2",
        "model_3: 1 of 200 predictions is not a number: position 199 is 'high'",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "prediction.csv: expected one line of 200 numbers, got 0 lines"),
        (b"0.5\n" * 200, "prediction.csv: expected one line of 200 numbers, got 200 lines"),
        (b"0.5," * 200, "model_3: expected 200 predictions, got 201; .* not a number: position 200 is ''"),
        (b"\xff\xfe\x80", "model_3: prediction.csv is not text"),
        (b"0.5;" * 200, "model_3: expected 200 predictions, got 1; .* position 0 is '0.5;"),
        (b"inf,-inf" + b",0.5" * 198, r"2 of 200 predictions are outside \[0, 1\]: position 0 is inf, position 1"),
        (b"0," * 20_000, "model_3: prediction.csv is larger than the 12864 bytes that its points could need"),
    ],
    ids=lambda value: value[:8] if isinstance(value, bytes) else "",
)
def test_a_bad_file_is_one_problem(root: Path, content: bytes, expected: str) -> None:
    csv(root, 3).write_bytes(content)
    (problem,) = problems(root)
    assert re.search(expected, problem)


def test_a_huge_file_is_not_read(root: Path) -> None:
    with csv(root, 3).open("wb") as stream:
        stream.truncate(1 << 40)  # sparse
    huge = root / "huge.parquet"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)
    tracemalloc.start()
    assert "larger than" in problems(root)[0]
    assert "larger than" in problems(huge)[0]
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_a_link_out_of_the_submission_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "prediction.csv"
    outside.parent.mkdir()
    csv(root, 2).rename(outside)
    csv(root, 2).symlink_to(outside)
    csv(root, 3).unlink()
    csv(root, 3).parent.rmdir()
    csv(root, 3).parent.symlink_to(outside.parent)
    (problem,) = problems(root)
    assert problem.startswith("model_2, model_3: prediction.csv is a link out of the submission; copy the files")

    elsewhere = tmp_path / "elsewhere" / "cifar10"
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(root / "cifar10")
    assert "is a link out of the submission" in problems(elsewhere.parent)[0]


def test_a_link_within_the_submission_is_followed(root: Path) -> None:
    csv(root, 2).unlink()
    csv(root, 2).symlink_to(csv(root, 3))
    assert np.array_equal(submissions.read(root, SUITE, "dev")[2], predictions_for()[3])


def test_a_snapshot_in_the_hubs_cache_is_read(root: Path, tmp_path: Path) -> None:
    """Its files are links into the cache."""
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.csv")}
    with LoopbackHub() as hub:
        hub.add("dataset", "org/predictions", files)
        code = """
            from huggingface_hub import snapshot_download
            print(snapshot_download("org/predictions", repo_type="dataset"))
        """
        done = run_client(code, hub.environment(tmp_path), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    snapshot = Path(done.stdout.splitlines()[-1])
    assert csv(snapshot, 2).is_symlink()
    assert same(submissions.read(snapshot, SUITE, "dev"), predictions_for())
    assert same(submissions.read(snapshot / "cifar10", SUITE, "dev"), predictions_for())
    csv(snapshot, 2).unlink()
    csv(snapshot, 2).symlink_to(csv(root, 2))
    assert "is a link out of the submission" in problems(snapshot)[0]
    elsewhere = tmp_path / "elsewhere" / snapshot.name  # what looks like a snapshot inside of a submission is none
    shutil.copytree(snapshot, elsewhere, symlinks=True)
    assert "is a link out of the submission" in problems(elsewhere)[-1]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE), ("utf-16-le", b""), ("utf-16-be", b"")],
)
def test_text_of_windows_is_read(root: Path, encoding: str, mark: bytes) -> None:
    for path in root.rglob("*.csv"):
        path.write_bytes(mark + path.read_text().replace("\n", "\r\n").encode(encoding))
    assert same(submissions.read(root, SUITE, "dev"), predictions_for())


def test_an_array_is_read_where_its_shape_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "dev.npy"
    values = np.stack(list(predictions_for().values()))
    for order in ("C", "F"):
        np.save(path, np.asarray(values, order=order))
        assert same(submissions.read(path, SUITE, "dev"), predictions_for())
    wrong: list[NDArray[Any]] = [values.ravel(), values.T, values[:2], values.astype(complex), values.astype(object)]
    for each in wrong:
        np.save(path, each, allow_pickle=True)
        (problem,) = problems(path)
        assert "dev.npy: expected numbers of shape (3, 200), a row for each model by ascending id, got " in problem
    np.save(path, values - 1)
    assert "is outside [0, 1]" in problems(path)[0] or "are outside [0, 1]" in problems(path)[0]
    path.write_bytes(b"0.5")
    assert len(problems(path)) == 1


def test_an_array_is_not_made_before_its_size_is_known(tmp_path: Path) -> None:
    path = tmp_path / "dev.npy"
    np.save(path, np.zeros((3, 200)))
    path.write_bytes(path.read_bytes().replace(b"(3, 200)", b"(9999999, 9999)"[:8]))
    with path.open("ab") as stream:
        stream.truncate(1 << 40)
    assert "larger than" in problems(path)[0]


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize(
    ("name", "write", "problem"),
    [
        ("a.pkl", write_pickle, "a.pkl is a pickle, which can run code and is never read; write a Parquet file"),
        ("a.npy", write_pickle, "magic string is not correct"),
        ("a.parquet", write_pickle, "a.parquet is a pickle"),
        (
            "a.feather",
            lambda p: feather.write_feather(pa.table({"x": [1]}), p),
            "is a Feather file; write it with to_p",
        ),
        ("a", lambda p: feather.write_feather(pa.table({"x": [1]}), p, version=1), "is a Feather file; write it with"),
        ("a.dat", lambda p: np.save(p.open("wb"), np.zeros(3)), "a.dat is an array of numpy; call it NAME.npy"),
        ("a.npz", lambda p: np.savez(p, np.zeros(3)), "a.npz is a zip archive"),
        ("a.gz", lambda p: p.write_bytes(gzip.compress(b"x")), "a.gz is a gzip archive; unpack it"),
    ],
)
def test_what_is_no_form_of_predictions_is_named(
    tmp_path: Path, name: str, write: Callable[[Path], object], problem: str
) -> None:
    write(tmp_path / name)
    (found,) = problems(tmp_path / name)
    assert problem in found


def test_files_named_with_backslashes_are_explained(root: Path, tmp_path: Path) -> None:
    """What Python unpacks of an archive that was zipped by an old program on Windows."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in root.rglob("*.csv"):
        (flat / str(path.relative_to(root)).replace("/", "\\")).write_bytes(path.read_bytes())
    assert problems(flat) == (
        "file names have backslashes, from an archive that Windows made; unpack it with `unzip` or `7z`",
    )


def test_what_is_no_file_is_one_problem(root: Path) -> None:
    csv(root, 2).unlink()
    os.mkfifo(csv(root, 2))  # reading it would wait for ever
    csv(root, 3).unlink()
    csv(root, 3).mkdir()
    csv(root, 4).unlink()
    csv(root, 4).symlink_to(csv(root, 4))
    found = problems(root)
    assert found[0] == "model_2, model_3: prediction.csv is not a file"
    assert len(found) == 2
    assert found[1].startswith("model_4: prediction.csv")
    assert "dev" not in found[1]  # a server's paths are no business of whoever submitted


def test_names_that_are_not_canonical_do_not_count(root: Path) -> None:
    csv(root, 2).parent.rename(csv(root, 2).parent.with_name("model_02"))
    assert problems(root) == ("model_2 missing", "model_02 not expected, only model_2, model_3, model_4")


def test_long_lists_are_counted(tmp_path: Path) -> None:
    (tmp_path / "cifar10" / "cifar10_hi" / "train").mkdir(parents=True)
    with pytest.raises(SubmissionError, match=r"model_0, .*, model_9, \.\.\. \(100 in all\) missing$"):
        submissions.read(tmp_path, SUITES["cifar10_hi"], "train")


def test_a_folder_without_the_split_names_what_was_expected(tmp_path: Path) -> None:
    assert problems(tmp_path) == ("expected a zip, a Parquet file or a folder with cifar10/cifar10_hi/dev",)
    assert problems(tmp_path / "absent")[0].startswith("expected a zip, a Parquet file or a folder with")


def test_a_folder_of_another_suite_is_not_taken(root: Path) -> None:
    with pytest.raises(SubmissionError, match="expected a zip, a Parquet file or a folder with"):
        submissions.read(root / "cifar10" / "cifar10_hi", SUITES["cifar10_lo"], "dev")


def test_two_folders_that_could_be_meant_are_refused(root: Path) -> None:
    submissions.write(root / "cifar10", {(SUITE, "dev"): predictions_for()})
    assert problems(root / "cifar10")[0].startswith("more than one folder can be meant by cifar10/cifar10_hi/dev")


def test_writing_refuses_bad_predictions_and_writes_nothing(tmp_path: Path) -> None:
    models = predictions_for()
    models[3][7] = 1.5
    models[99] = models.pop(4)
    with pytest.raises(SubmissionError, match="3 problems") as caught:
        submissions.write(tmp_path, {(SUITE, "dev"): models})
    assert caught.value.problems[:2] == ("model_4 missing", "model_99 not expected, only model_2, model_3, model_4")
    with pytest.raises(SubmissionError, match=r"^cifar10_hi/dev: 3 problems\n  model_4 missing\n"):
        submissions.write(tmp_path / "p.parquet", {(SUITE, "dev"): models})
    assert not list(tmp_path.iterdir())


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a split of train, dev, final, got 'test'"):
        submissions.read(tmp_path, SUITE, "test")


def test_another_number_of_points_can_be_asked_for() -> None:
    assert len(submissions.validate({i: [0.5] * 6 for i in DEV}, SUITE, "dev", points=6)) == 3


def row(model_id: int | None, predictions: object, split: str = "dev") -> dict[str, object]:
    return {"suite": "cifar10_hi", "split": split, "model_id": model_id, "predictions": predictions}


def parquet(path: Path, rows: list[dict[str, object]], schema: pa.Schema | None = submissions.COLUMNS) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def test_every_problem_of_a_parquet_file_is_named_at_once(tmp_path: Path) -> None:
    good = [0.5] * POINTS
    rows = [row(2, good), row(2, good), row(9, good), row(None, good), row(3, [1.2, *good]), row(4, [None, *good[1:]])]
    assert problems(parquet(tmp_path / "p.parquet", rows)) == (
        "model_9, model_None not expected, only model_2, model_3, model_4",
        "model_2 more than once",
        "model_3: expected 200 predictions, got 201; 1 of 201 predictions is outside [0, 1]: position 0 is 1.2",
        "model_4: 1 of 200 predictions is NaN: position 0 is nan",
    )
    (problem,) = problems(parquet(tmp_path / "q.parquet", [row(2, good), row(3, good), row(4, None)]))
    assert problem == "model_4: expected 200 predictions, got 0"


@pytest.mark.parametrize(
    ("rows", "schema", "expected"),
    [
        ([row(2, [0.5], split="final")], submissions.COLUMNS, "no row for it, only for cifar10_hi/final"),
        ([], submissions.COLUMNS, "no row for it, only for nothing"),
        ([{"suite": "a", "split": "dev"}], None, "got no model_id, predictions"),
        ([row(2, ["x"])], None, "(?i)conver|cast|parse"),
        ([row(2, 0.5)], None, "(?i)conver|cast"),
        ([row(2, [0.5]) | {"suite": 1}], None, "expected suite and split to be strings, got int64"),
        ([row(2, [0.5])] * (MOST[0] + 1), submissions.COLUMNS, f"has more than {MOST[0]} rows"),
        ([row(2, [0.5] * (MOST[1] + 1))], submissions.COLUMNS, f"has more than {MOST[0]} rows or {MOST[1]} values"),
        ([row(2, [0.5]) | {"suite": "x" * 100_000_000}], submissions.COLUMNS, "would unpack to more than"),
    ],
    ids=["another split", "empty", "columns", "text", "not lists", "suite", "rows", "values", "bytes"],
)
def test_a_bad_parquet_file_is_one_problem(
    tmp_path: Path, rows: list[dict[str, object]], schema: pa.Schema | None, expected: str
) -> None:
    (problem,) = problems(parquet(tmp_path / "p.parquet", rows, schema))
    assert re.search(expected, problem)


def test_a_file_that_is_not_parquet_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_text("0.5,0.5")
    assert len(problems(tmp_path / "p.parquet")) == 1
    whole = parquet(tmp_path / "q.parquet", [row(i, [0.5] * POINTS) for i in DEV]).read_bytes()
    for broken in (whole[:-20], whole[:20] + b"\0" * 40 + whole[60:]):
        (tmp_path / "q.parquet").write_bytes(broken)
        assert len(problems(tmp_path / "q.parquet")) >= 1


def problems_and_memory(path: Path) -> tuple[tuple[str, ...], int]:
    """What is wrong, and the most bytes that Arrow held meanwhile in this process."""
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        return problems(path), pool.max_memory()
    finally:
        pa.set_memory_pool(usual)


def test_a_long_name_in_every_row_is_held_once(tmp_path: Path) -> None:
    table = pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000, np.int32)), pa.array(["x" * 1_000_000])),
            *pa.Table.from_pylist([row(2, [0.5])] * 3_000, schema=submissions.COLUMNS.remove(0)).columns,
        ],
        names=submissions.COLUMNS.names,
    )
    pq.write_table(table, tmp_path / "p.parquet")
    (problem,), memory = problems_and_memory(tmp_path / "p.parquet")
    assert "expected names of suites and splits, got one of more than 200" in problem
    assert len(problem) < 1_000
    assert memory < 50e6  # written out it is 3 GB


def test_a_footer_that_lies_about_its_values_fills_no_memory(tmp_path: Path) -> None:
    """A few hundred bytes stand for 160 MB; unpacked elsewhere, with limits."""
    values = 20_000_000
    lists = pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.array(np.full(values, 0.5)))
    table = pa.Table.from_arrays(
        [pa.array(["cifar10_hi"]), pa.array(["dev"]), pa.array([2], pa.int32()), lists], names=submissions.COLUMNS.names
    )
    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd", write_statistics=False, store_schema=False)
    content = written.getvalue()
    length = int.from_bytes(content[-8:-4], "little")
    footer = decode(io.BytesIO(content[-8 - length : -8]))
    for column in footer[4][1][1][0][1][1][1]:
        column[3][1][5] = (Kind.I64, 200)
        column[3][1][6] = (Kind.I64, 1_000)
    lie = encode(footer)
    (tmp_path / "p.parquet").write_bytes(content[: -8 - length] + lie + len(lie).to_bytes(4, "little") + b"PAR1")
    (problem,), memory = problems_and_memory(tmp_path / "p.parquet")
    assert re.search("has more than|could not be read within the limits of time and memory", problem)
    assert memory < 10e6


@pytest.mark.parametrize("more", [[], ["suite", "suite"]])
def test_columns_that_lack_or_are_there_twice_are_said(tmp_path: Path, more: list[str]) -> None:
    columns = [*more, "split", "model_id", "predictions"]
    values = {name: pa.array([value]) for name, value in row(2, [0.5]).items()}
    pq.write_table(pa.Table.from_arrays([values[name] for name in columns], names=columns), tmp_path / "p.parquet")
    (problem,) = problems(tmp_path / "p.parquet")
    assert re.search("got no suite|got suite more than once", problem)


def test_other_types_of_the_same_columns_are_accepted(tmp_path: Path) -> None:
    schema = pa.schema(
        {
            "predictions": pa.large_list(pa.float32()),
            "model_id": pa.int64(),
            "split": pa.dictionary(pa.int32(), pa.string()),
            "suite": pa.large_string(),
            "note": pa.string(),
        }
    )
    path = parquet(tmp_path / "p.parquet", [row(i, [0.5] * POINTS) | {"note": "x"} for i in DEV], schema)
    assert list(submissions.read(path, SUITE, "dev")) == list(DEV)


def test_nothing_is_run_that_lies_beside_a_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As modules in the folder of a pull request, whose board is checked there."""
    for name in ("mico_hub", "numpy", "json", "pyarrow"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path; Path('was_run').touch()")
    monkeypatch.chdir(tmp_path)
    submissions.write("p.parquet", {(SUITE, "dev"): predictions_for()})
    assert same(submissions.read(Path("p.parquet"), SUITE, "dev"), predictions_for())
    assert not (tmp_path / "was_run").exists()


def test_what_takes_too_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.05)
    with pytest.raises(limits.LimitError, match=r"it took more than 0\.05 seconds to read"):
        limits.run_limited("mico_hub.submissions.unpacking", ["p", "1", "1"], b"")
    monkeypatch.undo()
    with pytest.raises(limits.EndedError, match="could not be read within the limits"):
        limits.run_limited("mico_hub.submissions.nothing", [], b"")
