"""Base datasets from the Hub, and whether it answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mico_hub.data.base import DataError, DatasetInfo, missing

REACH_SECONDS = 5  # in which the Hub must answer at all


def reachable() -> bool:
    """Whether the Hub answers: without a network its client would try for half a minute."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HTTPError

    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except (HTTPError, OSError):
        return False
    return True


def load_hub(info: DatasetInfo, folder: Path | None, columns: Sequence[str]) -> list[Any]:
    """The dataset's splits from the Hub, in the order of `info.splits`, as `datasets.Dataset`s.

    Args:
        info: Which dataset.
        folder: Where it was looked for before, for the message.
        columns: What each split must have.

    Raises:
        DataError: It was not found (no network, no such repository), or lacks rows or columns.
    """
    import datasets

    try:
        with _offline_if_unreachable():
            parts = [datasets.load_dataset(info.hub_id, info.hub_config, split=split) for split in info.splits]
    except Exception as error:  # the client raises errors of half a dozen libraries when a network or a file fails
        raise missing(info, folder, f"{type(error).__name__}: {error}") from error
    problems = [
        f"{split}: expected {rows:,} rows with the columns {', '.join(columns)}, "
        f"got {len(part):,} with {', '.join(part.column_names)}"
        for part, (split, rows) in zip(parts, info.splits.items(), strict=True)
        if len(part) != rows or not set(columns) <= set(part.column_names)
    ]
    if problems:
        raise DataError(f"{info.title} from the Hub ({info.hub_id}): {'; '.join(problems)}; {info.how_to_get}")
    return parts


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Without a network, has `datasets` take what is in the cache or fail."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not reachable():
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
