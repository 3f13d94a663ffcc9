import copy
import json
import mmap
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fresh
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import Ridge
from synthetic import base_dataset, tiny_roberta

import mico_hub
from mico_hub import signals
from mico_hub.attacks import LADDER, prepare
from mico_hub.data import DATASETS, DataError, load_base
from mico_hub.handle import Handle
from mico_hub.models import build, initialise, logits
from mico_hub.release import checkpoints
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import FolderError, read_rows
from mico_hub.signals import KNOWN, POPULATION, Layout, SignalError
from mico_hub.signals.layout import public_order, public_population
from mico_hub.signals.suite import compute_suite
from mico_hub.sources import SourceError
from mico_hub.splits import Indices
from mico_hub.workers import Processes, ThisProcess
from mico_hub.workers.cluster import ray_cluster


def in_many_digits(row: Sequence[float], label: int) -> dict[str, float]:
    with mpmath.workdps(400):
        total = mpmath.fsum(mpmath.exp(z) for z in row)
        p = [mpmath.exp(z) / total for z in row]
        rest = [mpmath.fsum(p[j] for j in range(len(row)) if j != k) for k in range(len(row))]
        terms = [p[k] * mpmath.log(rest[k]) for k in range(len(row)) if k != label]
        return {
            "loss": float(-mpmath.log(p[label])),
            "margin": float(mpmath.log(p[label]) - mpmath.log(rest[label])),
            "modified_entropy": float(-rest[label] * mpmath.log(p[label]) - mpmath.fsum(terms)),
        }


@given(
    st.lists(st.floats(-90, 90, width=32), min_size=2, max_size=6),
    st.integers(0, 5),
)
def test_signals_of_outputs_are_the_formulas_in_many_digits(row: list[float], label: int) -> None:
    label %= len(row)
    got = signals.of_outputs(torch.tensor([row]), torch.tensor([label]))
    for name, expected in in_many_digits(row, label).items():
        # float32 has 1e-38 at least, and a probability of 0.9 has 1e-7 of error, so a margin near 0 has too.
        assert got[name].item() == pytest.approx(expected, rel=1e-4, abs=1e-5 if name == "margin" else 1e-30), name


def test_a_sure_answer_still_has_a_loss_of_its_own() -> None:
    """Where float32's p is 1 and the usual loss 0, signals still order records, and nothing is infinite."""
    outputs = torch.tensor([[20.0, 0.0], [30.0, 0.0], [80.0, 0.0]])
    losses = signals.of_outputs(outputs, torch.zeros(3, dtype=torch.int64))["loss"]
    assert losses[0] > losses[1] > losses[2] > 0
    wrong = signals.of_outputs(torch.tensor([[0.0, 500.0]]), torch.tensor([0]))
    assert wrong["modified_entropy"].item() == pytest.approx(1_000)
    assert wrong["margin"].item() == pytest.approx(-500)


def naive(network: torch.nn.Module, data: mico_hub.data.BaseDataset, record: int) -> dict[str, float]:
    """One record at a time, gradients by autograd."""
    network.zero_grad()
    output = logits(network.eval(), data.inputs([record]))
    label = data.labels[record : record + 1]
    torch.autograd.backward(torch.nn.functional.cross_entropy(output, label))
    found = in_many_digits(output[0].tolist(), int(label))
    squares = [part.grad.square().sum().item() for part in network.parameters() if part.grad is not None]
    found["gradient_norm"] = sum(squares) ** 0.5
    for layer in range(len(squares) // 2):
        found[f"gradient_norm_layer_{layer + 1}"] = sum(squares[2 * layer : 2 * layer + 2]) ** 0.5
    return found


def unit_gradients(network: torch.nn.Module, data: mico_hub.data.BaseDataset, records: Indices) -> torch.Tensor:
    """(R, d) of one record at a time, by autograd at 0.7 of the weights, in float64, each of norm 1."""
    at = copy.deepcopy(network).double()
    for parameter in at.parameters():
        parameter.data *= 0.7
    found = []
    for record in records:
        inputs = data.inputs([record])
        assert isinstance(inputs, torch.Tensor)
        loss = torch.nn.functional.cross_entropy(at(inputs.double()), data.labels[int(record) : int(record) + 1])
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(at.parameters()))])
        found.append(gradient / gradient.norm())
    return torch.stack(found)


