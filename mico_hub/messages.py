"""How an error lists many problems."""

from collections.abc import Sequence

SHOWN = 10
"""Problems that are listed before they are only counted."""


def listed(title: str, problems: Sequence[str], shown: int = SHOWN) -> str:
    """The title, then a line for each problem, and how many more there are."""
    more = [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
    return "\n  ".join([title, *problems[:shown], *more])
