"""Commitments, against one that is computed by hand, and through the command."""

import hashlib
import json
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mico_hub.cli import main
from mico_hub.release.commitments import NONCE_BYTES, CommitmentError, Opening
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import read_truth

ROWS: list[dict[str, Any]] = [
    {"model_id": 5, "challenge": np.array([3, 9]), "membership": np.array([0, 1], dtype=np.int8), "training": [1, 2]},
    {"model_id": 4, "challenge": np.array([1, 2]), "membership": np.array([1, 0], dtype=np.int8), "training": [7, 8]},
]
TRUTH = (
    b'{"split":"dev","suite":"digits_hi"}\n'
    b'{"challenge":[1,2],"membership":[1,0],"model_id":4}\n'
    b'{"challenge":[3,9],"membership":[0,1],"model_id":5}\n'
)


def test_a_commitment_is_the_digest_of_nonce_and_truth() -> None:
    opening = Opening("digits_hi", "dev", bytes(range(32)), tuple(ROWS))
    assert opening.canonical_truth() == TRUTH
    assert opening.commitment() == hashlib.sha256(bytes(range(32)) + TRUTH).hexdigest()
    assert opening.to_json() == b'{"format":1,"nonce":"' + bytes(range(32)).hex().encode() + b'"}\n' + TRUTH
    again = Opening.from_json(opening.to_json(), "here")
    assert again.commitment() == opening.commitment()
    assert not again.differences(ROWS)


def test_the_same_truth_has_another_commitment_each_time() -> None:
    """Else a commitment would confirm a guess."""
    nonces = [secrets.token_bytes(NONCE_BYTES) for _ in range(20)]
    assert len({Opening("digits_hi", "dev", nonce, tuple(ROWS)).commitment() for nonce in nonces}) == 20


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"PK\x03\x04",
        b'{"format":1,"nonce":"00"}\n' + TRUTH,
        b'{"format":1,"nonce":"' + b"00" * 32 + b'"}\n' + TRUTH.replace(b",", b", "),
        b'{"format":1,"nonce":"' + b"00" * 32 + b'"}\n' + TRUTH[:-1],
        b'{"format":1,"nonce":"' + b"00" * 32 + b'"}\n' + TRUTH + b'{"challenge":[1],"model_id":6}\n',
        b'{"format":1,"nonce":"' + b"00" * 32 + b'"}\n' + b"\n".join(TRUTH.split(b"\n")[::-1]),
    ],
)
def test_what_is_no_opening_is_refused(text: bytes) -> None:
    with pytest.raises(CommitmentError, match="here: expected what opens a commitment"):
        Opening.from_json(text, "here")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"challenge": np.array([1, 3])}, "model_4: its challenge is not the published one"),
        ({"membership": np.array([0, 1])}, "model_4: its membership is not the published one"),
        ({"model_id": 6}, "expected the models [5, 6], got [4, 5]"),
    ],
)
def test_another_truth_than_the_published_one_is_named(change: dict[str, Any], problem: str) -> None:
    opening = Opening("digits_hi", "dev", bytes(NONCE_BYTES), tuple(ROWS))
    assert opening.differences([ROWS[0], ROWS[1] | change]) == [problem]
    hidden = [row | {"membership": None} for row in (ROWS[0], ROWS[1])]
    assert not opening.differences(hidden)


def test_a_trained_suite_is_committed_to_its_truth(trained: Path) -> None:
    for name in ("digits_inf", "digits_hi", "digits_lo"):
        folder = SuiteFolder(trained / name)
        commitments = folder.manifest().commitments
        truth = read_truth(folder.rows_path("private"))
        assert list(commitments) == ["dev", "final"]
        for split, commitment in commitments.items():
            opening = Opening.from_json(folder.opening_path(split).read_bytes(), split)
            assert opening.commitment() == commitment
            assert not opening.differences([row for row in truth if row["split"] == split])
    assert (
        len({c for n in ("digits_inf", "digits_hi") for c in SuiteFolder(trained / n).manifest().commitments.values()})
        == 4
    )


def test_the_command_opens_a_commitment(
    trained: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digits_hi-dev.json"
    shutil.copy(SuiteFolder(trained / "digits_hi").opening_path("dev"), path)
    assert main(["open", str(path), "--source", str(published)]) == 0
    commitment = SuiteFolder(trained / "digits_hi").manifest().commitments["dev"]
    assert capsys.readouterr().out == (
        f"digits_hi dev: the truth of 2 models opens the published commitment {commitment}\n"
    )
    opening = Opening.from_json(path.read_bytes(), "")
    changed = [dict(row) for row in opening.models]
    changed[0]["membership"] = [1 - label for label in changed[0]["membership"]]
    path.write_bytes(replace(opening, models=tuple(changed)).to_json())
    assert main(["open", str(path), "--source", str(published)]) == 2
    assert f"and the commitment that was published is {commitment}" in capsys.readouterr().err
    path.write_bytes(json.dumps(changed).encode())
    assert main(["open", str(path), "--source", str(published)]) == 2
    assert "expected what opens a commitment" in capsys.readouterr().err
