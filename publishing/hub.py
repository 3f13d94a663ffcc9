"""Makes a repository on the Hub hold what local files say, and nothing else; then looks whether it does.

Only what is not online yet, by its digest, is uploaded, new files in commits of at most `BATCH`; what changes what
others see comes in a last commit. So a run may be interrupted at any moment, and the next one resumes.
Where Xet is at hand the large files go through `upload_folder`, which batches and resumes by itself; else through LFS.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import cast

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_session,
    hf_hub_url,
)
from huggingface_hub.hf_api import DatasetInfo, RepoFile, SpaceInfo
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from mico_hub.messages import InputError, counted, is_are, listed
from mico_hub.progress import Bar
from mico_hub.sources.retries import RequestError, bound_silence, retry

BATCH = 200  # files in a commit
THREADS = 8
READ_AT_ONCE = 1 << 20  # bytes
KEPT = {".gitattributes"}  # the Hub's own file


bound_silence()


class PublishError(InputError, RuntimeError):
    """Something could not be put online, or is not what it should be there; the message says what and what to do."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file to be put online."""

    source: Path | bytes
    last: bool = False  # whether it belongs into the last commit, which makes the rest visible
    checked: str = ""  # the SHA-256 of what was checked; empty: it is held here

    def data(self) -> bytes:
        """All of it, for small ones."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def size(self) -> int:
        """In bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def _open(self) -> BytesIO | BufferedReader:
        return BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    def sha256(self) -> str:
        """In hexadecimal, as LFS has it."""
        with self._open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def digest(self) -> str:
        """The SHA-256 of what was checked, whatever the file has become since."""
        return self.checked or self.sha256()

    def blob_id(self) -> str:
        """As git has it."""
        with self._open() as file:
            return hashlib.file_digest(file, lambda: hashlib.sha1(b"blob %d\0" % self.size())).hexdigest()  # noqa: S324


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on the Hub, and who asks."""

    api: HfApi
    id: str
    kind: str  # `dataset` or `space`

    def exists(self) -> bool:
        """Whether there is one of that name that the token may see."""
        return retry(lambda: self.api.repo_exists(self.id, repo_type=self.kind), f"asking for {self.id}")

    def info(self) -> DatasetInfo | SpaceInfo:
        """What the Hub says of it: its present name, its last commit, whether it is private."""
        info = retry(lambda: self.api.repo_info(self.id, repo_type=self.kind), f"asking for {self.id}")
        return cast("DatasetInfo | SpaceInfo", info)

    def files(self, revision: str | None = None) -> dict[str, RepoFile]:
        """Everything in it, by path."""
        found = retry(
            lambda: list(self.api.list_repo_tree(self.id, recursive=True, repo_type=self.kind, revision=revision)),
            f"listing {self.id}",
        )
        return {entry.path: entry for entry in found if isinstance(entry, RepoFile) and entry.path not in KEPT}

    def differing(self, contents: Mapping[str, Content], revision: str | None = None) -> list[str]:
        """The paths that are not online as they are here, by their digests."""
        online = self.files(revision)
        with ThreadPoolExecutor(THREADS) as pool:
            same = pool.map(lambda path: path in online and _same(contents[path], online[path]), contents)
            return [path for path, is_same in zip(contents, same, strict=True) if not is_same]

    def content(self, path: str, revision: str | None = None) -> bytes:
        """A small file as anyone gets it."""
        return retry(lambda: b"".join(self.read(path, revision)), f"reading {path} of {self.id}")

    def read(self, path: str, revision: str | None = None) -> Iterator[bytes]:
        """A file's bytes as anyone gets them, piece by piece; not from a cache."""
        url = hf_hub_url(self.id, path, repo_type=self.kind, revision=revision, endpoint=self.api.endpoint)
        with get_session().stream("GET", url, headers=build_hf_headers(token=self.api.token)) as response:
            hf_raise_for_status(response)
            yield from response.iter_bytes(READ_AT_ONCE)


def _same(content: Content, online: RepoFile) -> bool:
    if content.size() != online.size:
        return False
    return content.digest() == online.lfs.sha256 if online.lfs else content.blob_id() == online.blob_id


@dataclass(frozen=True, slots=True)
class Synced:
    """What a run has done to a repository."""

    uploaded: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    commits: int = 0


def sync(repository: Repository, contents: Mapping[str, Content], message: str, *, delete: bool = True) -> Synced:
    """Uploads what is not online and deletes what should not be.

    New large files come first, in commits of their own. What is online with other content, what makes the new state
    visible, and what is deleted changes in one last commit, so that whoever reads in between sees the old state whole.

    Args:
        repository: It exists.
        contents: All that it is to hold, by path.
        message: Of the commits.
        delete: Whether other files are deleted.

    Raises:
        PublishError: A file has changed since it was checked; or it could not be done, also after several tries, and
            the message says what is missing.
    """
    online = repository.files()
    missing = repository.differing(contents)
    _require_checked({path: contents[path] for path in missing})
    stale = sorted(online.keys() - contents.keys()) if delete else []
    new = [path for path in missing if path not in online and not contents[path].last]
    last = [path for path in missing if path not in set(new)]
    commits = 0
    bar = Bar(desc=repository.id, total=_size(contents, missing), unit="B", unit_scale=True, disable=not missing)
    try:
        with bar:
            if new and xet_at_hand():
                _upload_folder(repository, new, contents, message)
                new = repository.differing({path: contents[path] for path in new})
            for start in range(0, len(new), BATCH):
                paths = new[start : start + BATCH]
                _commit(repository, paths, contents, message)
                bar.update(_size(contents, paths))
                commits += 1
            if last or stale:
                _commit(repository, last, contents, message, delete=delete)
                bar.update(_size(contents, last))
                commits += 1
    except RequestError as error:
        raise PublishError(f"{error}\n{_still_missing(repository, contents)}") from error
    return Synced(missing, stale, commits)


