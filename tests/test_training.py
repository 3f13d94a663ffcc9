import hashlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from synthetic import base_dataset, tiny_weights

from mico_hub import cache, cli, models
from mico_hub.data import load_base
from mico_hub.randomness import Keys
from mico_hub.release import checkpoints
from mico_hub.release import folder as folder_module
from mico_hub.release.disclosure import Measured
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import FolderError, read_rows, read_truth, write_truth
from mico_hub.splits import draw
from mico_hub.suites import SUITES, Suite
from mico_hub.training import suite as training
from mico_hub.training.accounting import calibrate
from mico_hub.training.job import Finished
from mico_hub.training.sgd import Assignment, DeviceError, Runtime, train_models
from mico_hub.training.suite import discard_other_versions, train_suite
from mico_hub.workers import Processes

TRAIN = ("-m", "mico_hub.cli", "train")


def test_an_interrupted_suite_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = replace(SUITES["digits_hi"], epochs=1).with_models(3, 1, 1)
    finish = SuiteFolder.finish_model
    finished: list[int] = []

    def interrupt(folder: SuiteFolder, suite: Suite, model_id: int, measured: object) -> None:
        if len(finished) == 2:
            raise KeyboardInterrupt
        finish(folder, suite, model_id, measured)  # type: ignore[arg-type]
        finished.append(model_id)

    monkeypatch.setattr(SuiteFolder, "finish_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_suite(suite, tmp_path / "suite")
    folder = SuiteFolder(tmp_path / "suite")
    assert not folder.complete()
    kept = {model_id: folder.checkpoint(suite, model_id).stat().st_mtime_ns for model_id in finished}
    truth = folder.rows_path("private").read_bytes()

    monkeypatch.setattr(SuiteFolder, "finish_model", finish)
    train_suite(suite, tmp_path / "suite")
    assert folder.complete()
    assert {model_id: folder.checkpoint(suite, model_id).stat().st_mtime_ns for model_id in finished} == kept
    assert folder.rows_path("private").read_bytes() == truth
    assert not list((tmp_path / "suite").rglob(".*"))


def test_a_damaged_checkpoint_is_trained_again_to_the_same_bytes(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_hi"], epochs=1).with_models(1, 1, 1)
    folder = train_suite(suite, tmp_path / "suite")
    path = folder.checkpoint(suite, 1)
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    folder.rows_path("public").unlink()
    train_suite(suite, tmp_path / "suite")
    assert path.read_bytes() == before


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(1, 0, 0)
    train_suite(suite, tmp_path / "suite")
    with pytest.raises(FolderError, match="holds another suite"):
        train_suite(replace(suite, epochs=2), tmp_path / "suite")


def test_processes_give_the_same_suite_as_one(tmp_path: Path) -> None:
    """The same splits and keys, trained in this process and by two others, give the same bytes."""
    suite = replace(SUITES["digits_hi"], epochs=2).with_models(2, 1, 1)
    folder = train_suite(suite, tmp_path / "suite")
    before = {model_id: folder.checkpoint(suite, model_id).read_bytes() for model_id in range(4)}
    for model_id in range(4):
        folder.checkpoint(suite, model_id).unlink()
    folder.rows_path("public").unlink()
    train_suite(suite, tmp_path / "suite", workers=Processes(2))
    assert {model_id: folder.checkpoint(suite, model_id).read_bytes() for model_id in range(4)} == before


def test_processes_train_on_the_data_that_they_are_given(tmp_path: Path) -> None:
    """Which need not be what its name stands for."""
    base = load_base("digits")
    assert isinstance(base.raw, torch.Tensor)
    data = replace(base, raw=base.raw[::2], labels=base.labels[::2], digest="1" * 64, note="every second one")
    suite = replace(SUITES["digits_inf"], n=400, epochs=2).with_models(2, 0, 0)
    folder = train_suite(suite, tmp_path / "suite", workers=Processes(2), data=data)
    assert folder.manifest().data_digest == data.digest
    rows: Any = read_rows(folder.rows_path("public"))
    assert max(row["training"].max() for row in rows) < len(data)
    with pytest.raises(FolderError, match="expected data with digest"):
        train_suite(suite, tmp_path / "suite")


def test_the_noise_of_a_trained_suite_is_the_calibrated_one(trained: Path) -> None:
    for name in ("digits_hi", "digits_lo"):
        manifest = SuiteFolder(trained / name).manifest()
        assert manifest.noise_multiplier == calibrate(manifest.suite)


def test_a_stack_gives_the_same_suite_to_rounding(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_hi"], epochs=2).with_models(3, 1, 1)
    folder = train_suite(suite, tmp_path / "suite", Runtime(stack=4))
    stacked = {model_id: loaded(folder, model_id) for model_id in range(5)}
    for model_id in range(5):
        folder.checkpoint(suite, model_id).unlink()
    folder.rows_path("public").unlink()
    train_suite(suite, tmp_path / "suite")
    for model_id, before in stacked.items():
        assert np.allclose(before, loaded(folder, model_id), atol=1e-4)


def loaded(folder: SuiteFolder, model_id: int) -> np.ndarray:
    network = checkpoints.load(folder.checkpoint(folder.manifest().suite, model_id))
    return np.concatenate([parameter.detach().numpy().ravel() for parameter in network.parameters()])


def test_each_model_is_announced_and_the_share_grows(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_hi"], epochs=2).with_models(2, 1, 1)
    lines: list[str] = []
    shares: list[float] = []
    train_suite(suite, tmp_path / "suite", announce=lines.append, progress=shares.append)
    assert [line.split(":")[0] for line in lines] == [
        f"digits_hi/{split}/model_{number}" for number, split in enumerate(("train", "train", "dev", "final"))
    ]
    assert all("accuracy" in line and "epsilon" in line for line in lines)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.long
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_that_is_killed_at_any_moment_goes_on(tmp_path: Path, processes: str) -> None:
    """Killed a moment after a file appears that marks a model as done, three times, each time some models later."""
    command = (*TRAIN, "digits_inf", "--models", "60/2/2", "--processes", processes, "--stack", "1", "--out", tmp_path)
    folder = SuiteFolder(tmp_path / "digits_inf")
    suite = SUITES["digits_inf"].with_models(60, 2, 2)
    kept: dict[int, bytes] = {}
    for kill in range(4):
        run = fresh.start(*command, cwd=tmp_path)
        if kill < 3:
            wanted = len(kept) + random.randint(3, 12)
            while run.poll() is None and len(list((folder.root / "private" / "partial").glob("m*"))) < wanted:
                time.sleep(0.002)
            time.sleep(random.random() * 0.05)
            run.send_signal(signal.SIGKILL)
        assert run.wait().returncode == (-signal.SIGKILL if kill < 3 else 0)
        done = {i: folder.checkpoint(suite, i) for i in range(64) if folder.measured(suite, i)}
        assert {i: done[i].read_bytes() for i in kept} == kept
        assert len(kept) < len(done)
        assert (len(done) == 64) == folder.complete() == (kill == 3)
        kept = {i: path.read_bytes() for i, path in done.items()}
    folder.verify()
    assert not list(tmp_path.rglob(".*"))


def test_two_runs_do_not_meet_in_one_folder(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(1, 0, 0)
    folder = SuiteFolder(tmp_path / "digits_inf")
    with folder.locked():
        second = fresh.run(*TRAIN, "digits_inf", "--models", "1/0/0", "--out", tmp_path, cwd=tmp_path)
    assert second.returncode == 2
    assert "another run is at work here" in second.stderr
    assert not folder.exists()
    train_suite(suite, folder.root)


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path) -> None:
    """No file may grow beyond 15,000 bytes, and a checkpoint has more; then there is room again."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, resource.RLIM_INFINITY))

    command = [*TRAIN, "digits_inf", "--models", "2/1/1", "--processes", "1", "--out", str(tmp_path)]
    failed = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True, preexec_fn=limit)
    assert failed.returncode == 2
    assert "File too large" in failed.stderr
    assert "are kept" not in failed.stderr
    assert not list(tmp_path.rglob("*.safetensors"))
    assert fresh.run(*command, cwd=tmp_path).returncode == 0
    SuiteFolder(tmp_path / "digits_inf").verify()


def test_models_of_a_suite_are_of_one_version(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(2, 0, 0)
    folder = train_suite(suite, tmp_path / "suite")
    values = json.loads(folder.manifest_path.read_bytes())
    values["versions"]["torch"] = "1.8.1"
    folder.manifest_path.write_text(json.dumps(values))
    train_suite(suite, tmp_path / "suite")  # it is complete
    folder.rows_path("public").unlink()
    with pytest.raises(FolderError, match=r"begun with torch 1\.8\.1, here torch \d"):
        train_suite(suite, tmp_path / "suite")
    discard_other_versions(folder.root)
    assert not folder.root.exists()


def test_what_finishes_a_suite_draws_where_it_was_begun(tmp_path: Path) -> None:
    """A GPU draws other noise from the same keys: a model made again there would be a second release of its data."""
    suite = replace(SUITES["digits_hi"], epochs=1).with_models(2, 0, 0)
    folder = train_suite(suite, tmp_path / "suite")
    values = json.loads(folder.manifest_path.read_bytes())
    assert values["randomness"] == "cpu"
    folder.manifest_path.write_text(json.dumps(values | {"randomness": "cuda"}))
    folder.rows_path("public").unlink()
    with pytest.raises(FolderError, match="noise and dropout drawn on cuda, now on cpu"):
        train_suite(suite, tmp_path / "suite")


def test_weights_to_start_from_that_are_missing_leave_no_folder(tmp_path: Path) -> None:
    suite = replace(SUITES["sst2_hi"], n=40, m=5, batch_size=20, epochs=1).with_models(1, 1, 0)
    with pytest.raises(OSError, match="the pretrained weights of roberta-base were not found at '/no/such/folder'"):
        train_suite(suite, tmp_path / "suite", pretrained="/no/such/folder", data=base_dataset("sst2", 100))
    assert not (tmp_path / "suite").exists()


@pytest.mark.data
def test_a_text_suite_is_finished_from_the_weights_it_was_begun_from(tmp_path: Path) -> None:
    """Also by processes, which read them from a file; another folder is refused, whatever its name."""
    for seed, name in enumerate(("a", "b")):
        tiny_weights(tmp_path / name, seed)
    suite = replace(SUITES["sst2_hi"], n=40, m=5, batch_size=20, epochs=1).with_models(1, 1, 0)
    whole = models.prepared(load_base("sst2"), suite.model)
    data = replace(whole, raw=whole.raw[:500], labels=whole.labels[:500], digest="1" * 64, note="the first 500")
    folder = train_suite(suite, tmp_path / "suite", pretrained=tmp_path / "a", data=data)
    note = folder.manifest().network_note
    assert note.startswith("another shape than roberta-base: hidden_size 8 (768), num_hidden_layers 1 (12), ")
    assert folder.manifest().differences[-1] == note
    before = {i: folder.checkpoint(suite, i).read_bytes() for i in range(2)}
    folder.checkpoint(suite, 1).unlink()
    folder.rows_path("public").unlink()
    with pytest.raises(FolderError, match=r"begun from pretrained weights with digest [0-9a-f]{64}, now [0-9a-f]{64}"):
        train_suite(suite, folder.root, pretrained=tmp_path / "b", data=data)
    (tmp_path / "a").rename(tmp_path / "moved")
    train_suite(suite, folder.root, workers=Processes(2), pretrained=tmp_path / "moved", data=data)
    assert {i: folder.checkpoint(suite, i).read_bytes() for i in range(2)} == before


def test_rows_that_do_not_fit_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would mark the suite as complete."""
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(2, 0, 0)
    monkeypatch.setattr("mico_hub.training.suite._keep", damaged(training._keep))
    with pytest.raises(FolderError, match="expected a checkpoint with sha256"):
        train_suite(suite, tmp_path / "suite")
    assert not SuiteFolder(tmp_path / "suite").complete()
    monkeypatch.undo()
    assert train_suite(suite, tmp_path / "suite").complete()


def damaged(keep: Callable[..., Measured]) -> Callable[..., Measured]:
    """Writes a model, and then flips its last byte."""

    def keep_and_damage(folder: SuiteFolder, suite: Suite, model: Finished, epsilon: float) -> Measured:
        measured = keep(folder, suite, model, epsilon)
        path = folder.checkpoint(suite, model.model_id)
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        return measured

    return keep_and_damage


def test_no_record_can_be_told_from_a_model_that_is_noise() -> None:
    """With a thousand times the noise the loss says nothing of membership; without, it does (the test could fail)."""
    data = load_base("digits")
    suite = replace(SUITES["digits_hi"], epochs=3)
    auc = {}
    for name, used, noise in (("noise", suite, 1_000.0), ("trained", SUITES["digits_inf"], None)):
        given = [Assignment(used, draw(len(data), used.n, used.m), Keys.draw(), noise) for _ in range(30)]
        trained = train_models(given, data, Runtime(stack=30))
        scores = [
            -torch.nn.functional.cross_entropy(
                network(data.inputs(each.split.challenge)), data.labels[each.split.challenge], reduction="none"
            )
            for each, network in zip(given, trained, strict=True)
        ]
        membership = np.concatenate([each.split.membership for each in given])
        auc[name] = roc_auc_score(membership, np.concatenate([score.detach().numpy() for score in scores]))
    error = np.sqrt(6_001 / (12 * 3_000 * 3_000))  # of the area for 3,000 members and as many non-members
    assert abs(auc["noise"] - 0.5) < 5 * error
    assert auc["trained"] > 0.5 + 5 * error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--processes", "0"), "expected a number from 1, got '0'"),
        (("--stack", "many"), "expected a number from 1, got 'many'"),
        (("--ray", "auto", "--device", "cuda:1"), "expected cpu or cuda with --ray, got 'cuda:1'"),
        (("--ray", "auto", "--device", "mps"), "expected cpu or cuda with --ray, got 'mps'"),
        (("--device", "gpu"), "--device: expected a device of this machine such as cpu, got 'gpu'"),
        (("--models", "0/2"), "expected TRAIN/DEV/FINAL, such as 4/2/2, got '0/2'"),
    ],
)
def test_options_that_make_no_sense_say_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    try:
        code: object = cli.main(["train", "digits_inf", "--out", str(tmp_path), *arguments])
    except SystemExit as stopped:  # by argparse
        code = stopped.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def copies(folder: SuiteFolder, suite: Suite) -> dict[int, bytes]:
    return {i: folder.checkpoint(suite, i).read_bytes() for i in range(sum(suite.models))}


def test_a_suite_may_grow_while_its_models_keep_their_ids(tmp_path: Path) -> None:
    small = replace(SUITES["digits_hi"], epochs=1).with_models(2, 1, 1)
    folder = train_suite(small, tmp_path / "suite")
    before, truth, keys = copies(folder, small), read_truth(folder.rows_path("private")), folder.keys()
    old, nonces = folder.manifest(), {split: folder.opening(split).nonce for split in ("dev", "final")}
    grown = small.with_models(2, 1, 3)
    assert train_suite(grown, folder.root).complete()
    folder.verify()
    assert {i: content for i, content in copies(folder, grown).items() if i in before} == before
    more: Any = read_truth(folder.rows_path("private"))
    assert [row["model_id"] for row in more] == list(range(6))
    for old_row, row in zip(truth, more, strict=False):
        for name in ("challenge", "membership", "training"):
            assert np.array_equal(old_row[name], row[name])
    grown_keys = folder.keys()
    assert [each.to_hex() for each in grown_keys[:4]] == [each.to_hex() for each in keys]
    assert len({key for each in grown_keys for key in each.to_hex().values()}) == 6 * 4
    new = folder.manifest()
    assert new.commitments["dev"] == old.commitments["dev"]
    assert new.commitments["final"] != old.commitments["final"]
    assert {split: folder.opening(split).nonce for split in nonces} == nonces
    assert folder.opening("final").commitment() == new.commitments["final"]
    assert replace(new, suite=small, commitments=old.commitments) == old


@pytest.mark.parametrize("models", [(3, 1, 1), (2, 2, 1), (2, 1, 0), (1, 1, 2)])
def test_a_suite_does_not_grow_where_a_model_would_get_another_id(tmp_path: Path, models: tuple[int, int, int]) -> None:
    small = replace(SUITES["digits_inf"], epochs=1).with_models(2, 1, 1)
    folder = train_suite(small, tmp_path / "suite")
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    with pytest.raises(FolderError, match=r"has 2/1/1 models, and \d/\d/\d were asked for: .* model keeps its id"):
        train_suite(small.with_models(*models), folder.root)
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == before


def test_a_published_suite_does_not_grow(tmp_path: Path) -> None:
    small = replace(SUITES["digits_inf"], epochs=1).with_models(1, 1, 0)
    folder = train_suite(small, tmp_path / "suite")
    assert folder.published() is None
    folder.mark_published("org/mico")
    with pytest.raises(FolderError, match="it was published in org/mico, and its truth was committed to there"):
        train_suite(small.with_models(1, 1, 1), folder.root)
    train_suite(small, folder.root)


@pytest.mark.parametrize("last", ["rows.parquet", "keys.json", "opening-dev.json", "opening-final.json"])
def test_growth_that_is_interrupted_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """After any of its files, and before `suite.json`: the suite is as it was, and may grow again."""
    small = replace(SUITES["digits_inf"], epochs=1).with_models(1, 1, 1)
    folder = train_suite(small, tmp_path / "suite")
    manifest, before = folder.manifest(), copies(folder, small)
    grown, order = small.with_models(1, 1, 2), ["rows.parquet", "keys.json", "opening-dev.json", "opening-final.json"]
    write, allowed = cache.atomic_write, order[: order.index(last) + 1]

    def stop(path: Path, content: bytes) -> None:
        if path.name not in allowed:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(folder_module, "atomic_write", stop)
    with pytest.raises(KeyboardInterrupt):
        train_suite(grown, folder.root)
    monkeypatch.setattr(folder_module, "atomic_write", write)
    assert folder.manifest() == manifest
    assert len(folder.keys()) == 3
    assert train_suite(small, folder.root).complete()
    folder.verify()
    assert copies(folder, small) == before
    assert [row["model_id"] for row in read_truth(folder.rows_path("private"))] == [0, 1, 2]
    for split, commitment in manifest.commitments.items():
        assert folder.opening(split).commitment() == commitment
    train_suite(grown, folder.root).verify()


def test_training_does_not_go_on_with_another_truth(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(1, 1, 0)
    folder = train_suite(suite, tmp_path / "suite")
    rows: Any = read_truth(folder.rows_path("private"))
    rows[1]["membership"] = 1 - rows[1]["membership"]
    write_truth(rows, folder.rows_path("private"))
    folder.rows_path("public").unlink()
    with pytest.raises(FolderError, match=r"its truth of dev is not the one that suite\.json commits to"):
        train_suite(suite, folder.root)


def test_what_was_measured_of_a_model_is_kept_with_a_digest(trained: Path, tmp_path: Path) -> None:
    """Mean loss of the members, by a loop; a model whose record was changed counts as not trained."""
    folder = SuiteFolder(tmp_path / "suite")
    shutil.copytree(trained / "digits_hi", folder.root)
    suite, data = folder.manifest().suite, load_base("digits")
    for model_id, row in enumerate(read_truth(folder.rows_path("private"))):
        network = checkpoints.load(folder.checkpoint(suite, model_id))
        losses = [
            float(torch.nn.functional.cross_entropy(network(data.inputs([record])), data.labels[[record]]).detach())
            for record in row["challenge"][row["membership"] == 1]
        ]
        measured = folder.measured(suite, model_id)
        assert measured is not None
        assert measured.member_loss == pytest.approx(np.mean(losses), rel=1e-5)
    path = folder.root / "private" / "partial" / "model_0.json"
    values = json.loads(path.read_bytes())
    told = {name: str(values[name]) for name in ("sha256", "accuracy", "member_loss")}
    text = json.dumps(told | {"suite": "digits_hi", "model_id": 0}, sort_keys=True, separators=(",", ":"))
    assert values["digest"] == hashlib.sha256(text.encode()).hexdigest()
    for change in ({"accuracy": 0.99}, {"member_loss": 0.0}, {"digest": "0" * 64}):
        path.write_text(json.dumps(values | change))
        assert folder.measured(suite, 0) is None


def test_recipes_of_later_versions_are_not_trained(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="this version trains suites with precision float32, got bfloat16"):
        train_suite(replace(SUITES["digits_inf"], precision="bfloat16"), tmp_path / "suite")
    with pytest.raises(DeviceError, match="this version trains suites by coins with DP alone"):
        train_suite(replace(SUITES["digits_inf"], design="coins"), tmp_path / "suite")
    assert not (tmp_path / "suite").exists()


def test_models_whose_manifest_is_gone_are_not_taken_for_those_of_another_truth(tmp_path: Path) -> None:
    suite = replace(SUITES["digits_inf"], epochs=1).with_models(1, 1, 0)
    folder = train_suite(suite, tmp_path / "suite")
    folder.manifest_path.unlink()
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    with pytest.raises(FolderError, match=r"holds models of a suite whose suite\.json is gone"):
        train_suite(suite, folder.root)
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == before
