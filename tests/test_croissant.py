import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlcroissant as mlc
import numpy as np
import pyarrow as pa
import pytest
from huggingface_hub import DatasetCard

from cards.render import dataset_card
from mico_hub.release import repository
from mico_hub.release.parquet import PUBLIC_SCHEMA, FolderError, read_rows
from mico_hub.release.rows import Row
from mico_hub.release.tensors import sha256_of
from mico_hub.signals import signals_of
from mico_hub.suites import NAME, SPLITS
from publishing.croissant import CITATION, COLUMNS, DATA_TYPES, KEYWORDS, croissant

SUITES = ("digits_inf", "digits_hi", "digits_lo")
TABLES = [(suite, split) for suite in SUITES for split in SPLITS]


@pytest.fixture
def described(published: Path, tmp_path: Path) -> Path:
    """A copy of the published folder, with its description."""
    copied = Path(shutil.copytree(published, tmp_path / "mico"))
    (copied / repository.CROISSANT).write_bytes(croissant(published))
    return copied


def load(folder: Path) -> Any:
    return mlc.Dataset(jsonld=str(folder / repository.CROISSANT))


def by_column(record: Mapping[str, Any], record_set: str) -> dict[str, Any]:
    """The record by column; mlcroissant names fields by their ids, and gives text as bytes."""
    return {
        name.removeprefix(f"{record_set}/"): value.decode() if isinstance(value, bytes) else value
        for name, value in record.items()
    }


def plain(row: Row) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def test_mlcroissant_finds_nothing_to_say(described: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = load(described)
    assert dataset.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"
    assert dataset.metadata.issues.errors == dataset.metadata.issues.warnings == set()
    assert not caplog.messages


def test_mlcroissant_says_what_is_missing(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = json.loads(croissant(published))
    del values["datePublished"], values["@context"]["path"]
    dataset = mlc.Dataset(jsonld=values)
    assert len(dataset.metadata.issues.warnings) == 1
    assert "@context" in caplog.messages[0]
    assert "datePublished" in caplog.messages[1]


def test_mlcroissant_keeps_all_that_is_said(described: Path) -> None:
    values = json.loads((described / repository.CROISSANT).read_bytes())
    understood = load(described).metadata.to_json()
    assert values.pop("datePublished") == understood.pop("datePublished").removesuffix("-01-01")
    assert values.pop("creator") == [understood.pop("creator")]
    assert values.pop("@context").keys() >= understood.pop("@context").keys()
    assert values == understood


@pytest.mark.parametrize(("suite", "split"), TABLES)
def test_record_sets_are_the_rows(described: Path, suite: str, split: str) -> None:
    record_set = f"{suite}/{split}"
    rows = read_rows(described / suite / repository.parquet_name(split))
    records = [by_column(record, record_set) for record in load(described).records(record_set)]
    assert [list(record) for record in records] == [PUBLIC_SCHEMA.names] * len(rows)
    assert records == [plain(row) for row in rows]
    hidden = [record["membership"] is None for record in records]
    assert hidden == [split != "train"] * len(rows)


def test_there_is_a_record_set_for_each_suite_and_split(published: Path) -> None:
    values = json.loads(croissant(published))
    assert [record_set["@id"] for record_set in values["recordSet"]] == [f"{suite}/{split}" for suite, split in TABLES]
    texts = {record_set["@id"]: record_set["description"] for record_set in values["recordSet"]}
    assert "Membership is shown, the other training records are shown." in texts["digits_hi/train"]
    assert "Membership is hidden, the other training records are hidden." in texts["digits_hi/dev"]
    assert "Membership is hidden, the other training records are shown." in texts["digits_lo/final"]
    assert "epsilon at most 10" in texts["digits_hi/dev"]


def test_every_file_has_its_size_and_digest(published: Path) -> None:
    files = json.loads(croissant(published))["distribution"]
    tables = [f"{suite}/{repository.parquet_name(split)}" for suite, split in TABLES]
    computed = [path.relative_to(published).as_posix() for path in sorted(published.glob("*/signals/*"))]
    assert len(computed) == 2 * len(signals_of("digits_mlp"))
    assert sorted(file["contentUrl"] for file in files) == sorted([*tables, *computed])
    for file in files:
        path = published / file["contentUrl"]
        assert file["sha256"] == sha256_of(path)
        assert file["contentSize"] == f"{path.stat().st_size} B"


def test_a_changed_file_is_refused(described: Path) -> None:
    path = described / "digits_hi" / repository.parquet_name("dev")
    shutil.copyfile(described / "digits_hi" / repository.parquet_name("final"), path)
    assert list(load(described).records("digits_hi/final"))
    with pytest.raises(mlc.GenerationError) as raised:
        list(load(described).records("digits_hi/dev"))
    assert "Hash of downloaded file" in str(raised.value.__cause__)
    assert croissant(described) != (described / repository.CROISSANT).read_bytes()


def test_the_bytes_are_those_of_manifests_and_rows_alone(published: Path, tmp_path: Path) -> None:
    others = shutil.ignore_patterns("model_*.safetensors", "*.md", repository.CROISSANT, repository.VERSIONS)
    copied = Path(shutil.copytree(published, tmp_path / "elsewhere", ignore=others))
    text = croissant(published)
    assert text == croissant(published) == croissant(copied)
    assert text.endswith(b"}\n")
    assert str(published).encode() not in text


def test_the_version_is_a_semantic_one(published: Path) -> None:
    first, third = (json.loads(croissant(published, version)) for version in (1, 3))
    assert (first.pop("version"), third.pop("version")) == ("1.0.0", "3.0.0")
    assert first == third
    assert json.loads(croissant(published))["version"] == "1.0.0"


def test_a_split_without_models_has_no_record_set(described: Path) -> None:
    (described / "digits_hi" / repository.parquet_name("final")).unlink()
    (described / repository.CROISSANT).write_bytes(croissant(described))
    names = [record_set.uuid for record_set in load(described).metadata.record_sets]
    assert names == [f"{suite}/{split}" for suite, split in TABLES if (suite, split) != ("digits_hi", "final")]


def test_the_competitions_models_are_said_to_be_its_own(described: Path) -> None:
    path = described / "digits_inf" / repository.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"origin": "its archive"}))
    (described / repository.CROISSANT).write_bytes(croissant(described))
    assert not load(described).metadata.issues.warnings
    values = json.loads((described / repository.CROISSANT).read_bytes())
    assert [creator["name"] for creator in values["creator"]] == [
        "The mico-hub authors",
        "The Microsoft Membership Inference Competition",
    ]
    assert "under the terms of their publication" in values["description"]
    assert "converted from its archive" in values["recordSet"][0]["description"]
    assert "Origin" not in values["recordSet"][-1]["description"]


def test_a_folder_without_suites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="at least one suite"):
        croissant(tmp_path)


def test_every_column_has_a_description_and_a_type() -> None:
    assert list(COLUMNS) == PUBLIC_SCHEMA.names
    kinds = [field.type.value_type if pa.types.is_list(field.type) else field.type for field in PUBLIC_SCHEMA]
    assert set(kinds) == DATA_TYPES.keys()


def test_it_says_what_the_card_says(published: Path) -> None:
    assert list(KEYWORDS) == DatasetCard.load(published / repository.CARD).data.tags
    assert CITATION in dataset_card(published)
    assert json.loads(croissant(published))["name"].lower() == NAME
