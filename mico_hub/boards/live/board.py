"""A live board: a store and its rules, the suites that it is on, and the threads that have submissions scored."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mico_hub.attacks import attack
from mico_hub.boards.live.answers import answer, bits_of_truth, error, levels_of
from mico_hub.boards.live.judge import Wanted, judge
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import NotClaimedError, Participant, RefusedError, Season, Store, Submission
from mico_hub.handle import Handle
from mico_hub.loading import open_suite
from mico_hub.messages import InputError
from mico_hub.scoring import RANKING
from mico_hub.submissions.archive import archive_bytes
from mico_hub.submissions.folder import files_of
from mico_hub.submissions.writing import complete
from mico_hub.suites import Suite, tracks

SPLITS = ("dev", "final")
BASELINES = ("loss", "lira")
TRIES = 3
"""How often a submission is scored before the board says that it cannot."""
_IDLE_SECONDS = 0.5
_LOOK_SECONDS = 10
_REST_SECONDS = 1.0  # after a submission that could not be scored

logger = logging.getLogger("mico_hub.board")


class BoardError(InputError):
    """What a board cannot do."""


@dataclass(frozen=True, slots=True)
class OnBoard:
    """A track while a season lasts."""

    season: Season
    suites: Mapping[str, Suite]
    wanted: Mapping[str, Wanted]
    levels: Mapping[str, int]
    members: Mapping[str, int]  # half of the points, which binomial errors are of


@dataclass(frozen=True, slots=True)
class Standing:
    """A participant's place."""

    place: int
    submission: Submission
    errors: Mapping[str, float]  # suite -> half of a binomial 95% interval


