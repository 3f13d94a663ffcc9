"""The competition's files as suites: archive, folder and Hub give the same rows and models, or say what is wrong."""

import json
import logging
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import pytest
import torch
from loopback_hub import LoopbackHub, Response, run_client
from originals import GOLDEN, PURCHASE, SAMPLES, SST2, extract, made, members, named, on_the_hub, zipped

import mico_hub
from mico_hub import cli, sources
from mico_hub.data import DataError
from mico_hub.release.manifest import Manifest
from mico_hub.sources import SourceError, original
from mico_hub.sources.original import OriginalError
from mico_hub.sources.original.folder import Folder
from mico_hub.sources.original.release import ARCHIVES, RELEASES, SUITE_NAMES, locate
from mico_hub.sources.original.rows import make_rows
from mico_hub.splits import original_split
from mico_hub.suites import SUITES, UnknownSuiteError

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and empty caches; no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def rows_of(suite: str, source: str) -> dict[str, list[dict[str, Any]]]:
    return {split: list(rows) for split, rows in mico_hub.load_suite(suite, source).items()}


def test_the_table_names_every_suite_of_the_competition_once() -> None:
    ours = ("digits", "location30")
    assert [name for name, suite in SUITES.items() if not suite.track.startswith(ours)] == list(SUITE_NAMES)
    assert len({release.repository for release in RELEASES.values()}) == 4
    assert len(set(ARCHIVES.values())) == 6


@pytest.mark.parametrize(
    ("path", "repository_path"),
    [
        ("cifar10/cifar10_inf/train/model_0/model.pt", "cifar10_inf/train/model_0/model.pt"),
        ("cifar10_inf/train/model_0/model.pt", "cifar10_inf/train/model_0/model.pt"),
        ("ddp/cifar10_ddp/dev/model_100/seed_training", "ddp/cifar10_ddp/dev/model_100/seed_training"),
        ("cifar10_ddp/dev/model_100/seed_training", "ddp/cifar10_ddp/dev/model_100/seed_training"),
        ("sst2_lo/final/model_150/config.json", "sst2_lo/final/model_150/config.json"),
        ("digits_hi/train/model_0/model.pt", None),
        ("cifar10_inf/train/model_0/notes", None),
        ("cifar10_inf/train/model_00/model.pt", None),
        ("cifar10_inf/test/model_0/model.pt", None),
        ("a/b/cifar10_inf/train/model_0/model.pt", None),
        ("../cifar10_inf/train/model_0/model.pt", None),
        ("cifar10_inf/train/model_0/model.pt\n", None),
        ("cifar10_inf/train/model_١/model.pt", None),
    ],
)
def test_paths_of_the_layout(path: str, repository_path: str | None) -> None:
    location = locate(path)
    assert (location.path if location else None) == repository_path


def epsilon_of(name: str) -> float:
    return original.recomputed_epsilon(original.release.original_suite(name))


def test_epsilon_is_recomputed_from_the_competitions_scripts() -> None:
    """The figures that an independent computation gave, see `release.py`."""
    names = ("cifar10_hi", "cifar10_lo", "purchase100_hi", "purchase100_lo")
    assert [round(epsilon_of(name), 2) for name in names] == [9.95, 3.93, 9.95, 3.96]
    assert epsilon_of("cifar10_ddp") == epsilon_of("cifar10_lo")
    assert epsilon_of("sst2_inf") == np.inf
    assert 3.9 < epsilon_of("sst2_lo") < 4


SAMPLE_SUITES = {"cifar10.zip": "cifar10_lo", "purchase100.zip": "purchase100_inf", "ddp.tar.gz": "cifar10_ddp"}
SAMPLE_SUITES |= {"sst2_lo.tar.gz": "sst2_lo"}
NETWORKS = {"cifar10": "CNN", "purchase100": "MLP", "sst2": "RobertaForSequenceClassification"}


