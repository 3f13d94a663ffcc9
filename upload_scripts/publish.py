"""Publishes a folder that build_repo.py made: checks it, uploads it, and verifies what is online.

python upload_scripts/publish.py mico org/mico               the truth in ./suites to org/mico-truth
python upload_scripts/publish.py mico org/mico --dry-run     the checks, and what would go where
python upload_scripts/publish.py mico org/mico --verify      every byte that is online, compared

The token is HF_TOKEN's or that of `hf auth login`. After an interruption resume with the same command; what is online
already is not uploaded again.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow
from huggingface_hub import HfApi

from mico_hub.cli import frame
from mico_hub.messages import counted, is_are
from publishing import claims, publish
from publishing.check import check, state_of
from publishing.hub import PublishError, xet_at_hand
from publishing.report import plan_text, size_text


def parse_repository(text: str) -> str:
    """`org/name`.

    Raises:
        argparse.ArgumentTypeError: The text is something else.
    """
    if text.count("/") != 1 or not all(text.split("/")) or text.startswith((".", "~")) or Path(text).exists():
        raise argparse.ArgumentTypeError(f"expected a repository org/name, got {text!r}")
    return text


def check_leaks(options: argparse.Namespace) -> int:
    """The exit code of `check_leaks.py`: a process of its own, for it needs memory that uploading does not."""
    sys.stdout.flush()
    script = Path(__file__).with_name("check_leaks.py")
    command = [sys.executable, str(script), str(options.folder), "--suites", str(options.suites)]
    command += [] if options.data is None else ["--data", str(options.data)]
    command += ["--trial"] if options.trial else []
    command += ["--retrain", str(options.retrain)] if options.retrain else []
    return subprocess.run(command, check=False).returncode


def run(options: argparse.Namespace) -> int:
    """Checks, and does what was asked for; what takes seconds to ask comes before what takes minutes."""
    options.truth_repo = options.truth_repo or f"{options.repository}{publish.TRUTH_SUFFIX}"
    publish.refuse_names(options.repository, options.truth_repo)
    api = HfApi()
    if not options.verify and options.folder.is_dir():
        publish.known_to(api, options.repository, options.truth_repo, retries=1)
        publish.refuse(publish.Outline.of(options.folder), api, options.repository, options.truth_repo)
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # which gives back what is read a few rows at a time
    with TemporaryDirectory() as scratch:
        fresh, before = Path(scratch) / "fresh", state_of(options.folder)
        return _run(options, api, fresh, check(options.folder, fresh, trial=options.trial), before)


def _run(
    options: argparse.Namespace, api: HfApi, fresh: Path, paths: Mapping[str, str], before: Mapping[str, object]
) -> int:
    if not options.unofficial_data:
        publish.refuse_unofficial(options.folder)
    made = publish.plan(options.folder, fresh, paths, options.suites)
    if options.verify:
        for repo_id, contents in publish.verify_all(made, api, options.repository, options.truth_repo).items():
            files, are = counted(len(contents), "file"), is_are(len(contents))
            sys.stdout.write(f"{repo_id}: {files}, {size_text(contents)}, {are} online byte for byte\n")
        return 0
    if code := check_leaks(options):
        sys.stdout.write("nothing was uploaded\n")
        return code
    if state_of(options.folder) != before:  # or what was searched for leaks may be something else
        raise PublishError(f"{options.folder} has changed while it was checked; nothing was uploaded")
    if options.dry_run:
        publish.refuse(made.outline, api, options.repository, options.truth_repo)
        sys.stdout.write(plan_text(made, api, options.repository, options.truth_repo))
        sys.stdout.write(f"\nand the tag {made.tag}; nothing was uploaded\n")
        return 0
    if xet_at_hand():
        sys.stdout.write("uploading through Xet, which no test of this project has seen a server of\n")
    options.kept = "What is online is kept; resume with the same command."
    outcome = publish.publish(made, api, options.repository, options.truth_repo)
    for repo_id, contents, synced in (
        (outcome.truth_id, made.truth, outcome.truth),
        (outcome.public_id, made.public, outcome.public),
    ):
        if contents:
            sys.stdout.write(
                f"{repo_id}: {len(synced.uploaded):,} of {counted(len(contents), 'file')} ({size_text(contents)}) "
                f"uploaded, {len(synced.deleted):,} deleted, {counted(synced.commits, 'commit')}; verified\n"
            )
    sys.stdout.write(f"{outcome.public_id}@{made.tag} is {outcome.revision}\n")
    return 0


def main() -> int:
    """Publishes the folder named on the command line."""
    parser = frame.script(__doc__, run)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the published folder")
    parser.add_argument("repository", type=parse_repository, metavar="ORG/NAME", help="the dataset repository")
    frame.add_suites(parser)
    parser.add_argument("--truth-repo", type=parse_repository, metavar="ORG/NAME", help="default: ORG/NAME-truth")
    frame.add_data(parser)
    parser.add_argument("--unofficial-data", action="store_true", help="also on other than the official base datasets")
    claims.add_options(parser)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="check, and print what would go where")
    only.add_argument("--verify", action="store_true", help="compare every byte that is online, upload nothing")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
