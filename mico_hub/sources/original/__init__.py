"""The competition's own 2,400 models: its repositories, extracted folders and archives, read as suites.

release.py   what was published, where, in which layout and by which recipes
base.py      what all places with its files have in common, as places that suites are read from
hub.py, folder.py, archive.py   the places themselves
files.py     files of them, several at once
rows.py      seeds -> rows
pickles.py   pickles of torch -> safetensors
importing.py suites of them as suite folders
"""

from pathlib import Path

from mico_hub.release import repository
from mico_hub.sources.original.archive import SUFFIXES, Archive, split_md5
from mico_hub.sources.original.base import Original, bring_configurations, convert_checkpoint, read_configuration
from mico_hub.sources.original.files import OriginalError
from mico_hub.sources.original.folder import Folder
from mico_hub.sources.original.hub import Hub
from mico_hub.sources.original.release import RELEASES, SUITE_NAMES, recomputed_epsilon
from mico_hub.suites import SUITES

__all__ = [
    "RELEASES",
    "SUITE_NAMES",
    "Original",
    "OriginalError",
    "bring_configurations",
    "convert_checkpoint",
    "parse",
    "published_by_the_competition",
    "read_configuration",
    "recomputed_epsilon",
]


def parse(text: str | Path) -> Original | None:
    """The competition's files at an archive (`cifar10.zip[@md5]`), a folder, or `org/name[@revision]`.

    Returns:
        None where the text names nothing of the competition's.

    Raises:
        OSError: The archive is not there.
        OriginalError: The archive is not known and its md5 was not given.
    """
    path, md5 = split_md5(str(text))
    if path.endswith(SUFFIXES):
        return Archive(Path(path).expanduser().absolute(), md5)
    folder = Path(text).expanduser()
    if folder.is_dir():
        files = Folder(folder.resolve())
        published = any(folder.glob(f"*/{repository.MANIFEST}"))
        return files if not published and any(map(files.holds, SUITE_NAMES)) else None
    name, _, revision = str(text).partition("@")
    for release in RELEASES.values():
        if release.repository.lower() == name.lower():
            return Hub(release.repository, revision or None)
    return None


def published_by_the_competition(suite: str) -> Original | None:
    """The competition's own repository on the Hub that has the suite; None: the suite is not the competition's."""
    return Hub(RELEASES[SUITES[suite].track].repository) if suite in SUITE_NAMES else None
