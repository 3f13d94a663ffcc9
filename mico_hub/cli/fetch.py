"""`mico-hub fetch` and `mico-hub open`: a suite brought here, and a truth that was shown."""

import argparse
import os
import sys
from pathlib import Path

from mico_hub.cli.frame import keeping
from mico_hub.loading import open_suite
from mico_hub.messages import counted
from mico_hub.progress import Bar
from mico_hub.release.commitments import Opening
from mico_hub.release.rows import as_rows
from mico_hub.sources import SourceError


def fetch(options: argparse.Namespace) -> None:
    """Brings checkpoints here."""
    suite = open_suite(options.suite, options.source)
    rows = as_rows(suite.split(options.split))
    brought = suite.checkpoints(rows)
    bar = Bar(brought, desc=f"{options.suite} {options.split}", total=len(rows), unit="model")
    paths: list[Path] = []
    with keeping(options, lambda: paths):
        paths.extend(path for _, path in bar)
    total = sum(path.stat().st_size for path in paths)
    folder = os.path.commonpath([path.parent for path in paths])
    sys.stdout.write(f"{counted(len(paths), 'checkpoint')}, {total / 1e6:,.1f} MB, in {folder}\n")


def open_truth(options: argparse.Namespace) -> None:
    """Compares a truth that was shown with what was committed to."""
    opening = Opening.from_json(options.opening.read_bytes(), str(options.opening))
    name = f"{opening.suite} {opening.split}"
    suite = open_suite(opening.suite, options.source)
    rows = as_rows(suite.split(opening.split))
    published = suite.manifest.commitments.get(opening.split, "none")
    problems = opening.differences(rows, suite.manifest.suite.design)
    if (found := opening.commitment()) != published:
        problems.insert(0, f"it opens {found}, and the commitment that was published is {published}")
    if problems:
        raise SourceError(
            "\n".join([f"{options.opening} is not the truth of {name} that was committed to:", *problems])
        )
    sys.stdout.write(f"{name}: the truth of {counted(len(rows), 'model')} opens the published commitment {published}\n")