def naive_coefficients(network: torch.nn.Module, data: mico_hub.data.BaseDataset, records: Indices) -> list[float]:
    """-u . (I + F / r)^-1 theta, by the inverse on the population's span, in float64."""
    population = signals.layout.public_population(len(data))
    theta = torch.cat([part.data.flatten() for part in network.parameters()]).double()
    basis, strengths, _ = torch.linalg.svd(unit_gradients(network, data, population).T, full_matrices=False)
    along = basis.T @ theta
    left = theta - basis @ along + basis @ (along / (1 + strengths**2 / len(population) / 1e-3))
    return [float(value) for value in -unit_gradients(network, data, records) @ left]


def test_the_coefficient_is_right_where_an_answer_is_sure() -> None:
    """Where float32's p is 1 the gradient still has its direction; anybody's network has the signal by one call."""
    data, network = load_base("digits"), initialise("digits_mlp", b"1" * 16)
    for parameter in network.parameters():
        parameter.data *= 20
    population = signals.layout.public_population(len(data))
    inputs = data.inputs(population)
    assert isinstance(inputs, torch.Tensor)
    labels = network(inputs).argmax(dim=1)  # the network's own answers, of many of which it is sure
    assert network(inputs).softmax(dim=1).max() == 1
    assert len(data) == len(population)
    got = signals.gradient_coefficients(network, inputs[:200], labels[:200], (inputs, labels))
    assert got == pytest.approx(naive_coefficients(network, replace(data, labels=labels), population[:200]), abs=1e-3)


def test_weights_that_are_not_finite_have_signals_that_are_not() -> None:
    """So that whoever keeps them says which model it is; other networks are refused."""
    data, network = base_dataset("digits"), initialise("digits_mlp", b"1" * 16)
    next(network.parameters()).data[0, 0] = torch.nan
    got = signals.values_of([network], data, np.arange(5), ["gradient_coefficient"], "cpu")["gradient_coefficient"]
    assert np.isnan(got).all()
    other = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    one = torch.zeros(1, 64), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(SignalError, match="expected a chain of Linear and Tanh, with biases, got Sequential"):
        signals.gradient_coefficients(other, *one, one)


def test_the_coefficient_is_that_of_a_ridge_regression() -> None:
    """Of a record of the population r Z times it; and of no population the projection on its own gradient."""
    data = base_dataset("digits")
    population, network = signals.layout.public_population(len(data)), initialise("digits_mlp", b"1" * 16)
    got = signals.values_of([network], data, population, ["gradient_coefficient"], "cpu")["gradient_coefficient"][0]
    unit = -unit_gradients(network, data, population).numpy()
    theta = np.concatenate([part.detach().numpy().ravel() for part in network.parameters()])
    ridge = Ridge(alpha=1e-3 * len(population), fit_intercept=False, solver="cholesky").fit(unit.T, theta)
    assert got == pytest.approx(1e-3 * len(population) * ridge.coef_, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("network", "dataset"),
    [("digits_mlp", "digits"), ("mlp", "purchase100"), ("cnn", "cifar10"), ("roberta", "sst2")],
)
def test_signals_are_those_of_a_loop(network: str, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_roberta(monkeypatch)
    monkeypatch.setattr(signals.values, "BATCH", 5)
    monkeypatch.setattr(signals.values, "FLAT_BATCH", 7)
    monkeypatch.setattr(signals.values, "MICROBATCH", 3)
    monkeypatch.setattr(signals.layout, "POPULATION", 40)
    data = base_dataset(dataset)
    models = [initialise(network, bytes([number]) * 16) for number in range(2)]
    copies = [initialise(network, bytes([number]) * 16) for number in range(2)]
    names = signals.signals_of(network)
    records = np.array([3, 59, 0, 17, 17, 4, 8, 30, 31, 2, 11])
    got = signals.values_of(models, data, records, names, "cpu")
    for k, model in enumerate(copies):
        coefficients = naive_coefficients(model, data, records) if "gradient_coefficient" in names else None
        for column, record in enumerate(records):
            expected = naive(model, data, int(record))
            if coefficients is not None:
                expected["gradient_coefficient"] = coefficients[column]
            for name in names:
                assert got[name][k, column] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), (name, record)


