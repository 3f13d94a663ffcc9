"""A small folder of each format that was released is read for ever.

`python -m tests.test_released_formats` writes the one of the present format, once.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import mico_hub
from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.format import FORMAT
from mico_hub.release.parquet import read_rows, read_truth
from mico_hub.release.tensors import sha256_of
from mico_hub.scoring import mico_score
from mico_hub.suites import SUITES

GOLDEN = Path(__file__).parent / "golden"
RELEASED = sorted(path.name for path in GOLDEN.glob("format_*"))
SUITES_OF_IT = ("digits_hi", "digits_lo")


def described(root: Path) -> dict[str, Any]:
    """What a reader gets from a folder of a format: digests and numbers that do not change, but for rounding."""
    found: dict[str, Any] = {"versions": [version.suites for version in repository.versions(root / "mico")]}
    for name in SUITES_OF_IT:
        suite, folder = mico_hub.open_suite(name, root / "mico"), SuiteFolder(root / "suites" / name)
        scores = np.concatenate(mico_hub.attack("loss", suite.train, source=str(root / "mico")))
        every = [row for split in suite.rows for row in suite.split(split)]
        keys, truth = folder.keys(), read_truth(folder.rows_path("private"))
        found[name] = {
            "fingerprint": suite.fingerprint,
            "digest": repository.content_digest(root / "mico", name),
            "models": list(suite.manifest.suite.models),
            "training shown": [row["training"] is not None for row in every],
            "labels": [int(suite.challenge(row).labels.sum()) for row in every],
            "commitments": {split: folder.opening(split).commitment() for split in suite.manifest.commitments},
            "keys": [each.to_hex()["noise"] for each in keys],
            "members": [int(row["challenge"][row["membership"] == 1].sum()) for row in truth],
            "rounded": {
                "epsilon": suite.train[0]["epsilon"],
                "noise multiplier": suite.manifest.noise_multiplier,
                "weights": [float(sum(p.detach().abs().sum() for p in suite.model(row).parameters())) for row in every],
                "losses": float(suite.signals("loss").train.values.sum()),
                "AUC of loss": mico_score(np.concatenate(suite.train["membership"]), scores)["AUC"],
                "member losses": [measured_loss(folder, row["model_id"]) for row in every],
            },
        }
    return found


def measured_loss(folder: SuiteFolder, model_id: int) -> float | None:
    measured = folder.measured(folder.manifest().suite, model_id)
    assert measured is not None
    return measured.member_loss


def test_the_present_format_has_a_folder() -> None:
    assert f"format_{FORMAT}" in RELEASED


@pytest.mark.parametrize("name", RELEASED)
def test_a_folder_of_a_released_format_is_read(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path))
    root = GOLDEN / name
    found, expected = described(root), json.loads((root / "expected.json").read_bytes())
    for suite in SUITES_OF_IT:
        for what, numbers in expected[suite].pop("rounded").items():
            assert found[suite]["rounded"][what] == pytest.approx(numbers, rel=1e-5), what
        del found[suite]["rounded"]
    assert found == expected
    for suite in SUITES_OF_IT:
        folder = SuiteFolder(root / "suites" / suite)
        folder.verify()
        assert folder.manifest() == repository.read_manifest(root / "mico", suite)
        assert len(read_rows(folder.rows_path("public"))) == folder.manifest().num_models
        for row in read_rows(folder.rows_path("public")):
            path = root / "mico" / row["checkpoint"]
            assert sha256_of(path) == row["sha256"]
            assert set(load_file(path)) == {"mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"}


def write() -> None:
    """Trains the folder of the present format.

    Raises:
        SystemExit: There is one: it is what was released.
    """
    from builders.build import build
    from mico_hub.signals.suite import compute_suite
    from mico_hub.training.suite import train_suite

    root = GOLDEN / f"format_{FORMAT}"
    if root.exists():
        raise SystemExit(f"{root} is there, and stays as it was released")
    hi = replace(SUITES["digits_hi"], epochs=4).with_models(2, 1, 1)
    lo = replace(SUITES["digits_lo"], epochs=4, disclosure="training").with_models(2, 1, 0)
    for suite in (hi, lo):
        folder = train_suite(suite, root / "suites" / suite.name)
        compute_suite(folder.root, ["loss", "margin"])
        (folder.root / "private" / "lock").unlink(missing_ok=True)
    build(sorted((root / "suites").iterdir()), root / "mico")
    for unfinished in root.rglob("unfinished-signals"):
        shutil.rmtree(unfinished)
    (root / "expected.json").write_text(json.dumps(described(root), indent=1) + "\n")


if __name__ == "__main__":
    write()
