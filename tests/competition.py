"""A made-up track as the competition's own scoring program was given it, by hand, to make `golden/track_scores.json`.

The program is src/mico-competition/scoring/score.py of https://github.com/microsoft/MICO; the golden file says which
one, and the digests of what it was given: predictions of which none tie, of which some do, and of which most do.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mico_hub.suites import Suite, tracks

TRACK = "cifar10"
SPLITS = ("dev", "final")
GOLDEN: Any = json.loads((Path(__file__).parent / "golden" / "track_scores.json").read_bytes())

Labels = dict[int, NDArray[np.int8]]
Values = dict[int, NDArray[np.float64]]


def truth_and_predictions() -> dict[tuple[Suite, str], tuple[Labels, Values]]:
    """(suite, split) -> model id -> (2m,) membership, exactly half of it 1, and (2m,) predictions."""
    made = {}
    for kind, suite in enumerate(tracks()[TRACK]):
        for split in SPLITS:
            rng = np.random.default_rng([kind, SPLITS.index(split)])
            labels: Labels = {}
            values: Values = {}
            for model_id in suite.model_ids[split]:
                labels[model_id] = rng.permutation(np.repeat([0, 1], suite.m)).astype(np.int8)
                raw = 1 / (1 + np.exp(-rng.normal(labels[model_id] * (2 - kind) / 2)))
                values[model_id] = (raw.round(9), raw.round(2), rng.choice([0.1, 0.5, 1.0], len(raw)))[kind]
            made[suite, split] = labels, values
    return made


def write_solutions(root: Path, truth: Mapping[tuple[Suite, str], Labels]) -> None:
    """Writes `<track>/<suite>/<split>/model_N/solution.csv`, as the competition's `ref/` had them."""
    for (suite, split), labels in truth.items():
        for model_id, of_model in labels.items():
            folder = root / suite.track / suite.name / split / f"model_{model_id}"
            folder.mkdir(parents=True)
            (folder / "solution.csv").write_text(",".join(map(str, of_model.tolist())) + "\r\n", newline="")


def digest(root: Path) -> str:
    """sha256 over the names and contents of all files of a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
