"""An open board: a folder of entries that anyone can score again, since the truth of train is public.

BOARD/<track>/<name>/ has `entry.json`, the predictions, and perhaps the attack and a write-up. Entries come by pull
request: `check` looks at them without running anything of theirs, `reproduce` runs an attack again.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from numpy.typing import ArrayLike

from mico_hub import submissions
from mico_hub.attacks import ATTACKS, Attack, find, prepare, to_predictions
from mico_hub.boards.entry import MOST_BYTES, NAME, SPLIT, BoardError, Entry, Reproduced, of_results, parse_entry
from mico_hub.cache import atomic_write, writable
from mico_hub.handle import Handle
from mico_hub.messages import InputError, did_you_mean, listed, printable
from mico_hub.release.rows import as_rows
from mico_hub.reporting.results import Result
from mico_hub.scoring import RANKING
from mico_hub.submissions import SubmissionError
from mico_hub.submissions.check import read_bounded
from mico_hub.suites import tracks

ENTRY = "entry.json"
PREDICTIONS = "predictions.parquet"
ATTACK = "attack.py"
WRITE_UP = "README.md"
MOST_TEXT = 200_000
"""Bytes of an attack or a write-up."""
SAME = 1e-6
"""By which a score may differ that is computed again: `draws` and curves are rounded."""
CAME_OUT = 0.005
"""By which the score on a suite may differ when an attack that draws at random is run again."""

ByModel = Mapping[int, ArrayLike]


@dataclass(frozen=True, slots=True)
class About:
    """What is said of an entry, beside what is scored; fields as of `Entry`."""

    name: str
    title: str
    threat_model: str
    attack: Path | str = ""  # a file, or a reference attack's name
    code: str = ""
    write_up: Path | str = ""  # a file, or a link
    tags: tuple[str, ...] = ()
    reference: bool = False


def entries(board: Path) -> list[Entry]:
    """All entries, by track in the table's order and then by name.

    Raises:
        BoardError: Some cannot be read; all problems are listed.
    """
    found, problems = [], []
    for folder in folders(board):
        try:
            found.append(read_entry(folder))
        except (InputError, OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise BoardError(listed(f"{board}: {len(problems)} entries cannot be read", problems))
    return found


def folders(board: Path) -> list[Path]:
    """The folders of all entries."""
    return [
        folder
        for track in tracks()
        if (board / track).is_dir()
        for folder in sorted((board / track).iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]


def read_entry(folder: Path) -> Entry:
    """The entry in a folder, which must have its name.

    Raises:
        OSError: There is none.
        FormatError: As `parse_entry`.
        BoardError: As `parse_entry`.
        ValueError: The file is too large.
    """
    where = f"{folder.parent.name}/{folder.name}/{ENTRY}"
    if not (folder / ENTRY).exists():
        raise BoardError(f"{where}: no such file")
    found = parse_entry(read_bounded(folder / ENTRY, MOST_BYTES), where)
    if (found.track, found.name) != (folder.parent.name, folder.name):
        raise BoardError(f"{where}: it is of {found.track}/{found.name}, which should be its folder")
    return found


def add(board: Path, predictions: Mapping[str, ByModel], suites: Sequence[Handle], about: About) -> Entry:
    """Scores predictions for the train models of a track, and adds the entry.

    Args:
        board: The folder, made where it does not exist.
        predictions: Suite -> model id -> (2m,), for all suites of the track.
        suites: Of the track.
        about: What is said of it.

    Raises:
        BoardError: A field is wrong, the attack or the write-up cannot be read or is too large, there is an entry of
            that name, or those that there are, are on other models.
    """
    track = suites[0].manifest.suite.track
    files = {}
    for path, name in ((about.attack, ATTACK), (about.write_up, WRITE_UP)):
        if isinstance(path, Path):
            try:
                files[name] = read_bounded(path, MOST_TEXT)
            except (OSError, ValueError) as error:
                raise BoardError(f"{path}: {error}") from error
    held = {(suite, SPLIT): predictions[suite.name] for suite in suites}
    folder = board / track / about.name
    if folder.exists():
        raise BoardError(f"{folder}: there is an entry of that name; choose another --name, or remove that one")
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / PREDICTIONS
        submissions.write(written, held)
        files[PREDICTIONS] = written.read_bytes()
    entry = of_results(
        score(predictions, suites, about.name),
        {suite.name: suite for suite in suites},
        name=about.name,
        title=about.title,
        threat_model=about.threat_model,
        predictions=hashlib.sha256(files[PREDICTIONS]).hexdigest(),
        attack=ATTACK if isinstance(about.attack, Path) else about.attack,
        code=about.code,
        write_up=WRITE_UP if isinstance(about.write_up, Path) else about.write_up,
        tags=about.tags,
        reference=about.reference,
    )
    _same_models(entry, [other for other in entries(board) if other.track == track])
    _write_folder(folder, files | {ENTRY: entry.to_json()})
    return entry


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder, whole or not at all."""
    unfinished = folder.with_name(f".{uuid4().hex}")
    try:
        with writable(folder):
            unfinished.mkdir(parents=True)
            for name, content in files.items():
                (unfinished / name).write_bytes(content)
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def same_models(found: Sequence[Entry]) -> None:
    """Sees to it that entries on a track can be compared.

    Raises:
        BoardError: Some are on other models than the first.
    """
    for track in dict.fromkeys(entry.track for entry in found):
        first, *others = [entry for entry in found if entry.track == track]
        for other in others:
            _same_models(other, [first])


