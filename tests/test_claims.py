"""Every lie that a published folder could tell about itself, each refused with what was recomputed."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from builders.build import build
from mico_hub.data import BaseDataset, load_base
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_rows, read_truth, write_rows, write_truth
from mico_hub.release.tensors import sha256_of
from mico_hub.splits import stored_split
from mico_hub.suites import SUITES, differences
from mico_hub.training import accounting
from mico_hub.training.suite import train_suite
from publishing import claims
from publishing.check import check
from publishing.secrecy import inspect

N = 1_797
SUITE = "digits_hi"


def base(name: str) -> BaseDataset:
    return load_base(name)


class Copy:
    """A maintainer's suite folders, one of which lies, and what is built of them."""

    def __init__(self, trained: Path, folder: Path) -> None:
        self.suites, self.root = folder / "suites", folder / "mico"
        (folder / "suites").mkdir()
        shutil.copytree(trained / SUITE, self.suites / SUITE)
        self.folder = SuiteFolder(self.suites / SUITE)
        self.suite = self.folder.manifest().suite

    def manifest(self, **changes: Any) -> None:
        """Changes suite.json, and what private/ keeps of it, as one who lies consistently does."""
        changed = replace(self.folder.manifest(), **changes).to_json()
        self.folder.manifest_path.write_bytes(changed)
        self.folder._begun_path.write_bytes(changed)

    def rows(self, change: Callable[[Any], None]) -> None:
        """Changes the public rows."""
        rows = read_rows(self.folder.rows_path("public"))
        for row in rows:
            change(row)
        write_rows(rows, self.folder.rows_path("public"))

    def recorded(self, model_id: int, **changes: Any) -> None:
        """Changes what training recorded of a model, with the digest over it."""
        measured = self.folder.recorded(self.suite, model_id)
        assert measured is not None
        self.folder.finish_model(self.suite, model_id, replace(measured, **changes))

    def checkpoint(self, model_id: int) -> Path:
        return self.folder.checkpoint(self.suite, model_id)

    def measured_again(self, model_id: int) -> None:
        """Makes rows and records agree with a checkpoint that was changed."""
        path = self.checkpoint(model_id)
        new = {"sha256": sha256_of(path), "num_bytes": path.stat().st_size}
        self.rows(lambda row: row.update(new) if row["model_id"] == model_id else None)
        self.recorded(model_id, **new)

    def without_signals(self) -> None:
        """They are of the checkpoints that were there; who lies computes them again, or leaves them out."""
        shutil.rmtree(self.folder.signals)

    def truth(self, change: Callable[[Any], None], *, public: bool = False) -> None:
        """Changes the private rows, and the public ones with them."""
        rows = read_truth(self.folder.rows_path("private"))
        for row in rows:
            change(row)
        write_truth(rows, self.folder.rows_path("private"))
        if public:
            self.rows(change)


def noise_multiplier(copy: Copy) -> None:
    copy.manifest(noise_multiplier=0.05)


def a_little_less_noise(copy: Copy) -> None:
    multiplier = copy.folder.manifest().noise_multiplier
    assert multiplier is not None
    copy.manifest(noise_multiplier=multiplier * 0.97)


def epochs(copy: Copy) -> None:
    copy.manifest(suite=replace(copy.suite, epochs=4_000))


def clipping(copy: Copy) -> None:
    copy.manifest(suite=replace(copy.suite, clipping_norm=3.0))


def lower_epsilon(copy: Copy) -> None:
    copy.rows(lambda row: row.update(epsilon=0.1))
    for model_id in range(sum(copy.suite.models)):
        copy.recorded(model_id, epsilon=0.1)


def lower_claim(copy: Copy) -> None:
    copy.manifest(suite=replace(copy.suite, epsilon=1.0))
    lower_epsilon(copy)


def suite_json_alone(copy: Copy) -> None:
    changed = replace(copy.folder.manifest(), randomness="cuda", clean=True, commit="0" * 40)
    copy.folder.manifest_path.write_bytes(changed.to_json())