def test_small_networks_have_signals_of_their_layers() -> None:
    layers = ("gradient_coefficient", "gradient_norm_layer_1", "gradient_norm_layer_2")
    assert signals.signals_of("digits_mlp") == (*signals.SIGNALS, *layers)
    assert signals.signals_of("cnn") == signals.SIGNALS
    assert all(map(signals.is_signal, layers))
    assert not signals.is_signal("gradient_norm_layer_0")
    data, record = base_dataset("cifar10"), np.array([0])
    with pytest.raises(SignalError, match="expected a layer up to 0 of this network, got 1"):
        signals.values_of([build("cnn")], data, record, ["gradient_norm_layer_1"], "cpu")
    with pytest.raises(SignalError, match="expected a chain of Linear and Tanh"):
        signals.values_of([build("cnn")], data, record, ["gradient_coefficient"], "cpu")


def test_the_layout_comes_from_public_rows(trained: Path) -> None:
    """Digits have fewer records than a population, so all of them are in it; what is known is all there is."""
    folder = SuiteFolder(trained / "digits_lo")
    rows: Any = read_rows(folder.rows_path("public"))
    layout = Layout.of(rows, 1_797)
    assert layout.records.tolist() == layout.population.tolist() == list(range(1_797))
    parts = layout.parts(rows[4])
    assert list(parts) == ["challenge", "population", "training", "evaluation"]
    assert parts["challenge"].tolist() == rows[4]["challenge"].tolist()
    assert set(parts["training"]) == set(rows[4]["training"])
    assert sorted(np.concatenate([parts["challenge"], parts["training"], parts["evaluation"]])) == list(range(1_797))
    assert list(layout.parts(rows[0])) == ["records"]


def test_of_a_large_dataset_the_layout_takes_what_attacks_need() -> None:
    rng = np.random.default_rng(1)
    number = 60_000
    rows: list[Any] = []
    for model_id in range(6):
        order = rng.permutation(number)
        shown = model_id < 4
        rows.append(
            {
                "challenge": np.sort(order[:200]).astype(np.int32),
                "membership": rng.permutation([0, 1] * 100) if shown else None,
                "training": np.sort(order[200:50_100]),
            }
        )
    layout = Layout.of(rows, number)
    expected = set(public_order(number)[:POPULATION]).union(*(row["challenge"] for row in rows))
    assert set(layout.records) == expected
    assert (np.diff(layout.records) > 0).all()
    parts = layout.parts(rows[5])
    assert len(parts["training"]) == len(parts["evaluation"]) == KNOWN
    assert set(parts["training"]) <= set(rows[5]["training"])
    assert not set(parts["evaluation"]) & set(np.concatenate([rows[5]["training"], rows[5]["challenge"]]))


def test_the_population_is_the_same_for_everyone() -> None:
    """Files that are out depend on it."""
    assert public_population(10).tolist() == list(range(10))
    assert public_order(197_324)[:4].tolist() == [196971, 43772, 100975, 88935]


@pytest.mark.parametrize("name", ["digits_hi", "digits_lo"])
def test_a_file_holds_what_its_models_give(trained: Path, name: str) -> None:
    folder = SuiteFolder(trained / name)
    suite = folder.manifest().suite
    data = load_base("digits")
    rows: Any = read_rows(folder.rows_path("public"))
    networks = [checkpoints.load(folder.checkpoint(suite, row["model_id"])) for row in rows]
    for signal_name in ("margin", "gradient_norm_layer_2"):
        found = signals.read(folder.signals / f"{signal_name}.safetensors")
        assert (found.suite, found.name) == (name, signal_name)
        assert found.train.models.tolist() == [0, 1, 2, 3]
        for row, network in zip(rows, networks, strict=True):
            for record in (*row["challenge"][:2], 5, 1_700):
                expected = naive(network, data, int(record))[signal_name]
                assert found.values([row], np.array([record]))[0, 0] == pytest.approx(expected, rel=1e-3, abs=1e-5)
        for of_model, row in zip(found.trained_on(), rows, strict=False):
            members = row["challenge"][row["membership"] == 1]
            assert set(np.flatnonzero(of_model == 2)) == set(members)
            assert set(np.flatnonzero(of_model == 1)) == set(row["training"])
            assert (found.train.trained[row["model_id"]] == (of_model > 0)).all()
    attacked = found.attacked("dev")
    assert attacked.models.tolist() == [4, 5]
    assert attacked.challenge.tolist() == [row["challenge"].tolist() for row in rows[4:6]]
    assert set(attacked.known) == ({"training", "evaluation"} if name == "digits_lo" else set())