class Board:
    """What pages and commands ask."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self.store, self.rules = store, rules
        self._tracks: dict[int, OnBoard] = {}
        self._lock, self._claiming = threading.Lock(), threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._active: set[str] = set()  # submissions that this server is scoring
        self._rest = 0.0  # until then nothing is scored

    # tracks and seasons

    def begin(
        self, track: str, source: str | None, truth: Path | None, files: Mapping[str, Path | None] | None = None
    ) -> Season:
        """Begins a season of a track, after a look at its suites and their truth.

        Args:
            track: One of the rules'.
            source: Where the suites are, as `open_suite` takes it.
            truth: The folder with their hidden membership, as `Handle.truth` takes it; None: where the store has it.
            files: The truth, to be kept with the season from now on: as of `Database.change`.

        Raises:
            SourceError: A suite or its hidden membership was not found.
            FolderError: The truth is of other models.
        """
        handles = [open_suite(suite.name, source) for suite in tracks()[track]]
        if not files:
            hidden = self.store.truth() if truth is None else truth
            for handle in handles:
                handle.truth("dev", hidden)
        prints = {handle.name: handle.fingerprint for handle in handles}
        return self.store.add_season(track, source or "", "" if truth is None else str(truth.resolve()), prints, files)

    def on(self, track: str) -> OnBoard:
        """A track in its current season.

        Raises:
            KeyError: It is not on this board.
        """
        return self._loaded(self.store.season(track))

    def _loaded(self, season: Season) -> OnBoard:
        if season.id not in self._tracks:
            found = _on_board(season, self.truth_of(season))  # takes a second; twice does no harm
            with self._lock:
                self._tracks.setdefault(season.id, found)
        return self._tracks[season.id]

    def truth_of(self, season: Season) -> Path | None:
        """Where a season's hidden membership is, as `Handle.truth` takes it."""
        return Path(season.truth) if season.truth else self.store.truth()

    def present(self) -> list[str]:
        """The tracks that have a season, in the order of the rules."""
        found = []
        for track in self.rules.tracks:
            try:
                self.store.season(track)
            except KeyError:
                continue
            found.append(track)
        return found

    # submissions

    def submit(self, track: str, participant: Participant, content: bytes, about: Mapping[str, Any]) -> Submission:
        """Accepts a submission, which is scored in a moment.

        Raises:
            RefusedError: A limit, or a phase that is closed.
        """
        if len(content) > self.rules.most_bytes and not participant.baseline:
            raise RefusedError(
                f"expected at most {self.rules.megabytes:g} MB, got {len(content) / 1e6:.1f}", status=413
            )
        accepted = self.store.accept(self.rules, self.store.season(track), participant, content, about)
        self._wake.set()
        return accepted

    def start(self, threads: int) -> None:
        """Begins to score what waits."""
        self.store.release_dead()
        for number in range(threads):
            thread = threading.Thread(target=self._loop, name=f"judge-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Ends when what is under way has been scored."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()

    def _loop(self) -> None:
        tries: dict[str, int] = {}  # submission -> how often it could not be scored
        looked = time.monotonic()
        while not self._stop.is_set():
            try:
                if time.monotonic() - looked > _LOOK_SECONDS:
                    with self._claiming:
                        self.store.release_dead(set(self._active))
                    looked = time.monotonic()
                resting = self._rest - time.monotonic()
                if resting > 0:
                    self._stop.wait(resting)
                elif not self._next(tries):
                    self._wake.clear()
                    self._wake.wait(_IDLE_SECONDS)
            except Exception:  # such as a disk that is full; a judge that ends would leave everybody waiting
                logger.exception("a judge goes on after")
                self._stop.wait(1)

    def _next(self, tries: dict[str, int]) -> bool:
        """Scores what waits longest; False where nothing waits."""
        with self._claiming:
            claimed = self.store.claim()
            if claimed is None:
                return False
            self._active.add(claimed.id)
        try:
            scored = self.score(claimed)
        except Exception as error:  # of this machine
            scored = Future()
            scored.set_exception(error)
        scored.add_done_callback(partial(self._scored, claimed, tries))
        return True

    def _scored(self, claimed: Submission, tries: dict[str, int], scored: Future[None]) -> None:
        """Has a submission that was claimed wait again, where it was not scored."""
        error = scored.exception()
        if error is None or isinstance(error, NotClaimedError):
            self._active.discard(claimed.id)
            return
        # a mistake of ours, or the machine's: not the participant's
        logger.error("submission %s was not scored", claimed.id, exc_info=error)
        passes = isinstance(error, OSError | sqlite3.Error) or self._stop.is_set()
        tries[claimed.id] = tries.get(claimed.id, 0) + (not passes)
        if tries[claimed.id] >= TRIES:
            said = "the board could not score it, perhaps through no fault of yours; it counts against no limit"
            refused = self.store.refuse(claimed.id, [said], keep=True)
            refused.add_done_callback(lambda _: self._active.discard(claimed.id))  # where that failed it waits again
            return
        self._active.discard(claimed.id)
        self._rest = time.monotonic() + _REST_SECONDS
        self.store.wait_again(claimed.id)

    def score(self, submission: Submission) -> Future[None]:
        """Scores a submission that this server has claimed; done when what is told of it is kept."""
        on = self._of(submission)
        verdict = judge(self.store.upload(submission.id), on.wanted)
        scores = verdict.scores
        if scores is None:
            return self.store.refuse(submission.id, verdict.problems)
        return self.store.tell(submission.id, verdict.splits, lambda last: answer(self.rules, scores, on.levels, last))

    def score_waiting(self, season: int, seconds: float = 600) -> None:
        """Scores all of a season that waits, here and now, and waits for what other servers are scoring.

        Raises:
            BoardError: That took too long.
        """
        ends = time.monotonic() + seconds
        while True:
            claimed = iter(lambda: self.store.claim(season), None)
            for scored in [self.score(each) for each in claimed]:
                with suppress(NotClaimedError):
                    scored.result()
            self.store.release_dead()
            under_way = self.store.under_way(season)
            if not under_way:
                return
            if time.monotonic() > ends:
                raise BoardError(f"waited {seconds:.0f} s for {', '.join(under_way)}, which a server is scoring")
            time.sleep(_IDLE_SECONDS)

    def _of(self, submission: Submission) -> OnBoard:
        for track in self.rules.tracks:
            for season in self.store.seasons(track):
                if season.id == submission.season:
                    return self._loaded(season)
        raise BoardError(f"submission {submission.id} is of a track that is not on this board")

    # what is shown

    def standings(self, track: str, threat_model: str | None = None) -> list[Standing]:
        """Everybody's counting submission, the best first; those that are equal share a place."""
        on = self.on(track)
        counting = self.store.counting(on.season.id, self.rules.counts)
        shown = [each for each in counting if threat_model is None or each.about.get("threat_model") == threat_model]
        shown.sort(key=lambda each: (-(each.mean or 0.0), each.received))
        means = [each.mean or 0.0 for each in shown]
        return [
            Standing(1 + sum(mean > (each.mean or 0.0) for mean in means), each, _errors(each, on.members))
            for each in shown
        ]

    def given(self, track: str, participant: str | None = None) -> dict[str, float]:
        """Suite -> bits of its truth that answers can have given away, to a participant or to all together."""
        on = self.on(track)
        return {**dict.fromkeys(on.suites, 0.0), **self.store.bits(on.season.id, participant)}

    def spent(self, track: str) -> dict[str, float]:
        """Suite -> the share of its truth that answers to all together can have given away."""
        on = self.on(track)
        given = self.given(track)
        return {
            name: given[name] / bits_of_truth(len(on.wanted[name].models["dev"]), suite.m)
            for name, suite in on.suites.items()
        }

    # baselines

    def add_baselines(self, track: str, names: Sequence[str] = BASELINES) -> Iterator[str]:
        """Runs reference attacks that are not on the board yet and submits them; their names, one by one."""
        from mico_hub.attacks import ATTACKS

        season = self.store.season(track)
        known = {participant.name: participant for participant in self.store.participants()}
        there = {each.participant for each in self.store.submissions(season.id)}
        handles = season_suites(season)
        for name in names:
            title = f"baseline: {name}"
            if title in there:
                continue
            if title not in known:
                self.store.add_participant(title, baseline=True)
                known = {participant.name: participant for participant in self.store.participants()}
            content = {
                (handle, split): attack(name, handle.split(split), handle.train, season.source or None)
                for handle in handles
                for split in SPLITS
            }
            about = {
                "title": ATTACKS[name].title,
                "threat_model": "white-box" if ATTACKS[name].white_box else "black-box",
                "tags": ["shadow models"] if ATTACKS[name].uses_shadows else [],
                "code": "",
                "write_up": "",
            }
            self.submit(track, known[title], archive_bytes(files_of(complete(content), season.fingerprints)), about)
            yield name


def season_suites(season: Season) -> list[Handle]:
    """The suites of a season."""
    return [open_suite(suite.name, season.source or None) for suite in tracks()[season.track]]


def _on_board(season: Season, truth: Path | None) -> OnBoard:
    handles = season_suites(season)
    suites = {handle.name: handle.manifest.suite for handle in handles}
    for handle in handles:
        if handle.fingerprint != season.fingerprints[handle.name]:
            raise BoardError(f"{season.source}: {handle.name} is another suite now than when the season began")
    wanted = {handle.name: _wanted(handle, truth) for handle in handles}
    half = {name: len(of.models["dev"]) * of.points // 2 for name, of in wanted.items()}
    levels = {name: levels_of(half[name] if suite.design != "coins" else None) for name, suite in suites.items()}
    return OnBoard(season, suites, wanted, levels, half)


def _wanted(handle: Handle, hidden: Path | None) -> Wanted:
    models = {split: [row["model_id"] for row in handle.challenges(split)] for split in SPLITS}
    truth = handle.truth("dev", hidden)
    return Wanted(handle.fingerprint, 2 * handle.manifest.suite.m, models, truth)


def _errors(submission: Submission, members: Mapping[str, int]) -> dict[str, float]:
    return {suite: error(told[RANKING], members[suite]) for suite, told in submission.told.items()}