def version(copy: Copy) -> None:
    changed = replace(copy.folder.manifest(), versions=copy.folder.manifest().versions | {"torch": "9.9.9"})
    copy.folder.manifest_path.write_bytes(changed.to_json())


def accuracies(copy: Copy) -> None:
    copy.rows(lambda row: row.update(accuracy=0.99))


def accuracies_everywhere(copy: Copy) -> None:
    copy.rows(lambda row: row.update(accuracy=0.99))
    for model_id in range(sum(copy.suite.models)):
        copy.recorded(model_id, accuracy=0.99)


def swapped_checkpoints(copy: Copy) -> None:
    """Two of dev, with digests that match, in the rows alone."""
    copy.without_signals()
    first, second = copy.suite.model_ids["dev"][:2]
    one, other = copy.checkpoint(first), copy.checkpoint(second)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    digests = {first: sha256_of(one), second: sha256_of(other)}
    copy.rows(lambda row: row.update(sha256=digests.get(row["model_id"], row["sha256"])))


def swapped_checkpoints_everywhere(copy: Copy) -> None:
    swapped_checkpoints(copy)
    for model_id in copy.suite.model_ids["dev"][:2]:
        copy.measured_again(model_id)


def noise_for_a_model(copy: Copy) -> None:
    copy.without_signals()
    model_id = copy.suite.model_ids["final"][0]
    weights = load_file(copy.checkpoint(model_id))
    rng = np.random.default_rng(0)
    header = copy.checkpoint(model_id).read_bytes()
    save_file({name: rng.normal(size=value.shape).astype(np.float32) for name, value in weights.items()},
              copy.checkpoint(model_id))  # fmt: skip
    content = copy.checkpoint(model_id).read_bytes()
    size = 8 + int.from_bytes(header[:8], "little")  # the header that all models of the suite have
    copy.checkpoint(model_id).write_bytes(header[:size] + content[-(len(header) - size) :])
    copy.measured_again(model_id)


def flipped_membership(copy: Copy) -> None:
    copy.without_signals()

    def flip(row: Any) -> None:
        if row["split"] == "train":
            row["membership"] = 1 - np.asarray(row["membership"], dtype=np.int8)

    copy.truth(flip, public=True)


def population_signals(copy: Copy) -> None:
    change_signals(copy, "loss", "dev.values.population", 0.5)


def signals_by_membership(copy: Copy) -> None:
    """Of members a little larger: what a leak in the code that computes them would look like."""
    truth = [row for row in copy.folder.truth() if row["split"] == "dev"]
    factor = 1 + 0.005 * np.array([row["membership"] for row in truth])
    change_signals(copy, "margin", "dev.values.challenge", factor.astype(np.float32))


def change_signals(copy: Copy, name: str, tensor: str, factor: Any) -> None:
    path = copy.folder.signals / f"{name}.safetensors"
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[tensor] = (tensors[tensor] * factor).astype(np.float32)
    save_file(tensors, path, metadata)


def change_keys(copy: Copy, change: Callable[[dict[str, dict[str, str]]], None]) -> None:
    values = json.loads(copy.folder._keys_path.read_bytes())
    change(values["models"])
    copy.folder._keys_path.write_text(json.dumps(values))


def one_key_for_all(copy: Copy) -> None:
    def change(models: dict[str, dict[str, str]]) -> None:
        for each in models.values():
            each["noise"] = models["model_0"]["noise"]

    change_keys(copy, change)


def one_key_for_two_purposes(copy: Copy) -> None:
    change_keys(copy, lambda models: models["model_1"].update(sampling=models["model_1"]["noise"]))


def small_keys(copy: Copy) -> None:
    change_keys(copy, lambda models: models["model_2"].update(noise=(2).to_bytes(16, "little").hex()))


