"""The static page of an open board: a section a track, reference attacks first, ranks that overlap, curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from mico_hub.boards.entry import SPLIT, Entry
from mico_hub.boards.open_board import ENTRY, PREDICTIONS, same_models
from mico_hub.cache import atomic_write
from mico_hub.messages import counted
from mico_hub.reporting import figures
from mico_hub.reporting.findings import CHANCE
from mico_hub.reporting.parts import Key, Link, Picture, Section, Table, render
from mico_hub.reporting.scorecard import percent, percent_range
from mico_hub.scoring import RANKING, Interval, rank
from mico_hub.suites import tracks

_DRAWN = 6  # curves of a track that are drawn from the start

_NOTE = (
    f"TPR at 10% FPR on {SPLIT}, 95% intervals in brackets. A place reaches from 1 + the number of entries that are "
    "clearly better to all but those that are clearly worse, by paired differences over resampled models, each at 95%. "
    f"Beside each {ENTRY}, which has all scores and the false positives that were realised, {PREDICTIONS} lies."
)


def _space(title: str) -> str:
    """README.md of a static Space on the Hub, which shows index.html."""
    about = yaml.safe_dump({"title": title, "sdk": "static", "app_file": "index.html"}, sort_keys=False)
    return f"---\n{about}---\n\nThe page of an open board, made by `mico-hub board open render`.\n"


def write_page(found: Sequence[Entry], folder: Path, title: str) -> None:
    """Writes `index.html`, which needs no network, and the README.md with which the Hub shows it as a Space.

    Args:
        found: The entries; the same ones give the same bytes.
        folder: Made where it does not exist.
        title: Of the page.
    """
    atomic_write(folder / "index.html", html(found, title).encode())
    atomic_write(folder / "README.md", _space(title).encode())


def html(found: Sequence[Entry], title: str) -> str:
    """The page's HTML."""
    same_models(found)
    keys: dict[tuple[str, str], Key] = {}
    sections = []
    for track, suites in tracks().items():
        of_track = [entry for entry in found if entry.track == track]
        if of_track:
            drawn = _first(of_track)
            for entry in of_track:
                keys[track, entry.name] = Key(len(keys), _label(entry), entry in drawn)
            sections.append(_track(track, [suite.name for suite in suites], of_track, keys))
    words = [
        "Each train model was attacked with the others as shadow models. Their truth is public, so anyone can score an "
        "entry again; it also means that an attack may have been tuned on these very points.",
        f"{counted(len(found), 'entry').replace('entrys', 'entries')}, "
        f"{sum(entry.reference for entry in found)} of them reference attacks of mico-hub.",
    ]
    return render(title, sections, conclusions=words, keys={f"{t}/{n}": key for (t, n), key in keys.items()})


