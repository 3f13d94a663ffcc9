"""What a user writes, with unmodified clients; Hub repositories are served by the loopback Hub."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import evaluate
import evaluate.inspect
import fresh
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from loopback_hub import LoopbackHub, run_client

import mico_hub
from mico_hub import cli, sources
from mico_hub.data import DataError, load_base
from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import read_rows, write_rows
from mico_hub.release.rows import as_row, as_rows
from mico_hub.release.tensors import sha256_of
from mico_hub.sources import PublishedFolder, SourceError, embedded, published_hub
from mico_hub.suites import SUITES, UnknownSuiteError

EMBEDDED = [suite.name for suite in SUITES.values() if suite.dataset in embedded.EMBEDDED]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with empty caches, and nothing configured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    monkeypatch.delenv("MICO_HUB_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path


@pytest.fixture
def beside(here: Path, published: Path) -> Path:
    """A working directory with the published folder as ./mico."""
    shutil.copytree(published, here / "mico")
    return here


def only(folder: Path, *names: str) -> None:
    """Leaves only these suites in a published folder."""
    for manifest in repository.suites_in(folder):
        if manifest.suite.name not in names:
            shutil.rmtree(folder / manifest.suite.name)
    repository.write_card(folder, "# some suites")


@pytest.mark.usefixtures("beside")
def test_the_users_lines_work() -> None:
    suite = datasets.load_dataset("mico", "digits_hi")
    row = suite["train"][0]
    model = mico_hub.load_model(row)
    inputs, labels, records = mico_hub.load_challenge(row)
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape == (200, 64)
    assert records.tolist() == row["challenge"]
    assert (model(inputs).argmax(dim=1) == labels).float().mean() > 0.7
    metric = evaluate.load("mico_score")
    scores = metric.compute(predictions=[[0.5] * 200], references=[row["membership"]])
    assert scores["AUC"] == 0.5


@pytest.mark.usefixtures("beside")
def test_a_suite_has_its_splits_and_typed_columns() -> None:
    suite = datasets.load_dataset("mico", "digits_hi")
    assert {split: len(rows) for split, rows in suite.items()} == {"train": 4, "dev": 2, "final": 2}
    assert suite["train"].features == repository.FEATURES
    assert suite["dev"][0]["membership"] is None
    assert mico_hub.load_suite("digits_hi")["final"][:] == suite["final"][:]


@pytest.mark.usefixtures("beside")
def test_slices_streaming_and_lists_of_configs_work() -> None:
    assert len(datasets.load_dataset("mico", "digits_hi", split="train[:3]")) == 3
    streamed = datasets.load_dataset("mico", "digits_hi", split="dev", streaming=True)
    assert [row["model_id"] for row in streamed] == [4, 5]
    assert datasets.get_dataset_config_names("mico") == EMBEDDED
    assert datasets.get_dataset_split_names("mico", "digits_hi") == ["train", "dev", "final"]


@pytest.mark.usefixtures("beside")
def test_an_edited_suite_is_not_read_from_an_old_cache() -> None:
    before = datasets.load_dataset("mico", "digits_hi", split="dev")
    path = Path("mico/digits_hi/dev-00000-of-00001.parquet")
    rows = read_rows(path)
    rows[0]["accuracy"] = 0.123
    write_rows(rows, path)
    repository.write_card(Path("mico"), "# edited")
    assert before[0]["accuracy"] != 0.123
    assert datasets.load_dataset("mico", "digits_hi", split="dev")[0]["accuracy"] == 0.123


def test_a_plain_folder_needs_no_package(published: Path, tmp_path: Path) -> None:
    code = f"import datasets; print(len(datasets.load_dataset({str(published)!r}, 'digits_hi')['train']))"
    done = fresh.run("-c", code, cwd=tmp_path, env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": ""})
    assert done.stdout.split()[-1] == "4"


def test_names_that_were_bound_before_the_import_see_it_too(beside: Path) -> None:
    code = (
        "from datasets import load_dataset, get_dataset_config_names; import evaluate; load = evaluate.load\n"
        "import mico_hub; print(len(load_dataset('mico', 'digits_hi', split='train')))\n"
        "print(get_dataset_config_names('mico'), load('mico_score').name)"
    )
    done = fresh.run("-c", code, cwd=beside)
    assert done.stdout.split("\n")[0] == "4"
    assert "mico_score" in done.stdout


def test_install_is_idempotent_and_reversible() -> None:
    wrapped = datasets.load.load_dataset_builder
    mico_hub.install()
    assert datasets.load.load_dataset_builder is wrapped
    mico_hub.uninstall()
    try:
        assert datasets.load.load_dataset_builder is not wrapped
        assert datasets.load.load_dataset_builder.__module__ == "datasets.load"
        assert datasets.load_dataset_builder is datasets.load.load_dataset_builder
        for module in (evaluate.loading, evaluate.inspect):
            assert not hasattr(module.evaluation_module_factory, "__wrapped__")
        mico_hub.uninstall()
    finally:
        mico_hub.install()


def test_the_import_is_quick_and_leaves_evaluate_to_whoever_wants_it(tmp_path: Path) -> None:
    code = (
        "import sys, mico_hub; print(*(name in sys.modules for name in ('evaluate', 'transformers', 'opacus')))\n"
        "import evaluate, inspect; source = inspect.getsource(evaluate.loading)\n"
        "print(evaluate.load('mico_score').name, 'def' in source)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False", "mico_score", "True"]


@pytest.mark.usefixtures("beside")
def test_other_names_go_through_untouched(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.csv").write_text("x\n1\n2\n")
    assert len(datasets.load_dataset(str(tmp_path / "other"), split="train")) == 2


@pytest.mark.usefixtures("here")
def test_an_unknown_suite_says_which_there_are() -> None:
    with pytest.raises(UnknownSuiteError, match=r"unknown suite 'digits_high'. Did you mean 'digits_hi'\?"):
        datasets.load_dataset("mico", "digits_high")


@pytest.mark.usefixtures("here")
def test_a_suite_that_is_to_be_had_nowhere_says_where_it_was_looked_for() -> None:
    with pytest.raises(SourceError, match=r"cifar10_hi was not found. Looked in: \./mico \(none\)"):
        datasets.load_dataset("mico", "cifar10_hi")


@pytest.mark.usefixtures("beside")
def test_without_a_suite_the_error_lists_them() -> None:
    with pytest.raises(ValueError, match=r'expected a suite: load_dataset\("mico", SUITE\).*digits_inf, digits_hi'):
        datasets.load_dataset("mico")


@pytest.mark.usefixtures("beside")
def test_a_folder_has_no_revisions() -> None:
    with pytest.raises(ValueError, match=r"revision 'v1' was asked for, but .*mico is a folder, which has"):
        datasets.load_dataset("mico", "digits_hi", revision="v1")


def test_each_suite_comes_from_the_first_place_that_has_it(
    beside: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published, beside / "elsewhere")
    only(beside / "mico", "digits_hi")
    only(beside / "elsewhere", "digits_hi", "digits_lo")
    monkeypatch.setenv("MICO_HUB_DATASET", "./elsewhere")
    assert sources.dataset("digits_hi") == {"path": str(beside / "mico")}
    assert sources.dataset("digits_lo") == {"path": str(beside / "elsewhere")}
    assert sources.available() == EMBEDDED


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", ["nonsense", "./nowhere"])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MICO_HUB_DATASET", text)
    with pytest.raises(ValueError, match="MICO_HUB_DATASET: expected a folder"):
        sources.resolve("digits_hi")


def test_a_checkpoint_that_is_not_the_right_one_is_refused(beside: Path) -> None:
    row = mico_hub.load_suite("digits_hi")["dev"][0]
    path = beside / "mico" / row["checkpoint"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceError) as error:
        mico_hub.load_model(row, source="mico")
    assert f"expected digits_hi/dev/model_4.safetensors with sha256 {row['sha256']}. Tried: " in str(error.value)
    assert str(beside / "mico") in str(error.value)


def test_a_checkpoint_that_is_nowhere_does_not_start_a_training(beside: Path) -> None:
    row = mico_hub.load_suite("digits_hi")["dev"][0]
    (beside / "mico" / row["checkpoint"]).unlink()
    with pytest.raises(SourceError, match=r"Tried: .*no file"):
        mico_hub.load_model(row)
    assert not (beside / "cache").exists()


def test_the_right_checkpoint_is_found_in_a_later_place(
    beside: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sha256 decides: ./mico has another suite of that name than the row comes from."""
    row = mico_hub.load_suite("digits_hi")["dev"][0]
    path = beside / "mico" / row["checkpoint"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setenv("MICO_HUB_DATASET", str(published))
    assert mico_hub.load_model(row) is not None


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "..\\x"])
def test_a_path_that_leads_outside_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path inside"):
        PublishedFolder(Path("mico")).fetch(path)


