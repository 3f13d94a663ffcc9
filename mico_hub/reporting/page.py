"""The report: attacks on suites compared, in words, tables and pictures; audits, too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mico_hub.attacks import KINDS
from mico_hub.auditing import audit as audits
from mico_hub.auditing import engine, scores
from mico_hub.auditing.ceiling import ADJACENCY_TITLES, adjacency_of, suite_ceiling
from mico_hub.auditing.engine import EngineAudit
from mico_hub.auditing.scores import ScoreAudit
from mico_hub.cache import atomic_write
from mico_hub.messages import counted
from mico_hub.release.manifest import Manifest
from mico_hub.reporting import figures, scorecard
from mico_hub.reporting.findings import CHANCE, budget, conclusions, limits
from mico_hub.reporting.parts import Key, Picture, Section, Table, render
from mico_hub.reporting.ranking import by_suite, by_track, main_results, ranked
from mico_hub.reporting.results import Result
from mico_hub.reporting.scorecard import LOW_FPRS, percent
from mico_hub.scoring import RANKING

BASELINES = ("loss", "lira")
"""The attacks whose curves are always drawn."""
_ALL_DRAWN = 6  # so many attacks are all drawn

_SCALES: dict[figures.Scale, str] = {"log": "logarithmic", "linear": "linear"}
_FPRS = {0.001: LOW_FPRS["0.1%"], 0.01: LOW_FPRS["1%"], CHANCE: RANKING}

Audited = tuple[audits.Audit, Manifest, str]
"""An audit, the suite that it is of, and the split."""


def write_report(results: Sequence[Result], path: Path, title: str, audited: Sequence[Audited] = ()) -> None:
    """Writes the page: conclusions, pictures, tables, and what they do not show. The same results give the same bytes.

    Args:
        results: Of any suites; those of a track come together.
        path: The file; replaced whole.
        title: Of the page.
        audited: Audits, each a section of its own.

    Raises:
        ValueError: There are no results, or an attack was run twice on a split of a suite.
    """
    atomic_write(path, html(results, title, audited).encode())


def html(results: Sequence[Result], title: str, audited: Sequence[Audited] = ()) -> str:
    """The page's HTML.

    Raises:
        ValueError: As `write_report`.
    """
    if not results:
        raise ValueError("expected at least one result to report, got none")
    tracks, keys = by_track(results), _keys(results)
    sections = []
    for track, of_track in tracks.items():
        suites = by_suite(of_track)
        if len(suites) > 1:
            sections.append(_track(track, of_track, keys))
        sections += [_suite(name, of_suite, keys) for name, of_suite in suites.items()]
    return render(
        title,
        sections,
        [_audit(*each) for each in audited],
        conclusions=conclusions(results),
        lead=sections[0].pictures[0],
        limits=limits(results),
        keys=keys,
    )


def pictures(results: Sequence[Result]) -> list[Picture]:
    """Every picture of the report."""
    keys, found = _keys(results), list[Picture]()
    for track, of_track in by_track(results).items():
        suites = by_suite(of_track)
        if len(suites) > 1:
            found.append(_by_budget(track, of_track, keys))
        found += [picture for of_suite in suites.values() for picture in _pictures(main_results(of_suite), keys, False)]
    return found


def save_figures(results: Sequence[Result], folder: Path, file_format: str) -> list[Path]:
    """Every picture of the report as a file of its own, on white.

    Args:
        results: As for `write_report`.
        folder: Made where it does not exist.
        file_format: `png`, `svg` or `pdf`.

    Returns:
        The files.
    """
    paths = []
    for picture in pictures(results):
        paths.append(folder / f"{picture.name}.{file_format}")
        figures.save(picture.draw(True), paths[-1])
    return paths


def _keys(results: Sequence[Result]) -> dict[str, Key]:
    """Attack -> how it is drawn: those that are drawn from the start have the first styles, the same on all suites."""
    labels = {result.attack: result.label for result in results}
    strength = {name: max(result.tpr for result in results if result.attack == name) for name in labels}
    drawn = set(labels)
    if len(labels) > _ALL_DRAWN:
        best: dict[str, str] = {}
        for name in sorted(labels, key=strength.__getitem__):
            best[KINDS.get(name, "own")] = name
        drawn = {*best.values(), *BASELINES} & set(labels)
    order = sorted(labels, key=lambda name: name not in drawn)
    return {name: Key(style, labels[name], name in drawn) for style, name in enumerate(order)}


def _track(track: str, results: Sequence[Result], keys: dict[str, Key]) -> Section:
    main = main_results(results)
    headers, rows = scorecard.of_track(results)
    note = f"TPR at 10% FPR on {main[0].split}, 95% intervals in brackets; the mean over the suites ranks."
    return Section(
        f"{track}, all suites",
        pictures=[_by_budget(track, results, keys)],
        legend=[key for key in keys.values() if key.drawn],
        bounded=any(result.ceiling is not None for result in main),
        tables=[Table(f"Attacks on {track}", headers, rows, notes=[note])],
    )


def _by_budget(track: str, results: Sequence[Result], keys: dict[str, Key]) -> Picture:
    """The score that ranks on each suite."""
    main = main_results(results)
    suites = by_suite(main)
    columns = [
        figures.Column(f"{budget(of[0].suite).removeprefix('epsilon ')}\n{name}", CHANCE, of[0].ceiling_at(CHANCE))
        for name, of in suites.items()
    ]
    names = list(suites)
    points = [_point(names.index(result.suite.name), result, RANKING, keys) for result in _drawn(main, keys)]

    def draw(legend: bool) -> Figure:
        what = "true positive rate at 10% false positives"
        return figures.score_figure(columns, points, "claimed epsilon", what, legend=legend)

    described = f"True positive rate at 10% FPR by claimed epsilon: {_numbers(main)}"
    return Picture(f"{track}-budgets", f"{track}, {main[0].split}: members found, by claimed epsilon", described, draw)


def _suite(name: str, results: Sequence[Result], keys: dict[str, Key]) -> Section:
    main = main_results(results)
    headers, rows = scorecard.table(results, leave_out=scorecard.OF_SUITE)
    labels = {key.label: key for key in keys.values()}
    split = headers.index("split")
    if len({row[split] for row in rows}) == 1:
        headers, rows = headers[:split] + headers[split + 1 :], [row[:split] + row[split + 1 :] for row in rows]
    of_main = [row for row in rows if "split" not in headers or row[split] == main[0].split]
    notes = [scorecard.NOTES[header] for header in headers if header in scorecard.NOTES]
    return Section(
        name,
        facts=_facts(main),
        pictures=list(_pictures(main, keys, every=True)),
        legend=[keys[attack] for attack in dict.fromkeys(result.attack for result in main)],
        bounded=main[0].ceiling is not None,
        tables=[
            Table(
                f"Attacks on {name}",
                headers,
                rows,
                [labels[row[headers.index("attack")]] if row in of_main else None for row in rows],
                notes,
            )
        ],
        commands=_commands(main),
    )


def _facts(main: Sequence[Result]) -> list[tuple[str, str]]:
    """What is the same for all attacks on a split: term and value."""
    first, best = main[0], max(main, key=lambda result: result.tpr)
    members = "each a member by a fair coin" if first.suite.design == "coins" else "half of them members"
    models, points = len(first.membership), int(first.full["points"])
    facts = [
        (
            "claimed epsilon",
            f"{first.suite.epsilon:g}" + (f", delta {first.suite.delta:g}" if first.suite.delta else ""),
        ),
        ("models", f"{models:,} of {first.split}, {counted(points, 'challenge point')}, {members}"),
    ]
    if first.accuracy is not None:
        facts.append(("model accuracy", f"{percent(first.accuracy)} of the records that are in no set of a model"))
    if best.ceiling is not None:
        bounds = [(f"{rate:.3g}", best.ceiling_at(rate) or 0.0) for rate in _FPRS]
        facts.append((figures.BOUND_LABEL, _and_at([percent(bound) for _, bound in bounds])))
        highest = [max(result.every[key] for result in main) for key in _FPRS.values()]
        room = [f"{100 * (bound - found):.1f}" for (_, bound), found in zip(bounds, highest, strict=True)]
        facts.append(("ceiling less the best attack", f"{_and_at(room)}, in points"))
    if best.headroom is not None:
        facts.append((figures.HEADROOM_LABEL, _and_at([percent(float(best.headroom.tpr(rate))) for rate in _FPRS])))
    return facts


def _and_at(values: Sequence[str]) -> str:
    return ", ".join(f"{value} at {100 * rate:g}% FPR" for value, rate in zip(values, _FPRS, strict=True))


def _pictures(main: Sequence[Result], keys: dict[str, Key], every: bool) -> Sequence[Picture]:
    """A suite's pictures; of the curves all attacks' for the page, which hides some, or those of the drawn ones."""
    name, split = main[0].suite.name, main[0].split
    drawn = _drawn(main, keys)
    curved = sorted(main, key=lambda result: keys[result.attack].style) if every else drawn
    curves = [
        figures.curve(
            result.label,
            keys[result.attack].style,
            result.membership,
            result.predictions,
            banded=result in drawn,
            rng=np.random.default_rng(0),
        )
        for result in curved
    ]
    bound = _bound(main, curves)
    numbers = _numbers(main)

    def roc(scale: figures.Scale) -> Picture:
        what = f"Receiver operating characteristic of {name}, {split}, on {_SCALES[scale]} axes: {numbers}"
        return Picture(
            f"{name}-{scale}", f"{name}, {split}: curves, {_SCALES[scale]} axes", what,
            lambda legend: figures.roc_figure(curves, scale, bound, legend=legend),
        )  # fmt: skip

    best = max(main, key=lambda result: result.tpr)
    threshold, line = best.full["threshold_1000"], "threshold at 10% FPR"
    predictions = Picture(
        f"{name}-predictions",
        f"{name}, {split}: predictions of {best.label}",
        f"Distribution of the predictions of {best.label} for members and for non-members of {name}; "
        f"{line}: {threshold:.4g}",
        lambda _: figures.distribution_figure(best.membership, best.predictions, threshold, line),
    )
    return [_at_low_rates(main, keys), roc("log"), roc("linear"), predictions]


def _at_low_rates(main: Sequence[Result], keys: dict[str, Key]) -> Picture:
    """What is found at the false positive rates of the tables, with intervals and the ceiling."""
    name, split = main[0].suite.name, main[0].split
    columns = [figures.Column(f"{100 * rate:g}%", rate, main[0].ceiling_at(rate)) for rate in _FPRS]
    drawn = _drawn(main, keys)
    points = [
        _point(column, result, score, keys) for result in drawn for column, score in enumerate(_FPRS.values())
    ]  # fmt: skip

    def draw(legend: bool) -> Figure:
        return figures.score_figure(
            columns, points, "false positive rate", "true positive rate", legend=legend
        )  # fmt: skip

    at = ", ".join(f"{100 * rate:g}%" for rate in _FPRS)
    words = "; ".join(
        f"{result.label}: {', '.join(scorecard.rate(result, score) for score in _FPRS.values())}" for result in drawn
    )
    described = f"True positive rate at false positive rates of {at} on {name}, {split}: {words}"
    return Picture(f"{name}-low_fpr", f"{name}, {split}: members found at low false positive rates", described, draw)


def _drawn(results: Sequence[Result], keys: dict[str, Key]) -> list[Result]:
    """Those whose attacks are drawn from the start, by style."""
    return sorted(
        (result for result in results if keys[result.attack].drawn), key=lambda result: keys[result.attack].style
    )


def _point(column: int, result: Result, score: str, keys: dict[str, Key]) -> figures.Point:
    value = result.every[score]
    return figures.Point(column, keys[result.attack].style, result.label, value, result.intervals.get(score))


def _numbers(results: Sequence[Result]) -> str:
    return "; ".join(f"{result.label} on {result.suite.name}: {scorecard.rate(result)}" for result in results)


def _bound(main: Sequence[Result], curves: Sequence[figures.Curve]) -> figures.Bound | None:
    ceiling, headroom = main[0].ceiling, main[0].headroom
    if ceiling is None or headroom is None:
        return None
    grid = np.union1d(np.linspace(0, 1, 101), np.geomspace(1 / max(curve.negatives for curve in curves), 1, 61))
    return figures.Bound(grid, ceiling.tpr(grid), headroom.tpr(grid))


def _commands(main: Sequence[Result]) -> list[str]:
    """What gives the numbers of the strongest attack again."""
    result = ranked(main)[0].results[0]
    if result.commands is None or result.commands:
        return list(result.commands or ())
    suite, split = result.suite.name, result.split
    truth = "" if split == "train" else f" --truth suites/{suite}/private"
    return [
        f"mico-hub attack {suite} --split {split} --attack {result.attack} --out predictions",
        f"mico-hub score predictions --suite {suite} --split {split}{truth}",
    ]


def write_engine_audit(found: EngineAudit, path: Path, title: str) -> None:
    """Writes the page of an engine's audit: picture, table, what holds."""
    spans = [
        figures.Span("claimed", found.suite.epsilon),
        figures.Span("no assumption", low=found.free),
        figures.Span("in the family", low=found.family),
        figures.Span("if Gaussian", low=found.gaussian),
    ]
    picture = _spans("audit", found.suite.name, spans, found.suite.delta or 0.0)
    table = Table("Epsilon of the engine", *engine.table(found))
    section = Section(engine.heading(found), (), [picture], tables=[table], words=engine.notes(found))
    atomic_write(path, render(title, [], [section]).encode())


