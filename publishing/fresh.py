"""Writes the files of a published folder anew, from the values that they hold: these and no others go online.

Whatever else a file carried stays behind: the layout, statistics and metadata of whoever wrote it, bytes between its
parts. So what is published is of this version of the libraries, wherever the folder was built.
"""

from pathlib import Path

from builders.build import derived
from mico_hub import signals
from mico_hub.cache import atomic_write
from mico_hub.data import DATASETS
from mico_hub.release import repository
from mico_hub.release.folder import SIGNALS
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import each_row, write_rows
from mico_hub.signals import Frame, Layout
from publishing.eval_yaml import framework_of


def write_fresh(root: Path, out: Path) -> dict[str, str]:
    """Writes all files of a published folder but the checkpoints into another folder.

    Args:
        root: The published folder, whose values were checked.
        out: An empty folder.

    Returns:
        The content digests of what was written.

    Raises:
        FormatError: A file of the folder cannot be read.
    """
    for manifest in repository.suites_in(root):
        name = manifest.suite.name
        for path in repository.parquet_files(root, name):
            write_rows(each_row(path), out / name / path.name)
        if files := repository.signal_files(root, name):
            frame = frame_of(root, manifest)
            for path in files:
                found = signals.read(path)
                content = frame.file(path.stem, frame.values_of(found), found.engine)
                atomic_write(out / name / SIGNALS / path.name, content)
        atomic_write(out / name / repository.MANIFEST, manifest.to_json())
    atomic_write(out / repository.VERSIONS, repository.versions_json(repository.versions(root)))
    digests = repository.content_digests(out)
    for name, content in derived(out, digests, framework_of(root)).items():
        atomic_write(out / name, content)
    return digests


def frame_of(root: Path, manifest: Manifest) -> Frame:
    """What a suite's files of signals hold besides values."""
    name = manifest.suite.name
    layout = Layout.of(repository.each_row_of(root, name), DATASETS[manifest.suite.dataset].num_records)
    return Frame.of(layout, repository.each_row_of(root, name))
