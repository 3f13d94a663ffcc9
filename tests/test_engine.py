"""The numbers of `mico_hub.training.engine` stand for what our code gives: they change when that does, and only then.

After a change to a module below, `python tests/test_engine.py` notes the new state. It refuses to while results are
others under the same number.
"""

import hashlib
import inspect
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import pytest
import torch
from synthetic import base_dataset, small, tiny_roberta

from mico_hub.attacks import own_shadows
from mico_hub.data import load_base
from mico_hub.models import initialise
from mico_hub.randomness import Keys
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError
from mico_hub.signals import THERE_ARE, signals_of, values_of
from mico_hub.sources import embedded
from mico_hub.sources.original import files, release
from mico_hub.sources.original.hub import Hub
from mico_hub.splits import stored_split
from mico_hub.suites import SUITES, Optimiser, Suite
from mico_hub.training import engine
from mico_hub.training.sgd import Assignment, Runtime, train_models
from mico_hub.training.suite import train_suite

GOLDEN = Path(__file__).parent / "golden" / "engine.json"
PACKAGE = Path(engine.__file__).parents[1]
SHARED = ("models/*.py", "training/gradients/*.py", "data/*.py", "models/roberta/*", "registry.py")
OF_TRAINING = ("accounting", "job", "sampling", "sgd")
MODULES = {
    "training": (*(f"training/{name}.py" for name in OF_TRAINING), "randomness/*.py", "splits.py", *SHARED),
    "signals": ("signals/layout.py", "signals/names.py", "signals/outputs.py", "signals/values.py", *SHARED),
}
NUMBERS = {"training": engine.TRAINING, "signals": engine.SIGNALS}
TRAINED = ("cifar10_inf", "cifar10_hi", "purchase100_inf", "purchase100_hi", "sst2_inf", "sst2_hi", "digits_hi")
KEYS = Keys(*(bytes(range(start, start + 16)) for start in (0, 16, 32, 48)))
SAMPLED = 12  # numbers that are kept of a model


def source(kind: str) -> str:
    """SHA-256 over the modules that decide results."""
    hasher = hashlib.sha256()
    for pattern in MODULES[kind]:
        paths = sorted(PACKAGE.glob(pattern))
        assert paths, pattern
        for path in paths:
            hasher.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    for table in (Suite, Optimiser):  # the table's rows may change, what is computed of them may not
        hasher.update(inspect.getsource(table).encode())
    return hasher.hexdigest()


def weights(name: str) -> list[float]:
    """Some weights of a model of a suite's recipe, after a few steps on made-up records with fixed keys."""
    suite = small(SUITES[name])
    data = base_dataset(suite.dataset)
    order = np.random.default_rng(1).permutation(len(data))
    challenge, training = np.sort(order[:20]), np.sort(order[20:40])
    split = stored_split(len(data), challenge, np.tile([0, 1], 10), training)
    given = Assignment(suite, split, KEYS, 0.7 if suite.private else None)
    (network,) = train_models([given], data, Runtime())
    every = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    return [float(every[i]) for i in np.linspace(0, len(every) - 1, SAMPLED).astype(int)]


def signal_values() -> dict[str, list[float]]:
    """Every signal of a network on some digits."""
    data = load_base("digits")
    network = initialise("digits_mlp", KEYS.noise)
    values = values_of([network], data, np.arange(0, 1_797, 150), signals_of("digits_mlp"), "cpu")
    return {name: [float(value) for value in of_signal[0]] for name, of_signal in values.items()}