def write_score_audit(found: ScoreAudit, path: Path, title: str) -> None:
    """Writes the page of an audit of scores: terms, picture, table."""
    bounds, claimed = found.bounds, found.claim.epsilon
    spans = [
        *([] if claimed is None else [figures.Span(f"claimed, {found.claim.adjacency}", claimed)]),
        figures.Span("at least", low=bounds.certified),
        figures.Span("if Gaussian", low=bounds.gaussian),
        figures.Span("estimate", bounds.estimate, *(bounds.interval or ())),
    ]
    picture = _spans("audit", "the audit", spans, bounds.delta)
    table = Table("Epsilon that the scores show", *scores.table(found))
    section = Section(scores.heading(found), scores.terms(found), [picture], tables=[table])
    atomic_write(path, render(title, [], [section]).encode())


def _spans(name: str, title: str, spans: Sequence[figures.Span], delta: float) -> Picture:
    shown = [
        each for each in spans if np.isfinite([e for e in (each.value, each.low, each.high) if e is not None]).all()
    ]
    return Picture(
        name,
        f"{title}: epsilon claimed, bounded and estimated",
        f"Epsilon of {title}: {'; '.join(f'{each.label} {each.described}' for each in shown)}",
        lambda _: figures.span_figure(shown, f"epsilon at delta {delta:g}"),
    )


def _audit(found: audits.Audit, manifest: Manifest, split: str) -> Section:
    suite, bounds = manifest.suite, found.bounds
    headers, rows = audits.table(found, manifest)
    ceiling, adjacency = suite_ceiling(suite, manifest.noise_multiplier), ADJACENCY_TITLES[adjacency_of(suite)]
    made = [
        figures.Span("claimed, add or remove", suite.epsilon),
        *([] if ceiling is None else [figures.Span(adjacency, high=ceiling.epsilon(bounds.delta))]),
        figures.Span(adjacency, low=bounds.certified),
        figures.Span("if Gaussian", low=bounds.gaussian),
        figures.Span("estimate", bounds.estimate, *(bounds.interval or ())),
    ]
    picture = _spans(f"{suite.name}-{split}-audit", f"{suite.name}, {split}", made, bounds.delta)
    return Section(
        audits.heading(found, manifest, split),
        pictures=[picture],
        tables=[Table(f"Epsilon of {suite.name}", headers, rows)],
        words=audits.notes(found, manifest),
    )
