"""The competition's models as suite folders, ready for the published folder; what is there already is kept."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mico_hub.messages import counted
from mico_hub.progress import Bar
from mico_hub.release.consistency import checkpoint_path
from mico_hub.release.disclosure import Measured
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError
from mico_hub.release.rows import Row
from mico_hub.sources import original
from mico_hub.sources.original.files import raise_problems, settled
from mico_hub.sources.original.release import Location, locate
from mico_hub.sources.original.rows import make_rows
from mico_hub.suites import tracks


def import_suite(files: original.Original, name: str, root: Path, *, partial: bool = False) -> SuiteFolder:
    """Makes the suite folder of one of the competition's suites, or completes it.

    Args:
        files: Where the models are.
        name: The suite.
        root: The suite folder; has no private part but what is needed to resume, since the truth was never published.
        partial: Accept that models are missing.

    Raises:
        FolderError: The folder holds something else.
        OriginalError: The files are not the competition's, or models are missing; nothing was written then.
        OSError: Some files were not found; the others are kept.
    """
    folder = SuiteFolder(root)
    manifest, rows = make_rows(files, name)
    suite = manifest.suite
    if manifest.missing and not partial:
        raise original.OriginalError(
            f"{files.where}: {name} has {manifest.num_models} of {counted(sum(suite.models), 'model')}; missing: model_"
            f"{', model_'.join(map(str, manifest.missing[:5]))}{', ...' if len(manifest.missing) > 5 else ''}. "
            f"Pass --partial to import those that are there"
        )
    with folder.locked():
        return _import_all(files, name, folder, manifest, rows)


def _import_all(
    files: original.Original, name: str, folder: SuiteFolder, manifest: Manifest, rows: Sequence[Row]
) -> SuiteFolder:
    suite = manifest.suite
    if not folder.exists():
        folder.begin_import(manifest)
    elif folder.manifest() != manifest:
        raise FolderError(f"{folder.root} holds another suite, or one from {folder.manifest().origin or 'a training'}")

    def convert(location: Location, path: Path) -> Measured:
        row, out = by_location[location], folder.checkpoint(suite, location.model_id)
        sha256, size = original.convert_checkpoint(files, location, path, row["sha256"], row["num_bytes"], out)
        named = checkpoint_path(suite, location.model_id)
        measured = Measured(named, sha256, size, accuracy=None, epsilon=None, delta=None)
        folder.finish_model(suite, location.model_id, measured, made_from(location))
        return measured

    def made_from(location: Location) -> str:
        configuration = original.read_configuration(files, location) or b""
        return f"{files.key(location)} {hashlib.sha256(configuration).hexdigest()}"

    by_location = {location: row for row in rows if (location := locate(row["checkpoint"])) is not None}
    original.bring_configurations(files, by_location)
    kept = {location: folder.measured(suite, location.model_id, made_from(location)) for location in by_location}
    done = {location: measured for location, measured in kept.items() if measured is not None}
    missing = [location for location in by_location if location not in done]
    results = files.each(missing, convert)
    imported, problems = settled(Bar(results, desc=name, total=len(rows), initial=len(done), unit="model"))
    done |= imported
    raise_problems(f"{files.where}: {name}", problems, len(missing))
    folder.finish([_imported(row, done[location]) for location, row in by_location.items()])
    return folder


def _imported(row: Row, measured: Measured) -> Row:
    return row | {"checkpoint": measured.checkpoint, "sha256": measured.sha256, "num_bytes": measured.num_bytes}


def suites_named(names: Sequence[str]) -> list[str]:
    """Tracks and suites -> suites, each once, in the order of the table.

    Raises:
        OriginalError: The competition has no track or suite of that name.
    """
    of_track = {track: [suite.name for suite in suites] for track, suites in tracks().items()}
    wanted = {suite for name in names for suite in (of_track[name] if name in original.RELEASES else [name])}
    unknown = sorted(wanted - set(original.SUITE_NAMES))
    if unknown:
        raise original.OriginalError(
            f"unknown: {', '.join(unknown)}. The competition has the tracks {', '.join(original.RELEASES)} and the "
            f"suites {', '.join(original.SUITE_NAMES)}"
        )
    return [name for name in original.SUITE_NAMES if name in wanted]


def find_files(suite: str, sources: Sequence[str]) -> original.Original | None:
    """The first of the sources that has the suite, or None; without any, the competition's repository on the Hub.

    Raises:
        OriginalError: A source is not one of these.
        OSError: A source is not there.
    """
    if not sources:
        place = original.published_by_the_competition(suite)
        assert place is not None
        return place
    for source in sources:
        place = original.parse(source)
        if place is None:
            raise original.OriginalError(
                f"{source}: expected an archive of the competition[@md5], a folder with SUITE/SPLIT/model_N/ in it, or "
                f"one of {', '.join(release.repository for release in original.RELEASES.values())}[@revision]"
            )
        if place.has(suite):
            return place
    return None