def _same_models(entry: Entry, others: Sequence[Entry]) -> None:
    for name, suite in entry.suites.items():
        for other in others:
            if other.suites[name].fingerprint != suite.fingerprint:
                raise BoardError(
                    f"{entry.track}/{entry.name}: its {name} has the fingerprint {suite.fingerprint:.12}, that of "
                    f"{other.name} has {other.suites[name].fingerprint:.12}: scores on other models are not compared; "
                    f"name the place of the board's models with --source"
                )


def score(predictions: Mapping[str, ByModel], suites: Sequence[Handle], name: str) -> list[Result]:
    """What predictions achieve on each suite."""
    return [Result.of(suite, SPLIT, predictions[suite.name], name) for suite in suites]


def attacked(attack: Attack, suites: Sequence[Handle], source: str | None = None) -> dict[str, dict[int, ArrayLike]]:
    """Suite -> model id -> predictions, each train model attacked with the others."""
    found: dict[str, dict[int, ArrayLike]] = {}
    for suite in suites:
        rows = as_rows(suite.train)
        predictions = to_predictions(prepare([attack], rows, None, source).scores(attack))
        found[suite.name] = {row["model_id"]: of_model for row, of_model in zip(rows, predictions, strict=True)}
    return found


def check(board: Path, suites_of: Callable[[str], Sequence[Handle]]) -> Iterator[str]:
    """What is wrong with the entries: a line each. Nothing of theirs is run, and no more is read than they may have.

    Args:
        board: The folder.
        suites_of: Track -> its suites, where they are.

    Yields:
        TRACK/NAME: what was expected and what is there.
    """
    yield from _strays(board)
    opened = {track: suites_of(track) for track in dict.fromkeys(folder.parent.name for folder in folders(board))}
    for folder in folders(board):
        where = f"{folder.parent.name}/{folder.name}"
        if not NAME.fullmatch(folder.name):
            yield f"{folder.parent.name}/{folder.name!r:.80}: expected a name of lower-case letters, digits, - and _"
            continue
        try:
            entry = read_entry(folder)
            yield from (f"{where}: {problem}" for problem in _file_problems(folder, entry))
            yield from (f"{where}: {problem}" for problem in _score_problems(folder, entry, opened[entry.track]))
        except (BoardError, SubmissionError) as error:
            yield str(error)
        except (InputError, OSError, ValueError) as error:
            yield f"{where}: {error}"


def _strays(board: Path) -> Iterator[str]:
    """What is on a board without being an entry."""
    known = tracks()
    for path in sorted(board.iterdir()) if board.is_dir() else ():
        if path.name not in known and not path.name.startswith(".git") and path.name not in _BESIDES:
            yield f"{path.name!r:.80}: expected tracks, {', '.join(known)}, beside {', '.join(_BESIDES)}"
    for track in known:
        for path in sorted((board / track).iterdir()) if (board / track).is_dir() else ():
            if path.is_symlink() or not path.is_dir() or path.name.startswith("."):
                yield f"{track}/{path.name!r:.80}: expected folders of entries alone"


_BESIDES = ("README.md", "LICENSE")


def _file_problems(folder: Path, entry: Entry) -> Iterator[str]:
    wanted = {ENTRY, PREDICTIONS} | {name for name in (ATTACK, WRITE_UP) if name in (entry.attack, entry.write_up)}
    there = {path.name for path in folder.iterdir()}
    links = [path.name for path in folder.iterdir() if path.is_symlink()]
    if there != wanted or links:
        what = f" (links: {', '.join(map(printable, sorted(links)))})" if links else ""
        got = ", ".join(map(printable, sorted(there)))
        yield f"expected the files {', '.join(sorted(wanted))}, got {got:.400}{what}"
    if entry.reproduced is not None and not entry.attack:
        yield "reproduced: it has no attack that could have been run again"
    if (again := entry.reproduced) is not None and again.came_out and not _near(entry.average[0], again.average):
        yield f"reproduced: {again.average:.4f} is not the {entry.average[0]:.4f} of the entry, as came_out says"
    for name in wanted & there & {ATTACK, WRITE_UP}:
        read_bounded(folder / name, MOST_TEXT)


