"""The suite folder: what training writes and builders read. This module alone knows its layout.

suites/cifar10_hi/
    suite.json                      recipe, versions, noise multiplier, digest of the data; public
    public/rows.parquet             one row per model, as published
    public/train/model_0.safetensors ...
    public/signals/loss.safetensors ...     made of what is public, see `signals`
    unfinished-signals/             those of some models, until all are there
    private/rows.parquet            the truth for every model
    private/keys.json               the secret keys of the training
    private/opening-dev.json        what opens the commitment to a hidden split's truth, see `commitments`
    private/partial/model_0.json    what was measured of a finished model; with it the model is done
    private/published.json          where the suite was published; from then on its commitments are fixed
    private/lock                    held while a run works on the folder
"""

import json
import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from mico_hub.cache import atomic_write, remove_unfinished, writable
from mico_hub.messages import counted
from mico_hub.randomness import Keys
from mico_hub.release.commitments import NONCE_BYTES, Opening
from mico_hub.release.consistency import problems_of
from mico_hub.release.disclosure import Measured, hidden_splits
from mico_hub.release.format import FormatError, NewerFormatError, build, canonical, keys_of, known_keys, parse, stamped
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError, each_row, each_truth, read_truth, write_rows, write_truth
from mico_hub.release.rows import Row, Truth
from mico_hub.release.tensors import sha256_of
from mico_hub.splits import Split, stored_split
from mico_hub.suites import SPLITS, Suite

PUBLIC, PRIVATE, SIGNALS = "public", "private", "signals"


def truth_path(folder: Path, name: str) -> Path:
    """The file with the truth of a suite.

    Args:
        folder: What somebody has of it: the folder of suites, the suite's folder, its private part or the rows in it,
            or a copy of the repository with the truth of a published folder.
        name: The suite.

    Raises:
        FolderError: It is in none of the places.
    """
    rows = "rows.parquet"
    places = [folder, *(folder / place / rows for place in ("", PRIVATE, f"{name}/{PRIVATE}", name))]
    for place in places:
        if place.is_file():
            return place
    if not folder.exists():
        raise FolderError(f"{folder}: no such folder; expected the truth of {name}, as its training wrote it")
    lines = "".join(f"\n  {place}" for place in places[1:])
    raise FolderError(f"{folder}: the truth of {name}, as its training wrote it, was not found. Looked for:{lines}")


def opening_name(split: str) -> str:
    """The file, beside the truth, with what opens the commitment to a split's."""
    return f"opening-{split}.json"


