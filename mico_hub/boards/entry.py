"""An entry of an open board, one JSON file: what an attack scored on a track's train models, and where its code is.

A file may come from a stranger: `parse_entry` takes nothing on trust but that its numbers are what they say, which
`open_board.check` computes again.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np

from mico_hub.attacks import ATTACKS, Attack
from mico_hub.handle import Handle
from mico_hub.messages import InputError, listed
from mico_hub.release.format import FormatError, build, keys_of, known_keys, parse, stamped
from mico_hub.reporting.ranking import mean_estimate
from mico_hub.reporting.results import Result
from mico_hub.scoring import DRAWS, MAX_FPRS, RANKING, SCORES, Estimate, Interval, full_roc_curve
from mico_hub.sources import PublishedRepository
from mico_hub.suites import tracks

ThreatModel = Literal["black-box", "white-box"]
SPLIT = "train"
"""The only split of which everybody knows the truth: each model is attacked with the others."""
MOST_BYTES = 400_000
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LINK = re.compile(r"https://[A-Za-z0-9][!#-;=?-\[\]_a-z~]{1,300}")  # without quotes, < and \
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CURVE_POINTS = 101
_DECIMALS = 6  # of draws and curves

Number = list[float]
"""A score, alone or with the low and the high end of its 95% interval."""


class BoardError(InputError, ValueError):
    """What cannot be entered on a board, or is wrong about an entry of it."""


@dataclass(frozen=True, slots=True)
class OnSuite:
    """What an attack scored on the models of one suite."""

    fingerprint: str  # of the models, `Handle.fingerprint`
    dataset: str  # org/name@revision that the rows were read from; empty: a local copy
    models: int
    scores: dict[str, Number]  # by the keys of `scoring.SCORES`
    false_positives: dict[str, int]  # at each false positive rate, what was realised
    non_members: int
    curve: list[list[float]]  # two lists: false positive rates, ascending, and the true positive rate within each


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came out when the attack was run again."""

    on: str  # date
    mico_hub: str  # version
    average: float
    came_out: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One attack on a track.

    Raises:
        BoardError: A field is not what it should be; all of them are listed.
    """

    track: str
    name: str  # its folder
    title: str
    threat_model: str  # a `ThreatModel`
    added: str  # date
    mico_hub: str  # version of the scorer
    predictions: str  # sha256 of the file
    average: Number  # mean over the suites of the score that ranks
    draws: list[
        float
    ]  # of `average`, over resamples of models, the same ones for all entries: they are compared in pairs
    suites: dict[str, OnSuite]
    attack: str = ""  # a reference attack's name, or the file beside it; empty: neither
    code: str = ""  # link
    write_up: str = ""  # link, or the file beside it
    tags: tuple[str, ...] = ()
    reference: bool = False
    reproduced: Reproduced | None = None

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise BoardError(listed(f"{self.track}/{self.name!s:.80}: not an entry", problems))

    @property
    def estimate(self) -> Estimate:
        """Of the average, to compare entries with."""
        models = min(suite.models for suite in self.suites.values())
        return Estimate(self.average[0], np.asarray(self.draws), models, (0.0, 1.0), len(self.average) == 3)

    def to_json(self) -> bytes:
        """The file: a line a field, lists of numbers on one."""
        text = json.dumps(stamped(asdict(self)), indent=1, allow_nan=False)
        return re.sub(r"\[[\s\d.,e+-]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text).encode() + b"\n"


def parse_entry(text: bytes, where: str) -> Entry:
    """An entry from its file.

    Raises:
        FormatError: It is not one, or of a newer format.
        BoardError: A field is not what it should be.
    """
    values = known_keys(parse(text, where), tuple(keys_of(Entry)), where)
    try:
        suites = {name: build(OnSuite, suite, where) for name, suite in values.get("suites", {}).items()}
        found = values.get("reproduced")
        reproduced = None if found is None else build(Reproduced, found, where)
        tags = tuple(values.get("tags", ()))
    except (AttributeError, TypeError) as error:
        raise FormatError(f"{where}: expected objects under suites and reproduced, and a list of tags") from error
    return build(Entry, {**values, "suites": suites, "reproduced": reproduced, "tags": tags}, where)


def of_results(results: Sequence[Result], suites: Mapping[str, Handle], **about: Any) -> Entry:
    """The entry of an attack.

    Args:
        results: On each suite of a track.
        suites: By name, as they were scored.
        about: The other fields of `Entry`: name, title, threat_model and predictions at least.
    """
    estimate = mean_estimate(results)
    return Entry(
        track=results[0].suite.track,
        added=f"{date.today()}",
        mico_hub=version("mico-hub"),
        average=_number(estimate.value, estimate.interval()),
        draws=estimate.draws.round(_DECIMALS).tolist(),
        suites={result.suite.name: _on_suite(result, suites[result.suite.name]) for result in results},
        **about,
    )


def _on_suite(result: Result, suite: Handle) -> OnSuite:
    curve = full_roc_curve(np.concatenate(result.membership), np.concatenate(result.predictions))
    grid = np.concatenate([[0.0], np.geomspace(1 / result.non_members, 1, _CURVE_POINTS - 1)])
    best = curve.tpr[np.searchsorted(curve.fpr, grid * (1 + 1e-9), side="right") - 1]
    return OnSuite(
        fingerprint=suite.fingerprint,
        dataset=str(suite.place) if isinstance(suite.place, PublishedRepository) else suite.manifest.origin or "",
        models=len(result.membership),
        scores={key: _number(result.every[key], result.intervals[key]) for key in result.estimates},
        false_positives={f"{rate:g}": int(result.full[f"FP_{int(1e4 * rate)}"]) for rate in MAX_FPRS},
        non_members=result.non_members,
        curve=[grid.round(_DECIMALS).tolist(), best.round(_DECIMALS).tolist()],
    )


def _number(value: float, interval: Interval | None) -> Number:
    return [float(value), *([] if interval is None else map(float, interval))]


def _problems(entry: Entry) -> Iterator[str]:
    """Everything that is not what it should be."""
    table = tracks()
    texts: dict[str, Callable[[str], object]] = {
        "track": table.__contains__,
        "name": NAME.fullmatch,
        "title": lambda text: 0 < len(text) <= 120 and text.isprintable(),
        "threat_model": get_args(ThreatModel).__contains__,
        "added": _is_date,
        "mico_hub": _is_version,
        "predictions": _DIGEST.fullmatch,
        "attack": lambda text: text in ("", "attack.py", *ATTACKS),
        "code": lambda text: not text or LINK.fullmatch(text),
        "write_up": lambda text: text in ("", "README.md") or LINK.fullmatch(text),
    }
    for name, right in texts.items():
        if not isinstance(value := getattr(entry, name), str) or not right(value):
            yield f"{name}: expected {_EXPECTED[name]}, got {value!r:.80}"
    if not all(isinstance(tag, str) and re.fullmatch(r"[A-Za-z0-9 .+-]{1,40}", tag) for tag in entry.tags[:20]):
        yield f"tags: expected short words, got {entry.tags!r:.80}"
    if len(entry.tags) > 10:
        yield f"tags: expected 10 at most, got {len(entry.tags)}"
    if type(entry.reference) is not bool:
        yield f"reference: expected true or false, got {entry.reference!r:.80}"
    yield from _attack_problems(entry)
    if not _is_number(entry.average):
        yield f"average: expected a score in [0, 1] and its interval, got {entry.average!r:.80}"
    if not _are_shares(entry.draws, DRAWS):
        yield f"draws: expected {DRAWS:,} numbers in [0, 1]"
    wanted = {each.name for each in table.get(entry.track, ())} if isinstance(entry.track, str) else set[str]()
    if wanted != {*entry.suites}:
        yield f"suites: expected {', '.join(sorted(wanted))}, got {list(entry.suites)!r:.120}"
    for name in wanted & entry.suites.keys():
        suite = entry.suites[name]
        yield from (f"suites.{name}.{problem}" for problem in _suite_problems(suite))
    if (again := entry.reproduced) is not None and not (
        isinstance(again.on, str) and _is_date(again.on) and _is_version(again.mico_hub)
        and _are_shares([again.average], 1) and type(again.came_out) is bool
    ):  # fmt: skip
        yield f"reproduced: expected a date, a version, a score and true or false, got {asdict(again)!r:.120}"


def _attack_problems(entry: Entry) -> Iterator[str]:
    """What is not true of the attack that an entry names."""
    if not entry.code and not entry.attack:
        yield "code: expected a link to the attack's code, or the attack itself, got neither"
    known = ATTACKS.get(entry.attack) if isinstance(entry.attack, str) else None
    if known is not None and entry.threat_model != _threat_model(known):
        yield f"threat_model: {known.name} is {_threat_model(known)}"
    if entry.reference and (known is None or (entry.name, entry.title) != (known.name, known.title)):
        yield "reference: expected a reference attack by its name and title"


_SCORES = {score.key for score in SCORES}


def _threat_model(attack: Attack) -> str:
    return "white-box" if attack.white_box else "black-box"


def _suite_problems(suite: OnSuite) -> Iterator[str]:
    if not isinstance(suite.scores, dict):
        yield "scores: expected an object"
        return
    if not isinstance(suite.fingerprint, str) or not _DIGEST.fullmatch(suite.fingerprint):
        yield f"fingerprint: expected 64 hexadecimal digits, got {suite.fingerprint!r:.80}"
    if not isinstance(suite.dataset, str) or not re.fullmatch(r"[\w ./:@'-]{0,200}", suite.dataset):
        yield f"dataset: expected org/name@revision, got {suite.dataset!r:.80}"
    for name in ("models", "non_members"):
        if type(value := getattr(suite, name)) is not int or not 0 < value < 10**9:
            yield f"{name}: expected a number from 1, got {value!r:.80}"
    if {*suite.scores} != _SCORES or not all(map(_is_number, suite.scores.values())):
        yield f"scores: expected {RANKING} and all others, each with its interval"
    rates = {f"{rate:g}" for rate in MAX_FPRS}
    counts = suite.false_positives
    if not isinstance(counts, dict) or {*counts} != rates or not all(type(count) is int for count in counts.values()):
        yield f"false_positives: expected a number for each of {', '.join(sorted(rates))}"
    shape = isinstance(suite.curve, list) and len(suite.curve) == 2
    if not shape or not all(_are_shares(each, _CURVE_POINTS) and each == sorted(each) for each in suite.curve):
        yield f"curve: expected two ascending lists of {_CURVE_POINTS} numbers in [0, 1]"


_EXPECTED = {
    "track": "a track",
    "name": "lower-case letters, digits, - and _, 64 at most",
    "title": "a line of 1 to 120 characters",
    "threat_model": " or ".join(get_args(ThreatModel)),
    "added": "a date, YYYY-MM-DD",
    "mico_hub": "a version",
    "predictions": "the sha256 of a file",
    "attack": "the name of a reference attack, or attack.py",
    "code": "a link, https://",
    "write_up": "a link, https://, or README.md",
}


def _is_date(text: str) -> bool:
    try:
        return text == date.fromisoformat(text).isoformat()
    except ValueError:
        return False


def _is_version(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9.+-]{1,40}", text) is not None


def _is_number(value: object) -> bool:
    """Whether it is a score, alone or with an interval."""
    return isinstance(value, list) and len(value) in (1, 3) and _are_shares(value, len(value), low=-1.0)


def _are_shares(values: object, length: int, low: float = 0.0) -> bool:
    return (
        isinstance(values, list)
        and len(values) == length
        and all(type(value) in (int, float) and low <= value <= 1 for value in values)  # no NaN is within
    )
