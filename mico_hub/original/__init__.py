"""The competition's own 2,400 models: its repositories, extracted folders and archives, read as suites.

release.py   what was published, where, in which layout and by which recipes
files.py     the files: on the Hub, in a folder
archive.py   in an archive
rows.py      seeds -> rows
pickles.py   pickles of torch -> safetensors
place.py     all of it as a place that suites are read from
"""

from mico_hub.original.files import OriginalError
from mico_hub.original.place import (
    Original,
    bring_configurations,
    convert_checkpoint,
    parse,
    published_by_the_competition,
    read_configuration,
)
from mico_hub.original.release import RELEASES, SUITE_NAMES, recomputed_epsilon

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
