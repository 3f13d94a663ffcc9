"""The builders: the loading code of the dataset, run once, by the maintainer.

    Digits(config_name="digits_hi", data_dir="suites/digits_hi")

`datasets` runs no loading code from a repository any more, so what these make is written as Parquet (`build.py`).
"""

from collections.abc import Iterator
from pathlib import Path

import datasets

from mico_hub import repository
from mico_hub.folder import SuiteFolder
from mico_hub.rows import Row
from mico_hub.suites import SPLITS, tracks


def configs(track: str) -> list[datasets.BuilderConfig]:
    """A config for each suite of a track, from the table."""
    return [
        datasets.BuilderConfig(name=suite.name, version=datasets.Version("1.0.0"), description=f"MICO {suite.name}")
        for suite in tracks()[track]
    ]


class SuiteBuilder(datasets.GeneratorBasedBuilder):  # type: ignore[misc]  # untyped in datasets
    """Rows of a suite folder, `data_dir`; only its public part is read."""

    @property
    def folder(self) -> SuiteFolder:
        """The suite folder, checked to be this config's.

        Raises:
            ValueError: No folder was given, or it holds another suite.
        """
        if not self.config.data_dir:
            raise ValueError(f"{self.config.name}: expected data_dir, the folder of the trained suite")
        folder = SuiteFolder(Path(self.config.data_dir))
        held = folder.manifest().suite.name
        if held != self.config.name:
            raise ValueError(f"{folder.root}: expected the suite {self.config.name}, got {held}")
        return folder

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=repository.FEATURES)

    def _split_generators(self, _: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        rows = repository.public_rows(self.folder)
        return [datasets.SplitGenerator(split, gen_kwargs={"rows": rows[split]}) for split in SPLITS if rows[split]]

    def _generate_examples(self, rows: list[Row]) -> Iterator[tuple[int, Row]]:
        for row in rows:
            yield row["model_id"], row


class Cifar10(SuiteBuilder):
    """The image track."""

    BUILDER_CONFIGS = configs("cifar10")


class Purchase100(SuiteBuilder):
    """The table track."""

    BUILDER_CONFIGS = configs("purchase100")


class Sst2(SuiteBuilder):
    """The text track."""

    BUILDER_CONFIGS = configs("sst2")


class Ddp(SuiteBuilder):
    """The DP-distinguisher track: the non-challenge training records are revealed."""

    BUILDER_CONFIGS = configs("ddp")


class Digits(SuiteBuilder):
    """The embedded track."""

    BUILDER_CONFIGS = configs("digits")


BUILDERS: dict[str, type[SuiteBuilder]] = {
    "cifar10": Cifar10,
    "purchase100": Purchase100,
    "sst2": Sst2,
    "ddp": Ddp,
    "digits": Digits,
}
"""Track -> builder."""
