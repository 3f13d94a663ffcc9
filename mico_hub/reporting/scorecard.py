"""Scores as tables: of an attack alone, of attacks beside each other, of a track; in a terminal, as LaTeX and JSON."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from mico_hub import tables
from mico_hub.handle import Handle
from mico_hub.messages import counted, is_are
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.reporting.ranking import AVERAGE, by_suite, by_track, main_results, ranked
from mico_hub.reporting.results import Result
from mico_hub.scoring import (
    DRAWS,
    ENOUGH_FALSE_POSITIVES,
    ENOUGH_MODELS,
    MAX_FPRS,
    RANKING,
    SCORES,
    TITLES,
    Comparison,
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
    more = (WITHOUT, "95% interval  ") if without else ()
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
                ("score", "pooled", "95% interval", "mean of models", "95% interval ", *more),
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
        lines.append(
            f"{WITHOUT}: less the {counted(result.twins, 'point')} whose record has an exact twin in the base dataset."
        )
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


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


WITHOUT = "without twins"


LOW_FPRS = {"1%": "TPR_FPR_le_100", "0.1%": "TPR_FPR_le_10"}
"""Of the scores that papers print beside the one that ranks: false positive rate -> key."""
_HEADLINES = {"TPR at 10% FPR": RANKING, **{f"at {fpr}": key for fpr, key in LOW_FPRS.items()}}
_DECIMALS = {LOW_FPRS["0.1%"]: 2}  # of a percentage; else 1
OF_SUITE = ("suite", "model accuracy", "claimed epsilon")
"""Columns of `table` that are the same for all attacks on a split."""


def percent(share: float, decimals: int = 1) -> str:
    """`26.1%`."""
    return f"{100 * share:.{decimals}f}%"


def percent_range(interval: Interval, decimals: int = 1) -> str:
    """`24.8 to 27.4%`."""
    return f"{100 * interval.low:.{decimals}f} to {percent(interval.high, decimals)}"


def rate(result: Result, score: str = RANKING, *, without: bool = False) -> str:
    """`26.1% (24.8 to 27.4%)`, or without an interval where there is none.

    Args:
        result: Whose score it is.
        score: A key of `Result.scores` or `Result.full`.
        without: Whether points with an exact twin are left out.
    """
    scores, intervals = (result.without_twins or {}, result.intervals_without_twins) if without else (
        result.every, result.intervals
    )  # fmt: skip
    return "-" if score not in scores else _with_interval(scores[score], intervals.get(score), _DECIMALS.get(score, 1))


def _with_interval(share: float, interval: Interval | None, decimals: int = 1) -> str:
    return percent(share, decimals) + ("" if interval is None else f" ({percent_range(interval, decimals)})")


def comparison(results: Sequence[Result]) -> str:
    """Attacks on a split of a suite beside each other, and what the columns mean."""
    first = results[0]
    headers, rows = table(results, leave_out=(*OF_SUITE, "split"))
    notes = [NOTES[header] for header in headers if header in NOTES]
    return "\n\n".join(
        [
            f"{first.suite.name} {first.split}: {counted(len(results), 'attack')}, 95% intervals in brackets",
            tables.text(headers, rows),
            "\n".join([*notes, *on_few(results, COMPARED_AT)]),
        ]
    )


NOTES = {
    "rank": "Ranks such as 1-2 overlap where the paired difference is inside the noise: its interval has 0 in it.",
    "at 1%": "At 10%: below 10% of the non-members, as the competition counted. At 1% and 0.1%: at most.",
    "to the first": "To the first: difference in points, paired by model. P(above): share of resamples where it leads.",
    WITHOUT: f"{WITHOUT.capitalize()}: less the points whose record has an exact twin in the base dataset.",
}
"""What a column means, by its header."""
COMPARED_AT = tuple(sorted({score.max_fpr for score in SCORES if score.key in _HEADLINES.values() and score.max_fpr}))
"""The false positive rates in `table`."""


def table(results: Sequence[Result], *, leave_out: Sequence[str] = ()) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Results beside each other: headers and rows of strings, for `mico_hub.tables`.

    Suites are ordered by track and falling epsilon, their splits final, dev, train, and attacks by rank. A column in
    which no cell has anything is left out.

    Args:
        results: Of any suites and splits.
        leave_out: Headers of further columns to leave out.

    Raises:
        ValueError: An attack was run twice on a split of a suite, or attacks on a split were run on other models.
    """
    rows = [
        (result, place)
        for of_track in by_track(results).values()
        for of_suite in by_suite(of_track).values()
        for split in dict.fromkeys(result.split for result in of_suite)
        for result, place in _compared([result for result in of_suite if result.split == split])
    ]
    columns: dict[str, list[str]] = {
        "suite": [result.suite.name for result, _ in rows],
        "split": [result.split for result, _ in rows],
        "rank": [place[0] for _, place in rows],
        "attack": [result.label for result, _ in rows],
        **{header: [rate(result, score) for result, _ in rows] for header, score in _HEADLINES.items()},
        "to the first": [place[1] for _, place in rows],
        "P(above)": [place[2] for _, place in rows],
        WITHOUT: [rate(result, without=True) for result, _ in rows],
        "AUC": [f"{result.scores['AUC']:.3f}" for result, _ in rows],
        "model accuracy": ["-" if result.accuracy is None else percent(result.accuracy) for result, _ in rows],
        "claimed epsilon": [f"{result.suite.epsilon:g}" for result, _ in rows],
        "seconds": ["-" if result.seconds is None else f"{result.seconds:.1f}" for result, _ in rows],
    }
    kept = {
        header: cells
        for header, cells in columns.items()
        if header not in leave_out and any(cell != "-" for cell in cells)
    }
    return tuple(kept), list(zip(*kept.values(), strict=True))