def test_a_challenge_on_other_data_is_refused(beside: Path) -> None:
    manifest = beside / "mico" / "digits_hi" / "suite.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"data_digest": "f" * 64}))
    row = mico_hub.load_suite("digits_hi")["dev"][0]
    with pytest.raises(DataError, match="record indices mean other records there"):
        mico_hub.load_challenge(row)


def test_the_digits_are_trained_into_the_cache_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    small = {name: suite.with_models(2, 1, 1) for name, suite in mico_hub.SUITES.items()}
    monkeypatch.setattr(embedded, "get_suite", small.__getitem__)
    first = datasets.load_dataset("mico", "digits_inf")
    assert "digits_inf" in capfd.readouterr().err  # a progress bar
    assert {split: len(rows) for split, rows in first.items()} == {"train": 2, "dev": 1, "final": 1}
    assert mico_hub.load_model(first["dev"][0]) is not None
    (root,) = (here / "cache" / "embedded").glob("digits_inf-*/mico")
    written = (root / "README.md").stat().st_mtime_ns
    again = datasets.load_dataset("mico", "digits_inf")
    assert again["train"][:] == first["train"][:]
    assert (root / "README.md").stat().st_mtime_ns == written
    assert not list(root.rglob("private"))


@pytest.mark.data
def test_location30_is_trained_into_the_cache_where_its_file_is(
    here: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="Location-30 not found"):
        mico_hub.open_suite("location30_hi")
    assert "location30_hi" not in sources.available()
    monkeypatch.setenv("MICO_HUB_DATA", str(data_folder))
    assert "location30_hi" in sources.available()
    small = {name: suite.with_models(2, 1, 1) for name, suite in mico_hub.SUITES.items()}
    monkeypatch.setattr(embedded, "get_suite", small.__getitem__)
    suite = mico_hub.open_suite("location30_hi")
    assert suite.train[0]["accuracy"] > 0.5  # 0.61; the commonest of the 30 classes has 6% of the records
    assert 9.9 < suite.train[0]["epsilon"] <= 10
    assert suite.truth("dev") is not None
    assert mico_hub.attack("lira_joint", suite.dev, suite)[0].shape == (200,)

    other = replace(load_base("location30"), note="another")
    monkeypatch.setattr(embedded, "load_base", lambda name: other)
    with pytest.raises(SourceError, match="expected the official location30, got one that is another"):
        mico_hub.open_suite("location30_lo")
    assert not list((here / "cache" / "embedded").glob("location30_lo-*/mico"))


