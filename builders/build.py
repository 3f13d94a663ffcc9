"""Assembles the published folder: the builders' rows as Parquet, the checkpoints, and the card."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from builders.tracks import BUILDERS
from cards.render import dataset_card
from mico_hub.cache import atomic_write
from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import FolderError
from mico_hub.release.rows import Row, as_rows
from publishing.croissant import croissant
from publishing.eval_yaml import eval_yaml, framework_of


def builder_rows(folder: SuiteFolder) -> dict[str, list[Row]]:
    """Split -> rows, as the track's builder gives them."""
    suite = folder.manifest().suite
    with TemporaryDirectory() as cache:
        builder = BUILDERS[suite.track](config_name=suite.name, data_dir=str(folder.root), cache_dir=cache)
        builder.download_and_prepare()
        made = builder.as_dataset()
        return {split: as_rows(dataset) for split, dataset in made.items()}


def build(suites: Iterable[Path], out: Path, framework: str = "") -> None:
    """Adds suites to a published folder, or makes one; a suite that is there already is replaced.

    Args:
        suites: Suite folders; every one is verified before anything is written.
        out: The published folder.
        framework: With which it asks for a board of the Hub, see `publishing.eval_yaml`; empty: as it did.

    Raises:
        FolderError: A suite is not complete or not as it should be.
    """
    folders = [SuiteFolder(root) for root in suites]
    for folder in folders:
        folder.verify()
        if out.resolve().is_relative_to(folder.root.resolve()):
            raise FolderError(f"{out} is inside the suite folder {folder.root}: name a folder elsewhere with --out")
    for folder in folders:
        repository.write_suite(out, folder, builder_rows(folder))
    for name, content in derived(out, repository.add_version(out), framework or framework_of(out)).items():
        atomic_write(out / name, content)


def derived(root: Path, digests: Mapping[str, str] | None = None, framework: str = "") -> dict[str, bytes]:
    """The files of a published folder that are made from its suites and versions: the card, Croissant, `eval.yaml`."""
    return {
        repository.CARD: repository.card(root, dataset_card(root), digests),
        repository.CROISSANT: croissant(root, len(repository.versions(root))),
        **({repository.EVAL: eval_yaml(root, framework)} if framework else {}),
    }
