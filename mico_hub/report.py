"""One self-contained HTML page that compares attacks over the suites of a track, and its table for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from mico_hub import plots
from mico_hub.cache import atomic_write
from mico_hub.findings import CHANCE, Result, by_track, conclusions, main_results, percent, percent_range, ranked
from mico_hub.suites import SPLITS

__all__ = ["HEADERS", "Result", "conclusions", "table", "write_report"]

HEADERS = (
    *("suite", "split", "attack"),
    *("TPR at 10% FPR", "95% interval", "AUC", "model accuracy", "claimed epsilon", "seconds"),
)
_COLUMNS = (*["word"] * 3, "main", *["number"] * 5)  # how the page shows them
_SCALES: dict[plots.Scale, str] = {"linear": "linear", "log": "logarithmic"}

_ENVIRONMENT = Environment(
    loader=PackageLoader("mico_hub"), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
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
        result.title,
        percent(result.tpr),
        "-" if result.interval is None else percent_range(result.interval),
        f"{result.scores['AUC']:.3f}",
        "-" if result.accuracy is None else percent(result.accuracy),
        f"{result.suite.epsilon:g}",
        f"{result.seconds:.1f}",
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
    atomic_write(path, page(results, title).encode())


def page(results: Sequence[Result], title: str) -> str:
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
        suites=[pair for of_track in tracks.values() for pair in _rocs(of_track)],
        solid=_splits(main),
        dashed=_splits([result for result in results if result not in main]),
        commands=[command for of_track in tracks.values() for command in _commands(of_track)],
    )


def _splits(results: Sequence[Result]) -> list[str]:
    return [split for split in SPLITS if any(result.split == split for result in results)]


def _attacks(results: Sequence[Result]) -> list[str]:
    """The attacks' names, in the order that gives them their colours."""
    return list(dict.fromkeys(result.attack for result in results))


def _label(result: Result, results: Sequence[Result]) -> str:
    """A title for a legend, with the split where there are several."""
    return f"{result.title}, {result.split}" if len({r.split for r in results}) > 1 else result.title


def _overview(track: str, results: Sequence[Result]) -> _Picture:
    """The main number over the budgets."""
    main, attacks = main_results(results), _attacks(results)
    suites = list({result.suite.name: result.suite for result in results}.values())
    names = [suite.name for suite in suites]
    points = [
        plots.Point(
            column=names.index(result.suite.name),
            style=attacks.index(result.attack),
            label=_label(result, results),
            value=result.tpr,
            interval=result.interval,
            filled=result in main,
        )
        for result in sorted(results, key=lambda result: attacks.index(result.attack))
    ]
    ticks = [f"{f'{suite.epsilon:g}' if suite.private else 'no DP'}\n{suite.name}" for suite in suites]
    figure = plots.budget_figure(ticks, points, "true positive rate at 10% false positives", CHANCE)
    described = "; ".join(f"{result.suite.name}, {_numbers(result)}" for result in results)
    svg = plots.svg(figure, f"{track}-budgets", f"True positive rate at 10% FPR by claimed epsilon: {described}")
    return _Picture(f"{track}: members found, by claimed epsilon", svg)


def _numbers(result: Result) -> str:
    interval = "" if result.interval is None else f" ({percent_range(result.interval)})"
    return f"{result.title}, {result.split}: {percent(result.tpr)}{interval}"


def _rocs(results: Sequence[Result]) -> list[tuple[str, list[_Picture]]]:
    """For each suite its name and its curves, on linear and on logarithmic axes."""
    main, attacks = main_results(results), _attacks(results)
    pictures = []
    for name in dict.fromkeys(result.suite.name for result in results):
        of_suite = [result for result in results if result.suite.name == name]
        curves = [
            plots.curve(
                _label(result, results),
                attacks.index(result.attack),
                result.membership,
                result.predictions,
                main=result in main,
                rng=np.random.default_rng(0),
            )
            for result in sorted(of_suite, key=lambda result: attacks.index(result.attack))
        ]
        described = "; ".join(_numbers(result) for result in of_suite)
        pair = []
        for scale, axes in _SCALES.items():
            what = f"Receiver operating characteristic of {name} on {axes} axes, true positive rate at 10% FPR"
            svg = plots.svg(plots.roc_figure(curves, scale), f"{name}-{scale}", f"{what}: {described}")
            pair.append(_Picture(f"{name}, {axes} axes", svg))
        pictures.append((name, pair))
    return pictures


def _commands(results: Sequence[Result]) -> list[str]:
    """What gives the numbers of the strongest attack again, on the first suite."""
    result = ranked(main_results(results))[0][0][0]
    suite, split = result.suite.name, result.split
    truth = "" if split == "train" else f" --truth suites/{suite}/private"
    return [
        f"mico-hub attack {suite} --split {split} --attack {result.attack} --out predictions",
        f"mico-hub score predictions --suite {suite} --split {split}{truth}",
    ]
