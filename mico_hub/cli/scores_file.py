"""The CSV file of `mico-hub audit-scores`: a membership and a score a line, of which model, in which pair."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mico_hub.messages import InputError, listed

MOST_BYTES = 1 << 30
KNOWN = ("model", "membership", "score", "pair")


class ScoresFileError(InputError, ValueError):
    """A file that is no such table; the message has all problems."""


@dataclass(frozen=True, slots=True)
class ScoresFile:
    """What a file says, a list for each model; a single list where no model is named."""

    membership: Sequence[Sequence[int]]
    scores: Sequence[Sequence[float]]
    pairs: Sequence[Sequence[str]] | None


def read_scores(path: Path, design: str) -> ScoresFile:
    """Reads a file.

    Args:
        path: UTF-8, a header, columns `membership` (0 or 1) and `score`, perhaps `model` and `pair`, in any order.
        design: With `one-per-model` each model has one line.

    Raises:
        ScoresFileError: It is not such a file.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ScoresFileError(f"{path}: expected at most {MOST_BYTES:,} bytes, got {path.stat().st_size:,}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = list(reader.fieldnames or ())
            if not {"membership", "score"} <= set(header) or set(header) - set(KNOWN):
                got = ", ".join(header) or "none"
                raise ScoresFileError(
                    f"{path}, line 1: expected columns membership, score, of {KNOWN} alone, got {got}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScoresFileError(f"{path}: expected CSV in UTF-8: {error}") from error
    problems = [problem for line, row in rows if (problem := _problem(row, f"line {line}"))]
    if not rows:
        problems.append("no line after the header")
    models: dict[str, list[dict[str, str]]] = {}
    for _, row in rows:
        models.setdefault(row.get("model") or "", []).append(row)
    if design == "one-per-model" and "model" in header and len(models) != len(rows):
        problems.append(f"expected one line a model, got {len(rows):,} lines of {len(models):,} models")
    if problems:
        raise ScoresFileError(listed(f"{path}: not a table of scores:", problems))
    groups = [[row for _, row in rows]] if design == "one-per-model" else list(models.values())
    return ScoresFile(
        membership=[[int(row["membership"]) for row in group] for group in groups],
        scores=[[float(row["score"]) for row in group] for group in groups],
        pairs=[[row["pair"] for row in group] for group in groups] if "pair" in header else None,
    )


def _problem(row: dict[str, str], where: str) -> str | None:
    if None in row or None in row.values():
        return f"{where}: expected as many fields as the header has"
    if row["membership"] not in ("0", "1"):
        return f"{where}: expected membership 0 or 1, got {row['membership']!r}"
    try:
        finite = math.isfinite(float(row["score"]))
    except ValueError:
        finite = False
    return None if finite else f"{where}: expected a finite score, got {row['score']!r}"