def sample(name: str) -> Path:
    if (GOLDEN / name).exists():
        return GOLDEN / name
    if not SAMPLES:
        pytest.skip(f"MICO_HUB_SAMPLES is not set: a folder with {name} in the competition's format")
    return Path(SAMPLES) / name


@pytest.mark.parametrize("name", SAMPLE_SUITES)
def test_the_samples_go_through_archive_and_folder(name: str, here: Path) -> None:
    archive, suite = sample(name), SAMPLE_SUITES[name]
    extract(members(archive), here / "extracted")
    track = next(iter((here / "extracted").iterdir()))
    rows = rows_of(suite, named(archive))
    assert rows == rows_of(suite, str(here / "extracted"))
    assert rows == rows_of(suite, str(track))
    assert set(rows) == {"train", "dev", "final"}
    for row in (row for of_split in rows.values() for row in of_split):
        folder = track / suite / row["split"] / f"model_{row['model_id']}"
        assert (row["epsilon"], row["delta"], row["accuracy"], row["sha256"]) == (None, None, None, None)
        assert row["num_bytes"] == (track.parent / track.name / suite / locate_below(row)).stat().st_size
        check_row(row, folder)
        models = [mico_hub.load_model(row, source) for source in (named(archive), str(track))]
        original_state = torch.load(folder / Path(row["checkpoint"]).name, weights_only=True)
        for model in models:
            assert type(model).__name__ == NETWORKS[SUITES[suite].dataset]
            assert not model.training
            for key, tensor in model.state_dict().items():
                assert torch.equal(tensor, original_state.get(f"_module.{key}", original_state.get(key)))


def locate_below(row: Mapping[str, Any]) -> str:
    return "/".join(row["checkpoint"].split("/")[-3:])


def check_row(row: Mapping[str, Any], folder: Path) -> None:
    """Against `original_split`, from the seeds that are in the folder."""
    suite = SUITES[row["suite"]]
    num_records = {"cifar10": 60_000, "purchase100": 197_324, "sst2": 68_221}[suite.dataset]
    seeds = {path.name: int(path.read_text()) for path in folder.glob("seed_*")}
    split = original_split(num_records, suite.n, suite.m, **seeds)
    assert row["challenge"] == split.challenge.tolist()  # in the competition's order
    assert row["membership"] == (None if split.membership is None else split.membership.tolist())
    assert row["training"] == (None if split.training is None else sorted(split.training.tolist()))
    assert (row["membership"] is None) == (row["split"] != "train")
    assert (row["training"] is None) == (row["split"] != "train" and suite.track != "ddp")
    if row["membership"] is not None:
        assert ",".join(map(str, row["membership"])) == (folder / "solution.csv").read_text().strip()


def test_a_folder_may_hold_one_suite_or_all(here: Path) -> None:
    extract(made("cifar10_lo"), here / "all")
    extract(made("cifar10_ddp"), here / "all")
    place = original.parse(str(here / "all"))
    assert place is not None
    assert place.suites() == ["cifar10_lo", "cifar10_ddp"]
    assert original.parse(here / "all" / "cifar10") is not None
    assert original.parse(here) is None


def test_a_setting_may_name_an_archive_or_a_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (named(PURCHASE), str(extract(members(PURCHASE), here / "x"))):
        monkeypatch.setenv("MICO_HUB_DATASET", source)
        suite = mico_hub.load_suite("purchase100_inf")
        assert type(mico_hub.load_model(suite["dev"][0])).__name__ == "MLP"
    monkeypatch.setenv("MICO_HUB_DATASET", "./nowhere.zip")
    with pytest.raises(ValueError, match=r"MICO_HUB_DATASET: no archive .*nowhere.zip"):
        mico_hub.load_suite("purchase100_inf")


def test_the_files_may_lie_where_the_published_folder_would(here: Path) -> None:
    extract(members(PURCHASE), here / "mico")
    rows = mico_hub.load_suite("purchase100_inf")["train"]
    assert len(rows) == 2
    assert mico_hub.load_model(rows[0]) is not None


