"""Base datasets from the Hub, by the unmodified client, served by the loopback Hub."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub, run_client

from mico_hub.data import load_base

CARD = b"""---
configs:
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train.parquet}
  - {split: validation, path: sst2/validation.parquet}
---
"""
CODE = """
    import json
    from mico_hub.data import load_base
    base = load_base("sst2")
    print(json.dumps([len(base), base.digest, base.official, base.raw[0], base.raw[-1]]))
"""


def parquet(sentences: tuple[str, ...], labels: list[int]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"sentence": list(sentences), "label": labels, "idx": range(len(labels))}), sink)
    return sink.getvalue()


@pytest.mark.data
def test_sst2_from_the_hub_is_the_official_one(data_folder: Path, tmp_path: Path) -> None:
    local = load_base("sst2", data_folder)
    assert isinstance(local.raw, tuple)
    labels = local.labels.tolist()
    with LoopbackHub() as hub:
        files = {
            "README.md": CARD,
            "sst2/train.parquet": parquet(local.raw[:67_349], labels[:67_349]),
            "sst2/validation.parquet": parquet(local.raw[67_349:], labels[67_349:]),
        }
        hub.add("dataset", "nyu-mll/glue", files)
        environment = hub.environment(tmp_path)
        environment.pop("MICO_HUB_DATA", None)
        done = run_client(CODE, environment, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer == [68_221, local.digest, True, local.raw[0], local.raw[-1]]


def test_without_a_network_what_is_absent_fails_at_once(tmp_path: Path) -> None:
    """A dataset, weights to start from, a suite: nothing is tried again, and settings are left as they were."""
    code = """
        import logging
        import datasets
        from huggingface_hub import constants
        import mico_hub
        from mico_hub.data import DataError, load_base
        from mico_hub.models import load_start
        from mico_hub.sources.place import SourceError
        logging.basicConfig()
        for _ in range(2):
            try:
                load_base("cifar10")
            except DataError as error:
                print(error)
            try:
                load_start("roberta")
            except OSError as error:
                print(error)
            try:
                mico_hub.open_suite("digits_hi", "org/mico")
            except SourceError as error:
                print(error)
        assert not constants.HF_HUB_OFFLINE
        assert not datasets.config.HF_HUB_OFFLINE
    """
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path)
    environment.pop("MICO_HUB_DATA", None)
    environment["HF_HUB_OFFLINE"] = "0"
    done = run_client(code, environment, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("CIFAR-10 not found") == 2
    assert done.stdout.count("the pretrained weights of roberta-base were not found at 'FacebookAI/roberta-base'") == 2
    assert done.stdout.count(f"{hub.url} does not answer, and {tmp_path}") == 2
    assert "set MICO_HUB_DATA=FOLDER" in done.stdout
    assert "Retrying" not in done.stderr


def test_a_dataset_that_the_hub_does_not_have_is_a_clear_error(tmp_path: Path) -> None:
    code = """
        from mico_hub.data import DataError, load_base
        try:
            load_base("cifar10")
        except DataError as error:
            print(error)
    """
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path)
        environment.pop("MICO_HUB_DATA", None)
        done = run_client(code, environment, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for part in ("uoft-cs/cifar10", "MICO_HUB_DATA", "60,000 rows", "10 classes", "https://"):
        assert part in done.stdout
