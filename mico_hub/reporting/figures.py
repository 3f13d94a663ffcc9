"""Figures as inline SVG: receiver operating characteristics with bands, and a score by privacy budget with intervals.

Nothing here knows of suites or files: numbers come in, a `Figure` or a string goes out. The same numbers give the same
bytes. Figures are as narrow as a phone, so that a page can set them beside each other or stack them.
"""

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

from mico_hub.cache import atomic_path
from mico_hub.scoring import Estimate, count, draw_models, full_roc_curve, needed_non_members

Scale = Literal["linear", "log"]
FloatArray = NDArray[np.float64]

INK = "#22272e"
"""Axes, text and chance lines. `svg` makes it `currentColor`, so that they follow a light or a dark page."""

PAPER = "#fdfefe"
"""Inside of hollow markers. `svg` makes it the page's background, `--page`."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours for the colour-blind, those that show on white and on black first."""

MARKERS = "osD^vPX"
BAND_DRAWS = 200
_BOUND_LINE = (0, (5, 1.5, 1, 1.5))
TARGET_FPR = 0.1
_WIDTH, _HEIGHT = 4.2, 4.1  # inches, of a figure without its legend: the axes are then about square
_LEGEND_ROW = 0.195  # inches


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A receiver operating characteristic on a grid of false positive rates."""

    label: str
    style: int  # what it belongs to: the same number, the same colour
    fpr: FloatArray  # (grid,) ascending, from 0 to 1
    tpr: FloatArray  # (grid,) the best with at most that false positive rate
    main: bool  # solid; dashed for the lesser curves
    band: tuple[FloatArray, FloatArray] | None  # (grid,) low and high; NaN where there is none
    negatives: int  # non-members; no false positive rate but 0 is below 1 / negatives


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What no curve can pass."""

    label: str
    fpr: FloatArray  # (grid,)
    tpr: FloatArray  # (grid,)


@dataclass(frozen=True, slots=True)
class Point:
    """A score with its interval, in a column of a chart."""

    column: int
    style: int  # as `Curve.style`
    label: str
    value: float
    interval: tuple[float, float] | None
    filled: bool  # hollow for the lesser points


def curve(
    label: str,
    style: int,
    membership: Sequence[ArrayLike],
    predictions: Sequence[ArrayLike],
    *,
    main: bool,
    rng: np.random.Generator,
) -> Curve:
    """The pooled curve of a split's models; the main one with a pointwise 95% band by resampling models.

    Args:
        label: For the legend.
        style: See `Curve`.
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model.
        main: Whether it is the main curve. A single model gets no band: there is nothing to resample.
        rng: Where the draws come from.
    """
    labels = np.concatenate([np.asarray(model) for model in membership])
    values = np.concatenate([np.asarray(model, dtype=np.float64) for model in predictions])
    negatives = int(np.count_nonzero(labels == 0))
    grid = np.union1d(np.linspace(0, 1, 201), np.geomspace(1 / negatives, 1, 161))
    full = full_roc_curve(labels, values)
    tpr = _at(full.fpr, full.tpr, grid)
    band = _band(membership, predictions, grid, tpr, rng) if main and len(membership) > 1 else None
    return Curve(label, style, grid, tpr, main, band, negatives)


def _at(fpr: FloatArray, tpr: FloatArray, grid: FloatArray) -> FloatArray:
    """The TPR of the last point whose FPR is at most the grid's: what the tables count, with no interpolation."""
    best: FloatArray = tpr[np.searchsorted(fpr, grid * (1 + 1e-9), side="right") - 1]
    return best


