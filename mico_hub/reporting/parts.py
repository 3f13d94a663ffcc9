"""What a self-contained HTML page is made of: sections of pictures, tables and words.

The pictures are matplotlib's, drawn when the page is made: it reads without scripts, prints, and the same pictures go
into a paper. A library that draws in the browser is 1 to 5 MB and leaves nothing to read without scripts; what a script
adds here, sorting and values under the pointer, is `templates/report.js`.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from mico_hub.reporting import figures

_ENVIRONMENT = Environment(
    loader=PackageLoader("mico_hub.reporting"),
    undefined=StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure and its words."""

    name: str  # of its file, and unique in a page
    caption: str
    described: str  # read aloud in place of the picture
    draw: Callable[[bool], Figure]  # with or without a legend

    @property
    def svg(self) -> str:
        """For the page, which has a legend."""
        return figures.svg(self.draw(False), self.name, self.described)


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of the legend: an attack and how it is drawn."""

    style: int
    label: str
    drawn: bool  # from the start

    @property
    def colour(self) -> str:
        """Of its line."""
        return figures.look_of(self.style)[0]

    @property
    def dashes(self) -> str:
        """Of its line, as SVG has them."""
        dash = figures.look_of(self.style)[1]
        return "" if isinstance(dash, str) else " ".join(f"{1.6 * length:g}" for length in dash[1])


@dataclass(frozen=True, slots=True)
class Link:
    """A cell of a table that leads somewhere."""

    text: str
    url: str  # https

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and a key for each of its rows where it has any."""

    about: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    keys: Sequence[Key | None] = ()
    notes: Sequence[str] = ()
    heading: str = ""
    groups: Sequence[str] = ()  # of a row, see `Section.filters`


@dataclass(frozen=True, slots=True)
class Section:
    """What the page shows of a track, a suite or an audit."""

    name: str
    facts: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    legend: Sequence[Key] = ()
    bounded: bool = False  # whether a ceiling is drawn
    tables: Sequence[Table] = ()
    words: Sequence[str] = ()
    commands: Sequence[str] = ()
    tables_first: bool = False  # before the pictures
    filters: Sequence[tuple[str, str]] = ()  # a group of rows that can be hidden, and its name for people


def render(title: str, sections: Sequence[Section], audits: Sequence[Section] = (), **more: Any) -> str:
    """The page's HTML; no network is needed to look at it.

    Args:
        title: Of the page.
        sections: Of attacks; they come first, with `keys`, `lead`, `conclusions` and `limits` of `more`.
        audits: Of audits.
        more: Else of the template.
    """
    script = (files("mico_hub.reporting") / "templates" / "report.js").read_text()
    return _ENVIRONMENT.get_template("report.html.jinja").render(
        title=title,
        sections=sections,
        audits=audits,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        bound_label=figures.BOUND_LABEL,
        headroom_label=figures.HEADROOM_LABEL,
        **{"keys": {}, "lead": None, "conclusions": (), "limits": (), **more},
    )