def bytes_of(folder: SuiteFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.signals.iterdir())}


def copy_of(trained: Path, tmp_path: Path, name: str = "digits_lo") -> SuiteFolder:
    shutil.copytree(trained / name, tmp_path / name, ignore=shutil.ignore_patterns("signals"))
    return SuiteFolder(tmp_path / name)


def test_wherever_jobs_run_the_files_are_the_same(trained: Path, tmp_path: Path) -> None:
    expected = bytes_of(SuiteFolder(trained / "digits_lo"))
    folder = copy_of(trained, tmp_path)
    compute_suite(folder.root, workers=Processes(2))
    assert bytes_of(folder) == expected
    shutil.rmtree(folder.signals)
    with ray_cluster() as workers:
        compute_suite(folder.root, workers=workers)
    assert bytes_of(folder) == expected
    assert not folder.unfinished_signals.exists()


def test_a_run_that_is_killed_goes_on_from_there(trained: Path, tmp_path: Path) -> None:
    """The program stops after three models, for good; the next run computes the other five."""
    folder = copy_of(trained, tmp_path)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom mico_hub.signals import suite\n"
        "class Slow(suite.ThisProcess):\n"
        "    def run(self, jobs, common, progress):\n"
        "        for number, done in enumerate(suite.ThisProcess.run(self, jobs, common, progress)):\n"
        "            yield done\n"
        "            if number == 2: print('now', flush=True); time.sleep(600)\n"
        "suite.HELD_BYTES = 1\n"
        f"suite.compute_suite(Path({str(folder.root)!r}), workers=Slow())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "now\n"
        run.send_signal(signal.SIGKILL)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.unfinished_signals.iterdir()}
    assert len(kept) == 3
    assert not folder.signals.exists()
    done: list[int] = []

    class Counting(ThisProcess):
        def run(self, jobs, common, progress):  # type: ignore[no-untyped-def]
            for group in ThisProcess.run(self, jobs, common, progress):
                done.extend(each.model_id for each in group)
                yield group

    compute_suite(folder.root, workers=Counting())
    assert sorted(done) == list(range(3, 8))
    assert bytes_of(folder) == bytes_of(SuiteFolder(trained / "digits_lo"))
    before = {path: path.stat().st_mtime_ns for path in folder.signals.iterdir()}
    time.sleep(0.01)
    compute_suite(folder.root)
    assert before == {path: path.stat().st_mtime_ns for path in folder.signals.iterdir()}


def test_signals_of_other_models_are_computed_again(trained: Path, tmp_path: Path) -> None:
    folder = copy_of(trained, tmp_path, "digits_hi")
    other = SuiteFolder(trained / "digits_lo").signals
    shutil.copytree(other, folder.signals)
    written = compute_suite(folder.root, ["margin"])
    assert written == [folder.signals / "margin.safetensors"]
    assert written[0].read_bytes() == (SuiteFolder(trained / "digits_hi").signals / "margin.safetensors").read_bytes()
    assert (folder.signals / "loss.safetensors").read_bytes() == (other / "loss.safetensors").read_bytes()


def test_what_cannot_be_computed_says_so(trained: Path, tmp_path: Path) -> None:
    folder = copy_of(trained, tmp_path)
    with pytest.raises(SignalError, match="no signals lost; there are: loss, margin"):
        compute_suite(folder.root, ["lost"])
    with pytest.raises(FolderError, match=r"expected a suite folder with suite\.json"):
        compute_suite(tmp_path)
    with pytest.raises(DataError, match="digits_lo was trained on digits with digest"):
        compute_suite(folder.root, data=replace(load_base("digits"), digest="0" * 64, note="another one"))
    path = folder.checkpoint(folder.manifest().suite, 5)
    network = checkpoints.load(path)
    next(network.parameters()).data.fill_(torch.nan)
    checkpoints.save(network, "digits_mlp", path)
    with pytest.raises(FolderError, match=r"model_5\.safetensors: expected a checkpoint with sha256"):
        compute_suite(folder.root)
    assert not folder.signals.exists()


