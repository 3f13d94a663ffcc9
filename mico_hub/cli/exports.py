"""Results as files, whatever command they are from."""

import argparse
import json
from collections.abc import Sequence

from mico_hub.cache import atomic_write
from mico_hub.messages import counted
from mico_hub.reporting.results import Result
from mico_hub.reporting.scores import Scores

OPTIONS = ("html", "csv", "json", "latex", "figures")


def asked(options: argparse.Namespace) -> list[str]:
    """The options that name a file or folder to write."""
    return [f"--{name}" for name in OPTIONS if getattr(options, name) is not None]


def write(results: Sequence[Result], options: argparse.Namespace, title: str) -> list[str]:
    """Writes the files that were asked for; gives lines on what is where.

    Args:
        results: What they are of.
        options: With those of `OPTIONS`, and `format`.
        title: Of the report.
    """
    scores = Scores(tuple(results))
    if options.json is not None:
        atomic_write(options.json, (json.dumps(scores.to_json(), indent=2) + "\n").encode())
    if options.csv is not None:
        atomic_write(options.csv, scores.to_frame().to_csv(index=False).encode())
    if options.latex is not None:
        atomic_write(options.latex, scores.to_latex().encode())
    if options.html is not None:
        scores.to_html(options.html, title)
    if options.figures is None:
        return []
    from mico_hub.reporting import page  # which draws

    made = page.save_figures(results, options.figures, options.format)
    return [f"{counted(len(made), 'picture')} in {options.figures}"]
