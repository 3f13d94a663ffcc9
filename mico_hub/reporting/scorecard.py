"""All scores of an attack on a split, as tables for a terminal and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mico_hub import tables
from mico_hub.handle import Handle
from mico_hub.messages import counted, is_are
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.reporting.results import Result
from mico_hub.scoring import (
    DRAWS,
    ENOUGH_FALSE_POSITIVES,
    ENOUGH_MODELS,
    MAX_FPRS,
    RANKING,
    SCORES,
    TITLES,
    Interval,
    compare_estimates,
    needed_non_members,
    rank,
)


def provenance(suite: Handle) -> str:
    """Where a suite was read from, and which models these are."""
    return f"{suite.name} from {suite.place}, fingerprint {suite.fingerprint:.12}"


def card(result: Result) -> str:
    """The competition's scores, those of the whole curve, and what the intervals mean."""
    points, ties = int(result.full["points"]), int(result.full["tied_groups"])
    tied = "no two tie" if not ties else f"{counted(ties, 'value')} {is_are(ties)} shared"
    models = counted(len(result.membership), "model")
    heading = f"{result.suite.name} {result.split}: {models}, {counted(points, 'point')}, {tied}"
    without = result.without_twins
    competition = [
        (
            TITLES[name],
            f"{value:.4f}",
            _interval(result.intervals.get(name)),
            f"{result.means[name][0]:.4f}",
            _interval(result.means[name][1]),
            *([f"{without[name]:.4f}", _interval(result.intervals_without_twins.get(name))] if without else []),
        )
        for name, value in result.scores.items()
    ]
    whole = []
    for max_fpr in MAX_FPRS:
        rate = int(1e4 * max_fpr)
        whole.append(
            (
                f"FPR <= {max_fpr:g}",
                f"{result.full[f'TPR_FPR_le_{rate}']:.4f}",
                _interval(result.intervals.get(f"TPR_FPR_le_{rate}")),
                f"{result.full[f'TPR_FPR_hull_{rate}']:.4f}",
                _interval(result.intervals.get(f"TPR_FPR_hull_{rate}")),
                f"{int(result.full[f'FP_{rate}']):,} of {result.non_members:,}",
                f"{result.full[f'threshold_{rate}']:.6g}",
            )
        )
    return "\n\n".join(
        [
            heading,
            tables.text(
                ("score", "pooled", "95% interval", "mean of models", "95% interval ", *_more_columns([result])),
                competition,
            ),
            tables.text(
                ("whole curve", "TPR", "95% interval", "coin", "95% interval ", "false positives", "threshold"), whole
            ),
            _note(result),
        ]
    )


def _note(result: Result) -> str:
    lines = ["coin: between two thresholds at random, the convex hull of the curve."]
    if result.twins:
        lines.append(_on_twins(result))
    if not result.intervals:
        return "\n".join([*lines, "A single model: nothing to resample, no intervals."])
    lines.append(f"Intervals by resampling models, {DRAWS:,} draws, conditional on the shadow models.")
    lines += on_few([result])
    if result.split == REVEALED_SPLIT:
        lines.append(f"Train models that are each other's shadows are not independent: {LEAVE_ONE_OUT}")
    return "\n".join(lines)


LEAVE_ONE_OUT = (
    "intervals are approximate. Measured, they were not too narrow with 100 models (84 of 84 covered, over 14 fresh "
    "suites); with 8 to 16 models percentile intervals were (of paired differences 79 to 96% covered)."
)
"""What is known of intervals where models are each other's shadows."""


def on_few(results: Sequence[Result], max_fprs: Sequence[float] = MAX_FPRS) -> list[str]:
    """What is different about the intervals of few models, and where few points leave none: a sentence each.

    Args:
        results: With these intervals; those of a single model have none for another reason.
        max_fprs: The false positive rates that have intervals.
    """
    several = [result for result in results if len(result.membership) > 1]
    said = []
    if any(len(result.membership) < ENOUGH_MODELS for result in several):
        said.append(
            f"Of fewer than {ENOUGH_MODELS} models an interval is the score plus and minus Student's t times its "
            "standard error, by resampling."
        )
    fewest = min((result.non_members_without_twins for result in several), default=0)
    takes = [f"{needed_non_members(rate):,} at {rate:g}" for rate in max_fprs if needed_non_members(rate) > fewest]
    if several and takes:
        said.append(
            f"No interval at a false positive rate with fewer than {ENOUGH_FALSE_POSITIVES} false positives allowed. "
            f"Non-members that it takes: {', '.join(takes)}; here are {fewest:,}."
        )
    return said