def _size(contents: Mapping[str, Content], paths: Iterable[str]) -> int:
    return sum(contents[path].size() for path in paths)


def _require_checked(contents: Mapping[str, Content]) -> None:
    """Sees to it that files are still what was checked."""
    with ThreadPoolExecutor(THREADS) as pool:
        digests = pool.map(lambda content: content.sha256() if content.checked else "", contents.values())
        same = [found == content.checked for content, found in zip(contents.values(), digests, strict=True)]
    changed = [path for path, is_same in zip(contents, same, strict=True) if not is_same]
    if changed:
        raise PublishError(listed("changed since they were checked; nothing of this is uploaded:", changed))


def _still_missing(repository: Repository, contents: Mapping[str, Content]) -> str:
    try:
        missing = repository.differing(contents)
    except RequestError:
        return "What is online could not be read. Resume with the same command."
    of_all = f"{len(missing)} of {counted(len(contents), 'file')} {is_are(len(contents))}"
    title = f"{of_all} not online; resume with the same command:"
    return listed(title, missing)


def xet_at_hand() -> bool:
    """Whether the client would upload through Xet."""
    return importlib.util.find_spec("hf_xet") is not None and not constants.HF_HUB_DISABLE_XET


def _upload_folder(repository: Repository, paths: Sequence[str], contents: Mapping[str, Content], message: str) -> None:
    """Those that are in one folder under the same paths; the client itself leaves out what is online."""
    roots: dict[Path, list[str]] = {}
    for path in paths:
        source = contents[path].source
        if isinstance(source, Path) and source.as_posix().endswith(f"/{path}"):
            roots.setdefault(Path(source.as_posix().removesuffix(f"/{path}")), []).append(path)
    for root, below in roots.items():
        for start in range(0, len(below), BATCH):

            def upload(root: Path = root, paths: list[str] = below[start : start + BATCH]) -> None:
                repository.api.upload_folder(
                    repo_id=repository.id,
                    repo_type=repository.kind,
                    folder_path=root,
                    allow_patterns=paths,  # these and no others: what is online with other content has to wait
                    commit_message=message,
                )

            retry(upload, f"uploading to {repository.id}")


def _commit(
    repository: Repository, added: Sequence[str], contents: Mapping[str, Content], message: str, *, delete: bool = False
) -> None:
    def attempt() -> None:
        # The client changes operations, and an earlier try may have been done though its answer was lost: all anew.
        adds = [_operation(path, contents[path]) for path in added]
        for start in range(0, len(adds), BATCH):  # what arrived before an interruption is not sent again
            repository.api.preupload_lfs_files(
                repository.id,
                adds[start : start + BATCH],
                repo_type=repository.kind,
                free_memory=False,
                num_threads=THREADS,
            )
        stale = sorted(repository.files().keys() - contents.keys()) if delete else []
        deletions = [CommitOperationDelete(path) for path in stale]
        repository.api.create_commit(
            repository.id, [*adds, *deletions], repo_type=repository.kind, commit_message=message
        )

    retry(attempt, f"uploading to {repository.id}")


def _operation(path: str, content: Content) -> CommitOperationAdd:
    source = content.source if isinstance(content.source, bytes) else str(content.source)
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=source)


def verify(
    repository: Repository, contents: Mapping[str, Content], read: Iterable[str], revision: str, *, others: bool = False
) -> None:
    """Sees to it that a revision holds these files, as they were checked.

    All are compared by the digests under which the server keeps them; those in `read` are fetched, too, and compared
    byte for byte.

    Args:
        repository: Where.
        contents: By path.
        read: The paths to fetch.
        revision: Which.
        others: Whether there may be other files.

    Raises:
        PublishError: It does not; the message lists everything.
    """
    problems = [f"{path}: differs from what was published" for path in repository.differing(contents, revision)]
    unexpected_files = [] if others else sorted(repository.files(revision).keys() - contents.keys())
    problems += [f"{path}: not expected there" for path in unexpected_files]
    paths = sorted(read)
    bar = Bar(desc=f"verifying {repository.id}", total=len(paths), unit="file", disable=not paths)
    with bar, ThreadPoolExecutor(THREADS) as pool:
        as_read = pool.map(lambda path: _as_read(repository, path, contents, revision), paths)
        for path, same in zip(paths, as_read, strict=True):
            bar.update()
            if not same:
                problems.append(f"{path}: its content differs")
    if problems:
        raise PublishError(listed(f"{repository.id} at {revision} is not what was published:", problems))


def _as_read(repository: Repository, path: str, contents: Mapping[str, Content], revision: str) -> bool:
    def attempt() -> str:
        hasher = hashlib.sha256()
        for piece in repository.read(path, revision):
            hasher.update(piece)
        return hasher.hexdigest()

    return retry(attempt, f"reading {path} of {repository.id}") == contents[path].digest()
