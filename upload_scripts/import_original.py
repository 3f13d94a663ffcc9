"""Turns the competition's own models into suite folders, ready for build_repo; what is there already is kept.

python upload_scripts/import_original.py cifar10                             a track, from the Hub
python upload_scripts/import_original.py sst2_lo --source sst2_lo.tar.gz     a suite, from an archive
python upload_scripts/import_original.py sst2 --source sst2_lo.tar.gz --source sst2_hi.tar.gz --source sst2_inf.tar.gz
python upload_scripts/import_original.py ddp --source ~/mico                 from a folder with ddp/cifar10_ddp/...
"""

import argparse
import sys

from mico_hub.cli import frame
from mico_hub.messages import counted
from mico_hub.release.folder import SuiteFolder
from mico_hub.sources.original import OriginalError
from mico_hub.sources.original.importing import find_files, import_suite, suites_named


def run(options: argparse.Namespace) -> None:
    """Imports one suite after the other."""
    for name in suites_named(options.names):
        files = find_files(name, options.source)
        if files is None and options.partial and name not in options.names:
            sys.stdout.write(f"{name} is in none of the sources\n")
            continue
        if files is None:
            raise OriginalError(f"{name} is in none of: {', '.join(options.source)}")
        root = options.out / name
        with frame.keeping(options, SuiteFolder(root).finished):
            folder = import_suite(files, name, root, partial=options.partial)
        sys.stdout.write(f"{name}: {counted(folder.manifest().num_models, 'model')} in {folder.root}\n")


def main() -> int:
    """Imports the tracks and suites named on the command line."""
    parser = frame.script(__doc__, run, "What was imported is kept; resume with the same command.")
    parser.add_argument("names", nargs="+", metavar="TRACK_OR_SUITE")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        help="an archive[@md5], a folder, or org/name[@revision]; may be repeated (default: the competition's own "
        "repositories on the Hub)",
    )
    frame.add_suites(parser, "--out")
    parser.add_argument("--partial", action="store_true", help="accept that models, or suites of a track, are missing")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
