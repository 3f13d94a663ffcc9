"""The documentation's site: what stands beside `docs/` in the project is a page of it, the README the first one."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
}
"""File of the project -> page of the site."""

SHOWN_AS_TEXT = ("CITATION.cff", "docs/templates", "docs/deploy")
"""What a page names and the site does not have: named, without a link."""


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages; called by mkdocs."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Has links lead to where a file is in the site; called by mkdocs."""
    source = next((name for name, of in PAGES.items() if of == page.file.src_uri), f"docs/{page.file.src_uri}")

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found.groups()
        if "://" in target or not target:
            return found[0]
        path = (ROOT / source).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
        if path.startswith(SHOWN_AS_TEXT):
            return text
        to = PAGES.get(path, path.removeprefix("docs/"))
        up = "../" * page.file.src_uri.count("/")
        return f"[{text}]({up}{to}{anchor or ''})"

    linked = re.sub(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)]*)?\)", link, markdown)
    return linked.replace('src="docs/', 'src="')