def results(kind: str, patch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What the code gives now."""
    if kind == "signals":
        return signal_values()
    tiny_roberta(patch)
    return {name: weights(name) for name in TRAINED}


def same(found: dict[str, list[float]], kept: dict[str, list[float]]) -> bool:
    """But for rounding, which differs between processors; a signal more changes none of the others."""
    return found.keys() >= kept.keys() and all(np.allclose(found[k], kept[k], rtol=1e-3, atol=1e-5) for k in kept)


@pytest.mark.parametrize("kind", MODULES)
def test_a_changed_module_is_looked_at(kind: str) -> None:
    kept = json.loads(GOLDEN.read_bytes())[kind]
    assert (kept["number"], kept["source"]) == (NUMBERS[kind], source(kind)), (
        f"modules that decide {kind} have changed. If any bit of the results may be another, raise the number in "
        f"mico_hub/training/engine.py; then run `python tests/test_engine.py`"
    )


@pytest.mark.parametrize("kind", MODULES)
def test_the_same_number_gives_the_same_results(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same(results(kind, monkeypatch), json.loads(GOLDEN.read_bytes())[kind]["results"])


def test_other_results_under_the_same_number_are_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden: Any = json.loads(GOLDEN.read_bytes())
    golden["signals"]["results"]["margin"][0] += 1
    (tmp_path / "engine.json").write_text(json.dumps(golden))
    monkeypatch.setattr(sys.modules[__name__], "GOLDEN", tmp_path / "engine.json")
    with pytest.raises(SystemExit, match=f"signals: other results under number {engine.SIGNALS}: raise it in "):
        note()
    assert json.loads((tmp_path / "engine.json").read_text()) == golden


TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
import mico_hub
from mico_hub.release.folder import SuiteFolder
from mico_hub.suites import SUITES
from mico_hub.training.suite import train_suite
assert mico_hub.__file__.startswith(sys.argv[2]), mico_hub.__file__
print(train_suite(replace(SUITES["digits_hi"], epochs=2).with_models(3, 0, 0), Path(sys.argv[1])).complete())
"""


def test_training_goes_on_after_a_change_elsewhere_and_not_after_one_of_the_engine(tmp_path: Path) -> None:
    """By copies of the package: one with another report and one more suite in the table, and one of a later engine."""
    suite = replace(SUITES["digits_hi"], epochs=2).with_models(3, 0, 0)
    folder = train_suite(suite, tmp_path / "suite")
    whole = folder.checkpoint(suite, 2).read_bytes()

    def goes_on(changes: dict[str, tuple[str, str]]) -> "subprocess.CompletedProcess[str]":
        folder.rows_path("public").unlink(missing_ok=True)
        folder.checkpoint(suite, 2).unlink(missing_ok=True)
        home = tmp_path / "copy"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(PACKAGE, home / "mico_hub", ignore=shutil.ignore_patterns("__pycache__"))
        for name, (before, after) in changes.items():
            path = home / "mico_hub" / name
            assert before in path.read_text()
            path.write_text(path.read_text().replace(before, after, 1))
        return fresh.run("-c", TRAIN, folder.root, home, cwd=home, env={"PYTHONPATH": str(home)})

    table = 'yield _digits("digits_lo", 4)'
    harmless = {
        "reporting/page.py": ('"""', '"""Other words. '),
        "suites.py": (table, f'{table}\n    yield _digits("more", 2)'),
    }
    done = goes_on(harmless)
    assert done.stdout == "True\n", done.stderr[-2000:]
    assert folder.checkpoint(suite, 2).read_bytes() == whole
    now, other = engine.TRAINING, engine.TRAINING + 1
    refused = goes_on({"training/engine.py": (f"TRAINING = {now}", f"TRAINING = {other}")})
    assert f"begun with training engine {now}, here training engine {other}: install mico-hub 0." in refused.stderr
    assert not folder.complete()
    values = json.loads(folder.manifest_path.read_bytes())
    folder.manifest_path.write_text(json.dumps(values | {"engine": other}))
    with pytest.raises(FolderError, match=f"begun with training engine {other}, here training engine {now}"):
        train_suite(suite, folder.root)


def test_the_commit_is_known_in_a_clone_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed inside somebody else's repository is not of that repository's commit."""
    (tmp_path / "mico_hub" / "training").mkdir(parents=True)
    module = tmp_path / "mico_hub" / "training" / "engine.py"
    module.write_text("# ours")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(tmp_path)]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setattr(engine, "__file__", str(module))
    monkeypatch.setattr(engine, "_recorded_commit", lambda: None)
    assert engine.code() == engine.Code(None, None)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert engine.code() == engine.Code(head, True)
    module.write_text("# changed")
    assert engine.code() == engine.Code(head, False)


def test_what_trained_a_suite_is_in_its_manifest(trained: Path) -> None:
    manifest = SuiteFolder(trained / "digits_hi").manifest()
    assert (manifest.engine, manifest.versions) == (engine.TRAINING, engine.versions())
    assert (manifest.commit, manifest.clean) == (engine.code().commit, engine.code().clean)
    assert list(engine.deciding(SUITES["sst2_hi"], 1, {})) == [engine.NAME, "torch", "opacus", "numpy", "transformers"]
    assert "transformers" not in engine.deciding(SUITES["digits_hi"], 1, {})


def test_a_signal_more_makes_caches_again(monkeypatch: pytest.MonkeyPatch) -> None:
    row: Any = {"suite": "a", "split": "dev", "model_id": 4, "sha256": "0" * 64, "challenge": [1], "training": [2]}
    manifest = Manifest(SUITES["digits_hi"], 1.0, "0" * 64, True, "", {})
    before = embedded.folder_of("digits_hi"), own_shadows._kept(row, manifest)
    monkeypatch.setattr(embedded, "THERE_ARE", f"{THERE_ARE}, another")
    monkeypatch.setattr(own_shadows, "signals_of", lambda network: (*signals_of(network), "another"))
    after = embedded.folder_of("digits_hi"), own_shadows._kept(row, manifest)
    assert not set(before) & set(after)


@pytest.mark.parametrize("what", ["recipe", "training", "signals", "format"])
def test_no_cache_serves_what_would_be_made_otherwise_now(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded suites, the distinguisher's models, and rows that are made of the competition's files."""
    row: Any = {
        "suite": "digits_hi",
        "split": "dev",
        "model_id": 4,
        "sha256": "0" * 64,
        "challenge": [1],
        "training": [2],
    }
    theirs, table = Hub("szanella/MICO-CIFAR10", "0" * 40), SUITES

    def places() -> list[Path]:
        manifest = Manifest(table["digits_hi"], 1.0, "0" * 64, True, "", {})
        return [embedded.folder_of("digits_hi"), own_shadows._kept(row, manifest), theirs._root("cifar10_hi")]

    before = places()
    assert places() == before
    if what == "recipe":
        table = {name: replace(suite, epochs=7) for name, suite in SUITES.items()}
        for module in (embedded, release):
            monkeypatch.setattr(module, "SUITES", table)
    elif what == "format":
        for module in (embedded, own_shadows, files):
            monkeypatch.setattr(module, "FORMAT", 2)
    else:
        monkeypatch.setattr(engine, what.upper(), -1)
    changed = [old != new for old, new in zip(before, places(), strict=True)]
    assert changed == [True, True, what in ("recipe", "format")]  # of theirs nothing is trained or computed


def note() -> None:
    """Writes what the code is and gives now."""
    kept: Any = json.loads(GOLDEN.read_bytes()) if GOLDEN.exists() else {}
    noted = {}
    with pytest.MonkeyPatch.context() as patch:
        for kind, number in NUMBERS.items():
            found = results(kind, patch)
            before = kept.get(kind)
            if before and before["number"] == number and not same(found, before["results"]):
                raise SystemExit(
                    f"{kind}: other results under number {number}: raise it in mico_hub/training/engine.py"
                )
            noted[kind] = {"number": number, "source": source(kind), "results": found}
    GOLDEN.write_text(json.dumps(noted, indent=1) + "\n")


if __name__ == "__main__":
    note()
