"""Nothing hidden is in the bytes that would be published. `builders/leaks.py` says what is searched for."""

import base64
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
from safetensors.numpy import load_file, save_file

from builders.build import build, builder_rows
from mico_hub.data import BaseDataset, load_base
from mico_hub.release.disclosure import Measured, disclose
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import read_rows, read_truth, write_truth
from mico_hub.release.rows import Row, Truth
from mico_hub.signals.suite import compute_suite
from mico_hub.splits import Split, draw
from mico_hub.suites import SUITES, Suite
from mico_hub.training.suite import _finish
from publishing import blind, secrecy
from publishing.leaks import Needle, distinctive, find, hidden_in, secrets_of, surroundings
from publishing.secrecy import inspect, record_features, swapped

N = 1_797
NAMES = ("digits_inf", "digits_hi", "digits_lo")  # digits_lo reveals its training, as the ddp suites do


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def needles(trained: Path) -> list[Needle]:
    found = surroundings(trained)
    for name in NAMES:
        found += secrets_of(SuiteFolder(trained / name), N)
    return found


def republish(suites: Path, out: Path) -> dict[str, bytes]:
    build(sorted(suites.iterdir()), out)
    return files(out)


def swap_membership(folder: SuiteFolder, splits: tuple[str, ...]) -> None:
    """Exchanges members and non-members of the models in `splits`; checkpoints and measurements stay."""
    rows = read_truth(folder.rows_path("private"))
    for row in rows:
        if row["split"] in splits:
            row["membership"] = 1 - row["membership"]
    write_truth(rows, folder.rows_path("private"))
    folder.rows_path("public").unlink()
    _finish(folder, folder.manifest().suite, load_base("digits"))
    compute_again(folder)


def compute_again(folder: SuiteFolder) -> None:
    """The suite's signals, where it has some, from its other files."""
    if folder.signals.exists():
        shutil.rmtree(folder.signals)
        compute_suite(folder.root)


@pytest.mark.parametrize(("splits", "same"), [(("dev", "final"), True), (("train",), False)])
def test_swapped_hidden_labels_leave_every_public_byte_the_same(
    trained: Path, published: Path, tmp_path: Path, splits: tuple[str, ...], same: bool
) -> None:
    """With the checkpoints fixed. Swapping labels that are revealed must show, or the comparison sees nothing."""
    shutil.copytree(trained, tmp_path / "suites")
    for name in NAMES:
        swap_membership(SuiteFolder(tmp_path / "suites" / name), splits)
    assert (republish(tmp_path / "suites", tmp_path / "mico") == files(published)) is same


def test_everything_is_rebuilt_byte_for_byte_without_the_private_part(
    trained: Path, published: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "suites", ignore=shutil.ignore_patterns("private"))
    for name in NAMES:
        compute_again(SuiteFolder(tmp_path / "suites" / name))
    assert republish(tmp_path / "suites", tmp_path / "mico") == files(published)


def test_no_secret_is_in_any_public_file(trained: Path, published: Path) -> None:
    assert found_in(published, needles(trained)) == []


def found_in(root: Path, secrets: list[Needle]) -> list[str]:
    return [what for _, what in find([path for path in root.rglob("*") if path.is_file()], secrets)]


def in_card(root: Path, secret: bytes) -> None:
    with (root / "README.md").open("ab") as card:
        card.write(secret)


def in_parquet_metadata(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"note": secret}), path)


def in_parquet_column(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("more", [[secret] * len(table)]), path, compression="zstd")


