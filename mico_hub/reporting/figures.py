"""Figures: receiver operating characteristics with bands, scores with intervals, distributions of predictions.

Nothing here knows of suites or files: numbers come in, a `Figure` or a string goes out. The same numbers give the same
bytes. Figures are as narrow as a phone, so that a page can set them beside each other or stack them; a page has one
legend for all of them, so there they have none of their own.
"""

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter
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

MARKERS = "osD^vP"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.5, 1.5)))
"""Of the first six styles, the next six and so on, which have the same colours."""
BAND_DRAWS = 200
BOUND, GUESSING = (0, (5, 1.5, 1, 1.5)), ":"
BOUND_LABEL = "ceiling for any attack"
HEADROOM, HEADROOM_LABEL = (0, (1, 1.2, 4, 1.2, 1, 1.2)), "headroom, a heuristic"
TARGET_FPR = 0.1
_WIDTH, _HEIGHT = 4.2, 4.1  # inches, of a figure without its legend: the axes are then about square
_LEGEND_ROW = 0.195  # inches


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A receiver operating characteristic on a grid of false positive rates."""

    label: str
    style: int  # what it belongs to: the same number, the same colour and dashes
    fpr: FloatArray  # (grid,) ascending, from 0 to 1
    tpr: FloatArray  # (grid,) the best with at most that false positive rate
    band: tuple[FloatArray, FloatArray] | None  # (grid,) low and high; NaN where there is none
    negatives: int  # non-members; no false positive rate but 0 is below 1 / negatives


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What no curve can pass, and what it would reach on a linear problem."""

    fpr: FloatArray  # (grid,)
    tpr: FloatArray  # (grid,)
    headroom: FloatArray  # (grid,), see `auditing.headroom`