def broken(change: Callable[[Files, str], None], suite: str = "cifar10_lo") -> Files:
    files = made(suite)
    change(files, f"{SUITES[suite].track}/{suite}")
    return files


def flip(content: bytes) -> bytes:
    return (b"1" if content[:1] == b"0" else b"0") + content[1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files, base: files.update(
                {f"{base}/train/model_1/solution.csv": flip(files[f"{base}/train/model_1/solution.csv"])}
            ),
            "cifar10_lo/train/model_1: solution.csv contradicts the seeds in 1 of 200 labels",
        ),
        (
            lambda files, base: files.update({f"{base}/train/model_0/solution.csv": b"1,0,2\r\n"}),
            "train/model_0: solution.csv: expected one line of 200 labels 0 or 1, got b'1,0,2",
        ),
        (
            lambda files, base: files.update({f"{base}/dev/model_100/seed_challenge": b"seven\n"}),
            "dev/model_100: seed_challenge: expected one integer, got b'seven",
        ),
        (
            lambda files, base: files.update({f"{base}/dev/model_100/seed_challenge": b"-1\n"}),
            "dev/model_100: seed_challenge: expected a seed from 0 to 2",
        ),
        (
            lambda files, base: files.pop(f"{base}/train/model_0/seed_membership"),
            "train/model_0: expected seed_membership, got no such file",
        ),
        (
            lambda files, base: files.pop(f"{base}/final/model_150/model.pt"),
            "final/model_150: expected one of model.pt and pytorch_model.bin, got none",
        ),
        (
            lambda files, base: files.update({f"{base}/dev/model_100/seed_membership": b"3\n"}),
            "dev/model_100: seed_membership is hidden truth, which the competition never published: remove it",
        ),
        (
            lambda files, base: files.update({f"{base}/dev/model_100/seed_training": b"3\n"}),
            "dev/model_100: seed_training is hidden truth",
        ),
        (
            lambda files, base: files.update({f"{base}/final/model_150/solution.csv": b"1\n"}),
            "final/model_150: solution.csv is hidden truth",
        ),
        (
            lambda files, base: files.update(
                {f"{base}/dev/model_7/{name}": b"3" for name in ("model.pt", "seed_challenge")}
            ),
            "dev/model_7: expected a model_id from 100 to 149 in dev",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_model(change: Callable[[Files, str], None], message: str, here: Path) -> None:
    extract(broken(change), here / "x")
    with pytest.raises(OriginalError) as error:
        mico_hub.load_suite("cifar10_lo", here / "x")
    assert message in str(error.value)
    assert not list((here / "cache").rglob("*.parquet"))


def test_everything_that_is_wrong_is_said_at_once(here: Path) -> None:
    files = made("cifar10_lo", {"train": list(range(30)), "dev": [], "final": []})
    for name in [name for name in files if name.endswith("solution.csv")]:
        files[name] = flip(files[name])
    extract(files, here / "x")
    with pytest.raises(OriginalError, match=r"30 problems\n(  .*solution.csv contradicts.*\n){20}  \.\.\. and 10 more"):
        mico_hub.load_suite("cifar10_lo", here / "x")


def test_the_manifest_tells_origin_noise_and_what_is_missing(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    extract(made("cifar10_hi"), here / "x")
    rows = mico_hub.load_suite("cifar10_hi", here / "x")["train"]
    assert "cifar10_hi: 4 of 200 models are in" in caplog.text
    manifest = mico_hub.load_manifest(rows[0], here / "x")
    assert re.fullmatch(r"an extracted folder \(sha256 over its small files [0-9a-f]{64}\)", manifest.origin)
    assert manifest.num_models == 4
    assert len(manifest.missing) == 196
    assert manifest.noise_multiplier == pytest.approx(0.69859, abs=1e-5)
    assert Manifest.from_json(manifest.to_json(), "") == manifest
    assert str(here) not in manifest.to_json().decode()


def test_text_with_dp_was_shuffled(here: Path) -> None:
    rows = mico_hub.load_suite("sst2_lo", named(SST2))["train"]
    assert mico_hub.load_manifest(rows[0], named(SST2)).suite.order == "shuffled"
    assert SUITES["sst2_lo"].order == "poisson"


def test_rows_follow_the_files_when_they_change(here: Path) -> None:
    extract(made("cifar10_lo"), here / "x")
    before = rows_of("cifar10_lo", str(here / "x"))
    (here / "x/cifar10/cifar10_lo/dev/model_100/seed_challenge").write_text("123456\n")
    after = rows_of("cifar10_lo", str(here / "x"))
    assert before["dev"] != after["dev"]
    assert before["train"] == after["train"]


def test_a_checkpoint_that_changed_is_converted_again(here: Path) -> None:
    extract(made("cifar10_lo"), here / "x")
    row = rows_of("cifar10_lo", str(here / "x"))["dev"][0]
    first = mico_hub.load_model(row, here / "x")
    extract(
        {"cifar10/cifar10_lo/dev/model_100/model.pt": made("cifar10_lo")["cifar10/cifar10_lo/dev/model_100/model.pt"]},
        here / "x",
    )
    second = mico_hub.load_model(row, here / "x")
    assert not all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_the_data_must_be_the_official_ones(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows the digest of the competition's copy; the labels' order is known for CIFAR-10 alone."""
    from synthetic import base_dataset

    for suite in ("cifar10_lo", "purchase100_lo"):
        extract(made(suite, {"train": [], "dev": [100], "final": []}), here / "x")
        row = mico_hub.load_suite(suite, here / "x")["dev"][0]
        base = base_dataset(SUITES[suite].dataset)
        monkeypatch.setattr("mico_hub.data.load_base", lambda *_, base=base: base)
        caplog.set_level(logging.WARNING)
        if suite == "cifar10_lo":
            assert mico_hub.load_data(row, here / "x") is base
            assert "cifar10_lo was trained on the official cifar10; this one: synthetic" in caplog.text
        else:
            with pytest.raises(DataError, match="purchase100_lo was trained on purchase100 with digest not known"):
                mico_hub.load_data(row, here / "x")


@pytest.mark.data
def test_a_model_of_the_competition_is_attacked_and_scored(
    here: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights, so the score says nothing; that there is one does."""
    source = named(zipped(made("cifar10_lo"), here / "a.zip"))
    train = mico_hub.load_suite("cifar10_lo", source)["train"]
    inputs, labels, records = mico_hub.load_challenge(train[0], source)
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape == (200, 3, 32, 32)
    assert records.tolist() == train[0]["challenge"]
    assert len(labels) == 200
    arguments = ["cifar10_lo", "--attack", "loss", "--source", source, "--out", "predictions"]
    assert cli.main(["attack", *arguments]) == 0
    assert cli.main(["score", "predictions", "--suite", "cifar10_lo", "--source", source]) == 0
    assert "TPR at FPR < 0.1 " in capsys.readouterr().out


def test_fetch_brings_checkpoints_and_goes_on_where_it_broke_off(
    here: Path, fresh_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = made("cifar10_lo", {"train": list(range(6)), "dev": [], "final": []})
    extract(files, here / "x")
    weights = here / "x/cifar10/cifar10_lo/train/model_3/model.pt"
    weights.write_bytes(b"broken")
    arguments = ["fetch", "cifar10_lo", "--split", "train", "--source", str(here / "x")]
    assert cli.main(arguments) == 2
    problem = capsys.readouterr().err
    assert "mico-hub: 1 of 6 checkpoints failed\n" in problem
    assert "cifar10_lo/train/model_3: " in problem
    done = {path: path.stat().st_mtime_ns for path in fresh_cache.rglob("*.safetensors")}
    assert len(done) == 5
    weights.write_bytes(files["cifar10/cifar10_lo/train/model_3/model.pt"])
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("6 checkpoints, 23.4 MB, in ")
    assert done.items() <= {path: path.stat().st_mtime_ns for path in fresh_cache.rglob("*.safetensors")}.items()


def test_a_folder_cannot_be_asked_for_a_revision(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICO_HUB_DATASET", named(PURCHASE))
    with pytest.raises(ValueError, match=r"revision 'main' was asked for, but the competition's files in .* have none"):
        sources.dataset("purchase100_inf", "main")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("sst2_hi", r"sst2_hi is not in .*/x, which has cifar10_lo\. Expected a published folder"),
        ("digits_hi", "digits_hi is not in"),
        ("cifar10_ow", r"unknown suite 'cifar10_ow'\. Did you mean 'cifar10_lo'"),
        ("cifar10", "unknown suite 'cifar10'.* It is a track; its suites are cifar10_inf, cifar10_hi, cifar10_lo"),
        ("../../evil", "unknown suite"),
    ],
)
def test_a_suite_that_is_not_there_is_said(value: str, problem: str, here: Path) -> None:
    extract(made("cifar10_lo"), here / "x")
    with pytest.raises((SourceError, UnknownSuiteError), match=problem):
        mico_hub.load_suite(value, here / "x")
    assert cli.main(["fetch", value, "--source", str(here / "x")]) == 2
    assert not (here / "cache" / "original-1.1" / "rows").exists()


def test_a_folder_at_the_wrong_level_is_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract(made("cifar10_lo"), here / "x")
    for source in (here / "x/cifar10/cifar10_lo", here / "x/cifar10/cifar10_lo/train", here, here / "nowhere"):
        assert cli.main(["fetch", "cifar10_lo", "--source", str(source)]) == 2
        problem = capsys.readouterr().err
        assert "cifar10_lo is not in" in problem
        assert "Expected a published folder with cifar10_lo/suite.json" in problem


def test_a_row_from_files_is_not_loaded_from_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could tell whether the Hub's model of that name is the same."""
    extract(made("cifar10_lo"), here / "x")
    monkeypatch.setenv("MICO_HUB_DATASET", str(here / "x"))
    row = mico_hub.load_suite("cifar10_lo")["dev"][0]
    (here / "x/cifar10/cifar10_lo/dev/model_100/model.pt").unlink()
    with pytest.raises(SourceError, match=r"name the source that the row was loaded from\)\. Tried: [^;]*$"):
        mico_hub.load_model(row)
    (here / "x/cifar10/cifar10_lo/dev/model_100/model.pt").write_bytes(b"another size")
    with pytest.raises(SourceError, match=r"expected 3,\d+,\d+ bytes, got 12"):
        mico_hub.load_model(row)


def test_a_hostile_checkpoint_keeps_no_other_from_being_fetched(here: Path) -> None:
    extract(made("cifar10_lo", {"train": [0, 1, 2, 3], "dev": [], "final": []}), here / "x")
    shared = torch.zeros(3)
    torch.save({"a": shared, "b": shared}, here / "x/cifar10/cifar10_lo/train/model_2/model.pt")
    suite = mico_hub.open_suite("cifar10_lo", here / "x")
    rows = list(suite.train)
    brought: list[int] = []
    with pytest.raises(SourceError, match=r"1 of 4 checkpoints failed\n.*train/model_2"):
        brought.extend(row["model_id"] for row, _ in suite.checkpoints(rows))
    assert sorted(brought) == [0, 1, 3]
    assert len(list(suite.checkpoints(rows[:2] * 2))) == 4  # rows may come twice


def test_a_checkpoint_follows_its_configuration(here: Path) -> None:
    extract(members(SST2), here / "x")
    row = mico_hub.load_suite("sst2_lo", here / "x")["dev"][0]
    config = here / "x/sst2/sst2_lo/dev/model_100/config.json"
    heads = []
    for number in (2, 4):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": number}))
        config_of: Any = mico_hub.load_model(row, here / "x").config
        heads.append(config_of.num_attention_heads)
    assert heads == [2, 4]


def test_offline_and_unknown_the_suite_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICO_HUB_DATA", raising=False)
    started = time.perf_counter()
    with pytest.raises(
        SourceError, match=r"the competition's files in szanella/MICO-CIFAR10 on the Hub \(.*OfflineMode"
    ):
        mico_hub.load_suite("cifar10_hi")
    assert time.perf_counter() - started < 5
    assert sources.available() == [name for name in SUITES if name.startswith("digits")]


# ---- on the Hub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """The samples, or stand-ins for those that are too large and not here, in the competition's own repositories."""
    cifar10 = members(Path(SAMPLES) / "cifar10.zip") if SAMPLES else made("cifar10_lo")
    ddp = members(Path(SAMPLES) / "ddp.tar.gz") if SAMPLES else made("cifar10_ddp")
    with LoopbackHub() as server:
        server.add("dataset", RELEASES["purchase100"].repository, on_the_hub(members(PURCHASE), "purchase100"))
        server.add("dataset", RELEASES["sst2"].repository, on_the_hub(members(SST2), "sst2"))
        two = on_the_hub(cifar10 | made("cifar10_hi"), "cifar10")
        server.add("dataset", RELEASES["cifar10"].repository, {"README.md": b"# MICO", ".gitattributes": b""} | two)
        server.add("dataset", RELEASES["ddp"].repository, on_the_hub(ddp, "ddp"))
        yield server


def environment(hub: LoopbackHub, tmp: Path, **more: str) -> dict[str, str]:
    return hub.environment(tmp) | {"MICO_HUB_CACHE": str(tmp / "cache")} | more


USER = """
    import json, os, datasets, mico_hub
    suite = datasets.load_dataset("mico", SUITE)
    rows = {split: list(suite[split]) for split in suite}
    seen = {"rows": {split: [row["model_id"] for row in of_split] for split, of_split in rows.items()}}
    row = rows["dev"][0]
    seen["model"] = type(mico_hub.load_model(row)).__name__
    seen["row"] = row
    seen["ready"] = [name for name in datasets.get_dataset_config_names("mico") if "digits" not in name]
    print(json.dumps(seen))
"""


def printed(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def files_asked_for(hub: LoopbackHub) -> set[str]:
    return {path.partition("/resolve/")[2].partition("/")[2] for _, path in hub.requests if "/resolve/" in path}


@pytest.mark.parametrize("suite", ["cifar10_lo", "purchase100_inf", "sst2_lo", "cifar10_ddp"])
def test_the_users_lines_work_with_hub_access_alone(hub: LoopbackHub, suite: str, tmp_path: Path) -> None:
    track = SUITES[suite].track
    code = USER.replace("SUITE", repr(suite))
    online = printed(run_client(code, environment(hub, tmp_path), tmp_path))
    assert online["rows"] == {
        "train": [0] if suite == "cifar10_ddp" and SAMPLES else [0, 1],
        "dev": [100],
        "final": [150],
    }
    assert online["model"] == NETWORKS[SUITES[suite].dataset]
    assert online["ready"] == list(SUITE_NAMES)
    repository = hub.repositories["dataset", RELEASES[track].repository]
    files = repository.revisions[-1].entries
    assert online["row"]["sha256"] == files[online["row"]["checkpoint"]]["lfs"]["oid"]
    assert online["row"]["num_bytes"] == files[online["row"]["checkpoint"]]["size"]

    small = {path for path in files if f"{suite}/" in path and path.rsplit("/", 1)[1].startswith(("seed_", "solution"))}
    folder = online["row"]["checkpoint"].rsplit("/", 1)[0]
    model = {path for path in files if path.startswith(folder) and path.endswith((".pt", ".bin", ".json"))}
    assert files_asked_for(hub) == small | model  # of that suite the small files, of one model the large ones
    # One look at the repository, one listing, one request for each small file, and two for a large one.
    small_of_model = {path for path in model if path.endswith(".json")}
    assert len(hub.requests) == 2 + len(small) + len(small_of_model) + 2

    asked = len(hub.requests)
    offline = printed(run_client(code, environment(hub, tmp_path, HF_HUB_OFFLINE="1"), tmp_path))
    assert len(hub.requests) == asked
    assert offline == online | {"ready": [suite]}
    left = [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".pt", ".bin")]
    assert left == []  # no pickle stays


def test_an_interruption_loses_nothing(hub: LoopbackHub, tmp_path: Path) -> None:
    """The server fails for good after some files; the next run asks for the others alone."""
    code = USER.replace("SUITE", "'cifar10_lo'")
    repository = hub.repositories["dataset", RELEASES["cifar10"].repository]
    whole = repository.revisions[-1]
    files = whole.files
    lacking = {path: data for path, data in files.items() if not path.endswith("model_0/seed_membership")}
    object.__setattr__(whole, "files", lacking)
    failed = run_client(code, environment(hub, tmp_path), tmp_path)
    assert failed.returncode != 0
    assert "SourceError: cifar10_lo was not found" in failed.stderr
    assert "cifar10_lo/train/model_0/seed_membership: RemoteEntryNotFoundError: 404" in failed.stderr
    assert not list((tmp_path / "cache").rglob("*.parquet"))
    had = files_asked_for(hub)
    object.__setattr__(whole, "files", files)
    hub.requests.clear()
    assert printed(run_client(code, environment(hub, tmp_path), tmp_path))["model"] == "CNN"
    small = {path for path in files_asked_for(hub) if not path.endswith("model.pt")}
    assert small == {"cifar10_lo/train/model_0/seed_membership"} <= had


def test_failures_in_passing_are_tried_again(hub: LoopbackHub, tmp_path: Path) -> None:
    """The first request for each file and each listing fails."""
    hub.first_fails = True
    code = 'from mico_hub import cli; cli.main(["fetch", "sst2_lo", "--split", "train"])'
    done = run_client(code, environment(hub, tmp_path), tmp_path)
    assert done.stdout.startswith("2 checkpoints, "), done.stderr[-3000:]
    asked = [path for _, path in hub.requests]
    assert all(asked.count(path) > 1 for path in asked)


def test_a_commit_is_looked_up_once_and_may_be_named(hub: LoopbackHub, tmp_path: Path) -> None:
    repository = RELEASES["cifar10"].repository
    old = hub.repositories["dataset", repository].refs["main"]
    code = """
        import datasets, json, mico_hub, os
        rows = datasets.load_dataset("mico", "cifar10_lo", split="dev", revision=os.environ.get("REVISION"))
        print(json.dumps([row["model_id"] for row in rows]))
    """
    assert printed(run_client(code, environment(hub, tmp_path), tmp_path)) == [100]
    more = on_the_hub(made("cifar10_lo", {"train": [0], "dev": [100, 101], "final": [150]}), "cifar10")
    new = hub.add("dataset", repository, more)
    assert (tmp_path / "cache/original-1.1/szanella--MICO-CIFAR10/main").read_text() == f"{old}\n"
    assert printed(run_client(code, environment(hub, tmp_path), tmp_path)) == [100]
    assert printed(run_client(code, environment(hub, tmp_path, REVISION="main"), tmp_path)) == [100, 101]
    pinned = environment(hub, tmp_path, MICO_HUB_DATASET=f"{repository}@{new}")
    assert printed(run_client(code, pinned, tmp_path)) == [100, 101]
    unknown = run_client(code, environment(hub, tmp_path, REVISION="v9"), tmp_path)
    assert unknown.returncode != 0
    assert "RevisionNotFoundError" in unknown.stderr
    asked = len(hub.requests)
    offline = environment(hub, tmp_path, REVISION="main", HF_HUB_OFFLINE="1")
    assert printed(run_client(code, offline, tmp_path)) == [100, 101]  # what main was when it was last looked up
    assert len(hub.requests) == asked


def test_a_file_with_another_sha256_is_refused_and_not_kept(hub: LoopbackHub, tmp_path: Path) -> None:
    code = """
        import datasets, mico_hub
        row = datasets.load_dataset("mico", "cifar10_lo", split="dev")[0]
        try:
            mico_hub.load_model(row | {"sha256": "0" * 64})
        except mico_hub.sources.SourceError as error:
            print(error)
        print(type(mico_hub.load_model(row)).__name__)
    """
    done = run_client(code, environment(hub, tmp_path), tmp_path)
    assert f"expected sha256 {'0' * 64}, got " in done.stdout, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "CNN"


def test_fetch_on_the_hub_brings_several_at_once(hub: LoopbackHub, tmp_path: Path) -> None:
    arguments = ("-m", "mico_hub.cli", "fetch", "sst2_lo", "--split", "train")
    done = fresh.run(*arguments, cwd=tmp_path, env=environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("2 checkpoints, 1.1 MB, in ")
    asked = len(hub.requests)
    again = fresh.run(*arguments, cwd=tmp_path, env=environment(hub, tmp_path))
    assert again.stdout == done.stdout
    assert len(hub.requests) == asked


def test_an_interrupt_ends_a_fetch_that_waits_for_the_hub(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = hub.answer
    monkeypatch.setattr(
        hub, "answer", lambda asked: Response(status=503) if "/resolve/" in asked.path else answer(asked)
    )
    fetching = fresh.start("-m", "mico_hub.cli", "fetch", "cifar10_lo", cwd=tmp_path, env=environment(hub, tmp_path))
    for _ in range(600):
        if any("/resolve/" in path for _, path in hub.requests):
            break
        time.sleep(0.05)
    time.sleep(1)  # now it waits, for up to 15 s in all
    fetching.send_signal(signal.SIGINT)
    ended = fetching.wait(8)
    assert ended.returncode == 130
    assert "interrupted. What was fetched is kept; resume with the same command." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_private_or_missing_repository_is_said_in_one_message(tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        done = run_client(
            "from mico_hub import cli; raise SystemExit(cli.main(['fetch', 'cifar10_lo']))",
            environment(hub, tmp_path),
            tmp_path,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("mico-hub: cifar10_lo was not found. Looked in: ./mico (none);")
    assert "szanella/MICO-CIFAR10 on the Hub" in done.stderr
    assert "RepositoryNotFoundError" in done.stderr


def test_rows_are_the_same_from_every_source(hub: LoopbackHub, here: Path) -> None:
    rows = {"archive": rows_of("purchase100_inf", named(PURCHASE))}
    rows["folder"] = rows_of("purchase100_inf", str(extract(members(PURCHASE), here / "x")))
    code = """
        import json, mico_hub
        print(json.dumps({split: list(rows) for split, rows in mico_hub.load_suite("purchase100_inf").items()}))
    """
    rows["hub"] = printed(run_client(code, environment(hub, here), here))
    for of_split in rows["hub"].values():
        for row in of_split:
            assert len(row["sha256"]) == 64
            row["sha256"] = None
    assert rows["hub"] == rows["archive"] == rows["folder"]


def test_rows_take_no_more_than_the_small_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rows no checkpoint is opened, whatever the source."""
    extract(made("cifar10_lo"), here / "x")
    opened: list[str] = []
    real = Path.open

    def watched(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self.name)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", watched)
    make_rows(Folder(here / "x"), "cifar10_lo")
    assert set(opened) == {"seed_challenge", "seed_training", "seed_membership", "solution.csv"}