@dataclass
class Site:
    hub: LoopbackHub
    old: str


@pytest.fixture
def site(published: Path, tmp_path: Path) -> Iterator[Site]:
    """A Hub with org/mico at two revisions: v1 has digits_hi alone, main all three."""
    first = tmp_path / "first"
    shutil.copytree(published, first)
    only(first, "digits_hi")
    with LoopbackHub() as hub:
        old = hub.add("dataset", "org/mico", first)
        hub.tag("dataset", "org/mico", "v1")
        hub.add("dataset", "org/mico", published)
        yield Site(hub, old)


USER = """
    import json, os, datasets, mico_hub
    suite = datasets.load_dataset("mico", "digits_hi")
    row = suite["dev"][0]
    seen = {
        "rows": {split: len(rows) for split, rows in suite.items()},
        "weights": sum(parameter.numel() for parameter in mico_hub.load_model(row).parameters()),
        "challenge": len(mico_hub.load_challenge(row).records),
    }
    if "HF_HUB_OFFLINE" not in os.environ:
        streamed = datasets.load_dataset("mico", "digits_hi", split="final", streaming=True)
        seen["streamed"] = [row["model_id"] for row in streamed]
        seen["configs"] = datasets.get_dataset_config_names("mico")
    print(json.dumps(seen))
"""


