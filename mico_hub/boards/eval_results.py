"""Results of an attack as the Hub's own boards read them: `.eval_results/*.yaml` in a model repository of the attack.

The format is that of https://huggingface.co/docs/hub/eval-results.
"""

import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from mico_hub.cache import atomic_write
from mico_hub.handle import Handle
from mico_hub.messages import InputError
from mico_hub.reporting.results import Result
from mico_hub.reporting.scorecard import percent_range
from mico_hub.sources import PublishedRepository

FOLDER = ".eval_results"
_DECIMALS = 4


class ResultsError(InputError, ValueError):
    """What cannot be told to the Hub."""


def task_of(suite: str, split: str) -> str:
    """The id of a split of a suite in `eval.yaml`."""
    return f"{suite}_{split}"


def write_results(
    results: Sequence[Result], suites: Sequence[Handle], folder: Path, *, dataset: str | None, source: str | None
) -> list[Path]:
    """Writes a file for each result.

    Args:
        results: Of one attack.
        suites: Theirs, where they are.
        folder: Of the attack's repository.
        dataset: `org/name[@revision]` of the suites; None: the repository that they were read from.
        source: Where the attack is explained or its output kept, a link.

    Returns:
        The files.

    Raises:
        ResultsError: The dataset is not known, or there is more than one attack.
    """
    if len({result.attack for result in results}) > 1:
        raise ResultsError("expected the results of one attack: each attack is a repository of its own")
    if source is not None and not re.fullmatch(r"https://\S+", source):
        raise ResultsError(f"expected a link, https://, as the source, got {source!r}")
    place = suites[0].place
    named = dataset or (str(place) if isinstance(place, PublishedRepository) else "")
    repository, _, revision = named.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ResultsError(f"expected org/name[@revision] of the dataset on the Hub as --dataset, got {named!r}")
    fingerprints = {suite.name: suite.fingerprint for suite in suites}
    paths = []
    for result in results:
        task = task_of(result.suite.name, result.split)
        entry: dict[str, Any] = {
            "dataset": {"id": repository, "task_id": task, **({"revision": revision} if revision else {})},
            "value": round(100 * result.tpr, _DECIMALS),
            "date": f"{date.today()}",
            **({"source": {"url": source, "name": result.title}} if source else {}),
            "notes": _notes(result, fingerprints[result.suite.name]),
        }
        paths.append(folder / FOLDER / f"{task}.yaml")
        atomic_write(paths[-1], yaml.safe_dump([entry], sort_keys=False, allow_unicode=True).encode())
    return paths


def _notes(result: Result, fingerprint: str) -> str:
    between = f", 95% interval {percent_range(result.interval, 2)}" if result.interval else ""
    return (
        f"TPR at 10% FPR in percent{between}, {len(result.membership)} models of {result.split}, "
        f"fingerprint {fingerprint:.12}, mico-hub {version('mico-hub')}"
    )
