"""Renders a card from its template and from the published folder it belongs to; `private/` is never looked at."""

import math
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mico_hub import tables
from mico_hub.data import DATASETS
from mico_hub.models import MODELS
from mico_hub.release import repository
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import each_row
from mico_hub.release.rows import Row
from mico_hub.sources.original import recomputed_epsilon
from mico_hub.suites import SPLITS, Suite, tracks

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  # Markdown, from our own table
    keep_trailing_newline=True,
)


def dataset_card(root: Path) -> str:
    """The dataset card's Markdown, without the YAML, for the suites in a published folder."""
    manifests = repository.suites_in(root)
    suites = [manifest.suite for manifest in manifests]
    total = sum(manifest.num_models for manifest in manifests)
    sizes = sorted({2 * suite.m for suite in suites})
    datasets = [DATASETS[name] for name in dict.fromkeys(suite.dataset for suite in suites)]
    return _ENVIRONMENT.get_template("dataset.md.jinja").render(
        total=f"{total:,}",
        points=" or ".join(map(str, sizes)),
        example=suites[0].name,
        suites_table=tables.markdown(tables.SUITE_COLUMNS, map(_row, manifests)),
        suites=[_suite(root, manifest) for manifest in manifests],
        any_private=any(suite.private for suite in suites),
        any_hidden=any(manifest.commitments for manifest in manifests),
        any_original=any(manifest.origin for manifest in manifests),
        any_exact=any(suite.design == "exact" for suite in suites),
        any_coins=any(suite.design == "coins" for suite in suites),
        any_signals=any(repository.signal_files(root, suite.name) for suite in suites),
        any_ours=not all(manifest.origin for manifest in manifests),
        versions=_versions(root),
        datasets=datasets,
        twins_table=tables.markdown(tables.TWIN_COLUMNS, map(tables.twin_row, datasets)),
        uncounted=[info.title for info in datasets if info.twins is None],
    )


GRADIO = "6.31.0"
"""The version of gradio that the Spaces ask for."""


def metric_card(repository_id: str = "mico_score") -> str:
    """The metric's card with its YAML; the texts are those of the module itself."""
    from mico_hub.metrics.mico_score import mico_score

    return _ENVIRONMENT.get_template("metric.md.jinja").render(
        gradio=GRADIO,
        repository=repository_id,
        description=mico_score.DESCRIPTION,
        inputs=mico_score.INPUTS_DESCRIPTION.replace("Args:", "## Inputs\n\n```\nArgs:")
        .replace("Returns:", "```\n\n## Output\n\n```\nReturns:")
        .replace("Examples:", "```\n\n## Example\n\n```\nExamples:")
        + "```\n",
        citation=mico_score.CITATION,
    )


def leaderboard_card(dataset_id: str) -> str:
    """The leaderboard's card with its YAML.

    Args:
        dataset_id: org/name of the dataset that it ranks attacks on.
    """
    from mico_hub.metrics.mico_score import mico_score

    by_track = tracks()
    rows = [(track, ", ".join(suite.name for suite in suites)) for track, suites in by_track.items()]
    return _ENVIRONMENT.get_template("leaderboard.md.jinja").render(
        gradio=GRADIO,
        dataset=dataset_id,
        tracks_table=tables.markdown(("track", "suites"), rows),
        example=next(iter(by_track.values()))[0].name,
        citation=mico_score.CITATION.strip(),
    )


def _versions(root: Path) -> list[tuple[str, str]]:
    """Tag, and what changed with it."""
    found, before = [], dict[str, str]()
    for version in repository.versions(root):
        changes = {
            "new": [name for name in version.suites if name not in before],
            "changed": [name for name, digest in version.suites.items() if before.get(name, digest) != digest],
            "removed": [name for name in before if name not in version.suites],
        }
        found.append((version.tag, "; ".join(f"{how}: {', '.join(names)}" for how, names in changes.items() if names)))
        before = version.suites
    return found


def _row(manifest: Manifest) -> tuple[str, ...]:
    """As in the table of suites, with the models that are there."""
    missing = set(manifest.missing)
    there = "/".join(f"{len(set(ids) - missing)}" for ids in manifest.suite.model_ids.values())
    name, *others, _ = tables.suite_row(manifest.suite)
    return name + (" (trial)" if manifest.differences else ""), *others, there


