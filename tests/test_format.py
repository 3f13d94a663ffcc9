"""Format 1 as docs/format.md has it: what readers ignore, validate and refuse, and what digests are over."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import fresh
import pyarrow.parquet as pq
import pytest
from parquet_surgery import planted
from safetensors.numpy import load_file, save_file

import mico_hub
from mico_hub import signals
from mico_hub.release import checkpoints, repository
from mico_hub.release.commitments import Opening
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.format import FORMAT, FormatError, known_keys
from mico_hub.release.manifest import KEYS, Manifest
from mico_hub.release.tensors import metadata_of
from mico_hub.suites import SUITES

DOCS = (Path(__file__).parents[1] / "docs" / "format.md").read_text()


def manifest_values(name: str = "digits_hi") -> dict[str, Any]:
    """What a manifest of the suite says."""
    noise = 1.5 if SUITES[name].private else None
    text = Manifest(SUITES[name], noise, "0" * 64, True, "", {"torch": "2.13.0"}).to_json()
    values: dict[str, Any] = json.loads(text)
    return values


def read(values: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(values).encode(), "here")


def test_keys_that_nobody_knows_are_ignored() -> None:
    values = manifest_values()
    more = values | {"more": 1, "suite": values["suite"] | {"more": {"a": 1}}, "reader": "0.9", "requires": []}
    assert read(more) == read(values)


def test_a_key_that_may_be_missing_has_its_default() -> None:
    values = manifest_values()
    for key in ("engine", "commit", "clean", "origin", "missing", "start_digest", "randomness", "commitments"):
        del values[key]
    for key in ("disclosure", "models", "design", "precision", "max_grad_norm"):
        del values["suite"][key]
    assert read(values).suite == SUITES["digits_hi"]
    del values["versions"]
    with pytest.raises(FormatError, match="here: missing: versions"):
        read(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "here: it is of format 2; mico-hub .* reads format 1. Install a newer mico-hub to read it"),
        ({"format": 2, "reader": "0.4"}, "Install mico-hub 0.4 or newer to read it"),
        (
            {"requires": ["suite.augmentation"], "reader": "0.3"},
            "of format 1 and requires suite.augmentation; .*0.3 or",
        ),
        ({"requires": ["suite.n", "data_digest"]}, ""),
        ({"format": 2, "requires": {"new": 1}, "reader": "0.4"}, "Install mico-hub 0.4 or newer to read it"),
        ({"requires": "n"}, "expected a list of keys under 'requires'"),
        ({"format": True}, "expected its format, a number from 1, got True"),
        ({"format": 0}, "expected its format, a number from 1, got 0"),
    ],
)
def test_what_must_be_known_and_is_not_names_the_version_that_reads_it(change: dict[str, Any], message: str) -> None:
    values = manifest_values() | change
    if message:
        with pytest.raises(FormatError, match=message):
            read(values)
    else:
        assert read(values)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("digits_hi", {"clipping_norm": None}, "suite.clipping_norm: expected a number above 0 with DP, got None"),
        ("digits_inf", {"clipping_norm": 1.0}, "suite.clipping_norm: expected null without DP, got 1.0"),
        ("digits_hi", {"delta": None}, "suite.delta: expected a number above 0 and below 1 with DP, got None"),
        ("digits_hi", {"delta": 2}, "suite.delta: "),
        ("digits_hi", {"epsilon": -4}, "suite.epsilon: expected a number above 0, or null without DP, got -4"),
        ("digits_hi", {"n": 50}, "suite.n: expected a whole number, at least m, got 50"),
        ("digits_hi", {"m": 0}, "suite.m: expected a whole number from 1, got 0"),
        ("digits_hi", {"m": "100"}, "suite.m: "),
        ("digits_hi", {"n": 10**400}, "suite.n: "),
        ("digits_hi", {"epsilon": 10**400}, "suite.epsilon: "),
        ("digits_hi", {"models": [1, 1, 0.0]}, "suite.models: expected three counts"),
        ("digits_hi", {"batch_size": 1.5}, "suite.batch_size: "),
        ("digits_hi", {"epochs": True}, "suite.epochs: "),
        ("digits_hi", {"order": "random"}, "suite.order: expected one of sequential, shuffled, poisson, got 'random'"),
        ("digits_hi", {"design": "all"}, "suite.design: expected one of exact, coins, got 'all'"),
        ("digits_hi", {"precision": "float16"}, "suite.precision: expected one of float32, bfloat16"),
        ("digits_hi", {"disclosure": "all"}, "suite.disclosure: "),
        ("digits_hi", {"models": [1, 2]}, "suite.models: expected three counts"),
        ("digits_hi", {"models": [1, -1, 0]}, "suite.models: expected three counts"),
        ("digits_hi", {"name": "../x"}, "suite.name: expected a name of letters"),
        ("digits_hi", {"max_grad_norm": 0}, "suite.max_grad_norm: "),
        ("digits_hi", {"optimiser": {"name": "lion", "learning_rate": 1}}, "suite.optimiser.name: expected sgd, adam"),
        ("digits_hi", {"optimiser": {"name": "sgd", "learning_rate": 0}}, "suite.optimiser.learning_rate: "),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_the_keys_name(name: str, change: dict[str, Any], message: str) -> None:
    values = manifest_values(name)
    with pytest.raises(FormatError) as error:
        read(values | {"suite": values["suite"] | change})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("noise_multiplier", None),
        ("noise_multiplier", -1.0),
        ("data_digest", "x"),
        ("data_official", 1),
        ("data_note", "x" * 301),
        ("versions", {"torch": 2}),
        ("commitments", {"train": "0" * 64}),
        ("missing", [0.5]),
        ("missing", [1]),
        ("noise_multiplier", 10**400),
        ("engine", 0),
        ("commit", "main"),
        ("clean", "yes"),
        ("randomness", "tpu"),
        ("start_digest", 7),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_keys_name(key: str, value: object) -> None:
    with pytest.raises(FormatError, match=f"{key}: "):
        read(manifest_values() | {key: value})


@pytest.mark.parametrize(
    "text", ['{"format": 1, "format": 1}', '{"format": 1, "more": NaN}', "[" * 100_000, '{"format": 1, "a": Infinity}']
)
def test_json_that_readers_take_differently_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="here: expected JSON"):
        Manifest.from_json(text.encode(), "here")


def test_all_that_is_wrong_is_said_at_once() -> None:
    values = manifest_values()
    with pytest.raises(FormatError) as error:
        read(values | {"engine": -1, "suite": values["suite"] | {"n": 1, "delta": None}})
    assert all(key in str(error.value) for key in ("suite.n:", "suite.delta:", "engine:"))


def test_the_format_has_what_later_recipes_need() -> None:
    values = manifest_values()
    suite = read(values | {"suite": values["suite"] | {"design": "coins", "precision": "bfloat16"}}).suite
    assert (suite.design, suite.precision) == ("coins", "bfloat16")


def test_the_documentation_names_every_key() -> None:
    keys = {key.split(".")[-1] for key in KEYS} - {"suite", "optimiser"}
    keys |= {field.name for kind in (SuiteFolder,) for field in fields(kind)} - {"root"}
    assert [key for key in sorted(keys) if f"{key}" not in DOCS] == []
    assert all(f"`{key}`" in DOCS for key in ("format", "requires", "reader", "mico_hub", "member_loss"))


def test_every_file_says_its_format(trained: Path, published: Path) -> None:
    private = trained / "digits_hi" / "private"
    kept = [published / "versions.json", published / "digits_hi" / "suite.json", private / "keys.json"]
    for path in [*kept, *(private / "partial").iterdir()]:
        assert json.loads(path.read_bytes())["format"] == FORMAT, path
    for path in private.glob("opening-*.json"):
        assert json.loads(path.read_bytes().split(b"\n")[0])["format"] == FORMAT
    for path in (published / "digits_hi").rglob("*.safetensors"):
        metadata = metadata_of(path)
        assert list(metadata) == ["mico_hub"]
        assert json.loads(metadata["mico_hub"])["format"] == FORMAT


def in_metadata(path: Path, change: dict[str, Any]) -> None:
    about = json.loads(metadata_of(path)["mico_hub"]) | change
    save_file(load_file(path), path, {"mico_hub": json.dumps(about)})


def in_json(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))


def in_first_line(path: Path, change: dict[str, Any]) -> None:
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps(json.loads(first) | change).encode() + b"\n" + rest)


FILES: list[tuple[str, Callable[[Path, dict[str, Any]], None], Callable[[Path], object]]] = [
    ("suite.json", in_json, lambda root: SuiteFolder(root).manifest()),
    (
        "public/train/model_0.safetensors",
        in_metadata,
        lambda root: checkpoints.load(root / "public/train/model_0.safetensors"),
    ),
    (
        "public/signals/loss.safetensors",
        in_metadata,
        lambda root: signals.read(root / "public/signals/loss.safetensors"),
    ),
    ("private/keys.json", in_json, lambda root: SuiteFolder(root).keys()),
    ("private/opening-dev.json", in_first_line, lambda root: SuiteFolder(root).opening("dev").commitment()),
]


@pytest.mark.parametrize(("name", "put", "use"), FILES, ids=[name for name, _, _ in FILES])
def test_every_reader_ignores_requires_and_refuses(
    trained: Path,
    tmp_path: Path,
    name: str,
    put: Callable[[Path, dict[str, Any]], None],
    use: Callable[[Path], object],
) -> None:
    root = tmp_path / "suite"
    shutil.copytree(trained / "digits_hi", root)
    put(root / name, {"more": [1, 2]})
    assert use(root)
    put(root / name, {"requires": ["more"], "reader": "0.7"})
    with pytest.raises(ValueError, match=r"requires more; .* Install mico-hub 0\.7 or newer"):
        use(root)
    put(root / name, {"requires": [], "format": 3})
    with pytest.raises(ValueError, match=r"it is of format 3; .* Install mico-hub 0\.7 or newer"):
        use(root)


READER = """
import sys
import mico_hub
assert mico_hub.__file__.startswith(sys.argv[2]), mico_hub.__file__
suite = mico_hub.open_suite("digits_hi", sys.argv[1])
network = suite.model(suite.train[0])
print(suite.manifest.suite.name, suite.fingerprint, len(suite.challenge(suite.dev[0]).records), sorted(mico_hub.attack(
    "lira", suite.train, source=sys.argv[1])[0])[0] >= 0, [hasattr(suite.manifest, k) for k in ("added", "randomness")])
