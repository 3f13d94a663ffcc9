"""The scoring program: python3 score.py INPUT OUTPUT.

INPUT/ref holds <track>/<suite>/<split>/model_N/solution.csv, INPUT/res what a participant sent, unpacked. It writes
OUTPUT/scores.json, or says in a sentence why not and exits with 1. It needs Python 3.11 and numpy, and no network.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mico_hub.metrics.mico_score.scores import RANKING
from mico_hub.metrics.mico_score.scoring import headline_scores, prediction_fields, validate_predictions

SOLUTION, PREDICTION = "solution.csv", "prediction.csv"
BYTES_PER_VALUE = 64
MOST_FILES = 50_000
SHOWN = 30
"""Problems that are listed before they are only counted."""

Truth = dict[str, dict[str, NDArray[np.float64]]]
"""<track>/<suite>/<split> -> model's folder -> (points,) 0 and 1."""


class RefusedError(Exception):
    """A submission that is not scored; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Runs the program; gives its exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: score.py INPUT OUTPUT\n")
        return 2
    source, target = map(Path, arguments)
    truth = read_truth(source / "ref")
    try:
        scores = score(truth, files_of(source / "res"))
    except RefusedError as refused:
        sys.stderr.write(f"The submission was not scored: {refused}\n")
        return 1
    (target / "scores.json").write_text(json.dumps(scores))
    return 0


def read_truth(ref: Path) -> Truth:
    """The solutions, which the organisers put there."""
    truth: Truth = {}
    for path in sorted(ref.glob(f"*/*/*/*/{SOLUTION}")):
        *_, track, suite, split, model, _ = path.parts
        labels = np.loadtxt(path, delimiter=",", ndmin=1)
        truth.setdefault(f"{track}/{suite}/{split}", {})[model] = labels
    if not truth:
        raise FileNotFoundError(f"no {SOLUTION} below {ref}")
    return truth


def files_of(res: Path) -> dict[str, Path]:
    """The files of a submission by their names below it, with slashes, without what archive programs add."""
    found: dict[str, Path] = {}
    for path in sorted(res.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(res).as_posix().replace("\\", "/")
        if "__MACOSX" not in name.split("/") and not name.rpartition("/")[2].startswith("._"):
            found[name] = path
        if len(found) > MOST_FILES:
            raise RefusedError(f"it has more than {MOST_FILES:,} files")
    return found


def score(truth: Truth, files: Mapping[str, Path]) -> dict[str, float]:
    """The score that ranks of each suite, over all of its models at once: `<suite>_<score>`. It tells nothing more.

    Raises:
        RefusedError: Predictions are missing or wrong; all problems are named.
    """
    scores: dict[str, float] = {}
    problems: list[str] = []
    for inner, models in truth.items():
        predictions, wrong = read_split(files, inner, models)
        problems += wrong
        if not wrong:
            suite = inner.split("/")[1]
            found = headline_scores(np.concatenate([*models.values()]), np.concatenate(predictions))
            scores[f"{suite}_{RANKING}"] = found[RANKING]
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise RefusedError("\n  ".join([f"{len(problems)} problem(s)", *problems[:SHOWN], *more]))
    return scores


def read_split(
    files: Mapping[str, Path], inner: str, models: Mapping[str, NDArray[np.float64]]
) -> tuple[list[NDArray[np.float64]], list[str]]:
    """The predictions for the models of a split, in their order, and what is wrong with them."""
    places = {f"/{name}".rpartition(f"/{inner}/")[0] for name in files if f"/{inner}/model_" in f"/{name}"}
    if len(places) != 1:
        names = ", ".join(sorted(files)[:3]) or "no file"
        there = f"it is there {len(places)} times" if places else f"there is no such folder, but {names}"
        return [], [f"expected {inner}/model_N/{PREDICTION}, {there}"]
    (around,) = places
    root = f"{around}/{inner}".lstrip("/")
    predictions, problems = [], []
    for model, labels in models.items():
        try:
            predictions.append(_read(files, f"{root}/{model}", len(labels), f"{inner}/{model}"))
        except ValueError as problem:
            problems.append(str(problem))
    problems += _unexpected(files, root, inner, models)
    return predictions, problems


def _read(files: Mapping[str, Path], folder: str, points: int, where: str) -> NDArray[np.float64]:
    path = files.get(f"{folder}/{PREDICTION}")
    if path is None:
        others = ", ".join(name.removeprefix(f"{folder}/") for name in files if name.startswith(f"{folder}/"))
        raise ValueError(f"{where}: expected {PREDICTION}, got {others or 'nothing'}")
    if path.stat().st_size > BYTES_PER_VALUE * (points + 1):
        raise ValueError(f"{where}: {PREDICTION} is larger than its {points} numbers could need")
    fields = prediction_fields(path.read_bytes(), points, f"{where}: {PREDICTION}")
    return validate_predictions(fields, expected=points, where=where)


def _unexpected(files: Mapping[str, Path], root: str, inner: str, models: Mapping[str, object]) -> Iterator[str]:
    found = [name.removeprefix(f"{root}/").split("/") for name in files if name.startswith(f"{root}/model_")]
    there = {parts[0] for parts in found if parts[1:] == [PREDICTION]}
    for model in sorted(there - {*models}):
        yield f"{inner}/{model}: not expected"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
