"""A track of the competition becomes suite folders, and those a published folder, as a maintainer would do it."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import datasets
import fresh
import pytest
import torch
from loopback_hub import LoopbackHub
from originals import PURCHASE, SST2, extract, made, members, named, on_the_hub, tarred

import mico_hub
from builders.build import build
from cards.render import dataset_card
from mico_hub.release import repository
from mico_hub.release.folder import PRIVATE, SuiteFolder
from mico_hub.release.parquet import FolderError, read_rows
from mico_hub.sources.original import Original, OriginalError, parse
from mico_hub.sources.original.importing import find_files, import_suite, suites_named
from mico_hub.sources.original.release import RELEASES

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "upload_scripts" / "import_original.py"

pytestmark = pytest.mark.usefixtures("fresh_cache")


def imported(source: str, suite: str, root: Path) -> SuiteFolder:
    return import_suite(files_of(suite, source), suite, root, partial=True)


def files_of(suite: str, source: str) -> Original:
    files = find_files(suite, [source])
    assert files is not None
    return files


def run(*arguments: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return fresh.run(SCRIPT, *arguments, cwd=cwd, env=os.environ | environment)


def test_an_imported_suite_is_published_and_loaded_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(made("cifar10_ddp"), tmp_path / "x")
    imported(named(PURCHASE), "purchase100_inf", tmp_path / "suites" / "purchase100_inf")
    imported(named(SST2), "sst2_lo", tmp_path / "suites" / "sst2_lo")
    imported(str(tmp_path / "x"), "cifar10_ddp", tmp_path / "suites" / "cifar10_ddp")
    build(sorted((tmp_path / "suites").iterdir()), tmp_path / "mico")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    for name, source in (("purchase100_inf", named(PURCHASE)), ("sst2_lo", named(SST2)), ("cifar10_ddp", "x")):
        suite, lazy = datasets.load_dataset("mico", name), mico_hub.load_suite(name, source)
        changed = ["checkpoint", "sha256", "num_bytes"]
        assert suite.remove_columns(changed)["train"][:] == lazy.remove_columns(changed)["train"][:]
        assert suite.remove_columns(changed)["final"][:] == lazy.remove_columns(changed)["final"][:]
        row = suite["dev"][0]
        assert row["checkpoint"] == f"{name}/dev/model_100.safetensors"  # the original's names
        states = [
            mico_hub.load_model(each, where).state_dict() for each, where in ((row, None), (lazy["dev"][0], source))
        ]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])

    card = dataset_card(tmp_path / "mico")
    assert f"converted from purchase100.zip, md5 {named(PURCHASE)[-32:]}. 196 of 200 are missing there." in card
    assert re.search(
        r"converted from an extracted folder \(sha256 over its small files [0-9a-f]{64}\)\. 196 of 200", card
    )
    assert "target epsilon 4 at delta 1e-05" in card
    assert "Epsilon recomputed by the PRV accountant: 3.96. It is nominal: the batches were shuffled" in card
    assert "Epsilon recomputed by the PRV accountant: 3.93.\n" in card
    assert "12 trained models" in card
    assert card.count("| 2/1/1 |") == 3
    assert "of the competition's models in its own order" in card
    assert "Epsilon and delta hold for" not in card  # that is for our own training
    assert str(tmp_path) not in card


def test_nothing_private_is_in_an_imported_folder(tmp_path: Path) -> None:
    folder = imported(named(PURCHASE), "purchase100_inf", tmp_path / "suite")
    assert not folder.rows_path(PRIVATE).exists()
    assert {path.name for path in (tmp_path / "suite" / PRIVATE).iterdir()} == {"lock", "partial"}
    rows = read_rows(folder.rows_path("public"))
    assert [row["membership"] is None for row in rows] == [False, False, True, True]
    folder.verify()


def test_a_missing_model_stops_the_import_unless_it_is_accepted(tmp_path: Path) -> None:
    files = files_of("purchase100_inf", named(PURCHASE))
    with pytest.raises(OriginalError, match=r"4 of 200 models; missing: model_2, model_3, .*Pass --partial"):
        import_suite(files, "purchase100_inf", tmp_path / "suite")
    assert not (tmp_path / "suite").exists()


def test_a_whole_suite_is_complete(tmp_path: Path) -> None:
    ids = {"train": list(range(100)), "dev": list(range(100, 150)), "final": list(range(150, 200))}
    extract(made("purchase100_lo", ids), tmp_path / "x")
    folder = import_suite(files_of("purchase100_lo", str(tmp_path / "x")), "purchase100_lo", tmp_path / "suite")
    assert folder.manifest().missing == ()
    assert len(read_rows(folder.rows_path("public"))) == 200


def test_a_broken_checkpoint_stops_the_import_and_the_next_run_does_what_is_missing(tmp_path: Path) -> None:
    files = made("cifar10_lo", {"train": [0, 1, 2], "dev": [100], "final": [150]})
    extract(files, tmp_path / "x")
    weights = "cifar10/cifar10_lo/train/model_1/model.pt"
    (tmp_path / "x" / weights).write_bytes(b"broken")
    with pytest.raises(OriginalError, match=r"1 of 5 files failed\n.*cifar10_lo/train/model_1/model.pt: "):
        imported(str(tmp_path / "x"), "cifar10_lo", tmp_path / "suite")
    assert not (tmp_path / "suite" / "public" / "rows.parquet").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "suite").rglob("*.safetensors")}
    assert len(done) == 4
    extract({weights: files[weights]}, tmp_path / "x")
    imported(str(tmp_path / "x"), "cifar10_lo", tmp_path / "suite").verify()
    assert (
        done.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "suite").rglob("*.safetensors")}.items()
    )


def test_another_source_does_not_complete_a_suite(tmp_path: Path) -> None:
    imported(named(PURCHASE), "purchase100_inf", tmp_path / "suite")
    extract(members(PURCHASE), tmp_path / "x")
    with pytest.raises(FolderError, match=r"holds another suite, or one from purchase100\.zip, md5"):
        imported(str(tmp_path / "x"), "purchase100_inf", tmp_path / "suite")


def test_names_are_tracks_or_suites() -> None:
    assert suites_named(["ddp", "sst2_lo"]) == ["sst2_lo", "cifar10_ddp", "purchase100_ddp", "sst2_ddp"]
    with pytest.raises(OriginalError, match=r"unknown: digits, sst3\. The competition has the tracks cifar10, "):
        suites_named(["sst3", "digits"])


def test_each_suite_comes_from_the_first_source_that_has_it(tmp_path: Path) -> None:
    extract(made("cifar10_lo"), tmp_path / "x")
    sources = [named(PURCHASE), str(tmp_path / "x")]
    assert getattr(find_files("cifar10_lo", sources), "where", None) == str(tmp_path / "x")
    assert find_files("cifar10_hi", sources) is None
    with pytest.raises(OriginalError, match=r"nonsense: expected an archive of the competition"):
        find_files("cifar10_hi", ["nonsense"])


def test_the_script_explains_bad_input(tmp_path: Path) -> None:
    for arguments, problem in (
        (["cifar11"], "import_original: unknown: cifar11."),
        (["purchase100_inf", "--source", str(PURCHASE)], "expected md5 67eba1f88d112932fe722fef85fb95fd, got "),
        (["purchase100_inf", "--source", "missing.zip"], "import_original: no archive "),
        (["purchase100_inf", "--source", named(PURCHASE)], "Pass --partial"),
        (["sst2_hi", "--source", named(SST2), "--partial"], "import_original: sst2_hi is in none of: "),
        (["cifar10"], "szanella/MICO-CIFAR10 on the Hub: OfflineModeIsEnabled"),
    ):
        done = run(*arguments, cwd=tmp_path, HF_HUB_OFFLINE="1")
        assert done.returncode == 2
        assert problem in done.stderr
        assert "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == [] or [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_track_may_lack_suites_where_that_is_accepted(tmp_path: Path) -> None:
    done = run("sst2", "--source", named(SST2), "--partial", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "sst2_inf is in none of the sources",
        "sst2_hi is in none of the sources",
        f"sst2_lo: 4 models in {Path('suites/sst2_lo')}",
    ]


def test_changed_files_are_imported_again(tmp_path: Path) -> None:
    extract(made("cifar10_lo"), tmp_path / "x")
    first = imported(str(tmp_path / "x"), "cifar10_lo", tmp_path / "suite")
    before = first.checkpoint(first.manifest().suite, 100).read_bytes()
    weights = "cifar10/cifar10_lo/dev/model_100/model.pt"
    extract({weights: made("cifar10_lo")[weights]}, tmp_path / "x")
    imported(str(tmp_path / "x"), "cifar10_lo", tmp_path / "suite").verify()
    assert first.checkpoint(first.manifest().suite, 100).read_bytes() != before
    (tmp_path / "x/cifar10/cifar10_lo/dev/model_100/seed_challenge").write_text("7\n")
    with pytest.raises(FolderError, match="holds another suite, or one from an extracted folder"):
        imported(str(tmp_path / "x"), "cifar10_lo", tmp_path / "suite")


def test_a_track_is_imported_from_the_hub(tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        files = {suite: made(suite) for suite in ("cifar10_inf", "cifar10_hi", "cifar10_lo")}
        every = {path: content for of_suite in files.values() for path, content in of_suite.items()}
        sha = hub.add("dataset", RELEASES["cifar10"].repository, on_the_hub(every, "cifar10"))
        environment = hub.environment(tmp_path) | {"MICO_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        done = run("cifar10", "--partial", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    for suite in files:
        manifest = SuiteFolder(tmp_path / "suites" / suite).manifest()
        assert manifest.origin == f"szanella/MICO-CIFAR10@{sha}"
        SuiteFolder(tmp_path / "suites" / suite).verify()
    assert not list((tmp_path / "cache").rglob("*.pt"))


def test_an_interrupted_import_goes_on(tmp_path: Path) -> None:
    """Killed in the middle, as hard as can be; nothing half-written is taken for whole."""
    path = tarred(made("cifar10_lo", {"train": list(range(14)), "dev": [100], "final": [150]}), tmp_path / "a.tar.gz")
    command = (SCRIPT, "cifar10_lo", "--source", named(path), "--partial")
    first = fresh.start(*command, cwd=tmp_path)
    suite = tmp_path / "suites" / "cifar10_lo"
    for _ in range(600):
        if len(list(suite.rglob("partial/*.json"))) >= 3:
            break
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = {path.name for path in suite.rglob("partial/model_*.json")}
    assert 3 <= len(done) < 16
    written = {path: path.stat().st_mtime_ns for path in suite.rglob("public/*/*.safetensors")}
    second = fresh.run(*command, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    SuiteFolder(suite).verify()
    kept = [path for path in written if f"{path.stem}.json" in done]
    assert all(path.stat().st_mtime_ns == written[path] for path in kept)


def test_a_repository_may_hold_both_kinds_of_suites(published: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(published, tmp_path / "mico")
    imported(named(PURCHASE), "purchase100_inf", tmp_path / "suites" / "purchase100_inf")
    build([tmp_path / "suites" / "purchase100_inf"], tmp_path / "mico")
    names = [manifest.suite.name for manifest in repository.suites_in(tmp_path / "mico")]
    assert names == ["purchase100_inf", "digits_inf", "digits_hi", "digits_lo"]
    card = (tmp_path / "mico" / "README.md").read_text()
    assert "Epsilon and delta of the suites that mico-hub trained hold for" in card
    manifest = json.loads((tmp_path / "mico" / "digits_hi" / "suite.json").read_text())
    assert manifest["origin"] == ""
    assert parse(tmp_path / "mico") is None  # a published folder, not the competition's files