def _suite(root: Path, manifest: Manifest) -> dict[str, Any]:
    suite, info = manifest.suite, DATASETS[manifest.suite.dataset]
    return {
        "name": suite.name,
        "data": f"{info.title}, {info.num_records:,} records ({info.url})",
        "digest": manifest.data_digest,
        "data_note": manifest.data_note,
        "origin": origin(manifest),
        "trial": "; ".join(manifest.differences),
        "recipe": recipe(suite),
        "privacy": privacy(manifest),
        "revealed": {
            "challenge": "the challenge alone",
            "training": "the challenge and the training records that are not in it",
        }[suite.disclosure],
        "accuracy": _accuracy(root, suite),
        "versions": ", ".join(f"{package} {version}" for package, version in manifest.versions.items())
        or "the competition's own code",
        "signals": ", ".join(path.stem for path in repository.signal_files(root, suite.name)),
        "commitments": manifest.commitments,
        "start_digest": manifest.start_digest,
        "delta": None if suite.delta is None else f"{suite.delta:g}",
        "one_over_n": f"{1 / suite.n:.1e}",
    }


def origin(manifest: Manifest) -> str:
    """One sentence that says where the models come from; empty: they are ours."""
    if not manifest.origin:
        return ""
    missing = f" {len(manifest.missing)} of {sum(manifest.suite.models)} are missing there." if manifest.missing else ""
    return f"the competition's own models, converted from {manifest.origin}.{missing}"


def recipe(suite: Suite) -> str:
    """One sentence that says how a model of the suite is trained."""
    order = {
        "sequential": f"batches of {suite.batch_size:,} in one fixed order, the members first",
        "shuffled": f"batches of {suite.batch_size:,}, shuffled each epoch",
        "poisson": f"Poisson sampling with q = 1/{suite.steps_per_epoch} ({suite.expected_batch_size:,} expected)",
    }[suite.order]
    clip = "" if suite.max_grad_norm is None else f", the batch's gradient clipped to norm {suite.max_grad_norm:g}"
    return (
        f"{MODELS[suite.model].title}; {_records(suite)}; "
        f"{suite.epochs} epochs ({suite.steps:,} steps); {order}; {suite.optimiser}{clip}."
    )


def _records(suite: Suite) -> str:
    if suite.design == "coins":
        return f"{suite.n - suite.m:,} training records, and each of {2 * suite.m} canaries by a fair coin of its own"
    return f"{suite.n:,} training records of which {suite.m} are challenge members"


def privacy(manifest: Manifest) -> str:
    """One sentence that says what was claimed and how."""
    suite = manifest.suite
    if not math.isfinite(suite.epsilon):
        return "none, trained without DP."
    if manifest.origin:
        nominal = (
            ""
            if suite.order == "poisson"
            else ". It is nominal: the batches were shuffled and of one size, and "
            "accounted as if drawn by Poisson sampling"
        )
        return (
            f"DP-SGD as the competition ran it, target epsilon {suite.epsilon:g} at delta {suite.delta:g} (add or "
            f"remove one record); noise multiplier {manifest.noise_multiplier:.6g}, per-record gradients clipped to "
            f"norm {suite.clipping_norm:g}. Epsilon recomputed by the PRV accountant: "
            f"{recomputed_epsilon(suite):.2f}{nominal}."
        )
    return (
        f"DP-SGD, epsilon at most {suite.epsilon:g} at delta {suite.delta:g} (add or remove one record); "
        f"noise multiplier {manifest.noise_multiplier:.6g}, "
        f"per-record gradients clipped to norm {suite.clipping_norm:g}."
    )


def _accuracy(root: Path, suite: Suite) -> str:
    parts = []
    for split in SPLITS:
        path = root / suite.name / repository.parquet_name(split)
        rows: Iterable[Row] = each_row(path) if path.exists() else ()
        known = [row["accuracy"] for row in rows if row["accuracy"] is not None]
        if known:
            parts.append(f"{split} {mean(known):.3f} ({min(known):.3f} to {max(known):.3f})")
    return ", ".join(parts) or "not measured"
