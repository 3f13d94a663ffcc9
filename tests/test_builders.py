import math
import re
import shutil
from pathlib import Path

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard

from builders.build import build, builder_rows
from builders.tracks import BUILDERS
from cards.render import dataset_card, privacy, recipe
from mico_hub.messages import InputError
from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, read_rows
from mico_hub.signals import SIGNALS
from mico_hub.suites import SUITES, Suite, tracks


def test_every_track_has_a_builder_with_a_config_for_each_suite() -> None:
    assert {track: list(builder.builder_configs) for track, builder in BUILDERS.items()} == {
        track: [suite.name for suite in suites] for track, suites in tracks().items()
    }


def test_a_builder_gives_the_public_rows(trained: Path, tmp_path: Path) -> None:
    folder = SuiteFolder(trained / "digits_hi")
    builder = BUILDERS["digits"](config_name="digits_hi", data_dir=str(folder.root), cache_dir=str(tmp_path))
    builder.download_and_prepare()
    made = builder.as_dataset()
    assert made["train"].features == repository.FEATURES
    assert [row["model_id"] for row in made["dev"]] == [4, 5]
    rows = repository.public_rows(folder)
    for split, of_split in builder_rows(folder).items():
        for got, expected in zip(of_split, rows[split], strict=True):
            assert {key: str(value) for key, value in got.items()} == {k: str(v) for k, v in expected.items()}


@pytest.mark.parametrize("data_dir", [None, "digits_inf"])
def test_a_builder_refuses_another_suites_folder(trained: Path, tmp_path: Path, data_dir: str | None) -> None:
    given = None if data_dir is None else str(trained / data_dir)
    builder = BUILDERS["digits"](config_name="digits_hi", data_dir=given, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="digits_hi"):
        builder.download_and_prepare()


def test_the_published_folder_holds_data_and_a_card_alone(published: Path) -> None:
    paths = sorted(str(path.relative_to(published)) for path in published.rglob("*") if path.is_file())
    expected = ["README.md", "croissant.json", "versions.json"]
    for name in ("digits_hi", "digits_inf", "digits_lo"):
        expected += [f"{name}/{split}-00000-of-00001.parquet" for split in ("train", "dev", "final")]
        expected.append(f"{name}/suite.json")
        expected += [f"{name}/train/model_{i}.safetensors" for i in range(4)]
        expected += [f"{name}/dev/model_{i}.safetensors" for i in (4, 5)]
        expected += [f"{name}/final/model_{i}.safetensors" for i in (6, 7)]
        if name != "digits_inf":
            signals = (*SIGNALS, "gradient_coefficient", "gradient_norm_layer_1", "gradient_norm_layer_2")
            expected += [f"{name}/signals/{signal}.safetensors" for signal in signals]
    assert paths == sorted(expected)


def test_rows_name_the_files_beside_them(published: Path) -> None:
    for row in read_rows(published / "digits_hi" / "dev-00000-of-00001.parquet"):
        assert (published / row["checkpoint"]).stat().st_size == row["num_bytes"]


def test_index_columns_are_delta_encoded(published: Path) -> None:
    import pyarrow.parquet as pq

    group = pq.ParquetFile(published / "digits_hi" / "train-00000-of-00001.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for name in ("challenge.list.element", "training.list.element"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings
        assert columns[name].compression == "ZSTD"


def test_a_suite_is_added_and_replaced_and_the_others_stay(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "mico"
    build([trained / "digits_hi"], out)
    (out / "digits_hi" / "stray").write_text("left by hand")
    before = (out / "digits_hi" / "suite.json").read_bytes()
    build([trained / "digits_inf"], out)
    assert (out / "digits_hi" / "stray").exists()
    build([trained / "digits_hi"], out)
    assert not (out / "digits_hi" / "stray").exists()
    assert (out / "digits_hi" / "suite.json").read_bytes() == before
    assert [manifest.suite.name for manifest in repository.suites_in(out)] == ["digits_inf", "digits_hi"]


def test_nothing_is_written_for_a_damaged_suite(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "suites")
    next((tmp_path / "suites" / "digits_lo" / "public" / "dev").iterdir()).unlink()
    with pytest.raises(FolderError, match=r"digits_lo: 1 problem\b"):
        build(sorted((tmp_path / "suites").iterdir()), tmp_path / "mico")
    assert not (tmp_path / "mico").exists()


def test_the_card_is_valid_and_its_yaml_has_typed_configs(published: Path) -> None:
    card = DatasetCard.load(published / "README.md")
    assert card.data.license == "mit"
    assert "membership-inference" in card.data.tags
    front = yaml.safe_load((published / "README.md").read_text().split("---\n")[1])
    assert sorted(config["config_name"] for config in front["configs"]) == ["digits_hi", "digits_inf", "digits_lo"]
    digests = [re.fullmatch(r"content sha256 [0-9a-f]{64}", config["description"]) for config in front["configs"]]
    assert all(digests)
    assert len({config["description"] for config in front["configs"]}) == 3
    assert datasets.load_dataset_builder(str(published), "digits_hi").info.features == repository.FEATURES


def test_the_card_says_how_each_suite_was_trained(published: Path) -> None:
    text = dataset_card(published)
    assert (published / "README.md").read_text().endswith(text.strip() + "\n")
    for manifest in repository.suites_in(published):
        assert f"### {manifest.suite.name}" in text
        assert manifest.data_digest
        assert manifest.data_digest in text
        if manifest.noise_multiplier is not None:
            assert f"noise multiplier {manifest.noise_multiplier:.6g}" in text
    assert "the challenge and the training records that are not in it" in text
    assert "{{" not in text.replace("{{MICO}", "")


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_suites_recipe_can_be_said(suite: Suite) -> None:
    manifest = Manifest(suite, 1.0 if suite.private else None, "0" * 64, True, "", {})
    text = recipe(suite) + privacy(manifest)
    of_coins = suite.n - suite.m if suite.design == "coins" else suite.n
    assert f"{of_coins:,} training records" in text
    assert (f"epsilon at most {suite.epsilon:g}" in text) == math.isfinite(suite.epsilon)
    assert ("gradient clipped to norm 1" in text) == (suite.name == "sst2_inf")


def test_data_that_is_not_the_official_one_is_labelled_in_the_card(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "mico")
    path = tmp_path / "mico" / "digits_hi" / "suite.json"
    path.write_text(path.read_text().replace('"data_note": ""', '"data_note": "a synthetic stand-in"'))
    assert "not known to be the official data set: a synthetic stand-in" in dataset_card(tmp_path / "mico")
    assert "not known to be the official" not in dataset_card(published)


def test_an_origin_that_cannot_be_is_a_message(trained: Path, tmp_path: Path) -> None:
    """No key of a table, which the reader of suite.json never saw."""
    root = Path(shutil.copytree(trained / "digits_hi", tmp_path / "digits_hi"))
    build([root], tmp_path / "mico")
    manifest = tmp_path / "mico" / "digits_hi" / "suite.json"
    manifest.write_text(manifest.read_text().replace('"origin": ""', '"origin": "somewhere"'))
    with pytest.raises(InputError, match=r"digits_hi: suite\.json names an origin, .* none on digits with epsilon 10"):
        dataset_card(tmp_path / "mico")