def _first(of_track: Sequence[Entry]) -> list[Entry]:
    """Whose curves are drawn from the start: half of them the best reference attacks."""
    best = sorted(of_track, key=lambda entry: -entry.average[0])
    references = [entry for entry in best if entry.reference][: _DRAWN // 2]
    others = [entry for entry in best if not entry.reference]
    return [*references, *others[: _DRAWN - len(references)]]


def _label(entry: Entry) -> str:
    return entry.title if entry.title == entry.name else f"{entry.title} ({entry.name})"


def _track(track: str, suites: Sequence[str], of_track: Sequence[Entry], keys: dict[tuple[str, str], Key]) -> Section:
    places = {each.name: str(each) for each in rank({entry.name: entry.estimate for entry in of_track})}
    best = sorted(of_track, key=lambda entry: (-entry.average[0], entry.name))
    first, models_of = of_track[0], {entry.threat_model for entry in of_track}
    models = ", ".join(f"{name} {first.suites[name].fingerprint:.12}" for name in suites)
    tables = [
        _table(about, [entry for entry in best if entry.reference is reference], suites, places, keys)
        for about, reference in (("Reference attacks", True), ("Entries", False))
        if any(entry.reference is reference for entry in best)
    ]
    return Section(
        track,
        facts=[
            ("models", f"{', '.join(f'{first.suites[name].models:,} of {name}' for name in suites)}, {SPLIT}"),
            ("fingerprints", models),
            ("scored with", f"mico-hub {', '.join(sorted({entry.mico_hub for entry in of_track}))}"),
        ],
        pictures=[_by_suite(track, suites, best, keys), *(_curves(track, name, best, keys) for name in suites)],
        legend=[keys[track, entry.name] for entry in best],
        tables=tables,
        words=[_NOTE],
        tables_first=True,
        filters=tuple((model, model) for model in ("black-box", "white-box") if model in models_of),
    )


def _table(
    about: str,
    shown: Sequence[Entry],
    suites: Sequence[str],
    places: dict[str, str],
    keys: dict[tuple[str, str], Key],
) -> Table:
    headers = (
        "place", "attack", f"mean of {counted(len(suites), 'suite')}", *suites,
        "threat model", "code", "write-up", "run again", "tags", "added",
    )  # fmt: skip
    rows = [
        (
            places[entry.name],
            _label(entry),
            _rate(entry.average),
            *(_rate(entry.suites[name].scores[RANKING]) for name in suites),
            entry.threat_model,
            _code(entry),
            _write_up(entry),
            _again(entry),
            ", ".join(entry.tags) or "-",
            entry.added,
        )
        for entry in shown
    ]
    return Table(
        f"{about}, {shown[0].track}",
        headers,
        rows,
        [keys[entry.track, entry.name] for entry in shown],
        heading=about,
        groups=[entry.threat_model for entry in shown],
    )


def _rate(number: Sequence[float]) -> str:
    between = f" ({percent_range(Interval(*number[1:]))})" if len(number) == 3 else ""
    return percent(number[0]) + between


def _code(entry: Entry) -> str | Link:
    if entry.code:
        return Link("code", entry.code)
    return f"--attack {entry.attack}" if entry.reference else entry.attack or "-"


def _write_up(entry: Entry) -> str | Link:
    return Link("write-up", entry.write_up) if entry.write_up.startswith("https://") else entry.write_up or "-"


def _again(entry: Entry) -> str:
    if entry.reproduced is None:
        return "-"
    said = "same score" if entry.reproduced.came_out else f"{percent(entry.reproduced.average)} instead"
    return f"{said}, {entry.reproduced.on}"


def _by_suite(track: str, suites: Sequence[str], best: Sequence[Entry], keys: dict[tuple[str, str], Key]) -> Picture:
    """The score that ranks on each suite, of the attacks that are drawn from the start."""
    drawn = [entry for entry in best if keys[track, entry.name].drawn]
    columns = [figures.Column(name, CHANCE) for name in suites]
    points = []
    for entry in drawn:
        key = keys[track, entry.name]
        for column, name in enumerate(suites):
            value, *between = entry.suites[name].scores[RANKING]
            interval = (between[0], between[1]) if between else None
            points.append(figures.Point(column, key.style, key.label, value, interval))

    def draw(legend: bool) -> Figure:
        return figures.score_figure(
            columns, points, "suite", "true positive rate at 10% false positives", legend=legend
        )

    numbers = "; ".join(f"{_label(entry)}: {_rate(entry.average)}" for entry in drawn)
    return Picture(
        f"{track}-suites", f"{track}: members found, by suite", f"TPR at 10% FPR on {track}, mean: {numbers}", draw
    )


def _curves(track: str, suite: str, best: Sequence[Entry], keys: dict[tuple[str, str], Key]) -> Picture:
    curves = []
    for entry in sorted(best, key=lambda each: keys[track, each.name].style):
        key, of = keys[track, entry.name], entry.suites[suite]
        fpr, tpr = map(np.asarray, of.curve)
        curves.append(figures.Curve(key.label, key.style, fpr, tpr, None, of.non_members))
    numbers = "; ".join(f"{_label(entry)}: {_rate(entry.suites[suite].scores[RANKING])}" for entry in best)
    return Picture(
        f"{suite}-log",
        f"{suite}, {SPLIT}: curves, logarithmic axes",
        f"Receiver operating characteristic of {suite}, {SPLIT}, on logarithmic axes: {numbers}",
        lambda legend: figures.roc_figure(curves, "log", legend=legend),
    )