"""


def test_a_reader_with_a_key_more_and_a_key_less_reads_this_versions_folder(published: Path, tmp_path: Path) -> None:
    """A copy of the package whose manifest has one more key, with a default, and lacks one that the folder has."""
    home = tmp_path / "copy"
    shutil.copytree(Path(mico_hub.__file__).parent, home / "mico_hub", ignore=shutil.ignore_patterns("__pycache__"))
    path = home / "mico_hub" / "release" / "manifest.py"
    line = next(line for line in path.read_text().splitlines() if line.startswith("    randomness: str"))
    text = path.read_text().replace(line, '    added: str = "later"')
    path.write_text(text.replace('"randomness": lambda value: value in ("", "cpu", "cuda"),', ""))
    environment = {"PYTHONPATH": str(home), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = fresh.run("-c", READER, published, home, cwd=home, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    fingerprint = mico_hub.open_suite("digits_hi", published).fingerprint
    assert done.stdout == f"digits_hi {fingerprint} 200 True [True, False]\n"


def naive_digest(root: Path, name: str) -> str:
    """docs/format.md, written down again with nothing of ours but the folder."""

    def canonical(value: object) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    kinds = {"challenge": "i", "membership": "b", "training": "i"}
    lines = [("manifest", canonical(json.loads((root / name / "suite.json").read_text())))]
    for split in ("train", "dev", "final"):
        text = b""
        for row in pq.read_table(root / name / f"{split}-00000-of-00001.parquet").to_pylist():
            for column, value in row.items():
                if value is None:
                    text += b"\x00"
                elif column in kinds:
                    text += b"\x01" + struct.pack(f"<Q{len(value)}{kinds[column]}", len(value), *value)
                elif isinstance(value, str):
                    text += b"\x01" + struct.pack("<Q", len(value.encode())) + value.encode()
                else:
                    text += b"\x01" + struct.pack("<q" if isinstance(value, int) else "<d", value)
        lines.append((f"rows {split}", text))
    for path in sorted((root / name / "signals").glob("*")):
        text = canonical(json.loads(metadata_of(path)["mico_hub"])) + b"\n"
        for tensor, array in sorted(load_file(path).items()):
            text += f"{tensor} {array.dtype} {'x'.join(map(str, array.shape))}\n".encode() + array.tobytes()
        lines.append((f"signal {path.stem}", text))
    parts = "".join(f"{part} {hashlib.sha256(text).hexdigest()}\n" for part, text in lines)
    return hashlib.sha256(parts.encode()).hexdigest()


@pytest.mark.parametrize("name", ["digits_hi", "digits_lo", "digits_inf"])
def test_a_version_is_what_a_suite_says(published: Path, name: str) -> None:
    assert repository.content_digest(published, name) == naive_digest(published, name)
    assert repository.versions(published)[-1].suites[name] == naive_digest(published, name)


def test_the_same_rows_by_another_writer_are_the_same_version(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "mico"
    shutil.copytree(published, root, ignore=shutil.ignore_patterns("model_*"))
    path = root / "digits_hi" / "train-00000-of-00001.parquet"
    digest = repository.content_digest(root, "digits_hi")
    for place, content in planted(path).items():
        path.write_bytes(content)
        assert repository.content_digest(root, "digits_hi") == digest, place
    rows = mico_hub.release.rows.as_rows(mico_hub.load_suite("digits_hi", str(root))["train"])
    rows[0]["accuracy"] = 0.123
    repository.write_public(root, repository.read_manifest(root, "digits_hi"), {"train": rows})
    assert repository.content_digest(root, "digits_hi") != digest


def test_the_fingerprint_is_of_models_and_challenges(published: Path, tmp_path: Path) -> None:
    suite = mico_hub.open_suite("digits_hi", published)
    text = "digits_hi\n"
    for split in ("train", "dev", "final"):
        for row in suite.split(split):
            text += f"{split}/model_{row['model_id']} {row['sha256']} {','.join(map(str, row['challenge']))}\n"
    assert suite.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert suite.fingerprint != mico_hub.open_suite("digits_lo", published).fingerprint


def test_an_opening_is_bound_to_its_truth_and_not_to_its_first_line(trained: Path) -> None:
    path = SuiteFolder(trained / "digits_hi").opening_path("dev")
    opening = Opening.from_json(path.read_bytes(), "here")
    first, _, rest = path.read_bytes().partition(b"\n")
    more = json.dumps(json.loads(first) | {"note": "x"}).encode() + b"\n" + rest
    assert Opening.from_json(more, "here").commitment() == opening.commitment()


def test_known_keys_are_taken_alone() -> None:
    assert known_keys({"format": 1, "a": 1, "b": 2}, {"a"}, "here") == {"a": 1}
