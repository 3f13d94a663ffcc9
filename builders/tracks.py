"""The builders: the loading code of the dataset, run once, by the maintainer.

    BUILDERS["digits"](config_name="digits_hi", data_dir="suites/digits_hi")

`datasets` runs no loading code from a repository any more, so what these make is written as Parquet (`build.py`).
"""

from collections.abc import Iterator
from pathlib import Path

import datasets

from mico_hub.release import repository
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.rows import Row
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


def _builder(track: str) -> type[SuiteBuilder]:
    """The builder of a track: Cifar10, Digits, ..., with a config for each of its suites."""
    return type(track.title().replace("_", ""), (SuiteBuilder,), {"BUILDER_CONFIGS": configs(track)})


BUILDERS: dict[str, type[SuiteBuilder]] = {track: _builder(track) for track in tracks()}
"""Track -> builder."""