@dataclass(frozen=True, slots=True)
class Point:
    """A score with its interval, in a column of a chart."""

    column: int
    style: int  # as `Curve.style`
    label: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a chart."""

    label: str
    chance: float  # what guessing scores
    bound: float | None = None  # what no score can pass


def curve(
    label: str,
    style: int,
    membership: Sequence[ArrayLike],
    predictions: Sequence[ArrayLike],
    *,
    banded: bool,
    rng: np.random.Generator,
) -> Curve:
    """The pooled curve of a split's models, with a pointwise 95% band by resampling models.

    Args:
        label: For the legend.
        style: See `Curve`.
        membership: One (points,) list of 0 and 1 for each model.
        predictions: One (points,) list for each model.
        banded: Whether it gets its band. A single model gets none: there is nothing to resample.
        rng: Where the draws come from.
    """
    labels = np.concatenate([np.asarray(model) for model in membership])
    values = np.concatenate([np.asarray(model, dtype=np.float64) for model in predictions])
    negatives = int(np.count_nonzero(labels == 0))
    grid = np.union1d(np.linspace(0, 1, 201), np.geomspace(1 / negatives, 1, 161))
    full = full_roc_curve(labels, values)
    tpr = _at(full.fpr, full.tpr, grid)
    band = _band(membership, predictions, grid, tpr, rng) if banded and len(membership) > 1 else None
    return Curve(label, style, grid, tpr, band, negatives)


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


def roc_figure(curves: Sequence[Curve], scale: Scale, bound: Bound | None = None, *, legend: bool = True) -> Figure:
    """The curves, their bands, what bounds them, the diagonal of guessing, and a line at the rate that ranks."""
    with _style():
        figure, axes = _axes()
        lowest = 1 / max(c.negatives for c in curves)
        edges = np.array([0.0 if scale == "linear" else lowest, 1.0])
        axes.plot(edges, edges, color=INK, linewidth=1, linestyle=GUESSING)
        axes.axvline(TARGET_FPR, color=INK, linewidth=0.8, alpha=0.5)
        for c in curves:
            colour, dash = look_of(c.style)
            if c.band is not None:
                low, high = (np.maximum(edge, lowest / 10) for edge in c.band)  # 0 has no place on a log axis
                axes.fill_between(c.fpr, low, high, color=colour, alpha=0.2, linewidth=0, gid=_mark(c.style))
            tpr = c.tpr if scale == "linear" else np.maximum(c.tpr, lowest / 10)
            axes.plot(c.fpr, tpr, color=colour, linewidth=1.6, linestyle=dash, gid=_mark(c.style, c.label))
        if bound is not None:
            axes.plot(bound.fpr, bound.tpr, color=INK, linewidth=1.3, linestyle=BOUND)
            axes.plot(bound.fpr, bound.headroom, color=INK, linewidth=0.9, linestyle=HEADROOM)
        axes.set(xscale=scale, yscale=scale, xlim=edges, ylim=edges)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        if scale == "log":
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.minorticks_off()
        # Below the diagonal and right of the line: no attack that is better than guessing gets there.
        axes.annotate("10%", (TARGET_FPR, edges[0]), (4, 5), textcoords="offset points", color=INK)
        if legend:
            keys = [_key(c.label, color=colour, linewidth=1.6, linestyle=dash)
                    for c, (colour, dash) in ((c, look_of(c.style)) for c in curves)]  # fmt: skip
            drawn = [] if bound is None else [_key(HEADROOM_LABEL, color=INK, linestyle=HEADROOM, linewidth=0.9)]
            _legend(figure, [*keys, *drawn], bounded=bound is not None)
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
        _keys(figure, keys)
        return figure


def score_figure(
    columns: Sequence[Column], points: Sequence[Point], xlabel: str, ylabel: str, *, legend: bool = True
) -> Figure:
    """A rate in each column by each style on a log axis, with bars for the intervals, what bounds it, and guessing.

    Args:
        columns: From left to right.
        points: In any order; those of one column stand beside each other in the order of their first appearance.
        xlabel: What the columns are.
        ylabel: What the rate is; it is shown in percent, what is below half of the lowest guess as that.
        legend: Whether the figure has one.
    """
    floor = min(column.chance for column in columns) / 2
    with _style():
        figure, axes = _axes()
        for at, column in enumerate(columns):
            for height, dash in ((column.bound, BOUND), (column.chance, GUESSING)):
                if height is not None:
                    axes.hlines(height, at - 0.4, at + 0.4, color=INK, linewidth=1.3, linestyle=dash)
        series = list(dict.fromkeys((point.style, point.label) for point in points))
        step = min(0.16, 0.7 / len(series))
        for i, (style, label) in enumerate(series):
            shift = (i - (len(series) - 1) / 2) * step
            for point in points:
                if (point.style, point.label) == (style, label):
                    _point(axes, point, point.column + shift, floor)
        axes.set(xlim=(-0.6, len(columns) - 0.4), xlabel=xlabel, ylabel=ylabel, yscale="log")
        bounds = [column.bound for column in columns if column.bound is not None]
        tops = [point.interval[1] if point.interval else point.value for point in points]
        highest = max(*(column.chance for column in columns), *bounds, *tops)
        axes.set_ylim(floor, min(1.02, 1.6 * highest))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.set_xticks(range(len(columns)), [column.label for column in columns], fontsize=8.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=False, axis="x")
        if legend:
            _legend(figure, [_key(label, **_marker(style), linestyle="") for style, label in series], bool(bounds))
        return figure


@dataclass(frozen=True, slots=True)
class Span:
    """A value, or a range that may be open to one side."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def described(self) -> str:
        """In words."""
        if self.value is None:
            return f"at most {self.high:.3g}" if self.low is None else f"at least {self.low:.3g}"
        return f"{self.value:.3g}" + ("" if self.low is None else f" ({self.low:.3g} to {self.high:.3g})")


def span_figure(spans: Sequence[Span], xlabel: str) -> Figure:
    """Values and ranges under each other, from 0 on."""
    ends = [end for span in spans for end in (span.value, span.low, span.high) if end is not None]
    top = 1.08 * max(*ends, 1.0)
    with _style():
        figure, axes = _axes()
        figure.set_figheight(1.1 + 0.42 * len(spans))
        for row, span in enumerate(spans):
            colour = COLOURS[row % len(COLOURS)]
            low, high = (0 if span.low is None else span.low), (top if span.high is None else span.high)
            if span.value is None or span.low is not None:
                axes.hlines(row, low, high, color=colour, linewidth=4, alpha=0.35)
            at, marker = (span.value, "o") if span.value is not None else (
                (high, "<") if span.low is None else (low, ">")
            )  # fmt: skip
            axes.plot(at, row, color=colour, marker=marker, markersize=7, clip_on=False)
            axes.annotate(span.described, (at, row), (0, 8), textcoords="offset points", ha="center", color=INK)
        axes.set(xlim=(0, top), ylim=(len(spans) - 0.4, -0.8), xlabel=xlabel)
        axes.set_yticks(range(len(spans)), [span.label for span in spans])
        axes.grid(visible=False, axis="y")
        return figure


