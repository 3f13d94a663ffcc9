"""A dataset repository on the Hub in the published layout, at one commit."""

import threading
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, is_offline_mode
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from mico_hub.cache import writable
from mico_hub.data.hub import reachable
from mico_hub.release import repository
from mico_hub.release.folder import SIGNALS
from mico_hub.release.manifest import Manifest
from mico_hub.sources.published import Published, inside


class PublishedRepository(Published):
    """Where its card came from says at which commit it is; that stays, and all else is read there."""

    def __init__(self, repository_id: str, revision: str | None = None) -> None:
        self.repository_id = repository_id
        self.revision = revision  # None: its default
        self._looking = threading.Lock()
        self._card: Path | None = None
        self._manifests: dict[str, Manifest] = {}

    def __str__(self) -> str:
        return self.repository_id + (f"@{self.revision}" if self.revision else "")

    def suites(self) -> list[str]:
        """See `Place`."""
        return repository.configs_of(self._looked_up().read_text(encoding="utf-8"))

    def has(self, suite: str) -> bool:
        """See `Place`."""
        return suite in self.suites()

    def at(self, revision: str) -> "PublishedRepository":
        """See `Place`."""
        return known_repository(self.repository_id, revision, again=True)

    def dataset(self, suite: str) -> dict[str, Any]:
        """See `Place`."""
        return {"path": self.repository_id, "revision": self.commit}

    @property
    def commit(self) -> str:
        """The commit that all files are read at."""
        return self._looked_up().parent.name  # .../snapshots/COMMIT/README.md

    def manifest(self, suite: str) -> Manifest:
        """See `Place`."""
        if suite not in self._manifests:
            self._manifests[suite] = super().manifest(suite)
        return self._manifests[suite]

    def signals(self, suite: str, name: str) -> Path | None:
        """See `Place`."""
        try:
            return self.fetch(f"{suite}/{SIGNALS}/{name}.safetensors")
        except LocalEntryNotFoundError:
            if not is_offline_mode():
                raise  # nobody was there to ask
            return None
        except EntryNotFoundError:
            return None

    def fetch(self, path: str) -> Path:
        """See `Published`; downloaded into the Hub's own cache."""
        return self._download(str(inside(path, str(self))), self.commit)

    def _looked_up(self) -> Path:
        with self._looking:
            if self._card is None:
                local_only = not reachable()
                try:
                    self._card = self._download(repository.CARD, self.revision, local_only=local_only)
                except LocalEntryNotFoundError as error:
                    if not local_only:
                        raise
                    where, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
                    raise OSError(f"{where} does not answer, and {cache} has no copy") from error
            return self._card

    def _download(self, path: str, revision: str | None, *, local_only: bool = False) -> Path:
        with writable(Path(constants.HF_HUB_CACHE)):
            found = hf_hub_download(
                self.repository_id, path, repo_type="dataset", revision=revision, local_files_only=local_only
            )
        return Path(found)


_known: dict[tuple[str | None, ...], PublishedRepository] = {}


def known_repository(repository_id: str, revision: str | None, *, again: bool) -> PublishedRepository:
    """The repository as it was looked up before in this process; with `again` as it is now."""
    settings = (constants.ENDPOINT, constants.HF_HUB_CACHE)
    key = (repository_id, revision, *settings)
    if again or key not in _known:
        _known[key] = PublishedRepository(repository_id, revision)
    return _known[key]