def printed(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_hub_repository_is_read_by_name_then_offline(site: Site, tmp_path: Path) -> None:
    environment = site.hub.environment(tmp_path) | {
        "MICO_HUB_DATASET": "org/mico",
        "MICO_HUB_CACHE": str(tmp_path / "cache"),
        "MICO_HUB_DATA": "",
    }
    online = printed(run_client(USER.replace("STREAM", "True"), environment, tmp_path))
    assert online == {
        "rows": {"train": 4, "dev": 2, "final": 2},
        "weights": 4_810,
        "challenge": 200,
        "streamed": [6, 7],
        "configs": [name for name in mico_hub.SUITES if not name.startswith("location30")],
        # those that are not in the repository are the competition's on the Hub, or trained into the cache
    }
    checkpoints = {path for _, path in site.hub.requests if path.endswith(".safetensors")}
    assert all("digits_hi/dev/model_4.safetensors" in path for path in checkpoints)  # that one model's alone
    assert checkpoints
    before = len(site.hub.requests)
    offline = run_client(USER, environment | {"HF_HUB_OFFLINE": "1"}, tmp_path)
    assert printed(offline).items() <= online.items()
    assert len(site.hub.requests) == before


def test_revisions_are_pinned_by_setting_and_by_argument(site: Site, tmp_path: Path) -> None:
    base = site.hub.environment(tmp_path) | {"MICO_HUB_CACHE": str(tmp_path / "cache")}
    code = """
        import json, datasets, mico_hub
        from mico_hub import sources
        rows = datasets.load_dataset("mico", "digits_hi", split="train", revision=REVISION)
        print(json.dumps([len(rows), sorted(sources.configured().suites())]))
    """
    pinned = run_client(code.replace("REVISION", "None"), base | {"MICO_HUB_DATASET": "org/mico@v1"}, tmp_path)
    assert printed(pinned) == [4, ["digits_hi"]]
    asked = run_client(code.replace("REVISION", repr(site.old)), base | {"MICO_HUB_DATASET": "org/mico"}, tmp_path)
    assert printed(asked) == [4, ["digits_hi", "digits_inf", "digits_lo"]]
    missing = run_client(code.replace("REVISION", "'v9'"), base | {"MICO_HUB_DATASET": "org/mico"}, tmp_path)
    assert missing.returncode != 0
    assert "v9" in missing.stderr
    unreadable = run_client(code.replace("REVISION", "None"), base | {"MICO_HUB_DATASET": "org/none"}, tmp_path)
    assert unreadable.returncode != 0
    assert "SourceError: MICO_HUB_DATASET=org/none: its card could not be read" in unreadable.stderr


def test_a_model_is_loaded_from_a_named_repository(site: Site, tmp_path: Path) -> None:
    code = """
        import datasets, mico_hub
        row = datasets.load_dataset("org/mico", "digits_lo", split="final", revision="main")[0]
        print(mico_hub.load_model(row, source="org/mico") is not None)
        try:
            mico_hub.load_model(row, source="org/mico@v1")
        except mico_hub.sources.SourceError as error:
            print("Tried: org/mico@v1" in str(error))
    """
    done = run_client(code, site.hub.environment(tmp_path), tmp_path)
    assert done.stdout.split() == ["True", "True"], done.stderr[-3000:]


def test_a_handle_has_all_of_a_suite(published: Path) -> None:
    suite = mico_hub.open_suite("digits_hi", published)
    assert repr(suite) == f"<digits_hi from {published}>"
    assert {split: len(suite.split(split)) for split in ("train", "dev", "final")} == {"train": 4, "dev": 2, "final": 2}
    assert suite.train[:] == mico_hub.load_suite("digits_hi", published)["train"][:]
    assert (suite.dev[0]["model_id"], suite.final[0]["model_id"]) == (4, 6)
    assert suite.manifest == mico_hub.load_manifest(suite.train[0], published)
    assert suite.signals("margin").name == "margin"
    assert suite.data().digest == suite.manifest.data_digest
    row = suite.dev[1]
    inputs, labels, records = suite.challenge(row)
    for got, expected in zip((inputs, labels, records), mico_hub.load_challenge(row, published), strict=True):
        assert torch.equal(got, expected)  # type: ignore[arg-type]
    model, same = suite.model(row), mico_hub.load_model(row, published)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), same.parameters(), strict=True))
    with pytest.raises(ValueError, match="expected a row of digits_hi, got one of digits_lo"):
        suite.model(mico_hub.load_suite("digits_lo", published)["dev"][0])


def test_a_split_that_a_suite_lacks_is_said(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "mico")
    (tmp_path / "mico" / "digits_hi" / "final-00000-of-00001.parquet").unlink()
    repository.write_card(tmp_path / "mico", "")
    with pytest.raises(SourceError, match="digits_hi: there is no split final, only train, dev"):
        _ = mico_hub.open_suite("digits_hi", tmp_path / "mico").final