def _score_problems(folder: Path, entry: Entry, suites: Sequence[Handle]) -> Iterator[str]:
    """Scores are computed again."""
    path = folder / PREDICTIONS
    if path.is_symlink():
        return
    found = submissions.load_all(
        path,
        [suite.manifest.suite for suite in suites],
        [SPLIT],
        fingerprints={suite.name: suite.fingerprint for suite in suites},
        models={(suite.name, SPLIT): list(suite.truth(SPLIT)) for suite in suites},
    )
    if (digest := _sha256(path)) != entry.predictions:
        yield f"predictions: expected sha256 {entry.predictions:.12}, that of the file is {digest:.12}"
    again = _scored_again(entry, {name: each.predictions for (name, _), each in found.items()}, suites)
    for name in ("average", "draws"):
        yield from _differs(name, getattr(entry, name), getattr(again, name))
    for suite, claimed in entry.suites.items():
        computed = again.suites[suite]
        if claimed.dataset and computed.dataset and claimed.dataset != computed.dataset:
            yield f"{suite}.dataset: expected {computed.dataset}, got {claimed.dataset}"
        for field in ("fingerprint", "models", "non_members", "false_positives"):
            if getattr(claimed, field) != getattr(computed, field):
                yield f"{suite}.{field}: expected {getattr(computed, field)!s:.80}, got {getattr(claimed, field)!s:.80}"
        for key in {*claimed.scores, *computed.scores}:
            yield from _differs(f"{suite}.{key}", claimed.scores.get(key, []), computed.scores.get(key, []))
        for which, (one, other) in enumerate(zip(claimed.curve, computed.curve, strict=True)):
            yield from _differs(f"{suite}.curve, {('FPR', 'TPR')[which]}", one, other)


def _scored_again(entry: Entry, predictions: Mapping[str, ByModel], suites: Sequence[Handle]) -> Entry:
    return of_results(
        score(predictions, suites, entry.name),
        {suite.name: suite for suite in suites},
        name=entry.name,
        title=entry.title,
        threat_model=entry.threat_model,
        predictions=entry.predictions,
        attack=entry.attack,
        code=entry.code,
    )


def _differs(name: str, claimed: Sequence[float], computed: Sequence[float]) -> Iterator[str]:
    apart = [abs(one - other) for one, other in zip(claimed, computed, strict=False)]
    if len(claimed) != len(computed) or max(apart, default=0) > SAME:
        shown = [", ".join(f"{value:.6g}" for value in values[:3]) or "none" for values in (computed, claimed)]
        yield f"{name}: expected {shown[0]}, got {shown[1]}"


def reproduce(folder: Path, suites: Sequence[Handle], source: str | None = None) -> Entry:
    """Runs an entry's attack again, which runs its code, and notes in the entry what came out.

    Raises:
        BoardError: The entry has no attack to run.
        AttackError: The attack fails.
    """
    entry = read_entry(folder)
    if not entry.attack:
        raise BoardError(
            f"{entry.track}/{entry.name}: it has no attack to run again, only {entry.code or 'predictions'}"
        )
    attack = find(str(folder / ATTACK)) if entry.attack == ATTACK else ATTACKS[entry.attack]
    again = _scored_again(entry, attacked(attack, suites, source), suites)
    _same_models(entry, [again])
    average = again.average[0]
    came_out = all(
        _near(of.scores[RANKING][0], again.suites[name].scores[RANKING][0]) for name, of in entry.suites.items()
    )
    found = replace(entry, reproduced=Reproduced(f"{date.today()}", version("mico-hub"), average, came_out))
    atomic_write(folder / ENTRY, found.to_json())
    return found


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= CAME_OUT


def folder_of(board: Path, name: str) -> Path:
    """The folder of TRACK/NAME, or of NAME where one track alone has it.

    Raises:
        BoardError: There is none, or several.
    """
    there = {f"{folder.parent.name}/{folder.name}": folder for folder in folders(board)}
    found = [folder for key, folder in there.items() if name in (key, folder.name)]
    if len(found) != 1:
        raise BoardError(f"{board}: expected one entry, TRACK/NAME, got {name!r}.{did_you_mean(name, there)}")
    return found[0]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
