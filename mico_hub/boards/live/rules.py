"""The rules of a live board: one TOML file, with the competition's values where it says nothing."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from mico_hub.messages import InputError, did_you_mean, listed
from mico_hub.suites import tracks

Answers = Literal["tpr", "six", "ladder"]
Counts = Literal["last", "best"]


class RulesError(InputError, ValueError):
    """Rules that cannot be; the message lists all that is wrong."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds on a board.

    Raises:
        RulesError: A value cannot be; all of them are listed.
    """

    title: str = "MICO"
    tracks: tuple[str, ...] = ("digits",)
    answers: Answers = "tpr"  # what an open phase tells of a submission, see `answers.answer`
    step: float = 0.01  # of `ladder`
    daily: int = 30  # scored submissions of a participant on a track, a day in UTC
    total: int = 1_000  # and in all
    counts: Counts = "last"  # which of a participant's submissions stands on the board, and is scored on final
    megabytes: float = 2.0  # of a submission
    minutely: int = 20  # uploads of a participant a minute, those that are refused, too
    deadline: datetime | None = None  # of dev, UTC
    spent: float = 0.05  # share of a suite's truth, in bits given away, from which dev is called spent

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise RulesError(listed("rules that cannot be:", problems))

    def _problems(self) -> Iterator[str]:
        known = tracks()
        if not isinstance(self.title, str) or not 0 < len(self.title) <= 100 or not self.title.isprintable():
            yield f"title: expected a line of 1 to 100 characters, got {self.title!r:.80}"
        if not self.tracks or not all(track in known for track in self.tracks):
            yield f"tracks: expected some of {', '.join(known)}, got {self.tracks!r:.80}"
        for name, choices in (("answers", get_args(Answers)), ("counts", get_args(Counts))):
            if (value := getattr(self, name)) not in choices:
                yield f"{name}: expected {', '.join(choices)}, got {value!r:.80}"
        for name in ("daily", "total", "minutely"):
            if type(value := getattr(self, name)) is not int or value < 1:
                yield f"{name}: expected a number from 1, got {value!r:.80}"
        for name, most in (("step", 1.0), ("spent", 1.0), ("megabytes", 100.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
                yield f"{name}: expected a number above 0, at most {most:g}, got {value!r:.80}"
        if self.deadline is not None and (not isinstance(self.deadline, datetime) or self.deadline.tzinfo is None):
            yield f"deadline: expected a time with its zone, such as 2027-03-01T00:00:00Z, got {self.deadline!s:.80}"

    @property
    def most_bytes(self) -> int:
        """Of a submission."""
        return int(1e6 * self.megabytes)


def read_rules(path: Path | None) -> Rules:
    """The rules of a file; None: the defaults.

    Raises:
        RulesError: It is not TOML, a key is unknown, or a value cannot be; all problems are listed.
        OSError: It cannot be read.
    """
    if path is None:
        return Rules()
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: expected TOML: {error}") from error
    names = [field.name for field in fields(Rules)]
    if unknown := [name for name in given if name not in names]:
        problems = [f"{name}: unknown.{did_you_mean(name, names)} There are: {', '.join(names)}" for name in unknown]
        raise RulesError(listed(f"{path}:", problems))
    try:
        return Rules(**_values(given))
    except RulesError as error:
        raise RulesError(f"{path}: {error}") from error


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    tracks_given = given.get("tracks")
    made: dict[str, Any] = {**given}
    if isinstance(tracks_given, list):
        made["tracks"] = tuple(map(str, tracks_given))
    deadline = given.get("deadline")
    if isinstance(deadline, datetime) and deadline.tzinfo is not None:
        made["deadline"] = deadline.astimezone(UTC)
    return made