def _interval(interval: Interval | None, sign: str = "") -> str:
    return "-" if interval is None else f"{interval.low:{sign}.4f} to {interval.high:{sign}.4f}"


WITHOUT = "without twins"


def _more_columns(results: Sequence[Result]) -> tuple[str, ...]:
    return (WITHOUT, "95% interval  ") if any(result.twins for result in results) else ()


def _on_twins(result: Result) -> str:
    points = counted(result.twins or 0, "point")
    return f"{WITHOUT}: pooled, less the {points} whose record has an exact twin in the base dataset."


COMPARISON = ("rank", "attack", "TPR at 10% FPR", "95% interval", "to the first", "95% interval ", "P(above)")


def comparison(results: Sequence[Result]) -> str:
    """`compared` as text, with what a rank means."""
    first = results[0]
    return "\n\n".join(
        [
            f"{first.suite.name} {first.split}: {counted(len(results), 'attack')}",
            tables.text(columns(results), compared(results)),
            "\n".join([RANKS, *([_on_twins(first)] if first.twins else []), *on_few(results, RANKED_AT)]),
        ]
    )


RANKS = "Ranks such as 1-2 overlap where the paired difference is inside the noise: its interval has 0 in it."
RANKED_AT = tuple(score.max_fpr for score in SCORES if score.key == RANKING and score.max_fpr)
"""The false positive rate of the score that ranks."""


def columns(results: Sequence[Result]) -> tuple[str, ...]:
    """The headers of `compared`."""
    return COMPARISON + _more_columns(results)


def compared(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Attacks on the same models, ranked by the score that ranks, with each one's paired difference to the first.

    Args:
        results: Of one suite and split, of at least two models.

    Returns:
        Rows under `columns`.

    Raises:
        ValueError: They are not of the same models.
    """
    first = max(results, key=lambda result: result.tpr)
    estimates = {result.attack: result.estimates[RANKING] for result in results}
    by_name = {result.attack: result for result in results}
    if len({tuple(np.concatenate([*map(np.asarray, result.membership)]).tolist()) for result in results}) > 1:
        raise ValueError("expected attacks on the same models to compare them")
    rows: list[tuple[str, ...]] = []
    for place in rank(estimates):
        result = by_name[place.name]
        against = compare_estimates(estimates[place.name], estimates[first.attack])
        behind = ("-", "-", "-") if result is first else (
            f"{against.difference:+.4f}",
            _interval(against.interval, "+"),
            f"{against.probability:.3f}",
        )  # fmt: skip
        rows.append((f"{place}", result.label, f"{place.value:.4f}", _interval(place.interval), *behind))
        if _more_columns(results):
            without, interval = result.without_twins, result.intervals_without_twins.get(RANKING)
            rows[-1] += (f"{without[RANKING]:.4f}" if without else "-", _interval(interval))
    return rows


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Everything in `card` and `comparison`, for a machine."""
    return {
        "interval_level": 0.95,
        "draws": DRAWS,
        "results": [_result_as_json(result) for result in results],
    }


def _result_as_json(result: Result) -> dict[str, Any]:
    full: Mapping[str, float] = result.full
    return {
        "suite": result.suite.name,
        "split": result.split,
        "attack": result.attack,
        "title": result.title,
        "models": len(result.membership),
        "scores": dict(result.scores),
        "points_with_twin": result.twins,
        "scores_without_twins": result.without_twins,
        "intervals_without_twins": _intervals_as_json(result.intervals_without_twins),
        "full": {name: None if value == np.inf else value for name, value in full.items()},  # JSON has no infinity
        "intervals": _intervals_as_json(result.intervals),
        "intervals_approximate": result.split == REVEALED_SPLIT,
        "mean_of_models": {
            name: {"value": value, "interval": None if interval is None else list(interval)}
            for name, (value, interval) in result.means.items()
        },
    }


def _intervals_as_json(intervals: Mapping[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if interval is None else list(interval) for name, interval in intervals.items()}
