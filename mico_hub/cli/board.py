"""`mico-hub board open`: entries of an open board, and its page."""

import argparse
import re
import sys
from pathlib import Path

from mico_hub import submissions, tables
from mico_hub.attacks import ATTACKS, Attack, find
from mico_hub.boards import open_board
from mico_hub.boards.entry import SPLIT, BoardError, Entry
from mico_hub.boards.open_board import About
from mico_hub.cli.attack import attacking, attacks_of
from mico_hub.handle import Handle
from mico_hub.loading import open_suite
from mico_hub.messages import counted, listed
from mico_hub.reporting.scorecard import percent
from mico_hub.scoring import RANKING
from mico_hub.suites import tracks


def add(options: argparse.Namespace) -> None:
    """Scores a submission and adds it as an entry."""
    track = options.track or _track_of(options.file)
    attack = None if options.attack is None else find(str(options.attack))
    if not (options.code or options.attack):
        raise BoardError("expected the attack's code: a link with --code, or a file with --attack")
    suites = _suites(track, options.source)
    recipes = [suite.manifest.suite for suite in suites]
    fingerprints = {suite.name: suite.fingerprint for suite in suites}
    models = {(suite.name, SPLIT): list(suite.truth(SPLIT)) for suite in suites}
    found = submissions.load_all(options.file, recipes, [SPLIT], fingerprints=fingerprints, models=models)
    name = options.name or re.sub(r"[^a-z0-9_-]+", "-", options.file.resolve().stem.lower()).strip("-_")
    about = About(
        name=name,
        title=options.title or (attack.title if attack else name),
        threat_model=_threat_model(options.threat_model, attack),
        attack=options.attack or "",
        code=options.code or "",
        write_up=_write_up(options.write_up),
        tags=tuple(options.tag or ()),
    )
    held = {suite: submission.predictions for (suite, _), submission in found.items()}
    _tell(options.board, open_board.add(options.board, held, suites, about))


def references(options: argparse.Namespace) -> None:
    """Runs reference attacks on a track and adds them as entries."""
    attacks, suites = attacks_of(options.attack).values(), _suites(options.track, options.source)
    if own := [attack.name for attack in attacks if attack not in ATTACKS.values()]:
        raise BoardError(f"expected reference attacks, got {', '.join(own)}: `board open add` is for others")
    for attack in attacks:
        if (options.board / options.track / attack.name).exists():
            sys.stdout.write(f"{options.track}/{attack.name}: is there\n")
            continue
        with attacking(options.track, attack.name):
            predictions = open_board.attacked(attack, suites, options.source)
        about = About(
            attack.name, attack.title, _threat_model(None, attack), attack.name, tags=_tags(attack), reference=True
        )
        _tell(options.board, open_board.add(options.board, predictions, suites, about))


def check(options: argparse.Namespace) -> None:
    """Looks at all entries without running anything of theirs."""
    number = len(open_board.folders(options.board))
    if not number:
        raise BoardError(f"{options.board}: expected entries, TRACK/NAME/{open_board.ENTRY}, found none")
    problems = list(open_board.check(options.board, lambda track: _suites(track, options.source)))
    if problems:
        raise BoardError(listed(f"{options.board}: {counted(len(problems), 'problem')}", problems, len(problems)))
    sys.stdout.write(f"{options.board}: {_entries(number)}, scored again: nothing is wrong\n")
    told = [f"{each.track}/{each.name}" for each in open_board.entries(options.board) if each.reproduced is not None]
    if told:
        sys.stdout.write(f"by the word of who wrote their entry.json these were run again: {', '.join(told)}\n")


def reproduce(options: argparse.Namespace) -> int:
    """Runs an entry's attack again; exit code 1 where something else comes out."""
    folder = open_board.folder_of(options.board, options.name)
    suites = _suites(folder.parent.name, options.source)
    found = open_board.reproduce(folder, suites, options.source)
    again = found.reproduced
    if again is None:
        raise AssertionError("an entry that was run again says so")
    said = "came out" if again.came_out else "did not come out"
    numbers = f"{percent(found.average[0], 2)} in the entry, {percent(again.average, 2)} now"
    sys.stdout.write(f"{found.track}/{found.name}: {numbers}: it {said}\n")
    return 0 if again.came_out else 1


def render(options: argparse.Namespace) -> None:
    """Makes the page."""
    from mico_hub.boards import page  # which draws

    if not (found := open_board.entries(options.board)):
        raise BoardError(f"{options.board}: expected entries, TRACK/NAME/{open_board.ENTRY}, found none")
    page.write_page(found, options.out, options.title)
    sys.stdout.write(f"{_entries(len(found))} in {options.out / 'index.html'}\n")


def _entries(number: int) -> str:
    return f"{number} entr{'y' if number == 1 else 'ies'}"


def _suites(track: str, source: str | None) -> list[Handle]:
    return [open_suite(suite.name, source) for suite in tracks()[track]]


def _track_of(file: Path) -> str:
    """The track that a submission is of.

    Raises:
        BoardError: It is of none, or of several.
    """
    found = [track for track, suites in tracks().items() if submissions.splits_in(file, suites)]
    if len(found) != 1:
        raise BoardError(f"{file}: expected predictions for one track, got {', '.join(found) or 'none'}; see --track")
    return found[0]


def _threat_model(given: str | None, attack: Attack | None) -> str:
    if given is None and attack is None:
        raise BoardError("expected what the attack sees: --threat-model black-box, or white-box")
    return given or ("white-box" if attack and attack.white_box else "black-box")


def _tags(attack: Attack) -> tuple[str, ...]:
    used = {"own shadow models": attack.trains, "shadow models": attack.uses_shadows and not attack.trains}
    return tuple(tag for tag, has in used.items() if has)


def _write_up(given: str | None) -> Path | str:
    return "" if given is None else given if given.startswith("https://") else Path(given)


def _tell(board: Path, entry: Entry) -> None:
    """What the entry scored."""
    rows = [("mean", percent(entry.average[0], 2))]
    rows += [(name, percent(suite.scores[RANKING][0], 2)) for name, suite in entry.suites.items()]
    where = board / entry.track / entry.name
    sys.stdout.write(f"{where}\n{tables.text(('suite', 'TPR at 10% FPR'), rows)}\n\n")
