"""The cards as they should read (`golden/cards`), and as the Hub's own classes read them.

After a change that is meant, `WRITE` writes the files anew: look at what git shows.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard, SpaceCard

from cards.render import dataset_card, leaderboard_card, metric_card
from mico_hub.release import repository
from mico_hub.release.disclosure import Measured, disclose
from mico_hub.release.manifest import Manifest
from mico_hub.release.rows import Row
from mico_hub.splits import draw
from mico_hub.suites import SPLITS, SUITES, Suite, tracks

WRITE = "MICO_HUB_WRITE_GOLD=1 python -m pytest tests/test_cards.py"
GOLD = Path(__file__).parent / "golden" / "cards"


def same_as_gold(name: str, text: str) -> None:
    path = GOLD / name
    if os.environ.get("MICO_HUB_WRITE_GOLD"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{name}: `{WRITE}` writes it anew"


def add(root: Path, suite: Suite, manifest: Manifest) -> None:
    """A suite of few models, without checkpoints; the card shows nothing of what is drawn here."""
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for model_id in range(sum(suite.models)):
        split = draw(suite.n + 500, suite.n, suite.m)
        accuracy = 0.5 + model_id / 100
        measured = Measured("x", "0" * 64, 1, accuracy, min(suite.epsilon, 3.99), suite.delta)
        row, _ = disclose(suite, model_id, split, measured)
        rows[suite.split_of(model_id)].append(row)
    repository.write_public(root, manifest, rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder with one suite of ours, one of the competition's, and one on data that are not official."""
    root = tmp_path_factory.mktemp("cards") / "mico"
    ours = Manifest(
        suite=SUITES["cifar10_ddp"].with_models(2, 1, 1),
        noise_multiplier=1.0345,
        data_digest="ab" * 32,
        data_official=True,
        data_note="",
        versions={"mico-hub": "0.1.0+0123456789ab", "torch": "2.13.0"},
        randomness="cuda",
        commitments={"dev": "01" * 32, "final": "02" * 32},
    )
    text = replace(ours, suite=SUITES["sst2_inf"].with_models(1, 1, 0), noise_multiplier=None, start_digest="ef" * 32)
    text = replace(text, data_official=False, data_note="a stand-in", commitments={"dev": "03" * 32})
    theirs = Manifest(
        suite=SUITES["purchase100_hi"].with_models(2, 1, 1),
        noise_multiplier=0.69,
        data_digest=None,
        data_official=True,
        data_note="",
        versions={},
        origin="szanella/MICO-purchase100",
        missing=(2,),
    )
    add(root, ours.suite, ours)
    repository.add_version(root)
    for manifest in (text, theirs):
        add(root, manifest.suite, manifest)
    repository.add_version(root)
    return root


def test_the_datasets_card_reads_as_it_should(folder: Path) -> None:
    same_as_gold("dataset.md", dataset_card(folder))


def test_the_metrics_card_reads_as_it_should() -> None:
    same_as_gold("metric.md", metric_card("org/mico_score"))


def test_the_leaderboards_card_reads_as_it_should() -> None:
    text = leaderboard_card("org/mico")
    same_as_gold("leaderboard.md", text)
    assert all(f"| {track} |" in text for track in tracks())


def test_the_hubs_own_classes_read_the_cards(folder: Path) -> None:
    (folder / "README.md").write_bytes(repository.card(folder, dataset_card(folder)))
    card: Any = DatasetCard.load(folder / "README.md")
    data = card.data.to_dict()
    names = {"purchase100_hi", "sst2_inf", "cifar10_ddp"}
    assert {config["config_name"] for config in data["configs"]} == names
    assert {info["config_name"] for info in data["dataset_info"]} == names
    for text in (metric_card("org/mico_score"), leaderboard_card("org/mico")):
        space: Any = SpaceCard(text)
        assert space.data.sdk == "gradio"
        assert space.data.license == "mit"
        assert yaml.safe_load(text.split("---\n")[1]) == space.data.to_dict()


def test_a_card_names_licence_citation_and_use(folder: Path) -> None:
    text = dataset_card(folder)
    for part in (
        *("## Intended use, and what it is not for", "## Licence and citation", "@inproceedings{mico2023"),
        *("## What the privacy claim says", "float32", "delta is to be read against", "add or\nremove one record"),
        *("CIFAR-10: ", "Purchase-100: ", "SST-2", "not known to be the official data set: a stand-in"),
        *("mico-hub open FILE", f"**Commitment** to the truth of final: `{'02' * 32}`"),
        *("| v1 | new: cifar10_ddp |", "| v2 | new: purchase100_hi, sst2_inf |"),
    ):
        assert part.replace("\n", " ") in text.replace("\n", " "), part
    assert np.all([len(line) < 400 for line in text.splitlines() if not line.startswith(("|", "-"))])
