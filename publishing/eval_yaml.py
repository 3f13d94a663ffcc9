"""`eval.yaml`, with which a dataset asks the Hub for a board of its own: opt-in, for the Hub validates it at each push.

Its fields are those of https://huggingface.co/docs/hub/eval-results; the framework must be on the list that the Hub
keeps in https://github.com/huggingface/huggingface.js, packages/tasks/src/eval.ts, or the push is refused.
"""

import re
from pathlib import Path

import yaml

from mico_hub.boards.eval_results import task_of
from mico_hub.release import repository
from mico_hub.release.parquet import FolderError
from mico_hub.suites import SPLITS

_FRAMEWORK = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MOST_BYTES = 100_000


def eval_yaml(root: Path, framework: str) -> bytes:
    """The file: a task for each split of each suite of a published folder.

    Raises:
        FolderError: It is no name of a framework.
    """
    if not _FRAMEWORK.fullmatch(framework):
        raise FolderError(f"expected an evaluation framework's name, such as mico-hub, got {framework!r}")
    suites = [manifest.suite for manifest in repository.suites_in(root)]
    tasks = [
        {"id": task_of(suite.name, split), "config": suite.name, "split": split}
        for suite in suites
        for split, ids in zip(SPLITS, suite.models, strict=True)
        if ids
    ]
    said = {
        "name": "MICO",
        "description": "Membership inference: the true positive rate at a false positive rate below 10%, in percent.",
        "evaluation_framework": framework,
        "tasks": tasks,
    }
    return yaml.safe_dump(said, sort_keys=False).encode()


def framework_of(root: Path) -> str:
    """The framework that a published folder names; empty: it asks for no board.

    Raises:
        FolderError: The file is not what `eval_yaml` writes.
    """
    path = root / repository.EVAL
    if not path.exists():
        return ""
    found = re.search(rb"^evaluation_framework: ([a-z0-9_-]+)$", path.read_bytes()[:MOST_BYTES], re.MULTILINE)
    if found is None:
        raise FolderError(f"{path}: expected a line evaluation_framework: NAME; build again with --eval-yaml")
    return found[1].decode()
