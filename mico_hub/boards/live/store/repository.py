"""A private dataset repository of the Hub that holds a live board: `board.sqlite`, `uploads/`, and what is laid there.

`board.toml` (the rules) and `truth/` (as `Handle.truth` takes it) are read from it where they are there. A change is
one commit that names the commit before it: of two who change at once one is refused, and looks again.
"""

import re
import secrets
import tempfile
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    GitCommitInfo,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

from mico_hub.boards.live.store.database import StoreError
from mico_hub.sources.retries import RequestError, bound_silence, retry

RULES, TRUTH = "board.toml", "truth"
CHANGE = "change.txt"
"""Another one in every commit."""
RETRIES = 2
_ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)/?")


class ChangedError(StoreError):
    """Somebody else changed the repository; nothing was changed here."""


class OvertakenError(Exception):
    """A change was made, its answer was lost, and somebody else has changed the repository since."""


class Repository:
    """Where a board is kept."""

    def __init__(self, name: str) -> None:
        """Looks it up.

        Raises:
            StoreError: It is public.
            RequestError: It is not there, or this token may not see it.
        """
        bound_silence()
        self.name = name
        self._api = HfApi()
        found = retry(lambda: self._api.dataset_info(name), name, RETRIES)
        if not found.private:
            raise StoreError(
                f"{name}: a public repository; a board keeps tokens' digests and predictions: make it private"
            )
        self.head = str(found.sha)

    def latest(self) -> str:
        """The commit that it is at."""
        return str(retry(lambda: self._api.dataset_info(self.name), self.name, RETRIES).sha)

    def fetch(self, path: str, to: Path, revision: str | None = None) -> bool:
        """Writes one file to `to`; False: there is none.

        Args:
            path: In the repository.
            to: Where.
            revision: A commit; None: `head`.
        """
        at = revision or self.head
        with tempfile.TemporaryDirectory(dir=to.parent) as folder:

            def download() -> Path | None:
                try:
                    return Path(hf_hub_download(self.name, path, repo_type="dataset", revision=at, local_dir=folder))
                except RemoteEntryNotFoundError:  # its relatives say that the Hub could not be asked
                    return None

            found = retry(download, f"{self.name}: {path}", RETRIES)
            if found is not None:
                found.chmod(0o600)
                found.replace(to)
        return found is not None

    def fetch_folder(self, path: str, to: Path) -> None:
        """Brings a folder; where there is none nothing comes."""

        def download() -> None:
            snapshot_download(
                self.name, repo_type="dataset", revision=self.head, local_dir=to, allow_patterns=f"{path}/**"
            )

        retry(download, f"{self.name}: {path}", RETRIES)

    def push(self, contents: Mapping[str, bytes | Path | None], about: str) -> str:
        """Changes files in one commit on top of `head`, which it is from then on.

        Args:
            contents: Path -> content, a file with it, or None to remove it.
            about: What the commit says.

        Raises:
            ChangedError: The repository is not at `head` any more; nothing was changed.
            OvertakenError: It was changed so, and then by somebody else.
            RequestError: It did not work; whether it was changed is not known.
        """
        title = f"{about} ({secrets.token_hex(8)})"

        def attempt() -> str:
            changed = {**contents, CHANGE: title.encode()}  # or the client makes no commit where content is the same
            operations = [
                CommitOperationDelete(path)
                if content is None
                else CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
                for path, content in changed.items()
            ]
            try:
                return self._api.create_commit(
                    self.name, operations, repo_type="dataset", commit_message=title, parent_commit=self.head
                ).oid
            except HfHubHTTPError as error:
                if error.response.status_code == 429:  # nobody is kept waiting for an hour
                    raise RequestError(f"{self.name} takes no more changes for now; try again later") from error
                if error.response.status_code != 412:
                    raise
                return self._done(title)

        self.head = retry(attempt, f"keeping the board in {self.name}", RETRIES)
        return self.head

    def _done(self, title: str) -> str:
        """The commit of that title, which was made before its answer was lost. Raises as `push`."""
        since = [commit.title for commit in self._since_head()]
        if title in since[1:]:
            raise OvertakenError
        if title not in since:
            raise ChangedError(f"{self.name}: somebody else changed it meanwhile; try again")
        return self.latest()

    def _since_head(self) -> list[GitCommitInfo]:
        commits = self._api.list_repo_commits(self.name, repo_type="dataset")
        return list(takewhile(lambda commit: commit.commit_id != self.head, commits))


def repository_of(data: str) -> str | None:
    """The repository that `hf://datasets/ORG/NAME` names; None: it names a file.

    Raises:
        StoreError: It is another address.
    """
    if "://" not in data:
        return None
    found = _ADDRESS.fullmatch(data)
    if not found:
        raise StoreError(f"expected a file or hf://datasets/ORG/NAME, got {data!r}")
    return found[1]