def in_checkpoint_metadata(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev" / "model_4.safetensors"
    save_file(load_file(path), path, {"note": secret.decode("latin1")})


def in_checkpoint_tensor(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev" / "model_4.safetensors"
    save_file(load_file(path) | {"more": np.frombuffer(secret, np.uint8)}, path)


@pytest.mark.parametrize(
    ("plant", "textual"),
    [
        (in_card, False),
        (in_parquet_metadata, False),
        (in_parquet_column, False),
        (in_checkpoint_metadata, True),
        (in_checkpoint_tensor, False),
    ],
)
def test_a_planted_leak_is_found(
    trained: Path, published: Path, tmp_path: Path, plant: Callable[[Path, bytes], None], textual: bool
) -> None:
    """One secret of each kind and form, wherever it could be put."""
    secrets = [
        (what, secret)
        for what, secret in secrets_of(SuiteFolder(trained / "digits_hi"), N)
        if ("model_4," in what or "nonce" in what)
        and (not textual or (secret.isascii() and secret.decode().isprintable()))
    ]
    assert len(secrets) >= (20 if textual else 100)
    planted = tmp_path / "mico"
    shutil.copytree(published, planted)
    plant(planted, b"|".join(secret for _, secret in secrets))
    found = found_in(planted, secrets)
    assert sorted(found) == sorted(what for what, _ in secrets)


@pytest.mark.parametrize("name", NAMES)
def test_rows_reveal_what_the_suites_disclosure_says(trained: Path, published: Path, name: str) -> None:
    suite = SuiteFolder(trained / name).manifest().suite
    truth = read_truth(trained / name / "private" / "rows.parquet")
    for split, ids in suite.model_ids.items():
        rows = read_rows(published / name / f"{split}-00000-of-00001.parquet")
        assert [row["model_id"] for row in rows] == list(ids)
        for row in rows:
            whole = truth[row["model_id"]]
            assert np.array_equal(row["challenge"], whole["challenge"])
            assert (np.diff(row["challenge"]) > 0).all()
            assert (row["membership"] is not None) == (split == "train")
            assert (row["training"] is not None) == (split == "train" or suite.disclosure == "training")
            if row["membership"] is not None:
                assert np.array_equal(row["membership"], whole["membership"])
            if row["training"] is not None:
                assert np.array_equal(row["training"], whole["training"])
            assert row["accuracy"] is not None
            assert round(row["accuracy"], 3) == row["accuracy"]


def test_checkpoints_tell_nothing_by_size_or_header(published: Path) -> None:
    for name in NAMES:
        checkpoints = list((published / name).rglob("model_*.safetensors"))
        heads = {path.read_bytes()[: -4_810 * 4] for path in checkpoints}
        assert len(checkpoints) == 8
        assert len(heads) == 1


def test_an_order_that_could_tell_members_is_refused() -> None:
    split = draw(50, 20, 5)
    unsorted = Split(split.challenge[::-1], split.membership, split.training, split.evaluation)
    with pytest.raises(ValueError, match="expected an ascending challenge"):
        disclose(SUITES["digits_hi"], 0, unsorted, Measured("", "", 0, None, 1.0, None))


def test_a_secret_is_found_wherever_reading_cuts_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by an automaton that holds few needles at a time; each is found where it is, by a naive search too."""
    monkeypatch.setattr("publishing.leaks.READ_AT_ONCE", 64)
    monkeypatch.setattr("publishing.leaks.SEARCHED_AT_ONCE", 100)
    rng = np.random.default_rng(0)
    secrets = [(f"secret {i}", rng.bytes(int(rng.integers(7, 90)))) for i in range(40)]
    for number in range(5):
        parts = [part for _, secret in secrets[number::5] for part in (rng.bytes(int(rng.integers(0, 99))), secret)]
        (tmp_path / f"file {number}").write_bytes(b"".join(parts))
    files_there = sorted(tmp_path.iterdir())
    naive = [(path, what) for path in files_there for what, secret in secrets if secret in path.read_bytes()]
    assert find(files_there, secrets) == naive
    assert len(naive) >= 40


@pytest.mark.parametrize(
    "write",
    [
        lambda labels: json.dumps({"note": labels}, indent=2),
        lambda labels: json.dumps({"note": [bool(label) for label in labels]}, indent=1),
        lambda labels: "labels: " + " ".join(map(str, labels)),
        lambda labels: bytes(labels).hex(),
        lambda labels: base64.b64encode(np.packbits(labels).tobytes()).decode(),
        lambda labels: f"members of model 4:\n{np.array(labels)}",
    ],
)
def test_labels_are_found_however_text_is_set(trained: Path, tmp_path: Path, write: Callable[[list[int]], str]) -> None:
    """Written by others than the search."""
    folder = SuiteFolder(trained / "digits_hi")
    split = list(folder.splits(N))[4]
    (tmp_path / "suite.json").write_text(write(split.membership.tolist()))
    found = find([tmp_path / "suite.json"], secrets_of(folder, N))
    assert found
    assert {what.split(",")[1] for _, what in found} == {" model_4"}


def test_a_suite_that_is_said_to_be_the_competitions_and_has_a_truth_is_found(
    trained: Path, published: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "suites")
    folder = SuiteFolder(tmp_path / "suites" / "digits_inf")
    folder.manifest_path.write_bytes(replace(folder.manifest(), origin="szanella/MICO").to_json())
    build(sorted((tmp_path / "suites").iterdir()), tmp_path / "mico")
    problems = inspect(tmp_path / "mico", tmp_path / "suites", digits, trial=True).problems
    assert any("digits_inf: suite.json names the origin szanella/MICO, but" in problem for problem in problems)


@pytest.mark.parametrize("density", [0.002, 0.2, 5 / 6, 0.987])
def test_so_many_records_are_searched_for_that_two_lists_differ(
    density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer bits, here 10, two lists begin alike as often as is said; of 500,000 pairs."""
    monkeypatch.setattr("publishing.leaks.BITS", 10)
    rng = np.random.default_rng(0)
    size, count = distinctive(density), 1_000
    span = int(4 * size / density) + 200
    begun = Counter(np.flatnonzero(rng.random(span) < density)[:size].tobytes() for _ in range(count))
    pairs = sum(times * (times - 1) / 2 for times in begun.values())
    chance = (density / (2 - density)) ** size
    expected = chance * count * (count - 1) / 2
    assert chance <= 2**-10
    assert expected / 2 - 3 < pairs < 2 * expected + 3


def test_a_public_challenge_that_begins_with_members_is_no_leak(tmp_path: Path) -> None:
    """By chance its first thirty are members, so the list of members begins as the challenge does."""
    suite = SUITES["cifar10_inf"]
    split = draw(60_000, suite.n, suite.m)
    split = replace(split, membership=np.array([1] * 30 + [0, 1] * 70 + [0] * 30, dtype=np.int8))
    path = tmp_path / "rows.txt"
    path.write_text(", ".join(map(str, split.challenge)))
    path.with_suffix(".bin").write_bytes(split.challenge.astype("<i4").tobytes())
    needles = list(hidden_in(suite, split, "model_0", 60_000))
    assert find([path, path.with_suffix(".bin")], needles) == []
    path.write_text(", ".join(map(str, split.member)))
    assert {what for _, what in find([path], needles)} == {"model_0, members"}


def digits(name: str) -> BaseDataset:
    return load_base(name)


def test_the_leak_check_finds_nothing(trained: Path, published: Path) -> None:
    findings = inspect(published, trained, digits, trial=True)
    assert findings.problems == []
    assert sorted(findings.tried) == sorted(NAMES)
    assert all(len(tried) > 12 for tried in findings.tried.values())


def test_what_depends_on_hidden_membership_is_found(
    trained: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here by a disclosure that lets the members' mean into the accuracy."""

    def leaky(suite: Suite, model_id: int, split: Split, measured: Measured) -> tuple[Row, Truth]:
        return disclose(suite, model_id, split, replace(measured, accuracy=float(split.member.mean() / N)))

    monkeypatch.setattr(secrecy, "disclose", leaky)
    problems = inspect(published, trained, digits, trial=True).problems
    assert any("differs when made again with hidden membership swapped" in problem for problem in problems)


def test_what_reads_the_private_part_is_found(
    trained: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "suites")
    shutil.copytree(published, tmp_path / "mico")

    def leaky(folder: SuiteFolder) -> dict[str, list[Row]]:
        rows = builder_rows(folder)
        if folder.rows_path("private").exists():
            rows["dev"][0]["accuracy"] = 0.5
        return rows

    monkeypatch.setattr("builders.build.builder_rows", leaky)
    monkeypatch.setattr(secrecy, "builder_rows", leaky)
    build(sorted((tmp_path / "suites").iterdir()), tmp_path / "mico")
    problems = inspect(tmp_path / "mico", tmp_path / "suites", digits, trial=True).problems
    assert "digits_hi/dev-00000-of-00001.parquet: differs when rebuilt without private/" in problems
    assert "README.md: differs when rebuilt without private/" in problems


def test_a_truth_that_was_changed_later_is_found(trained: Path, published: Path, tmp_path: Path) -> None:
    """A commitment is to what was drawn, and what is kept must open it."""
    shutil.copytree(trained, tmp_path / "suites")
    folder = SuiteFolder(tmp_path / "suites" / "digits_hi")
    rows = swapped(read_truth(folder.rows_path("private")), ["dev"])
    write_truth(rows, folder.rows_path("private"))
    problems = inspect(published, tmp_path / "suites", digits, trial=True).problems
    assert any("opening-dev.json: it is not the suite's truth: model_4" in problem for problem in problems)


MODELS = 200


def drawn_rows(draw_one: Callable[[int], Split], models: int = MODELS) -> tuple[list[Row], dict[int, np.ndarray]]:
    """Public rows of a suite with that many models, half of them hidden, and the truth of those."""
    rows: list[Any] = []
    truth = {}
    for model_id in range(models):
        split = draw_one(model_id)
        shown = model_id < models // 2
        rows.append(
            {
                "model_id": model_id,
                "challenge": split.challenge,
                "membership": split.membership if shown else None,
                "training": split.training if shown else None,
            }
        )
        if not shown:
            truth[model_id] = split.membership
    return rows, truth


def test_an_attack_without_the_models_stays_at_chance() -> None:
    """Once in a million runs it does not, at most."""
    suite = SUITES["digits_hi"]
    rows, truth = drawn_rows(lambda _: draw(N, suite.n, suite.m))
    tried = blind.attack(rows, truth, N, record_features(load_base("digits")))
    assert not any(each.leaks for each in tried)
    assert {each.points for each in tried} == {MODELS * 2 * suite.m // share for share in (1, 2, 4)}
    assert len(tried) == 7 * (13 + 6 + 4) + 1


def test_chance_gives_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test alone is below p = 0.2 in at most a fifth of suites, and its deviations are about those of a normal."""
    monkeypatch.setattr(blind, "_trained", lambda tables, labels: {})
    features = record_features(load_base("digits"))
    deviations, bounds = dict[str, list[float]](), dict[str, list[float]]()
    for _ in range(80):
        rows, truth = drawn_rows(lambda _: draw(N, 400, 100), models=12)
        tried = blind.attack(rows, truth, N, features)
        for each in tried:
            deviations.setdefault(each.feature, []).append(each.deviations)
            bounds.setdefault(each.feature, []).append(each.log_p - np.log(len(tried)))
    assert len(deviations) == 7 * 23
    below = [np.mean(np.array(each) < np.log(0.2)) for each in bounds.values()]
    assert max(below) < 0.2 + 5 * np.sqrt(0.2 * 0.8 / 80)
    assert np.mean(below) < 0.2
    for feature in ("record", "position in the challenge", "times in a challenge", "runs of members in a challenge"):
        assert scipy.stats.kstest(deviations[feature], "norm").pvalue > 1e-5, feature
        assert 0.75 < np.std(deviations[feature]) < 1.3, feature


def test_what_the_bound_is_made_of_is_exact() -> None:
    """E exp(t x) of sums and counts, and their moments, against all choices of three members of seven."""
    values = np.array([1.0, 5.0, 5.0, 7.0, -2.0, 0.0, 0.5])
    choices = [np.isin(np.arange(7), chosen) for chosen in itertools.combinations(range(7), 3)]
    labels = [choices[4], choices[9]]
    ranks = (scipy.stats.rankdata(values) - 4) / 7
    sums = blind.rank_sums([values, values], labels)
    every = np.array([ranks[member].sum() for member in choices])
    assert sums.found == pytest.approx([every[4], every[9]])
    assert sums.variances == pytest.approx([every.var()] * 2)
    tilts = blind.tilts_of(sums.scale, 2)
    expected = np.log(np.exp(tilts[..., None] * every).mean(axis=2))
    assert sums.log_mgf == pytest.approx(np.stack([expected] * 2))
    for count in blind._COUNTS.values():
        counted = blind.counted(count, labels)
        every = np.array([float(count.of(member)) for member in choices])
        assert counted.found == pytest.approx([every[4] - every.mean(), every[9] - every.mean()])
        assert counted.variances == pytest.approx([every.var()] * 2)
        tilts = blind.tilts_of(counted.scale, 2)
        expected = np.log(np.exp(tilts[..., None] * (every - every.mean())).mean(axis=2))
        assert counted.log_mgf == pytest.approx(np.stack([expected] * 2))


def alternating(_: int) -> Split:
    """Members and others take turns, beginning with either."""
    split = draw(N, 400, 100)
    membership = ((np.arange(200) + np.random.default_rng().integers(2)) % 2).astype(np.int8)
    return replace(split, membership=membership)


def balanced(first: int = 0) -> Callable[[int], Split]:
    """From a model on, members are those that were members least often since."""
    times, rng = np.zeros(N), np.random.default_rng(0)

    def draw_one(model_id: int) -> Split:
        split = draw(N, 400, 100)
        if model_id < first:
            return split
        order = np.argsort(times[split.challenge] + rng.random(200))
        membership = np.zeros(200, dtype=np.int8)
        membership[order[:100]] = 1
        times[split.challenge[order[:100]]] += 1
        return replace(split, membership=membership)

    return draw_one


def members_first(_: int) -> Split:
    """In a challenge that is not ascending."""
    split = draw(N, 400, 100)
    order = np.argsort(-split.membership, kind="stable")
    return replace(split, challenge=split.challenge[order], membership=split.membership[order])


def by_class(_: int) -> Split:
    """Of each challenge the lowest digits are slightly more often members."""
    split = draw(N, 400, 100)
    labels = load_base("digits").labels.numpy()[split.challenge]
    noise = np.random.default_rng().normal(size=200)
    membership = (np.argsort(np.argsort(labels / 10 + 2 * noise)) < 100).astype(np.int8)
    return replace(split, membership=membership)


def even_with_odd_position(_: int) -> Split:
    """No feature alone says anything: only two together."""
    split = draw(N, 400, 100)
    tells = (split.challenge % 2) ^ (np.arange(200) >= 100)
    membership = (np.argsort(np.argsort(-tells + np.random.default_rng().normal(size=200))) < 100).astype(np.int8)
    return replace(split, membership=membership)


def one_of_two(_: int) -> Split:
    """Of the records i and i + m of a challenge one is a member."""
    split = draw(N, 400, 100)
    first = np.random.default_rng().integers(2, size=100)
    return replace(split, membership=np.concatenate([first, 1 - first]).astype(np.int8))


def complements() -> Callable[[int], Split]:
    """Every second model has the complement of the one before."""
    before: list[Split] = []

    def draw_one(model_id: int) -> Split:
        split = draw(N, 400, 100)
        if model_id % 2:
            split = replace(split, membership=(1 - before[-1].membership).astype(np.int8))
        before.append(split)
        return split

    return draw_one


def in_the_last_quarter(model_id: int) -> Split:
    """There odd places are rather members."""
    split = draw(N, 400, 100)
    if model_id < MODELS - MODELS // 4:
        return split
    scores = 0.4 * (np.arange(200) % 2) + np.random.default_rng().normal(size=200)
    return replace(split, membership=(np.argsort(np.argsort(scores)) >= 100).astype(np.int8))


def seen_in_training(_: int) -> Split:
    """Non-members of hidden models are more often in the training sets that are shown."""
    split = draw(N, 400, 100)
    membership = (np.random.default_rng().permutation(200) < 100).astype(np.int8)
    order = np.argsort(split.challenge % 7 + 9 * np.random.default_rng().random(200))
    membership[order[:100]], membership[order[100:]] = 1, 0
    favoured = np.flatnonzero(np.arange(N) % 7 > 3)
    outside = np.setdiff1d(favoured, split.challenge)
    return replace(split, membership=membership, training=np.sort(outside[:300]))


@pytest.mark.parametrize(
    ("draw_one", "feature"),
    [
        (balanced(), "times a member before"),
        (balanced(MODELS // 2), "times a member before"),
        (alternating, "runs of members in a challenge"),
        (members_first, "position in the challenge"),
        (by_class, "class"),
        (even_with_odd_position, "a classifier trained on all of these"),
        (seen_in_training, "times in a training set"),
        (one_of_two, "pairs of a place and the one m later"),
        (complements(), "label at the position one model before"),
        (in_the_last_quarter, "position, odd or even, quarter 4 of the models"),
    ],
    ids=[
        "balanced",
        "balanced over hidden models",
        "alternating",
        "order",
        "class",
        "two features",
        "training",
        "one of two",
        "complements",
        "last quarter",
    ],
)
def test_a_drawing_that_gives_members_away_is_found(draw_one: Callable[[int], Split], feature: str) -> None:
    rows, truth = drawn_rows(draw_one)
    tried = blind.attack(rows, truth, N, record_features(load_base("digits")))
    assert feature in [each.feature for each in tried if each.leaks]