LIES: dict[Callable[[Copy], None], str] = {
    noise_multiplier: r"it claims epsilon 10; recomputed, 80 steps .* noise multiplier 0.05 spend [\d.e+]+",
    a_little_less_noise: r"it claims epsilon 10; recomputed, .* spend 10\.\d+|rows: epsilon 9\.\d+, recomputed",
    epochs: r"suite.json: not the recipe of the table: epochs 4000 \(40 in the table\)",
    clipping: r"suite.json: not the recipe of the table: clipping_norm 3.0 \(0.3 in the table\)",
    lower_epsilon: r"rows: epsilon 0.1, recomputed 9\.9",
    lower_claim: r"suite.json: not the recipe of the table: epsilon 1.0 \(10 in the table\)",
    suite_json_alone: r"suite.json: commit is '0{40}', training wrote",
    version: r"suite.json: versions is .*'torch': '9.9.9'.*, training wrote",
    accuracies: r"train/model_0: accuracy 0.99, training recorded 0\.\d+",
    accuracies_everywhere: r"model_\d: accuracy 0.99, recomputed from the published checkpoint 0\.\d+",
    swapped_checkpoints: r"dev/model_\d: sha256 \w+, training recorded \w+",
    swapped_checkpoints_everywhere: r"dev/model_\d: the mean loss of its members is .*, training recorded .*: another",
    noise_for_a_model: r"final/model_\d: accuracy 0\.\d+, recomputed from the published checkpoint 0\.\d+",
    flipped_membership: r"train/model_\d: the mean loss of its members is [\d.]+ .* training recorded [\d.]+",
    population_signals: r"loss.safetensors, dev/model_\d: \S+ of 1,797 values on population are not what",
    signals_by_membership: r"margin.safetensors, dev/model_\d: \d+ of 200 values on challenge are not what",
    one_key_for_all: r"expected a key of its own for each, got one for digits_hi/model_0 noise, digits_hi/model_1",
    one_key_for_two_purposes: r"got one for digits_hi/model_1 sampling, digits_hi/model_1 noise",
    small_keys: r"digits_hi/model_2: its key for noise is a small number, which anyone can guess",
}  # fmt: skip
OF_THE_TABLE = (epochs, clipping, lower_claim)  # which a trial may differ from


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_each_lie_is_refused_with_what_was_recomputed(
    trained: Path, tmp_path: Path, lie: Callable[[Copy], None]
) -> None:
    copy = Copy(trained, tmp_path)
    lie(copy)
    build([copy.folder.root], copy.root)
    try:
        problems = inspect(copy.root, copy.suites, base, trial=lie not in OF_THE_TABLE).problems
    except FolderError as error:
        problems = str(error).splitlines()
    assert any(re.search(LIES[lie], problem) for problem in problems), problems


def test_the_truth_is_not_refused(trained: Path, tmp_path: Path) -> None:
    copy = Copy(trained, tmp_path)
    build([copy.folder.root], copy.root)
    found = inspect(copy.root, copy.suites, base, trial=True, retrain=2)
    assert found.problems == []
    assert sum("trained again, bit for bit" in note for note in found.notes) == 2
    assert any(note.startswith("computed again, drawn at random") for note in found.notes)


def test_a_trial_says_so_in_its_card(trained: Path, tmp_path: Path) -> None:
    copy = Copy(trained, tmp_path)
    build([copy.folder.root], copy.root)
    with pytest.raises(FolderError, match=r"not the recipe of the table: models 4/2/2 \(100/50/50 in the table\)"):
        check(copy.root, tmp_path / "fresh")
    card = (copy.root / "README.md").read_text()
    assert "**A trial**, not the suite that the project's table has under this name: models" in card
    assert "| digits_hi (trial) |" in card
    whole = replace(SUITES[SUITE])
    assert differences(whole) == []
    assert differences(replace(whole, name="mine")) == ["the table has no suite of that name"]


