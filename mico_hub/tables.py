"""Tables that align, as text and as Markdown; the table of suites among them."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mico_hub.data import DatasetInfo
from mico_hub.suites import Suite

if TYPE_CHECKING:
    from mico_hub.attacks import Attack

SUITE_COLUMNS = (
    *("suite", "model", "n", "m", "epsilon, delta"),
    *("batch", "order", "epochs", "optimiser", "clip", "models"),
)


def suite_row(suite: Suite) -> tuple[str, ...]:
    """The cells of a suite's row, under `SUITE_COLUMNS`."""
    clip = f"{suite.clipping_norm:g}" if suite.clipping_norm is not None else "-"
    if suite.max_grad_norm is not None:
        clip = f"batch {suite.max_grad_norm:g}"
    return (
        suite.name,
        suite.model,
        f"{suite.n:,}",
        f"{suite.m:,}",
        f"{suite.epsilon:g}, {suite.delta:g}" if suite.delta is not None else "inf",
        f"{suite.batch_size:,}",
        {"poisson": "Poisson"}.get(suite.order, suite.order),
        f"{suite.epochs}",
        str(suite.optimiser),
        clip,
        "/".join(map(str, suite.models)),
    )


ATTACK_COLUMNS = ("attack", "title", "sees", "shadow models", "needs besides", "signals", "after")


def attack_row(attack: "Attack") -> tuple[str, ...]:
    """The cells of an attack's row, under `ATTACK_COLUMNS`."""
    needs: list[str] = [need for need in attack.needs if not need.endswith("shadows")]
    needs += ["revealed training records"] if attack.trains else []
    return (
        attack.name,
        attack.title,
        "white-box" if attack.white_box else "black-box",
        "its own" if attack.trains else "published" if attack.uses_shadows else "none",
        ", ".join(needs) or "-",
        ", ".join(attack.signals),
        attack.reference.split(",")[0],  # who and when, without the title
    )


TWIN_COLUMNS = ("base dataset", "records", "with an exact twin", "of another label", "contained in a longer one")


def twin_row(info: DatasetInfo) -> tuple[str, ...]:
    """The cells of a base dataset's row, under `TWIN_COLUMNS`."""
    twins = info.twins
    if twins is None:
        return info.title, f"{info.num_records:,}", "not counted", "-", "-"
    contained = "-" if twins.contained is None else f"{twins.contained:,}"
    return info.title, f"{info.num_records:,}", f"{len(twins.records):,}", f"{twins.other_label:,}", contained


def text(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned with spaces; those of numbers to the right."""
    cells = [list(headers), *map(list, rows)]
    widths, right = _layout(cells)
    lines = [
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of numbers to the right."""
    cells = [list(headers), *map(list, rows)]
    _, right = _layout(cells)
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    rule = "| " + " | ".join("---:" if numeric else "---" for numeric in right) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _layout(cells: list[list[str]]) -> tuple[list[int], list[bool]]:
    """The widths of the columns, and which hold numbers alone."""
    columns = list(zip(*cells, strict=True))
    return [max(map(len, column)) for column in columns], [all(map(_is_number, column[1:])) for column in columns]


def _is_number(cell: str) -> bool:
    try:
        return not math.isnan(float(cell.replace(",", "").rstrip("%")))
    except ValueError:
        return cell == "-"
