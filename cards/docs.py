"""The tables in README and docs that are made of the code and of measurements: `make docs` writes them again."""

import argparse
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any

from scipy.stats import t as student

from mico_hub import cli, tables
from mico_hub.attacks import ATTACKS
from mico_hub.auditing.headroom import suite_headroom
from mico_hub.data import DATASETS
from mico_hub.signals import GRADIENT_COEFFICIENT, GRADIENT_NORM, OUTPUT_SIGNALS
from mico_hub.suites import SUITES
from mico_hub.training.accounting import calibrate

ROOT = Path(__file__).resolve().parents[1]
EXPECTED_SCORES = ROOT / "tests" / "golden" / "expected_scores.json"
"""Written by `make benchmark`: suite -> attack -> what it scored."""


def suites() -> str:
    """The table of suites."""
    return tables.markdown(tables.SUITE_COLUMNS, map(tables.suite_row, SUITES.values()))


def twins() -> str:
    """How many records of each base dataset have an exact twin."""
    return tables.markdown(tables.TWIN_COLUMNS, map(tables.twin_row, DATASETS.values()))


def scores() -> str:
    """Attacks by suites, means over fresh ones with t intervals; an attack that was not measured has dashes."""
    measured: dict[str, dict[str, Any]] = json.loads(EXPECTED_SCORES.read_bytes())

    def table(what: str, key: str, sign: str = "") -> str:
        def cell(found: Mapping[str, Any] | None) -> str:
            if not found:
                return "-"
            mean, half = mean_and_half(found[key])
            return f"{100 * mean:{sign}.1f}" + (f" ± {100 * half:.1f}" if half is not None else "")

        def label(name: str) -> str:
            few = {of[name]["models"] for of in measured.values() if name in of and of[name]["models"] < 100}
            return f"{name} ({few.pop()} targets)" if few else name

        rows = [(label(name), *(cell(of_suite.get(name)) for of_suite in measured.values())) for name in ATTACKS]
        return tables.markdown((what, *measured), rows)

    return "\n\n".join(
        (
            table("TPR at 10% FPR, %", "tpr"),
            table("TPR at 1% FPR, %", "tpr_1"),
            table("ahead of lira_shrunken at 10% FPR, points", "ahead", "+"),
        )
    )


def mean_and_half(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of independent values, and half of its 95% t interval; None where there is one value."""
    if len(values) < 2:
        return fmean(values), None
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values), float(half)


def headroom() -> str:
    """What a linear problem would give away, by suite."""
    rates = (0.001, 0.01, 0.1)
    found = {suite.name: suite_headroom(suite, calibrate(suite)) for suite in SUITES.values()}
    shares = {name: of.tpr(rates).tolist() for name, of in found.items() if of is not None}
    rows = [(name, *(f"{share:.2f}" for share in of_suite)) for name, of_suite in shares.items()]
    return tables.markdown(("suite", *(f"at {100 * rate:g}% FPR" for rate in rates)), rows)


def signals() -> str:
    """What each signal is."""
    of_outputs = [(name, inspect.getdoc(of) or "") for name, of in OUTPUT_SIGNALS.items()]
    layers = f"Over all parameters, white-box; of MLPs also by layer, `{GRADIENT_NORM}_layer_1`, ..."
    coefficient = "How much of its gradient is in the weights, beyond other records'; white-box, of MLPs (below)."
    return tables.markdown(("name", ""), [*of_outputs, (GRADIENT_NORM, layers), (GRADIENT_COEFFICIENT, coefficient)])


def commands() -> str:
    """Every command: what it does, an example, and its options."""
    return "\n\n".join(_command(name, found) for name, found in commands_of(cli.parser()))


def commands_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The whole name of each command, such as `board open add`, and its parser."""
    for group in (action for action in parser._actions if isinstance(action, argparse._SubParsersAction)):
        for found in group.choices.values():
            below = list(commands_of(found))
            yield from below or [(found.prog.partition(" ")[2], found)]


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    options = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    lines = [f"### {name}", "", f"{_capital(parser.description or '')}.", "", "```", f"{_example(parser)}", "```"]
    if options:
        lines += ["", tables.markdown(("option", ""), map(_option, options))]
    return "\n".join(lines)


def _example(parser: argparse.ArgumentParser) -> str:
    return (parser.epilog or "").removeprefix("example: ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _option(action: argparse.Action) -> tuple[str, str]:
    """As `--help` has it."""
    formatter = argparse.HelpFormatter("mico-hub", width=1_000)
    said = formatter._expand_help(action) if action.help else ""
    return f"`{formatter._format_action_invocation(action)}`".replace("|", "\\|"), _capital(said).replace("|", "\\|")


TABLES: Mapping[tuple[str, str], Callable[[], str]] = MappingProxyType(
    {
        ("README.md", "suites"): suites,
        ("docs/scores.md", "twins"): twins,
        ("docs/scores.md", "headroom"): headroom,
        ("docs/attacks.md", "scores"): scores,
        ("docs/attacks.md", "signals"): signals,
        ("docs/commands.md", "commands"): commands,
    }
)
"""(file, marker) -> the table between `<!-- marker` and `<!-- end of marker -->`."""


def between(marker: str) -> re.Pattern[str]:
    """Finds a table: the line of the marker, the table, the end."""
    return re.compile(rf"(<!-- {marker}\b[^\n]*-->\n)(.*?)(\n<!-- end of {marker} -->)", re.DOTALL)


def write() -> None:
    """Writes all tables."""
    for (file, marker), table in TABLES.items():
        path = ROOT / file
        text = path.read_text()
        found = between(marker).search(text)
        if found is None:
            raise ValueError(f"{path}: expected the marker of {marker}, and its end")
        path.write_text(text[: found.start(2)] + table() + text[found.end(2) :])


if __name__ == "__main__":
    write()