@pytest.mark.parametrize("form", [None, "numpy", "pandas", "arrow", "torch"])
def test_rows_of_a_dataset_in_any_format_work(published: Path, form: str | None) -> None:
    suite = mico_hub.open_suite("digits_hi", published)
    plain, formatted = suite.dev, suite.dev.with_format(form)
    assert torch.equal(suite.challenge(formatted[1]).records, suite.challenge(plain[1]).records)
    assert suite.model(formatted[0]) is not None
    assert mico_hub.load_manifest(formatted[0], published) == suite.manifest
    shadows = suite.train.with_format(form)
    expected = mico_hub.attack("lira", plain, suite.train, str(published))
    for found in (
        mico_hub.attack("lira", formatted, shadows, str(published)),
        mico_hub.attack("lira", [formatted[i] for i in range(2)], shadows, str(published)),
    ):
        assert all((one == other).all() for one, other in zip(found, expected, strict=True))
    row, hidden = as_row(shadows[0]), as_row(formatted[0])
    assert (hidden["membership"], hidden["training"]) == (None, None)
    assert row["membership"] is not None
    assert row["training"] is not None
    assert row["membership"].tolist() == suite.train[0]["membership"]
    assert row["training"].tolist() == suite.train[0]["training"]
    assert (type(row["model_id"]), type(row["epsilon"])) == (int, float)


def test_a_streamed_suite_is_attacked_as_any_other(published: Path) -> None:
    streamed = datasets.load_dataset(str(published), "digits_hi", split="train", streaming=True)
    rows = mico_hub.load_suite("digits_hi", published)["train"]
    assert [row["model_id"] for row in as_rows(streamed)] == [0, 1, 2, 3]
    for found, expected in zip(
        *(mico_hub.attack("loss", part, source=str(published)) for part in (streamed, rows)), strict=True
    ):
        assert (found == expected).all()


@pytest.mark.usefixtures("beside")
def test_later_places_are_asked_only_when_the_first_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICO_HUB_DATASET", "org/unreachable")
    suite = mico_hub.load_suite("digits_hi")
    assert mico_hub.load_model(suite["dev"][0]) is not None
    assert mico_hub.load_manifest(suite["dev"][0]).suite.name == "digits_hi"
    with pytest.raises(SourceError, match="MICO_HUB_DATASET=org/unreachable: its card could not be read"):
        mico_hub.load_model(suite["dev"][0] | {"sha256": "0" * 64})
    with pytest.raises(SourceError, match="org/unreachable: its card could not be read"):
        mico_hub.open_suite("digits_hi", "org/unreachable")


def test_signals_that_cannot_be_reached_are_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a network that is down; without one, on purpose, there are those that are here."""

    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("down")

    monkeypatch.setattr(published_hub, "hf_hub_download", unreachable)
    place = sources.PublishedRepository("org/mico")
    place._card = Path("snapshots/0/README.md")
    monkeypatch.setattr(published_hub, "is_offline_mode", lambda: False)
    with pytest.raises(LocalEntryNotFoundError):
        place.signals("digits_hi", "margin")
    monkeypatch.setattr(published_hub, "is_offline_mode", lambda: True)
    assert place.signals("digits_hi", "margin") is None


def test_what_is_no_row_is_said(published: Path) -> None:
    suite = mico_hub.load_suite("digits_hi", published)
    backwards = dict(reversed(suite["train"][0].items()))
    assert as_row(backwards)["model_id"] == 0
    with pytest.raises(ValueError, match="expected one row, got a dataset"):
        mico_hub.load_model(suite["train"].select([0]), published)
    frame = suite["train"].to_pandas()
    assert as_row(frame.iloc[0])["model_id"] == 0
    assert [row["model_id"] for row in as_rows(frame)] == [0, 1, 2, 3]
    assert [row["model_id"] for row in as_rows(suite["train"][:2])] == [0, 1]
    with pytest.raises(ValueError, match="expected one row, got 4"):
        mico_hub.load_model(frame, published)
    with pytest.raises(ValueError, match=r"expected the rows of one split, got the splits train, dev, final"):
        as_rows(suite)
    with pytest.raises(ValueError, match="expected a row of a suite, got one without checkpoint, sha256"):
        mico_hub.load_model({"suite": "digits_hi", "split": "dev", "model_id": 4, "num_bytes": 1, "challenge": [1]})
    for wrong in (7, "digits_hi", None):
        with pytest.raises(TypeError, match=r"expected a row of a suite, such as load_suite\(NAME\)\['train'\]\[0\]"):
            mico_hub.load_model(wrong, published)


COUNTED = """
    import datasets, mico_hub
    rows = datasets.load_dataset("mico", "digits_hi", split="train")
    for row in [*rows, rows[0]]:
        mico_hub.load_model(row), mico_hub.load_challenge(row)
    print(len(rows))
