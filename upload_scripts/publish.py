"""Publishes a folder that build_repo.py made: checks it, uploads it, and verifies what is online.

python upload_scripts/publish.py mico org/mico               the truth in ./suites to org/mico-truth
python upload_scripts/publish.py mico org/mico --dry-run     the checks, and what would go where
python upload_scripts/publish.py mico org/mico --verify      every byte that is online, compared

The token is HF_TOKEN's or that of `hf auth login`. After an interruption the same command goes on; what is online
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

from mico_hub import tables
from mico_hub.messages import listed
from mico_hub.release import repository as published
from mico_hub.release.format import FormatError
from publishing import publish
from publishing.check import check, state_of
from publishing.hub import Content, PublishError, Repository, verify, xet_at_hand


def parse_repository(text: str) -> str:
    """`org/name`.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if text.count("/") != 1 or not all(text.split("/")) or text.startswith((".", "~")) or Path(text).exists():
        raise argparse.ArgumentTypeError(f"expected a repository org/name, got {text!r}")
    return text


def unofficial(root: Path) -> list[str]:
    """Suites on a base dataset that is not known to be the official one."""
    return [
        f"{manifest.suite.name}: {manifest.suite.dataset}: {manifest.data_note}"
        for manifest in published.suites_in(root)
        if not manifest.data_official
    ]


def where_to(made: publish.Plan, options: argparse.Namespace, api: HfApi) -> str:
    """A table of the files by repository and kind, and which of them are online."""
    pending = publish.pending(made, api, options.repository, options.truth_repo)
    lines = []
    deleted = [f"{repo_id}: {path} would be deleted" for repo_id, (_, stale) in pending.items() for path in stale]
    for repo_id, contents in ((options.repository, made.public), (options.truth_repo, made.truth)):
        kinds: dict[str, list[str]] = {}
        for path in contents:
            parts = Path(path).parts
            kinds.setdefault("/".join([*parts[:-1], f"*{Path(path).suffix}"]) if len(parts) > 2 else path, []).append(
                path
            )
        for kind, paths in kinds.items():
            new = len(pending[repo_id][0] & set(paths))
            size = sum(contents[path].size() for path in paths)
            lines.append((repo_id, kind, f"{len(paths):,}", f"{size:,}", f"{new:,}"))
    table = tables.text(("repository", "files", "number", "bytes", "to upload"), lines)
    return "\n".join([table, *deleted])


def verify_all(made: publish.Plan, options: argparse.Namespace, api: HfApi) -> None:
    """Reads every byte that is online."""
    for repo_id, contents in ((options.repository, made.public), (options.truth_repo, made.truth)):
        if contents:
            repository = Repository(api, repo_id, "dataset")
            verify(repository, contents, contents, "main", others=repo_id == options.truth_repo)
            if repo_id == options.truth_repo:
                publish.require_private(repository)
            sys.stdout.write(f"{repo_id}: {len(contents):,} files, {_size(contents)}, are online byte for byte\n")


def _size(contents: Mapping[str, Content]) -> str:
    return f"{sum(content.size() for content in contents.values()) / 1e6:,.1f} MB"


def check_leaks(options: argparse.Namespace) -> int:
    """The exit code of `check_leaks.py`: a process of its own, for it needs memory that uploading does not."""
    sys.stdout.flush()
    script = Path(__file__).with_name("check_leaks.py")
    command = [sys.executable, str(script), str(options.folder), "--suites", str(options.suites)]
    data = [] if options.data is None else ["--data", str(options.data)]
    return subprocess.run([*command, *data], check=False).returncode


def run(options: argparse.Namespace) -> int:
    """Checks, and does what was asked for."""
    with TemporaryDirectory() as scratch:
        fresh, before = Path(scratch) / "fresh", state_of(options.folder)
        return _run(options, fresh, check(options.folder, fresh), before)


def _run(options: argparse.Namespace, fresh: Path, paths: Mapping[str, str], before: Mapping[str, object]) -> int:
    if (others := unofficial(options.folder)) and not options.unofficial_data:
        raise PublishError(
            listed("not the official base datasets; pass --unofficial-data if that is as it should be:", others)
        )
    made = publish.plan(options.folder, fresh, paths, options.suites)
    publish.refuse_names(options.repository, options.truth_repo)
    api = HfApi()
    if options.verify:
        verify_all(made, options, api)
        return 0
    if not options.dry_run:
        publish.known_to(api)  # rather now than after the checks
    if code := check_leaks(options):
        sys.stdout.write("nothing was uploaded\n")
        return code
    if state_of(options.folder) != before:  # or what was searched for leaks may be something else
        raise PublishError(f"{options.folder} has changed while it was checked; nothing was uploaded")
    publish.refuse(made, api, options.repository, options.truth_repo)
    if options.dry_run:
        sys.stdout.write(where_to(made, options, api) + f"\nand the tag {made.tag}; nothing was uploaded\n")
        return 0
    if xet_at_hand():
        sys.stdout.write("uploading through Xet, which no test of this project has seen a server of\n")
    outcome = publish.publish(made, api, options.repository, options.truth_repo)
    for repo_id, contents, synced in (
        (outcome.truth_id, made.truth, outcome.truth),
        (outcome.public_id, made.public, outcome.public),
    ):
        if contents:
            sys.stdout.write(
                f"{repo_id}: {len(synced.uploaded):,} of {len(contents):,} files ({_size(contents)}) uploaded, "
                f"{len(synced.deleted):,} deleted, {synced.commits} commits; verified\n"
            )
    sys.stdout.write(f"{outcome.public_id}@{made.tag} is {outcome.revision}\n")
    return 0


def main() -> int:
    """Publishes the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the published folder")
    parser.add_argument("repository", type=parse_repository, metavar="ORG/NAME", help="the dataset repository")
    parser.add_argument("--suites", type=Path, default=Path("suites"), help="the suite folders (default: suites)")
    parser.add_argument("--truth-repo", type=parse_repository, metavar="ORG/NAME", help="default: ORG/NAME-truth")
    parser.add_argument("--data", type=Path, help="folder of the base datasets (default: MICO_HUB_DATA, else the Hub)")
    parser.add_argument("--unofficial-data", action="store_true", help="also on other than the official base datasets")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="check, and print what would go where")
    only.add_argument("--verify", action="store_true", help="compare every byte that is online, upload nothing")
    options = parser.parse_args()
    options.truth_repo = options.truth_repo or f"{options.repository}{publish.TRUTH_SUFFIX}"
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # which gives back what is read a few rows at a time
    try:
        return run(options)
    except (FormatError, PublishError, OSError) as error:
        sys.stderr.write(f"publish: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\npublish: interrupted; the same command goes on from there\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