def test_less_noise_than_is_recorded_is_found_by_training_again(trained: Path, tmp_path: Path) -> None:
    """Whoever trained it tells one story everywhere: the recipe's noise multiplier, and a tenth of it in the models."""
    suite = SUITES[SUITE].with_models(2, 1, 1)
    folder = SuiteFolder(tmp_path / "suites" / SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounting, "calibrate", lambda suite: 0.23)
        patch.setattr(accounting, "spent_epsilon", lambda suite, multiplier, steps=None: 9.97)
        train_suite(suite, folder.root)
    honest = accounting.calibrate(suite)
    spent = accounting.spent_epsilon(suite, honest)
    told = replace(folder.manifest(), noise_multiplier=honest).to_json()
    folder.manifest_path.write_bytes(told)
    folder._begun_path.write_bytes(told)
    rows = read_rows(folder.rows_path("public"))
    write_rows([row | {"epsilon": spent} for row in rows], folder.rows_path("public"))
    for model_id in range(4):
        measured = folder.recorded(suite, model_id)
        assert measured is not None
        folder.finish_model(suite, model_id, replace(measured, epsilon=spent))
    build([folder.root], tmp_path / "mico")
    assert inspect(tmp_path / "mico", tmp_path / "suites", base, trial=True).problems == []
    problems = inspect(tmp_path / "mico", tmp_path / "suites", base, trial=True, retrain=1).problems
    assert len(problems) == 1
    assert re.search(r"model_\d: trained again, [\d.]+ of the way .* apart: another model: other noise", problems[0])


def test_keys_are_compared_across_suites(trained: Path, tmp_path: Path) -> None:
    copy = Copy(trained, tmp_path)
    other = SuiteFolder(shutil.copytree(trained / "digits_lo", tmp_path / "suites" / "digits_lo"))
    shutil.copy(copy.folder._keys_path, other._keys_path)
    problems = list(claims.wrong_keys({copy.folder: N, other: N}))
    assert (
        sum("got one for digits_hi/model_" in problem and "digits_lo/model_" in problem for problem in problems) == 32
    )
    assert list(claims.wrong_keys({copy.folder: N})) == []


@pytest.mark.parametrize("m", [5, 100])
@pytest.mark.parametrize(
    ("drawn", "named"),
    [
        (lambda seed: np.random.default_rng(seed).permutation(N), "numpy.random.default_rng(7)"),
        (lambda seed: np.random.RandomState(seed).permutation(N), "numpy.random.RandomState(7)"),
    ],
)
def test_a_split_that_a_small_seed_gives_is_found(drawn: Callable[[int], Any], named: str, m: int) -> None:
    order = drawn(7)
    membership = np.random.default_rng().permutation(np.repeat([0, 1], m)).astype(np.int8)
    seeded = claims.Seeded(N, m)
    by_challenge = stored_split(N, np.sort(order[: 2 * m]), membership, np.sort(order[2 * m : 400]))
    assert seeded.of(by_challenge) == named
    others = np.random.default_rng().permutation(np.setdiff1d(np.arange(N), order[:m]))[:m]
    challenge = np.sort(np.concatenate([order[:m], others]))
    by_members = stored_split(N, challenge, np.isin(challenge, order[:m]).astype(np.int8), np.sort(others[:0]))
    assert seeded.of(by_members) == named
    fresh = np.sort(np.random.default_rng().permutation(N)[: 2 * m])
    assert seeded.of(stored_split(N, fresh, membership, np.array([], dtype=np.int64))) is None


def test_each_run_looks_at_each_split_and_over_runs_at_every_model(trained: Path) -> None:
    rows = read_rows(trained / SUITE / "public" / "rows.parquet")
    seen = set()
    for _ in range(60):
        looked = list(claims.sampled(rows, seconds=0))
        assert [row["split"] for row in looked].count("dev") == 1
        assert {row["split"] for row in looked} == {"train", "dev", "final"}
        seen |= {row["model_id"] for row in looked}
    assert seen == {row["model_id"] for row in rows}
    assert len(list(claims.sampled(rows, seconds=10))) == len(rows)


def test_the_competitions_models_are_quoted(tmp_path: Path) -> None:
    manifest = Manifest(SUITES["cifar10_hi"], 0.5, None, True, "", {}, origin="szanella/MICO-CIFAR10")
    assert list(claims.wrong_epsilon(manifest, [])) == []