def _point(axes: Axes, point: Point, x: float, floor: float) -> None:
    described = f"{point.label}: {100 * point.value:.3g}%"
    if point.interval is not None:
        low, high = point.interval
        colour, _ = look_of(point.style)
        axes.vlines(x, max(low, floor), max(high, floor), color=colour, linewidth=1.6, gid=_mark(point.style))
        described += f" ({100 * low:.3g} to {100 * high:.3g}%)"
    axes.plot(x, max(point.value, floor), **_marker(point.style), gid=_mark(point.style, described), clip_on=False)


def look_of(style: int) -> tuple[str, Any]:
    """Colour and dashes of a style."""
    return COLOURS[style % len(COLOURS)], DASHES[style // len(COLOURS) % len(DASHES)]


def _marker(style: int) -> dict[str, Any]:
    colour, _ = look_of(style)
    hollow = style // len(COLOURS) % 2
    return {
        "color": colour,
        "marker": MARKERS[style % len(MARKERS)],
        "markersize": 6,
        "markerfacecolor": PAPER if hollow else colour,
    }


def _mark(style: int, title: str = "") -> str:
    """An id that `svg` makes a class, `s` and the style, and a title, which shows where a pointer rests."""
    return f"s{style} {quote(title)}".rstrip()


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    return figure, figure.add_subplot()


def _key(label: str, **look: Any) -> Line2D:
    return Line2D([], [], label=label, **look)


def _legend(figure: Figure, keys: Sequence[Line2D], bounded: bool) -> None:
    """With what bounds all, and guessing."""
    bound = [_key(BOUND_LABEL, color=INK, linestyle=BOUND, linewidth=1.3)] if bounded else []
    _keys(figure, [*keys, *bound, _key("guessing", color=INK, linestyle=GUESSING, linewidth=1)])


def _keys(figure: Figure, keys: Sequence[Line2D]) -> None:
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

    What belongs to a style has the class `s` and its number. `data-axes` are the edges of the axes in the drawing
    (left, top, right, bottom), `data-range` what is there (left, right, bottom, top), `data-scale` is theirs.

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
    drawing = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="(?:(s\d+)(?: ([^"]+))?|[^"]*)">', _classed, drawing)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing).replace("url(#", f"url(#{name}-")
    drawing = re.sub(r'="[^"]*"', lambda found: re.sub(r"\d+\.\d{3,}", _rounded, found[0]), drawing)
    drawing = drawing.replace(INK, "currentColor").replace(PAPER, "var(--page, Canvas)")
    viewbox = re.search(r'viewBox="[^"]*"', drawing)
    opening = (
        f'<svg {viewbox[0] if viewbox else ""} role="img" aria-label="{html.escape(description)}"{_places(figure)}>'
    )
    return opening + re.sub(r"\s*\n\s*", "\n", drawing[drawing.index(">") + 1 :].strip())


def _rounded(found: re.Match[str]) -> str:
    """To a hundredth of a pixel."""
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _classed(found: re.Match[str]) -> str:
    style, title = found.groups()
    title = f"<title>{html.escape(unquote(title))}</title>" if title else ""
    return (f'<g class="{style}">' if style else "<g>") + title


def _places(figure: Figure) -> str:
    """The attributes that tell where the axes are, and what is where."""
    (axes,) = figure.axes
    width, height = 72 * figure.get_size_inches()
    box = axes.get_position()
    edges = (box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height)
    ends = (*axes.get_xlim(), *axes.get_ylim())
    where, what = " ".join(f"{edge:.2f}" for edge in edges), " ".join(f"{end:g}" for end in ends)
    return f' data-axes="{where}" data-range="{what}" data-scale="{axes.get_xscale()}"'


def save(figure: Figure, path: Path) -> None:
    """The figure as a file, PNG, SVG or PDF by its suffix, on white, without a date; whole or not at all."""
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with _style(), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=200, facecolor="white", metadata=undated)
