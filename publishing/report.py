"""What publishing prints."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi

from mico_hub import tables
from publishing.hub import Content
from publishing.publish import Plan, pending


def plan_text(made: Plan, api: HfApi, public_id: str, truth_id: str) -> str:
    """A table of the files by repository and kind, and which of them are online."""
    waiting = pending(made, api, public_id, truth_id)
    lines = []
    deleted = [f"{repo_id}: {path} would be deleted" for repo_id, (_, stale) in waiting.items() for path in stale]
    for repo_id, contents in ((public_id, made.public), (truth_id, made.truth)):
        kinds: dict[str, list[str]] = {}
        for path in contents:
            kinds.setdefault(_kind(Path(path)), []).append(path)
        for kind, paths in kinds.items():
            new = len(waiting[repo_id][0] & set(paths))
            size = sum(contents[path].size() for path in paths)
            lines.append((repo_id, kind, f"{len(paths):,}", f"{size:,}", f"{new:,}"))
    table = tables.text(("repository", "files", "number", "bytes", "to upload"), lines)
    return "\n".join([table, *deleted])


def _kind(path: Path) -> str:
    """`cifar10_hi/train/*.safetensors` for all checkpoints of a split; files above that by their name."""
    return f"{path.parent}/*{path.suffix}" if len(path.parts) > 2 else str(path)


def size_text(contents: Mapping[str, Content]) -> str:
    """In MB."""
    return f"{sum(content.size() for content in contents.values()) / 1e6:,.1f} MB"