def _compared(results: Sequence[Result]) -> list[tuple[Result, tuple[str, str, str]]]:
    """Attacks on one split, best first, each with its rank, its paired difference to the first and P(above)."""
    if len({tuple(np.concatenate([*map(np.asarray, result.membership)]).tolist()) for result in results}) > 1:
        raise ValueError("expected attacks on the same models to compare them")
    by_name = {result.attack: result for result in sorted(results, key=lambda result: -result.tpr)}
    if len(results) == 1 or not all(result.estimates for result in results):
        return [(result, ("-", "-", "-")) for result in by_name.values()]
    estimates = {name: result.estimates[RANKING] for name, result in by_name.items()}
    first = next(iter(estimates))
    found = []
    for place in rank(estimates):
        to_first = compare_estimates(estimates[place.name], estimates[first])
        behind = ("-", "-") if place.name == first else (_points(to_first), f"{to_first.probability:.3f}")
        found.append((by_name[place.name], (f"{place}", *behind)))
    return found


def _points(found: Comparison) -> str:
    interval = found.interval
    return f"{100 * found.difference:+.1f}" + (
        "" if interval is None else f" ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    )


def of_track(results: Sequence[Result]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The attacks of a track on its main split, ranked by the mean over its suites: headers and rows, as `table`."""
    main = main_results(results)
    suites = list(by_suite(main))
    rows = [
        (
            each.results[0].label,
            _with_interval(each.value, each.interval) if len(each.results) == len(suites) else "-",
            *(rate(each.of[name]) if name in each.of else "-" for name in suites),
        )
        for each in ranked(main)
    ]
    return ("attack", f"mean of {counted(len(suites), 'suite')}", *suites), rows


def latex(results: Sequence[Result]) -> str:
    """`table`, for a paper: a `tabular` with the rules of booktabs, a block for each suite and split."""
    headers, rows = table(results, leave_out=("seconds", "P(above)", "model accuracy", "claimed epsilon"))
    blocks = groupby(rows, key=lambda row: row[:2])
    numbers = len(headers) - headers.index("attack") - 1
    lines = [
        "% \\usepackage{booktabs}; 95% intervals in brackets",
        rf"\begin{{tabular}}{{{'l' * (len(headers) - numbers)}{'r' * numbers}}}",
        r"\toprule",
        _latex_row(headers),
    ]
    for _, of_split in blocks:
        lines += [r"\midrule", *map(_latex_row, of_split)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    escaped = [re.sub(r"\\|[&%$#_{}~^]", _latex_escaped, cell) for cell in cells]
    ranges = [re.sub(r"(?<=\d)-(?=\d)", "--", cell) for cell in escaped]
    return " & ".join(re.sub(r"(?<![\w-])-(?=\d)", "$-$", cell) for cell in ranges) + r" \\"


def _latex_escaped(found: re.Match[str]) -> str:
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return words.get(found[0], f"\\{found[0]}")


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Everything in `card`, `comparison` and `of_track`, for a machine."""
    return {
        "interval_level": 0.95,
        "draws": DRAWS,
        "results": [_result_as_json(result) for result in results],
        "tracks": {track: _track_as_json(of_track) for track, of_track in by_track(results).items()},
    }


def _track_as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The attacks on all suites that there are results of."""
    main = main_results(results)
    suites = list(by_suite(main))
    return {
        "suites": suites,
        "split": main[0].split,
        "attacks": {
            each.results[0].attack: {
                AVERAGE: each.value, "interval": None if each.interval is None else list(each.interval)
            }
            for each in ranked(main) if len(each.results) == len(suites)
        },
    }  # fmt: skip


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
