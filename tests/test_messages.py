"""Every text that a user can see, in one list to be read aloud: `python -m tests.test_messages`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mico_hub.messages import counted, is_are

ROOT = Path(__file__).parents[1]
FOLDERS = ("mico_hub", "publishing", "builders", "cards", "upload_scripts")
AVOIDED = {
    "cannot be had": "was not found, could not be fetched",
    "to be had": "was not found anywhere",
    "there are none": "missing, at least N needed",
    "goes on from there": "resume with the same command",
    "would be others": "results differ between versions",
    "are others": "differ",
    "is other ": "differs",
    "strange": "unexpected",
    "patiently": "with retries",
    "is no attack": "is not an attack",
    "begun otherwise": "begun with other settings",
}
"""What is not plain, and what says it."""


def messages() -> Iterator[tuple[str, str]]:
    """Where and what: texts of several words that are no docstring, with {} for what is filled in."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                    text = "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | docs:
                    text = node.value
                else:
                    continue
                if len(re.findall(r"[a-z]{2,}", text)) > 2 and " " in text:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_one_is_one() -> None:
    assert [counted(number, "model") for number in (0, 1, 2, 1_000)] == [
        "0 models",
        "1 model",
        "2 models",
        "1,000 models",
    ]
    assert [is_are(number) for number in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize(("phrase", "instead"), AVOIDED.items())
def test_messages_are_in_plain_words(phrase: str, instead: str) -> None:
    found = [f"{where}: {text}" for where, text in messages() if phrase in text]
    assert not found, f"say {instead}"


if __name__ == "__main__":
    for where, text in messages():
        print(f"{where}: {text}")
