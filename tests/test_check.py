"""What would go online is what was built, and nothing else is in the folder."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from builders.build import build, derived
from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.format import FormatError
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_rows, write_rows
from mico_hub.release.tensors import metadata_of
from publishing.check import check

CHECKPOINT = "digits_hi/dev/model_4.safetensors"
ROWS = "digits_hi/dev-00000-of-00001.parquet"


def checked(root: Path) -> dict[str, str]:
    """What `check` finds, without the files that it writes."""
    with TemporaryDirectory() as fresh:
        return check(root, Path(fresh), trial=True)


def test_a_built_folder_may_be_published(published: Path) -> None:
    digests = {
        path.relative_to(published).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in published.rglob("*")
        if path.is_file()
    }
    assert checked(published) == digests


def stray(root: Path) -> None:
    (root / "digits_hi" / "notes.txt").write_text("members: 3 17 29")


def hidden_file(root: Path) -> None:
    (root / ".secret").write_bytes(b"x")


def private_folder(root: Path) -> None:
    (root / "digits_hi" / "private").mkdir()
    (root / "digits_hi" / "private" / "rows.parquet").write_bytes((root / ROWS).read_bytes())


def link_to_a_file(root: Path) -> None:
    target = root.parent / "elsewhere.safetensors"
    (root / CHECKPOINT).rename(target)
    (root / CHECKPOINT).symlink_to(target)


def link_to_a_folder(root: Path) -> None:
    (root / "digits_lo" / "more").symlink_to(root.parent)


def text_in_the_card(root: Path) -> None:
    with (root / "README.md").open("a") as card:
        card.write("\nBuilt by me.\n")


def column_in_rows(root: Path) -> None:
    table = pq.read_table(root / ROWS)
    pq.write_table(table.append_column("more", [["x"] * len(table)]), root / ROWS)


def bytes_after_rows(root: Path) -> None:
    rows: Any = read_rows(root / ROWS)
    content = (root / ROWS).read_bytes()
    (root / ROWS).write_bytes(b"PAR1" + b"x" * 9 + content[4:])
    assert len(rows) == 2


def membership_in_dev(root: Path) -> None:
    rows: Any = read_rows(root / ROWS)
    for row in rows:
        row["membership"] = [0, 1] * 100
    write_rows(rows, root / ROWS)


def order_of_a_challenge(root: Path) -> None:
    rows: Any = read_rows(root / ROWS)
    rows[0]["challenge"] = rows[0]["challenge"][::-1]
    write_rows(rows, root / ROWS)


def a_record_twice(root: Path) -> None:
    rows: Any = read_rows(root / "digits_hi" / "train-00000-of-00001.parquet")
    rows[0]["training"] = [*rows[0]["training"][1:], rows[0]["challenge"][0]]
    write_rows(rows, root / "digits_hi" / "train-00000-of-00001.parquet")


def a_record_beyond(root: Path) -> None:
    rows: Any = read_rows(root / ROWS)
    rows[0]["challenge"] = [*rows[0]["challenge"][:-1], 1_797]
    write_rows(rows, root / ROWS)


def measured(root: Path, column: str, content: object) -> None:
    """For all models, so that none stands out."""
    for path in (root / "digits_hi").glob("*.parquet"):
        rows: Any = read_rows(path)
        for row in rows:
            row[column] = content
        write_rows(rows, path)


def no_epsilon(root: Path) -> None:
    measured(root, "epsilon", None)


def negative_epsilon(root: Path) -> None:
    measured(root, "epsilon", -1.0)


def large_accuracy(root: Path) -> None:
    measured(root, "accuracy", 123456789.123)


def missing_models(root: Path) -> None:
    in_manifest(root, "missing", [3, 17, 29])


def more_versions(root: Path) -> None:
    versions = repository.read_manifest(root, "digits_hi").versions
    in_manifest(root, "versions", versions | {"members": "3.17.29"})


def other_types_of_signals(root: Path) -> None:
    path = root / "digits_hi" / "signals" / "margin.safetensors"
    tensors = load_file(path)
    tensors["train.models"] = tensors["train.models"].astype("int64")
    save_file(tensors, path, dict(metadata_of(path)))


def value(column: str, content: object) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        rows: Any = read_rows(root / ROWS)
        rows[0][column] = content
        write_rows(rows, root / ROWS)

    return change


def other_labels(root: Path) -> None:
    path = root / "digits_hi" / "train-00000-of-00001.parquet"
    rows: Any = read_rows(path)
    rows[0]["membership"] = [77 * label for label in rows[0]["membership"]]
    write_rows(rows, path)


def training_reversed(root: Path) -> None:
    path = root / "digits_hi" / "train-00000-of-00001.parquet"
    rows: Any = read_rows(path)
    rows[0]["training"] = rows[0]["training"][::-1]
    write_rows(rows, path)


def space_in_versions(root: Path) -> None:
    with (root / "versions.json").open("a") as file:
        file.write(" ")


def in_manifest(root: Path, name: str, content: object) -> None:
    path = root / "digits_hi" / "suite.json"
    values = json.loads(path.read_text()) | {name: content}
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def truth_in_the_manifest(root: Path) -> None:
    in_manifest(root, "randomness", [0, 1, 1, 0])


def key_in_the_manifest(root: Path) -> None:
    in_manifest(root, "more", 1)
    path = root / "digits_hi" / "suite.json"
    values = json.loads(path.read_text())
    values["suite"]["more"] = 1
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def note_in_the_manifest(root: Path) -> None:
    in_manifest(root, "data_note", "01" * 200)


def a_weight(root: Path) -> None:
    content = bytearray((root / CHECKPOINT).read_bytes())
    content[-1] ^= 1
    (root / CHECKPOINT).write_bytes(bytes(content))


def with_row(root: Path) -> None:
    """The row says what the changed checkpoint is."""
    from mico_hub.release.tensors import sha256_of

    rows: Any = read_rows(root / ROWS)
    rows[0] |= {"sha256": sha256_of(root / CHECKPOINT), "num_bytes": (root / CHECKPOINT).stat().st_size}
    write_rows(rows, root / ROWS)


def metadata_in_a_checkpoint(root: Path) -> None:
    state = load_file(root / CHECKPOINT)
    save_file(state, root / CHECKPOINT, json.loads(header(root))["__metadata__"] | {"note": "x"})
    with_row(root)


def tensor_in_a_checkpoint(root: Path) -> None:
    state = load_file(root / CHECKPOINT)
    save_file(state | {"more": state["mlp.0.bias"]}, root / CHECKPOINT, json.loads(header(root))["__metadata__"])
    with_row(root)


def spaces_in_a_header(root: Path) -> None:
    content = (root / CHECKPOINT).read_bytes()
    text = header(root)
    longer = text + b" " * 8
    (root / CHECKPOINT).write_bytes(struct.pack("<Q", len(longer)) + longer + content[8 + len(text) :])
    with_row(root)


def tensors_in_another_order(root: Path) -> None:
    """The same network, and a header that safetensors might have written."""
    from mico_hub.release.format import METADATA_KEY

    content, text = (root / CHECKPOINT).read_bytes(), header(root)
    entries = json.loads(text)
    assert METADATA_KEY in entries["__metadata__"]
    other = json.dumps(dict(reversed(entries.items())), separators=(",", ":")).encode().ljust(len(text))
    (root / CHECKPOINT).write_bytes(content[:8] + other + content[8 + len(text) :])
    with_row(root)


def header(root: Path) -> bytes:
    content = (root / CHECKPOINT).read_bytes()
    return content[8 : 8 + struct.unpack("<Q", content[:8])[0]]


def no_commitment(root: Path) -> None:
    manifest = repository.read_manifest(root, "digits_hi")
    (root / "digits_hi" / "suite.json").write_bytes(replace(manifest, commitments={}).to_json())


def spaces_in_a_manifest(root: Path) -> None:
    path = root / "digits_hi" / "suite.json"
    path.write_text(json.dumps(json.loads(path.read_text())))


def no_file(root: Path) -> None:
    (root / "digits_hi" / "final" / "model_6.safetensors").unlink()


def a_version(root: Path) -> None:
    shutil.rmtree(root / "digits_lo")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (stray, "digits_hi/notes.txt: not part of a published folder"),
        (hidden_file, ".secret: not part of a published folder"),
        (private_folder, "digits_hi/private/rows.parquet: not part of a published folder"),
        (link_to_a_file, f"{CHECKPOINT}: expected no link, it leads to"),
        (link_to_a_folder, "digits_lo/more: expected no link, it leads to"),
        (text_in_the_card, "README.md: differs from what the suites give"),
        (column_in_rows, "dev-00000-of-00001.parquet: unknown columns, which nothing is published with: more"),
        (bytes_after_rows, "parquet"),
        (membership_in_dev, "dev/model_4: expected membership to be hidden in dev, and it is not"),
        (order_of_a_challenge, "dev/model_4: expected an ascending challenge"),
        (a_record_twice, "train/model_0: expected different records in challenge and training, got 1 of them again"),
        (a_record_beyond, "expected records of digits below 1797, got "),
        (value("delta", 624419.0), "expected delta 1e-05, got 624419.0"),
        (value("epsilon", 9.9871), "expected one epsilon for all models, got 2"),
        (value("epsilon", float("nan")), "expected at most epsilon 10, got nan"),
        (value("accuracy", 0.90001), "expected an accuracy from 0 to 1 of 3 decimals, got 0.90001"),
        (
            value("checkpoint", "digits_hi/dev/model_5.safetensors"),
            "expected the checkpoint's path to be digits_hi/dev",
        ),
        (value("model_id", 99), "expected a split and a model_id of the suite"),
        (value("checkpoint", None), "expected a value in each row, got null under checkpoint"),
        (no_epsilon, "expected the epsilon that was spent, got none"),
        (negative_epsilon, "expected at most epsilon 10, got -1.0"),
        (large_accuracy, "expected an accuracy from 0 to 1 of 3 decimals, got 123456789.123"),
        (missing_models, "missing: not expected: (3, 17, 29)"),
        (more_versions, "suite.json: versions of other packages: members"),
        (other_types_of_signals, "margin.safetensors: it belongs to other models, or was computed by another version"),
        (other_labels, "expected a membership of 0 and 1, got"),
        (training_reversed, "expected ascending training records"),
        (space_in_versions, "versions.json: differs from what would be written"),
        (truth_in_the_manifest, "randomness: not expected: [0, 1, 1, 0]"),
        (note_in_the_manifest, "data_note: not expected: '0101"),
        (key_in_the_manifest, "suite.json: unknown keys, which nothing is published with: more, suite.more"),
        (a_weight, "dev/model_4: expected a checkpoint with sha256"),
        (metadata_in_a_checkpoint, f"{CHECKPOINT} is not a checkpoint of 'digits_mlp'"),
        (tensor_in_a_checkpoint, f"{CHECKPOINT} is not a checkpoint of 'digits_mlp'"),
        (tensors_in_another_order, "expected checkpoints with one header, got 2"),
        (no_commitment, "expected a commitment to the truth of ['dev', 'final'], got []"),
        (spaces_in_a_manifest, "digits_hi: suite.json: differs from what would be written"),
        (no_file, "digits_hi/final/model_6.safetensors: no such file"),
        (a_version, "versions.json: its last version is not what the folder holds"),
    ],
)
def test_whatever_else_is_in_it_is_named(
    published: Path, tmp_path: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    root = tmp_path / "mico"
    shutil.copytree(published, root)
    spoil(root)
    with pytest.raises(FolderError) as error:
        checked(root)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (metadata_in_a_checkpoint, "its metadata has more than the network's configuration"),
        (tensor_in_a_checkpoint, "more: expected None, got ((64,), 'F32')"),
        (spaces_in_a_header, "its header is padded"),
    ],
)
def test_a_header_that_all_checkpoints_have_is_looked_at_too(
    trained: Path, tmp_path: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    """In a suite of one model there is no other to compare with."""
    from mico_hub.release.checkpoints import check_header
    from mico_hub.release.tensors import CheckpointError

    root = tmp_path / "mico"
    build([trained / "digits_hi"], root)
    check_header(root / CHECKPOINT, "digits_mlp")
    spoil(root)
    with pytest.raises(CheckpointError) as error:
        check_header(root / CHECKPOINT, "digits_mlp")
    assert problem in str(error.value)


@pytest.mark.parametrize("what", ["nothing", "empty", "suite folder", "file"])
def test_what_is_no_published_folder_is_refused(trained: Path, tmp_path: Path, what: str) -> None:
    places = {"nothing": tmp_path / "none", "empty": tmp_path, "suite folder": trained / "digits_hi"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderError, match="expected a published folder"):
        checked(places.get(what, tmp_path / "file"))


def test_a_folder_that_is_a_link_is_what_it_leads_to(trained: Path, published: Path, tmp_path: Path) -> None:
    (tmp_path / "mico").symlink_to(published)
    assert checked(tmp_path / "mico") == checked(published)
    (tmp_path / "wrong").symlink_to(trained)
    with pytest.raises(FolderError):
        checked(tmp_path / "wrong")


def test_a_version_is_added_when_a_suite_changes_and_only_then(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "mico"
    build([trained / "digits_hi"], root)
    build([trained / "digits_hi"], root)
    assert [version.tag for version in repository.versions(root)] == ["v1"]
    build([trained / "digits_inf"], root)
    copy = SuiteFolder(tmp_path / "suites" / "digits_hi")
    shutil.copytree(trained / "digits_hi", copy.root)
    manifest: Manifest = replace(copy.manifest(), data_note="another")
    copy.manifest_path.write_bytes(manifest.to_json())
    build([copy.root], root)
    versions = repository.versions(root)
    assert [version.tag for version in versions] == ["v1", "v2", "v3"]
    assert [sorted(version.suites) for version in versions] == [["digits_hi"], *[["digits_hi", "digits_inf"]] * 2]
    assert versions[1].suites["digits_inf"] == versions[2].suites["digits_inf"]
    assert versions[1].suites["digits_hi"] != versions[2].suites["digits_hi"]
    card = (root / "README.md").read_text()
    assert "| v1 | new: digits_hi |\n| v2 | new: digits_inf |\n| v3 | changed: digits_hi |\n" in card
    assert checked(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected its format"),
        ("[1]", "expected a JSON object"),
        ('{"format": 1}', "expected a list of versions"),
        ('{"format": 1, "versions": [{"number": 2, "suites": {}}]}', "expected a list of versions"),
        ('{"format": 1, "versions": [{"number": 1}]}', "expected a list of versions"),
        ('{"format": 1, "versions": [{"number": true, "suites": {}}]}', "expected a list of versions"),
        ("x", "expected JSON"),
    ],
)
def test_versions_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "versions.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        repository.versions(tmp_path)


def test_what_is_derived_needs_no_checkpoints(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "mico"
    shutil.copytree(published, root, ignore=shutil.ignore_patterns("model_*.safetensors"))
    assert derived(root) == {name: (published / name).read_bytes() for name in ("README.md", "croissant.json")}
    assert not list(root.rglob("model_*.safetensors"))