@dataclass(frozen=True, slots=True)
class SuiteFolder:
    """A suite's folder on disk."""

    root: Path

    @property
    def manifest_path(self) -> Path:
        """`suite.json`."""
        return self.root / "suite.json"

    def rows_path(self, part: str) -> Path:
        """The rows of `public` or `private`."""
        return self.root / part / "rows.parquet"

    def checkpoint(self, suite: Suite, model_id: int) -> Path:
        """Where a model's weights are: `checkpoint_path` below `public/`, without the suite's name."""
        return self.root / PUBLIC / suite.split_of(model_id) / f"model_{model_id}.safetensors"

    @property
    def signals(self) -> Path:
        """Where the files of signals are."""
        return self.root / PUBLIC / SIGNALS

    @property
    def unfinished_signals(self) -> Path:
        """Where signals of some models are kept until all are there."""
        return self.root / "unfinished-signals"

    def _partial(self, model_id: int) -> Path:
        return self.root / PRIVATE / "partial" / f"model_{model_id}.json"

    @property
    def _begun_path(self) -> Path:
        return self.root / PRIVATE / "begun.json"

    @property
    def _keys_path(self) -> Path:
        return self.root / PRIVATE / "keys.json"

    def opening_path(self, split: str) -> Path:
        """What opens the commitment to the truth of a hidden split."""
        return self.root / PRIVATE / opening_name(split)

    def exists(self) -> bool:
        """Whether a suite was begun here."""
        return self.manifest_path.exists()

    def complete(self) -> bool:
        """Whether every model is trained and the rows are written."""
        return self.exists() and self.rows_path(PUBLIC).exists()

    def finished(self) -> int:
        """How many models are done, by what was noted of them; nothing is read."""
        return len(list(self._partial(0).parent.glob("model_*.json")))

    def require_complete(self) -> None:
        """Sees to it that the suite is complete.

        Raises:
            FolderError: It is not, or there is none; the message says how many models there are.
        """
        manifest = self.manifest()
        if not self.complete():
            verb = "imported" if manifest.origin else "trained"
            raise FolderError(
                f"{self.root}: {self.finished()} of {counted(manifest.num_models, 'model')} are {verb}, and all must "
                f"be; resume with the command that began it"
            )

    def manifest(self) -> Manifest:
        """Reads `suite.json`."""
        try:
            text = self.manifest_path.read_bytes()
        except OSError as error:
            raise FolderError(f"{self.root}: expected a suite folder with suite.json: {error}") from error
        return Manifest.from_json(text, str(self.manifest_path))

    def begun(self) -> Manifest | None:
        """`suite.json` as it was when training began, or the suite last grew; None: from before that was kept."""
        path = self._begun_path
        return Manifest.from_json(path.read_bytes(), str(path)) if path.is_file() else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out of the folder while the block runs, and removes what a killed one left half-written.

        The lock is the operating system's: it ends with the process, however that ends.

        Raises:
            FolderError: Another run has the folder.
        """
        private = self.root / PRIVATE
        with writable(private):
            private.mkdir(parents=True, exist_ok=True)
            private.chmod(0o700)
        lock = FileLock(private / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise FolderError(f"{self.root}: another run is at work here; wait until it ends, or stop it") from None
        try:
            remove_unfinished(self.root)
            yield
        finally:
            lock.release()

    def begin(self, manifest: Manifest, truth: Sequence[Truth], keys: Sequence[Keys]) -> None:
        """Fixes everything that is drawn, before any training; `suite.json`, written last, marks it done.

        Args:
            manifest: Commitments to the hidden truth are added to it.
            truth: The private row of each model, by id.
            keys: Each model's.

        Raises:
            FolderError: There are models of another suite in the folder, whose splits would not be theirs.
        """
        left = [path for folder in (PUBLIC, f"{PRIVATE}/partial") for path in (self.root / folder).glob("**/*")]
        if any(path.is_file() for path in left):
            raise FolderError(
                f"{self.root} holds models of a suite whose suite.json is gone: put it back, or name another folder"
            )
        self._begin(manifest, truth, keys, lambda split: secrets.token_bytes(NONCE_BYTES))

    def _begin(
        self, manifest: Manifest, truth: Sequence[Truth], keys: Sequence[Keys], nonce: Callable[[str], bytes]
    ) -> None:
        write_truth(truth, self.rows_path(PRIVATE))
        self._write_keys(keys)
        commitments = {}
        for split in hidden_splits(manifest.suite):
            opening = Opening(manifest.suite.name, split, nonce(split), tuple(_of_split(truth, split)))
            atomic_write(self.opening_path(split), opening.to_json())
            commitments[split] = opening.commitment()
        committed = replace(manifest, commitments=commitments)
        atomic_write(self._begun_path, committed.to_json())
        self.begin_import(committed)

    def _write_keys(self, keys: Sequence[Keys]) -> None:
        secret = {f"model_{model_id}": model_keys.to_hex() for model_id, model_keys in enumerate(keys)}
        atomic_write(self._keys_path, json.dumps(stamped({"models": secret}), indent=1).encode())

    def begin_import(self, manifest: Manifest) -> None:
        """As `begin`, for models whose splits and training are not ours: nothing is drawn, there is no truth.

        Raises:
            FormatError: The manifest says what no reader would take.
        """
        text = manifest.to_json()
        Manifest.from_json(text, str(self.manifest_path))
        atomic_write(self.manifest_path, text)

    def grow(self, suite: Suite, truth: Sequence[Truth], keys: Sequence[Keys]) -> None:
        """Adds models to a suite that was begun, finished or not; its own models, keys and nonces stay.

        The suite is unfinished from then on. Until `suite.json` is written, which is last, it has its old models: a run
        in between finds more truth and keys than models, and uses those of its models.

        Args:
            suite: The same recipe with more models, whose ids follow those that are there.
            truth: The private row of each new model, by id.
            keys: Each new model's.
        """
        begun = self.manifest()
        before = self.truth()
        nonces = {split: self.opening(split).nonce for split in begun.commitments}
        self.rows_path(PUBLIC).unlink(missing_ok=True)
        self._begin(
            replace(begun, suite=suite),
            [*before, *truth],
            [*self.keys(), *keys],
            lambda split: nonces.get(split) or secrets.token_bytes(NONCE_BYTES),
        )

    def settle(self) -> None:
        """Sees to it that the truth is the one that was committed to, also where `grow` was interrupted.

        Raises:
            FolderError: It is another one.
        """
        manifest = self.manifest()
        if manifest.origin:
            return
        every = read_truth(self.rows_path(PRIVATE))
        truth = every[: sum(manifest.suite.models)]
        if len(every) > len(truth):
            write_truth(truth, self.rows_path(PRIVATE))
            self._write_keys(self.keys())
        for split in SPLITS:
            if split not in manifest.commitments:
                self.opening_path(split).unlink(missing_ok=True)
        for split, commitment in manifest.commitments.items():
            kept = self.opening(split)
            opening = replace(kept, models=tuple(_of_split(truth, split)))
            if opening.commitment() != commitment:
                raise FolderError(
                    f"{self.root}: its truth of {split} is not the one that suite.json commits to: private/ belongs to "
                    f"another suite, or was changed"
                )
            if opening.to_json() != kept.to_json():
                atomic_write(self.opening_path(split), opening.to_json())

    def opening(self, split: str) -> Opening:
        """What opens the commitment to a hidden split.

        Raises:
            FolderError: It is missing.
            CommitmentError: It is not one.
        """
        path = self.opening_path(split)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise FolderError(f"{path}: expected what opens the commitment to {split}: {error}") from error
        return Opening.from_json(text, str(path))

    @property
    def _published_path(self) -> Path:
        return self.root / PRIVATE / "published.json"

    def published(self) -> str | None:
        """The repository that the suite was published in, as far as this folder knows; None: in none."""
        path = self._published_path
        if not path.is_file():
            return None
        return str(known_keys(parse(path.read_bytes(), str(path)), ("repository",), str(path)).get("repository"))

    def mark_published(self, repository: str) -> None:
        """Notes where the suite is published: from now on its commitments are known, and it cannot grow."""
        atomic_write(self._published_path, canonical(stamped({"repository": repository})) + b"\n")

    def truth(self) -> list[Truth]:
        """The private row of each of the suite's models, by id."""
        return list(self._each_truth())

    def _each_truth(self) -> Iterator[Truth]:
        """As `truth`, a few rows at a time: more than the suite's are there where `grow` was interrupted."""
        return islice(each_truth(self.rows_path(PRIVATE)), sum(self.manifest().suite.models))

    def splits(self, num_records: int) -> Iterator[Split]:
        """Each model's split of `num_records` records, by id; made one at a time, all would take much memory."""
        for row in self._each_truth():
            yield stored_split(num_records, row["challenge"], row["membership"], row["training"])

    def keys(self) -> list[Keys]:
        """Each model's secret keys, by id."""
        path = self._keys_path
        secret = known_keys(parse(path.read_bytes(), str(path)), ("models",), str(path))["models"]
        return [Keys.from_hex(secret[f"model_{model_id}"]) for model_id in range(sum(self.manifest().suite.models))]

    def finish_model(self, suite: Suite, model_id: int, measured: Measured, source: str = "") -> None:
        """Marks a model whose checkpoint is written as done.

        Args:
            suite: Its suite.
            model_id: Which.
            measured: What is known of it.
            source: What an imported model was made from, by content; with another one it counts as not done.
        """
        record = {**asdict(measured), "source": source, "digest": measured.digest(suite.name, model_id)}
        if record["epsilon"] is not None and math.isinf(record["epsilon"]):
            record["epsilon"] = None  # JSON has no infinity
        atomic_write(self._partial(model_id), canonical(stamped(record)) + b"\n")

    def measured(self, suite: Suite, model_id: int, source: str = "", *, hashed: bool = True) -> Measured | None:
        """What was measured of a finished model; None where there is no whole checkpoint of it from that source.

        Args:
            suite: Its suite.
            model_id: Which.
            source: See `finish_model`.
            hashed: Whether the checkpoint is read whole, to see that it is the one that was measured.
        """
        measured, weights = self.recorded(suite, model_id, source), self.checkpoint(suite, model_id)
        if measured is None or not weights.exists():
            return None
        return measured if not hashed or sha256_of(weights) == measured.sha256 else None

    def recorded(self, suite: Suite, model_id: int, source: str = "") -> Measured | None:
        """As `measured`, wherever the checkpoint is."""
        path = self._partial(model_id)
        try:
            record = known_keys(parse(path.read_bytes(), str(path)), _MEASURED, str(path))
            measured = build(Measured, record, str(path))
        except NewerFormatError:
            raise
        except (FileNotFoundError, FormatError):  # missing or unreadable: the model is made again
            return None
        if not source and not suite.private:
            measured = replace(measured, epsilon=math.inf)
        known = record.get("source"), record.get("digest")
        return measured if known == (source, measured.digest(suite.name, model_id)) else None

    def finish(self, public: Sequence[Row]) -> None:
        """Checks the public rows that `disclosure.disclose` made, and writes them; with them the suite is complete.

        Raises:
            FolderError: As `verify`; then nothing is written.
        """
        self._check(self.manifest(), public)
        write_rows(public, self.rows_path(PUBLIC))

    def verify(self) -> None:
        """Checks the public part against itself: schema, ids, counts, every checkpoint's sha256 and size.

        Raises:
            FolderError: Something is missing or different; the message lists everything.
        """
        self.require_complete()
        self._check(self.manifest(), each_row(self.rows_path(PUBLIC)))

    def _check(self, manifest: Manifest, rows: Iterable[Row]) -> None:
        problems = problems_of(manifest, rows, lambda row: self.checkpoint(manifest.suite, row["model_id"]))
        if problems:
            raise FolderError("\n".join([f"{self.root}: {counted(len(problems), 'problem')}", *problems]))


_MEASURED = frozenset({*keys_of(Measured), "source", "digest"})


def _of_split(truth: Iterable[Truth], split: str) -> list[Truth]:
    return [row for row in truth if row["split"] == split]