def _band(
    membership: Sequence[ArrayLike],
    predictions: Sequence[ArrayLike],
    grid: FloatArray,
    tpr: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """The interval of the TPR at each point of the grid, by resampling models: two (grid,), NaN where there is none."""
    counts = count(membership, predictions)
    drawn = draw_models(counts.models, BAND_DRAWS, rng)
    curves = np.empty((BAND_DRAWS, len(grid)))
    for k, of_models in enumerate(drawn):
        false, true = (
            np.asarray(of_models @ of_class, dtype=np.float64)
            for of_class in (counts.false_positives, counts.true_positives)
        )
        curves[k] = _at(false / false[-1], true / true[-1], grid)
    negatives = counts.false_positives[:, -1].sum()
    enough = [fpr > 0 and needed_non_members(fpr) <= negatives for fpr in grid]
    found = [
        Estimate(value, draws, counts.models, (0, 1), known).interval() or (np.nan, np.nan)
        for value, draws, known in zip(tpr.tolist(), curves.T, enough, strict=True)
    ]
    low, high = np.array(found).T
    return low, high


def roc_figure(curves: Sequence[Curve], scale: Scale, bound: Bound | None = None) -> Figure:
    """The curves, their bands, what bounds them, the diagonal of guessing, and a line at the rate that ranks."""
    with _style():
        figure, axes = _axes()
        lowest = 1 / max(c.negatives for c in curves)
        edges = np.array([0.0 if scale == "linear" else lowest, 1.0])
        axes.plot(edges, edges, color=INK, linewidth=1, linestyle=":")
        axes.axvline(TARGET_FPR, color=INK, linewidth=0.8, alpha=0.5)
        for c in curves:
            colour, dash = _line(c)
            if c.band is not None:
                low, high = (np.maximum(edge, lowest / 10) for edge in c.band)  # 0 has no place on a log axis
                axes.fill_between(c.fpr, low, high, color=colour, alpha=0.2, linewidth=0)
            tpr = c.tpr if scale == "linear" else np.maximum(c.tpr, lowest / 10)
            axes.plot(c.fpr, tpr, color=colour, linewidth=1.8 if c.main else 1.2, linestyle=dash)
        if bound is not None:
            axes.plot(bound.fpr, bound.tpr, color=INK, linewidth=1.3, linestyle=_BOUND_LINE)
        axes.set(xscale=scale, yscale=scale, xlim=edges, ylim=edges)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        if scale == "log":
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.minorticks_off()
        # Below the diagonal and right of the line: no attack that is better than guessing gets there.
        axes.annotate("10%", (TARGET_FPR, edges[0]), (4, 5), textcoords="offset points", color=INK)
        keys = [_curve_key(c) for c in curves]
        if bound is not None:
            keys.append(_key(bound.label, color=INK, linestyle=_BOUND_LINE, linewidth=1.3))
        _legend(figure, [*keys, _key("guessing", color=INK, linestyle=":", linewidth=1)])
        return figure


def distribution_figure(
    membership: Sequence[ArrayLike], predictions: Sequence[ArrayLike], threshold: float, described: str
) -> Figure:
    """How the predictions of members and of non-members are distributed, and the threshold that ranks.

    Args:
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model.
        threshold: Shown as a line where it is finite.
        described: What the line is, for the legend.
    """
    labels = np.concatenate([np.asarray(model) for model in membership])
    values = np.concatenate([np.asarray(model, dtype=np.float64) for model in predictions])
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    with _style():
        figure, axes = _axes()
        keys = []
        for label, name, colour, dash in (
            (1, "members", COLOURS[0], "-"),
            (0, "non-members", COLOURS[1], (0, (4, 1.5))),
        ):
            counts, _ = np.histogram(values[labels == label], edges)
            shares = counts / max(1, counts.sum())
            axes.stairs(shares, edges, baseline=None, color=colour, linewidth=1.8, linestyle=dash)
            axes.stairs(shares, edges, color=colour, alpha=0.15, fill=True, linewidth=0)
            keys.append(_key(name, color=colour, linewidth=1.8, linestyle=dash))
        if np.isfinite(threshold):
            axes.axvline(threshold, color=INK, linewidth=0.8, alpha=0.7)
            keys.append(_key(described, color=INK, linewidth=0.8, alpha=0.7))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.set(xlabel="prediction (40 bins)", ylabel="share of the points")
        _legend(figure, keys)
        return figure


def budget_figure(
    columns: Sequence[str], points: Sequence[Point], ylabel: str, chance: float, bounds: Sequence[float | None] = ()
) -> Figure:
    """A score for each column (a budget, largest first) and style, with bars for the intervals.

    Args:
        columns: Tick labels.
        points: In any order; those of one column stand beside each other in the order of their first appearance.
        ylabel: What the score is, a rate shown in percent.
        chance: What guessing scores.
        bounds: For each column what no score can pass, or None.
    """
    with _style():
        figure, axes = _axes()
        for column, bound in enumerate(bounds):
            if bound is not None:
                axes.hlines(bound, column - 0.38, column + 0.38, color=INK, linewidth=1.3, linestyle=_BOUND_LINE)
        axes.axhline(chance, color=INK, linewidth=1, linestyle=":")
        series = list(dict.fromkeys((p.style, p.filled, p.label) for p in points))
        step = min(0.16, 0.7 / len(series))
        for i, (style, filled, label) in enumerate(series):
            look = _marker(style, filled)
            shift = (i - (len(series) - 1) / 2) * step
            for p in points:
                if (p.style, p.filled, p.label) == (style, filled, label):
                    if p.interval is not None:
                        axes.vlines(p.column + shift, *p.interval, color=look["color"], linewidth=1.6)
                    axes.plot(p.column + shift, p.value, **look)
        axes.set_xlim(-0.6, len(columns) - 0.4)
        tops = [bound for bound in bounds if bound is not None]
        highest = max([chance, *tops, *(p.interval[1] if p.interval else p.value for p in points)])
        axes.set_ylim(0, min(1.02, 1.12 * highest))
        axes.set_xticks(range(len(columns)), columns, fontsize=8.5)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlabel="claimed epsilon", ylabel=ylabel)
        axes.grid(visible=False, axis="x")
        keys = [_key(label, **_marker(style, filled), linestyle="") for style, filled, label in series]
        if tops:
            keys.append(_key("ceiling for any attack", color=INK, linestyle=_BOUND_LINE, linewidth=1.3))
        _legend(figure, [*keys, _key("guessing", color=INK, linestyle=":", linewidth=1)])
        return figure


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    return figure, figure.add_subplot()


