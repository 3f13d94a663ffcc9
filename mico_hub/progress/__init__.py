"""Bars that show how far something is: redrawn in a terminal, a widget in a notebook, a line a minute in a log file."""

import re
import sys
from typing import Any

from tqdm.auto import tqdm

SECONDS = 60  # between lines in a log file
_MOVES = re.compile(r"[\r\n]|\x1b\[A")


class Bar(tqdm):  # type: ignore[type-arg, unused-ignore]  # of whatever it iterates over
    """A bar as tqdm makes it, for whatever standard error is."""

    def __init__(self, *arguments: Any, waiting: str = "", **options: Any) -> None:
        """Takes what tqdm takes.

        Args:
            arguments: What is iterated over, if anything.
            waiting: What is shown beside the description until the first step, such as `starting workers`.
            options: `desc`, `total` and so on.
        """
        self._started = options.get("desc") if waiting else None
        if waiting:
            options["desc"] = f"{self._started}: {waiting}"
        if not sys.stderr.isatty() and "ipykernel" not in sys.modules:
            options = {"file": _Lines(), "mininterval": SECONDS, "maxinterval": SECONDS, **options}
        super().__init__(*arguments, **options)

    def update(self, n: float | None = 1) -> bool | None:
        """Counts steps."""
        first = self._started if n else None
        shown = super().update(n)
        if first is not None:
            self._started = None
            self.set_description(first)  # which draws it
        return shown


class _Lines:
    """Standard error as a log: of what a bar draws, lines."""

    def write(self, text: str) -> None:
        if line := _MOVES.sub("", text).strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
