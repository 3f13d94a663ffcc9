"""Predictions of an attack as files: write them, read them, check them, all without the answers.

They have two forms with the same content: a folder as the competition's scorer reads it (`folder.py`), and one Parquet
file (`parquet.py`). An array that numpy saved is read, too (`array.py`).

A submission comes from a stranger: nothing outside its folder is read, no more of a file is read than the points could
need, and an error names everything that is wrong.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mico_hub.submissions.array import read_array
from mico_hub.submissions.check import Predictions, SubmissionError, Wanted, checked, reason, validate
from mico_hub.submissions.folder import read_folder, write
from mico_hub.submissions.parquet import COLUMNS, read_rows, write_parquet
from mico_hub.suites import Suite

__all__ = ["COLUMNS", "Predictions", "SubmissionError", "read", "validate", "write", "write_parquet"]


def read(
    path: Path,
    suite: Suite,
    split: str,
    *,
    points: int | None = None,
    models: Sequence[int] | None = None,
) -> Predictions:
    """The predictions for one split, read from either form and checked by `validate`.

    Args:
        path: A Parquet file, a .npy file with a row for each model by ascending id, the folder that holds
            `<track>/<suite>/<split>`, or one of those three folders.
        suite: Whose predictions are wanted.
        split: `train`, `dev` or `final`.
        points: As `validate` takes it.
        models: As `validate` takes them.

    Raises:
        SubmissionError: Names everything that is wrong: files that are missing, cannot be read, are too large or lie
            outside `path`, and what `validate` names.
        ValueError: There is no such split.
    """
    wanted = Wanted.of(suite, split, points, models, path)
    if path.is_file():
        try:
            found = read_array(path, wanted) if path.suffix == ".npy" else read_rows(path, suite, split, wanted.points)
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise SubmissionError(wanted.where, [reason(problem, path.name)]) from problem
        return checked(found, wanted)
    return checked(read_folder(path, suite, split, wanted), wanted)