def _marker(style: int, filled: bool) -> dict[str, Any]:
    colour = COLOURS[style % len(COLOURS)]
    face = colour if filled else PAPER
    return {"color": colour, "marker": MARKERS[style % len(MARKERS)], "markersize": 6, "markerfacecolor": face}


def _line(c: Curve) -> tuple[str, Any]:
    """Colour and dashes."""
    return COLOURS[c.style % len(COLOURS)], "-" if c.main else (0, (3, 2))


def _curve_key(c: Curve) -> Line2D:
    colour, dash = _line(c)
    return _key(c.label, color=colour, linewidth=1.8 if c.main else 1.2, linestyle=dash)


def _key(label: str, **look: Any) -> Line2D:
    return Line2D([], [], label=label, **look)


def _legend(figure: Figure, keys: list[Line2D]) -> None:
    """Above the axes, where it can hide nothing; filled by rows, although matplotlib fills columns first."""
    longest = max(len(str(key.get_label())) for key in keys)
    columns = 2 if longest <= 24 else 1
    handles = [key for column in range(columns) for key in keys[column::columns]]
    figure.set_figheight(_HEIGHT + _LEGEND_ROW * len(keys[::columns]))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False)


@contextmanager
def _style() -> Iterator[None]:
    """Our settings over matplotlib's own, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "axes.edgecolor": INK,
                "axes.facecolor": "none",
                "axes.grid": True,
                "axes.labelcolor": INK,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "figure.facecolor": "none",
                "font.size": 10,
                "grid.alpha": 0.15,
                "grid.color": INK,
                "legend.fontsize": 9.5,
                "savefig.facecolor": "none",
                "svg.fonttype": "none",
                "svg.hashsalt": "mico-hub",
                "text.color": INK,
                "text.parse_math": False,  # a dollar in an attack's title is a dollar
                "xtick.color": INK,
                "ytick.color": INK,
            }
        )
        yield


def svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element for a page.

    Args:
        figure: What to draw.
        name: Unique in the page: matplotlib numbers the parts of each figure alike, and a page's ids must differ.
        description: Read aloud in place of the picture.
    """
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing).replace("url(#", f"url(#{name}-")
    drawing = drawing.replace(INK, "currentColor").replace(PAPER, "var(--page, Canvas)")
    viewbox = re.search(r'viewBox="[^"]*"', drawing)
    opening = f'<svg {viewbox[0] if viewbox else ""} role="img" aria-label="{html.escape(description)}">'
    return opening + drawing[drawing.index(">") + 1 :].strip()


def save(figure: Figure, path: Path) -> None:
    """The figure as a file, PNG or SVG by its suffix, on white; whole or not at all."""
    with _style(), atomic_path(path) as temporary:
        figure.savefig(
            temporary, dpi=200, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None
        )
