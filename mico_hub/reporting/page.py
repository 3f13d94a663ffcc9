"""One self-contained HTML page that compares attacks over the suites of a track, and its table for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from mico_hub.cache import atomic_write
from mico_hub.reporting import figures, scorecard
from mico_hub.reporting.findings import (
    CHANCE,
    by_track,
    conclusions,
    main_results,
    percent,
    percent_range,
    ranked,
)
from mico_hub.reporting.results import Result
from mico_hub.suites import SPLITS

if TYPE_CHECKING:
    from mico_hub.auditing.ceiling import Ceiling

HEADERS = (
    *("suite", "split", "attack"),
    *("TPR at 10% FPR", "95% interval", "AUC", "model accuracy", "claimed epsilon", "seconds"),
)
_COLUMNS = (*["word"] * 3, "main", *["number"] * 5)  # how the page shows them
_SCALES: dict[figures.Scale, str] = {"linear": "linear", "log": "logarithmic"}

_ENVIRONMENT = Environment(
    loader=PackageLoader("mico_hub.reporting"),
    undefined=StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A figure in the page."""

    caption: str
    svg: str


def table(results: Sequence[Result]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows of strings, for `mico_hub.tables.text`, in the order of `by_track`."""
    return HEADERS, [_cells(result) for of_track in by_track(results).values() for result in of_track]


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.suite.name,
        result.split,
        result.label,
        percent(result.tpr),
        "-" if result.interval is None else percent_range(result.interval),
        f"{result.scores['AUC']:.3f}",
        "-" if result.accuracy is None else percent(result.accuracy),
        f"{result.suite.epsilon:g}",
        "-" if result.seconds is None else f"{result.seconds:.1f}",
    )


def write_report(results: Sequence[Result], path: Path, title: str) -> None:
    """Writes the page: conclusions, table, plots and how to read them. The same results give the same bytes.

    Args:
        results: Of one track; more tracks follow each other in the page.
        path: The file; replaced whole.
        title: Of the page.

    Raises:
        ValueError: There are no results, or an attack was run twice on a split of a suite.
    """
    atomic_write(path, html(results, title).encode())


def html(results: Sequence[Result], title: str) -> str:
    """The page's HTML.

    Raises:
        ValueError: As `write_report`.
    """
    if not results:
        raise ValueError("expected at least one result to report, got none")
    headers, rows = table(results)
    tracks = by_track(results)
    main = [result for of_track in tracks.values() for result in main_results(of_track)]
    return _ENVIRONMENT.get_template("report.html.jinja").render(
        title=title,
        conclusions=conclusions(results),
        headers=headers,
        rows=rows,
        columns=_COLUMNS,
        overviews=[_overview(track, of_track) for track, of_track in tracks.items()],
        suites=[of_suite for of_track in tracks.values() for of_suite in _suites(of_track)],
        ranks=scorecard.RANKS,
        few=scorecard.on_few(results, scorecard.RANKED_AT),
        leave_one_out=scorecard.LEAVE_ONE_OUT,
        any_ceiling=_ceiling(results) is not None,
        any_twins=any(result.twins for result in results),
        drawn=len(_drawn(results)),
        attacks=len(_attacks(results)),
        solid=_splits(main),
        dashed=_splits([result for result in results if result not in main]),
        commands=[command for of_track in tracks.values() for command in _commands(of_track)],
    )


def _splits(results: Sequence[Result]) -> list[str]:
    return [split for split in SPLITS if any(result.split == split for result in results)]


def _attacks(results: Sequence[Result]) -> list[str]:
    """The attacks' names, in the order that gives them their colours."""
    return list(dict.fromkeys(result.attack for result in results))


def _drawn(results: Sequence[Result]) -> list[str]:
    """The attacks that the pictures show, in the order that gives them their colours: the best where there are many."""
    attacks = _attacks(results)
    best = {name: max(result.tpr for result in results if result.attack == name) for name in attacks}
    shown = sorted(attacks, key=lambda name: best[name], reverse=True)[: len(figures.COLOURS)]
    return [name for name in attacks if name in shown]


def _label(result: Result, results: Sequence[Result]) -> str:
    """Title and name for a legend, with the split where there are several."""
    return f"{result.label}, {result.split}" if len({r.split for r in results}) > 1 else result.label


def _overview(track: str, results: Sequence[Result]) -> _Picture:
    figure, described = _overview_figure(results)
    return _Picture(f"{track}: members found, by claimed epsilon", figures.svg(figure, f"{track}-budgets", described))


def _overview_figure(results: Sequence[Result]) -> tuple[Figure, str]:
    """The main number over the budgets, and what it shows in words."""
    main, attacks = main_results(results), _drawn(results)
    suites = list({result.suite.name: result.suite for result in results}.values())
    names = [suite.name for suite in suites]
    points = [
        figures.Point(
            column=names.index(result.suite.name),
            style=attacks.index(result.attack),
            label=_label(result, results),
            value=result.tpr,
            interval=result.interval,
            filled=result in main,
        )
        for result in sorted(
            (result for result in results if result.attack in attacks), key=lambda result: attacks.index(result.attack)
        )
    ]
    ticks = [f"{f'{suite.epsilon:g}' if suite.private else 'no DP'}\n{suite.name}" for suite in suites]
    ceilings = [_ceiling_at([result for result in main if result.suite is suite]) for suite in suites]
    figure = figures.budget_figure(ticks, points, "true positive rate at 10% false positives", CHANCE, ceilings)
    described = "; ".join(f"{result.suite.name}, {_numbers(result)}" for result in results)
    return figure, f"True positive rate at 10% FPR by claimed epsilon: {described}"


def _ceiling_at(results: Sequence[Result]) -> float | None:
    """What no attack on these models can find at 10% false positives."""
    ceiling = _ceiling(results)
    return None if ceiling is None else float(ceiling.tpr(CHANCE))


def _ceiling(results: Sequence[Result]) -> "Ceiling | None":
    """The first that is known."""
    return next((ceiling for result in results if (ceiling := result.ceiling) is not None), None)


def _numbers(result: Result) -> str:
    interval = "" if result.interval is None else f" ({percent_range(result.interval)})"
    return f"{result.label}, {result.split}: {percent(result.tpr)}{interval}"


@dataclass(frozen=True, slots=True)
class _Suite:
    """What the page shows of a suite."""

    name: str
    pictures: list[_Picture]
    headers: tuple[str, ...]  # of `comparison`
    comparison: list[tuple[str, ...]]  # attacks on the main split; empty where there is one, or one model


def _suites(results: Sequence[Result]) -> list[_Suite]:
    attacks = _attacks(results)
    shown = []
    for name in dict.fromkeys(result.suite.name for result in results):
        of_suite = sorted(
            (result for result in results if result.suite.name == name), key=lambda result: attacks.index(result.attack)
        )
        main = main_results(of_suite)
        comparable = len(main) > 1 and all(result.estimates for result in main)
        pictures = [
            _Picture(caption, figures.svg(figure, f"{name}-{what}", described))
            for what, (figure, caption, described) in _figures(of_suite, results).items()
        ]
        rows = scorecard.compared(main) if comparable else []
        shown.append(_Suite(name, pictures, scorecard.columns(main), rows))
    return shown


def _figures(of_suite: Sequence[Result], results: Sequence[Result]) -> dict[str, tuple[Figure, str, str]]:
    """A suite's pictures by what they show: figure, caption, and description to be read aloud."""
    main, attacks, name = main_results(of_suite), _drawn(results), of_suite[0].suite.name
    curves = [
        figures.curve(
            _label(result, results),
            attacks.index(result.attack),
            result.membership,
            result.predictions,
            main=result in main,
            rng=np.random.default_rng(0),
        )
        for result in of_suite
        if result.attack in attacks
    ]
    described = "; ".join(_numbers(result) for result in of_suite)
    bound = _bound(main, curves)
    made: dict[str, tuple[Figure, str, str]] = {}
    for scale, axes in _SCALES.items():
        what = f"Receiver operating characteristic of {name} on {axes} axes, true positive rate at 10% FPR: {described}"
        made[scale] = figures.roc_figure(curves, scale, bound), f"{name}, {axes} axes", what
    best = max(main, key=lambda result: result.tpr)
    threshold = best.full["threshold_1000"]
    line = "threshold at 10% FPR"
    figure = figures.distribution_figure(best.membership, best.predictions, threshold, line)
    caption = f"{name}, predictions of {best.label}"
    what = f"Distribution of the predictions of {best.label} for members and for non-members of {name}"
    made["predictions"] = figure, caption, f"{what}; {line}: {threshold:.4g}"
    return made


def _bound(main: Sequence[Result], curves: Sequence[figures.Curve]) -> figures.Bound | None:
    ceiling = _ceiling(main)
    if ceiling is None:
        return None
    grid = np.union1d(np.linspace(0, 1, 101), np.geomspace(1 / max(curve.negatives for curve in curves), 1, 61))
    return figures.Bound("ceiling for any attack", grid, ceiling.tpr(grid))


def save_figures(results: Sequence[Result], folder: Path, file_format: str) -> list[Path]:
    """Every picture of the report as a file of its own, on white.

    Args:
        results: As for `write_report`.
        folder: Made where it does not exist.
        file_format: `png` or `svg`.

    Returns:
        The files.
    """
    paths = []
    for track, of_track in by_track(results).items():
        made = {f"{track}-budgets": _overview_figure(of_track)[0]}
        for name in dict.fromkeys(result.suite.name for result in of_track):
            of_suite = [result for result in of_track if result.suite.name == name]
            made |= {f"{name}-{what}": figure for what, (figure, _, _) in _figures(of_suite, of_track).items()}
        for name, figure in made.items():
            path = folder / f"{name}.{file_format}"
            figures.save(figure, path)
            paths.append(path)
    return paths


def _commands(results: Sequence[Result]) -> list[str]:
    """What gives the numbers of the strongest attack again, on the first suite."""
    result = ranked(main_results(results))[0][0][0]
    if result.commands:
        return list(result.commands)
    suite, split = result.suite.name, result.split
    truth = "" if split == "train" else f" --truth suites/{suite}/private"
    return [
        f"mico-hub attack {suite} --split {split} --attack {result.attack} --out predictions",
        f"mico-hub score predictions --suite {suite} --split {split}{truth}",
    ]