def test_the_command_computes_and_explains(trained: Path, tmp_path: Path) -> None:
    folder = copy_of(trained, tmp_path)
    signals = ("-m", "mico_hub.cli", "signals")
    command = (*signals, folder.root, "--signals", "loss", "margin", "--processes", "2")
    for done in ("loss, margin computed", "nothing was missing"):
        run = fresh.run(*command, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert f"digits_lo: {done}; 2 here, 0.3 MB, in " in run.stdout
    assert sorted(bytes_of(folder)) == ["loss.safetensors", "margin.safetensors"]
    run = fresh.run(*signals, tmp_path, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("mico-hub: ")
    assert "expected a suite folder with suite.json" in run.stderr
    assert "the same command" not in run.stderr


def test_the_card_names_the_signals(published: Path) -> None:
    card = (published / "README.md").read_text()
    of_gradients = "gradient_coefficient, gradient_norm, gradient_norm_layer_1, gradient_norm_layer_2"
    names = f"{of_gradients}, loss, margin, modified_entropy"
    assert card.count(f"- **Signals**: {names}\n") == 2
    assert card.count("## Signals") == 1


def test_a_user_loads_a_signal_by_name(trained: Path, published: Path, tmp_path: Path) -> None:
    found = mico_hub.load_signals("digits_hi", "margin", published)
    assert found.train.values.shape == (4, 1_797)
    with pytest.raises(SignalError, match="expected a split whose membership is hidden, dev or final, got 'train'"):
        found.attacked("train")
    with pytest.raises(SourceError, match=r"has no suite\. Expected a published folder with digits_hi/suite"):
        mico_hub.load_signals("digits_hi", "margin", trained)
    with pytest.raises(SignalError, match=r"no signal margin of digits_inf; `mico-hub signals` computes it"):
        mico_hub.load_signals("digits_inf", "margin", published)
    with pytest.raises(SignalError, match="unknown signal 'margins'; there are: loss"):
        mico_hub.load_signals("digits_hi", "margins", published)
    shutil.copytree(published, tmp_path / "mico")
    path = tmp_path / "mico" / "digits_hi" / "signals" / "margin.safetensors"
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(SignalError, match=r"margin\.safetensors: expected a file of signals"):
        mico_hub.load_signals("digits_hi", "margin", tmp_path / "mico")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_attacks_from_published_signals_need_neither_models_nor_data(
    trained: Path, published: Path, tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And give what they give from the models."""
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    rows = {name: list(part) for name, part in mico_hub.load_suite("digits_hi", str(published)).items()}
    shadows = None if split == "train" else rows["train"]
    bare, whole = tmp_path / "bare", tmp_path / "whole"
    shutil.copytree(published, bare, ignore=shutil.ignore_patterns("model_*.safetensors"))
    shutil.copytree(published, whole, ignore=shutil.ignore_patterns("signals"))
    everything = list(LADDER)
    computed = prepare(everything, rows[split], shadows, str(whole))
    monkeypatch.setattr(Handle, "data", None)
    read = prepare(everything, rows[split], shadows, str(bare))
    for attack in everything:
        for got, expected in zip(read.scores(attack), computed.scores(attack), strict=True):
            assert got == pytest.approx(expected, rel=1e-3, abs=1e-3), attack.name


def test_signals_of_another_version_are_not_taken(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [dict(row) for row in mico_hub.load_suite("digits_hi", str(published))["train"]]
    rows[0]["challenge"], rows[1]["challenge"] = rows[1]["challenge"], rows[0]["challenge"]
    mico_hub.attack("loss", rows, None, str(published))
    assert any("expected signals of train/model_0 on its challenge" in line for line in caplog.messages)


def change_value(path: Path) -> None:
    tensors = load_file(path)
    tensors["dev.values.challenge"] = tensors["dev.values.challenge"] + 1
    rewrite(path, tensors)


def change_shape(path: Path) -> None:
    tensors = load_file(path)
    tensors["dev.values.challenge"] = tensors["dev.values.challenge"][:, :-1]
    rewrite(path, tensors)


def add_tensor(path: Path) -> None:
    rewrite(path, load_file(path) | {"more": np.zeros(3, np.float32)})


def make_infinite(path: Path) -> None:
    tensors = load_file(path)
    tensors["train.values"][0, 0] = np.inf
    rewrite(path, tensors)


def change_trained(path: Path) -> None:
    tensors = load_file(path)
    tensors["train.trained"][0, 0] ^= 1
    rewrite(path, tensors)


def rewrite(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    save_file(tensors, path, json.loads(header[8 : 8 + length])["__metadata__"])


def rename(path: Path) -> None:
    path.rename(path.with_name("lost.safetensors"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_shape, r"margin.safetensors: .*expected .*dev\.values\.challenge.* of shapes"),
        (add_tensor, "margin.safetensors: unknown tensors, which nothing is published with: more"),
        (change_trained, "margin.safetensors: it belongs to other models, or was computed by another version"),
        (make_infinite, "signals/margin.safetensors: expected finite values"),
        (rename, r"digits_hi/signals/lost\.safetensors: not part of a published folder"),
    ],
)
def test_damaged_signals_are_not_published(published: Path, tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    from publishing.check import check

    shutil.copytree(published, tmp_path / "mico")
    damage(tmp_path / "mico" / "digits_hi" / "signals" / "margin.safetensors")
    with pytest.raises(FolderError, match=message):
        check(tmp_path / "mico", tmp_path / "fresh", trial=True)


def test_signals_that_are_not_the_models_are_found(trained: Path, published: Path, tmp_path: Path) -> None:
    from builders.build import build
    from publishing.secrecy import inspect

    shutil.copytree(trained, tmp_path / "suites")
    change_value(tmp_path / "suites" / "digits_hi" / "public" / "signals" / "margin.safetensors")
    build(sorted((tmp_path / "suites").iterdir()), tmp_path / "mico")
    found = inspect(tmp_path / "mico", tmp_path / "suites", load_base, trial=True)
    others = [problem for problem in found.problems if "what its checkpoint gives" in problem]
    assert others
    assert others[0].startswith("digits_hi: margin.safetensors, dev/model_")


def test_what_a_first_score_takes_to_fetch() -> None:
    """Of a full-size suite: the margin's file, from the layout alone, and under 20 MB."""
    for dataset in ("cifar10", "purchase100", "sst2"):
        number = DATASETS[dataset].num_records
        rng = np.random.default_rng(0)
        rows: list[Any] = [
            {"challenge": rng.choice(number, 200, replace=False), "membership": None, "training": None}
            for _ in range(200)
        ]
        records = len(Layout.of(rows, number).records)
        values = 100 * records * 4 + 100 * records // 8 + 100 * (200 + POPULATION) * 4
        indices = 4 * (records + POPULATION + 200 * 201)
        assert (values + indices) / 1e6 < 20, dataset


def test_a_damaged_file_is_computed_again(trained: Path, tmp_path: Path) -> None:
    folder = copy_of(trained, tmp_path, "digits_hi")
    (path,) = compute_suite(folder.root, ["loss"])
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    compute_suite(folder.root, ["loss"])
    assert path.read_bytes() == whole


def test_two_versions_of_a_model_have_their_own_values(trained: Path, tmp_path: Path) -> None:
    """Rows of one name and other checkpoints, in one call."""
    folder = SuiteFolder(trained / "digits_hi")
    suite, data = folder.manifest().suite, load_base("digits")
    first, second = read_rows(folder.rows_path("public"))[:2]
    twin = second | {"model_id": first["model_id"]}
    paths = {row["sha256"]: folder.checkpoint(suite, i) for i, row in enumerate((first, second))}
    records = np.arange(5)

    def bring(rows: Any) -> Any:
        return ((row, paths[row["sha256"]]) for row in rows)

    together = signals.compute([first, twin], records, data, bring, ["loss"])["loss"]
    for values, row in zip(together, (first, second), strict=True):
        assert (values == signals.compute([row], records, data, bring, ["loss"])["loss"][0]).all()


def test_values_are_mapped_and_not_read_until_they_are_used(published: Path) -> None:
    found = signals.read(published / "digits_hi" / "signals" / "margin.safetensors")
    expected = load_file(published / "digits_hi" / "signals" / "margin.safetensors")
    for name, tensor in found.tensors.items():
        base: object = tensor
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        assert isinstance(base, mmap.mmap), name
        assert np.array_equal(tensor, expected[name])
        assert tensor.dtype == expected[name].dtype
