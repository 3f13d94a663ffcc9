"""All scores of an attack on a split, as tables for a terminal and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mico_hub import tables
from mico_hub.messages import counted, is_are
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.reporting.results import Result
from mico_hub.scoring import DRAWS, MAX_FPRS, RANKING, TITLES, Interval, compare_draws, rank


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
    non_members = sum(int(np.count_nonzero(np.asarray(model) == 0)) for model in result.membership)
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
                f"{int(result.full[f'FP_{rate}']):,} of {non_members:,}",
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
    if result.split == REVEALED_SPLIT:
        lines.append("Models of train that are each other's shadows are not independent: approximate, too narrow.")
    return "\n".join(lines)


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


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
            "\n".join([RANKS, *([_on_twins(first)] if first.twins else [])]),
        ]
    )


RANKS = "Ranks such as 1-2 overlap where the paired difference is inside the noise: its interval has 0 in it."


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
    draws = {result.attack: result.resampled(RANKING) for result in results}
    by_name = {result.attack: result for result in results}
    if len({tuple(np.concatenate([*map(np.asarray, result.membership)]).tolist()) for result in results}) > 1:
        raise ValueError("expected attacks on the same models to compare them")
    rows: list[tuple[str, ...]] = []
    for place in rank({result.attack: result.tpr for result in results}, draws):
        result = by_name[place.name]
        against = compare_draws(result.tpr - first.tpr, draws[place.name] - draws[first.attack])
        behind = ("-", "-", "-") if result is first else (
            f"{against.difference:+.4f}",
            f"{against.interval.low:+.4f} to {against.interval.high:+.4f}",
            f"{against.probability:.3f}",
        )  # fmt: skip
        rows.append((f"{place}", result.title, f"{place.value:.4f}", _interval(place.interval), *behind))
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
        "attack": result.title,
        "models": len(result.membership),
        "scores": dict(result.scores),
        "points_with_twin": result.twins,
        "scores_without_twins": result.without_twins,
        "intervals_without_twins": {name: list(interval) for name, interval in result.intervals_without_twins.items()},
        "full": {name: None if value == np.inf else value for name, value in full.items()},  # JSON has no infinity
        "intervals": {name: list(interval) for name, interval in result.intervals.items()},
        "intervals_approximate": result.split == REVEALED_SPLIT,
        "mean_of_models": {
            name: {"value": value, "interval": None if interval is None else list(interval)}
            for name, (value, interval) in result.means.items()
        },
    }