"""


def test_a_repository_is_asked_once_for_card_and_manifest(site: Site, tmp_path: Path) -> None:
    environment = site.hub.environment(tmp_path) | {"MICO_HUB_DATASET": "org/mico", "MICO_HUB_CACHE": str(tmp_path)}
    assert printed(run_client(COUNTED, environment, tmp_path)) == 4
    for name in ("README.md", "digits_hi/suite.json", *(f"digits_hi/train/model_{i}.safetensors" for i in range(4))):
        asked = [method for method, path in site.hub.requests if path.endswith(f"/{name}")]
        assert sorted(asked) == ["GET", "HEAD"], name


MOVED = """
    import sys, urllib.request, mico_hub
    suite = mico_hub.open_suite("digits_hi", "org/mico")
    before = suite.place.commit
    mico_hub.load_manifest(suite.train[0], "org/mico")
    print("look", flush=True)
    sys.stdin.readline()
    row = dict(suite.train[0], sha256=sys.stdin.readline().strip())
    print(mico_hub.load_model(row, "org/mico") is not None, flush=True)
    again = mico_hub.open_suite("digits_hi", "org/mico")
    print(before != again.place.commit, suite.place.commit == before)
    print(mico_hub.open_suite("digits_hi", "org/mico", revision="v1").place.commit == mico_hub.open_suite(
        "digits_hi", "org/mico@v1").place.commit)
"""


def test_a_repository_that_moves_on_is_looked_up_again(site: Site, published: Path, tmp_path: Path) -> None:
    """A row of a newer commit than the one that was looked up: its model is found where it is now."""
    environment = site.hub.environment(tmp_path) | {"MICO_HUB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", textwrap.dedent(MOVED)]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == "look\n"
        newer = tmp_path / "newer"
        shutil.copytree(published, newer)
        other = newer / "digits_hi" / "train" / "model_1.safetensors"
        shutil.copy(other, newer / "digits_hi" / "train" / "model_0.safetensors")
        site.hub.add("dataset", "org/mico", newer)
        run.stdin.write(f"\n{sha256_of(other)}\n")
        run.stdin.flush()
        assert run.stdout.readline() == "True\n"
        assert run.stdout.read().split() == ["True", "True", "True"]
        assert run.wait() == 0


@pytest.mark.parametrize("home", ["/sys/hf", "/dev/null/hf"])
def test_a_home_of_the_hub_that_cannot_be_written_is_named_as_the_setting(
    home: str, published: Path, tmp_path: Path
) -> None:
    """Both are real: the first file system takes no folder from anybody, and the second is no folder."""
    (tmp_path / "mico").symlink_to(published)
    code = """
        import contextlib
        import evaluate, mico_hub
        from datasets import load_dataset
        from mico_hub.cache import DiskError
        for ask in (
            lambda: load_dataset("mico", "digits_hi"),
            lambda: mico_hub.load_suite("digits_hi"),
            lambda: evaluate.load("mico_score"),
        ):
            with contextlib.suppress(DiskError):
                ask()
                print("could be written")
            try:
                ask()
            except DiskError as error:
                print(error)
    """
    environment = os.environ | {"HF_HOME": home}
    done = fresh.run("-c", textwrap.dedent(code), cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(f"{home} cannot be written (")
        assert line.endswith("); set HF_HOME to a folder elsewhere")


def test_pairs_are_drawn_by_the_commitments_secret_or_by_one_that_is_kept(
    trained: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path))
    suite = mico_hub.open_suite("digits_hi", published)
    opening = SuiteFolder(trained / "digits_hi").opening("dev")
    for truth in (trained, trained / "digits_hi", trained / "digits_hi" / "private"):
        assert suite.pairs_nonce("dev", truth) == opening.nonce
    assert not list(tmp_path.iterdir())
    kept = suite.pairs_nonce("train")
    assert len(kept) == 32
    assert mico_hub.open_suite("digits_hi", published).pairs_nonce("train") == kept
    assert mico_hub.open_suite("digits_lo", published).pairs_nonce("train") != kept
    with pytest.raises(SourceError, match="the membership of dev is hidden"):
        suite.pairs_nonce("dev")


def test_a_source_that_is_neither_folder_nor_repository_is_said_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("audit", "attack", "fetch"):
        assert cli.main([command, "digits_hi", "--source", "nowhere"]) == 2
        assert "expected a folder or org/name[@revision], got 'nowhere'" in capsys.readouterr().err
