"""Scores as objects, for a notebook: a data frame, figures, LaTeX, a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mico_hub import tables
from mico_hub.attacks import ATTACKS
from mico_hub.handle import Handle
from mico_hub.reporting import scorecard
from mico_hub.reporting.ranking import by_track
from mico_hub.reporting.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """What attacks achieved, on one split of a suite or on several: printed, a table that ranks them."""

    results: tuple[Result, ...]

    def __repr__(self) -> str:
        return tables.text(*scorecard.table(self.results))

    def _repr_html_(self) -> str:
        from pandas import DataFrame

        headers, rows = scorecard.table(self.results)
        return str(DataFrame(rows, columns=list(headers)).to_html(index=False))

    def to_frame(self) -> "DataFrame":
        """A line for each result: what it is of, and every score.

        Beside a score stand `<score>_low` and `<score>_high`, its 95% interval; NaN where there is none.
        """
        from pandas import DataFrame

        return DataFrame([_line(result) for of_track in by_track(self.results).values() for result in of_track])

    def to_latex(self) -> str:
        """The table, for a paper: a `tabular` with the rules of booktabs."""
        return scorecard.latex(self.results)

    def to_json(self) -> dict[str, Any]:
        """Every score with its interval, and the means over the suites of a track."""
        return scorecard.as_json(self.results)

    def to_html(self, path: Path | str, title: str = "MICO") -> None:
        """Writes the report, one page that needs no network."""
        from mico_hub.reporting import page

        page.write_report(self.results, Path(path), title)

    def figures(self) -> "dict[str, Figure]":
        """The report's pictures, by the name that their files have."""
        from mico_hub.reporting import page

        return {picture.name: picture.draw(True) for picture in page.pictures(self.results)}


def score(
    suite: Handle | str,
    predictions: Mapping[str, Mapping[int, ArrayLike] | Sequence[ArrayLike]],
    split: str = "train",
    truth: Mapping[int, ArrayLike] | Path | str | None = None,
) -> Scores:
    """Scores predictions of one or more attacks on a split.

    Args:
        suite: Whose models were attacked, or its name.
        predictions: Name of an attack -> for each model (2m,) in the order of its challenge: by model id, or in the
            order of the split, as `mico_hub.attack` gives them.
        split: `train`, `dev` or `final`.
        truth: Hidden membership, or where it is, see `Handle.truth`; None: as it is public, or found in the cache.

    Raises:
        SourceError: The membership is hidden, and no truth was found.
        ValueError: There are predictions for another number of models.
    """
    from mico_hub.loading import open_suite

    opened = open_suite(suite) if isinstance(suite, str) else suite
    known = truth if isinstance(truth, Mapping) else opened.truth(split, None if truth is None else Path(truth))
    ids = [row["model_id"] for row in opened.challenges(split)]
    results = []
    for name, given in predictions.items():
        title = ATTACKS[name].title if name in ATTACKS else name
        by_model = given if isinstance(given, Mapping) else _in_order(name, given, ids)
        results.append(Result.of(opened, split, by_model, name, title=title, truth=known))
    return Scores(tuple(results))


def _in_order(name: str, given: Sequence[ArrayLike], ids: Sequence[int]) -> dict[int, ArrayLike]:
    if len(given) != len(ids):
        raise ValueError(f"{name}: expected predictions for {len(ids):,} models, got {len(given):,}")
    return dict(zip(ids, given, strict=True))


def _line(result: Result) -> dict[str, Any]:
    line: dict[str, Any] = {
        "track": result.suite.track,
        "suite": result.suite.name,
        "epsilon": result.suite.epsilon,
        "split": result.split,
        "attack": result.attack,
        "title": result.title,
        "models": len(result.membership),
        "points": int(result.full["points"]),
        "model_accuracy": np.nan if result.accuracy is None else result.accuracy,
        "seconds": np.nan if result.seconds is None else result.seconds,
    }
    for name, value in result.every.items():
        line[name] = value
        if name in result.estimates:
            line[f"{name}_low"], line[f"{name}_high"] = result.intervals[name] or (np.nan, np.nan)
    return line
