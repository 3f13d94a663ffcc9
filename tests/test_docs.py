"""The README is true: its lines run and print what it says, its table and its layout are the project's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mico_hub import cli, tables
from mico_hub.suites import SUITES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBERS = re.compile(r"\d+\.\d+")

# The suites are trained anew with fresh keys, so figures differ: by this much once in a few thousand runs (the largest
# standard deviation over trainings that was seen is 0.008).
TOLERANCE = 0.035


def test_the_first_lines_run_and_print_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, more = (
        re.findall(
            r"```(?:python)?\n(.*?)```", README.split(f"<!-- the test suite runs these lines{which} -->")[1], re.S
        )
        for which in ("", " after the first ones")
    )
    assert len([line for line in first[0].splitlines() if line.strip()]) <= 9
    (of_handle,) = re.findall(r"these lines with them -->\n```python\n(.*?)```", README, re.S)
    code, output = first[0] + more[0] + of_handle, first[1] + more[1]
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert NUMBERS.sub("x", done.stdout) == NUMBERS.sub("x", output)
    said, seen = (list(map(float, NUMBERS.findall(text))) for text in (output, done.stdout))
    assert seen == pytest.approx(said, abs=TOLERANCE)
    assert seen != said  # the same figures again would mean that the keys were not fresh


def test_the_table_of_suites_is_generated() -> None:
    table = tables.markdown(tables.SUITE_COLUMNS, map(tables.suite_row, SUITES.values()))
    assert f"`mico-hub suites --markdown` -->\n{table}\n<!-- end of suites -->" in README


def test_every_command_is_in_the_readme() -> None:
    commands = re.findall(r"^    (\w+) ", cli.parser().format_help(), re.M)
    assert len(commands) >= 4
    for command in commands:
        assert f"mico-hub {command}" in README


def test_the_layout_names_what_is_there() -> None:
    layout = README.split("## What lives where")[1].split("```")[1]
    listed = set(re.findall(r"^  ([\w./]+)", layout, re.M))
    package = ROOT / "mico_hub"
    there = {path.name for path in package.glob("*.py")} | {
        f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    missing = there - listed - {"__init__.py", "findings.py", "plots.py", "templates/", "metrics/"}
    assert missing == set()
    for name in listed:
        assert (package / name).exists(), name
    for folder in re.findall(r"^(\w+)/", layout, re.M):
        assert (ROOT / folder).is_dir()


def test_the_package_imports_nothing_outside_the_wheel() -> None:
    outside = re.compile(r"^\s*(?:from|import) (?:builders|cards|upload_scripts|tests)\b", re.M)
    assert [path for path in (ROOT / "mico_hub").rglob("*.py") if outside.search(path.read_text())] == []
