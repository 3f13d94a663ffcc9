"""The documentation is true: its lines run and print what it says, its tables and its layout are the project's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import fresh
import pytest

from cards.docs import TABLES, between, commands_of
from mico_hub import cli

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING, SCORES, COMMANDS = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", "docs/scores.md", "docs/commands.md")
)
NUMBERS = re.compile(r"\d+\.\d+")

# The suites are trained anew with fresh keys, so figures differ: by this much once in a few thousand runs (the largest
# standard deviation over trainings that was seen is 0.008).
TOLERANCE = 0.035


def test_the_first_lines_run_and_print_what_the_readme_says(
    digits_inf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, more = (
        re.findall(r"```(?:python)?\n(.*?)```", text.split(f"<!-- the test suite runs these lines{which} -->")[1], re.S)
        for text, which in ((README, ""), (SCORES, " after the README's first ones"))
    )
    assert len([line for line in first[0].splitlines() if line.strip()]) <= 9
    (of_handle,) = re.findall(r"these lines with them -->\n```python\n(.*?)```", README, re.S)
    code, output = first[0] + more[0] + of_handle, first[1] + more[1]
    monkeypatch.setenv("MICO_HUB_CACHE", str(digits_inf))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    done = fresh.run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert NUMBERS.sub("x", done.stdout) == NUMBERS.sub("x", output)
    documented, printed = (list(map(float, NUMBERS.findall(text))) for text in (output, done.stdout))
    assert printed == pytest.approx(documented, abs=TOLERANCE)
    assert printed != documented  # the same figures again would mean that the keys were not fresh


@pytest.mark.long
@pytest.mark.parametrize("document", ["auditing.md", "attacks.md"])
def test_what_is_done_with_a_model_made_elsewhere_prints_what_the_document_says(document: str, tmp_path: Path) -> None:
    """Its numbers are of fresh coins, and differ."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    found = re.search(r"<!-- example.*?```python\n(.*?)```\n```\n(.*?)```", text, re.DOTALL)
    assert found
    done = fresh.run("-c", found[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [re.sub(r"[\d.,]+|-+", "", output).split() for output in (found[2], done.stdout)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(("file", "marker"), TABLES)
def test_tables_are_what_the_code_makes(file: str, marker: str) -> None:
    found = between(marker).search((ROOT / file).read_text(encoding="utf-8"))
    assert found
    assert found[2] == TABLES[file, marker](), f"{file}: `make docs` writes the table of {marker} again"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_every_command_is_documented_with_its_options() -> None:
    """The table is compared with the parser above; this sees that it has all of it."""
    commands = re.findall(r"^    ([\w-]+) ", cli.parser().format_help(), re.M)
    assert len(commands) >= 12
    for command in commands:
        assert re.search(rf"^### {command}\b", COMMANDS, re.M)
    for _, parser in commands_of(cli.parser()):
        for action in parser._actions:
            assert all(
                f"`{option}" in COMMANDS or f", {option}" in COMMANDS
                for option in action.option_strings
                if option not in ("-h", "--help")
            )


def test_the_tutorial_runs_and_prints_what_it_says(
    digits_inf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "tutorials" / "attack.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    outputs = re.findall(r"```\n(\d+ challenge.*?|suite .*?)```", text, re.DOTALL)
    assert (len(blocks), len(outputs)) == (4, 2)
    monkeypatch.setenv("MICO_HUB_CACHE", str(digits_inf))
    monkeypatch.delenv("MICO_HUB_DATASET", raising=False)
    code = "\n".join(blocks[:3])  # the last attacks three suites
    done = fresh.run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]

    def form(table: str) -> list[list[str]]:
        return [re.sub(r"[\d.,%+]+|-+", "", line).split() for line in table.splitlines()]

    printed = form(done.stdout)
    assert printed[: len(form("".join(outputs)))] == form("".join(outputs))


def rooms() -> list[str]:
    """The rooms of the package as CONTRIBUTING lists them, without `.py` and `/`."""
    layout = CONTRIBUTING.split("<!-- rooms: the test suite checks their order -->")[1].split("```")[1]
    return [name.rstrip("/").removesuffix(".py") for name in re.findall(r"^  (\w[\w./]+)", layout, re.M)]


def test_the_layout_names_what_is_there() -> None:
    package = ROOT / "mico_hub"
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(rooms()) == there - {"__init__"}
    assert len(list(package.glob("*.py"))) <= 12
    for folder in re.findall(r"^(\w+)/", CONTRIBUTING.split("## Find your way")[1].split("```")[1], re.M):
        assert (ROOT / folder).is_dir()


def imported(path: Path) -> Iterator[str]:
    """The rooms that a module imports anywhere in it, for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "mico_hub":
            names = [f"mico_hub.{alias.name}" for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name.split(".")[1] for name in names if name.startswith("mico_hub."))


def test_no_room_uses_one_below_it() -> None:
    order = rooms()
    wrong = []
    for path in sorted((ROOT / "mico_hub").rglob("*.py")):
        room = path.relative_to(ROOT / "mico_hub").parts[0].removesuffix(".py")
        if room != "__init__":
            wrong += [f"{path}: {other}" for other in imported(path) if order.index(other) > order.index(room)]
    assert wrong == []


def test_the_package_imports_nothing_outside_the_wheel() -> None:
    outside = re.compile(r"^\s*(?:from|import) (?:builders|publishing|cards|upload_scripts|tests)\b", re.M)
    assert [path for path in (ROOT / "mico_hub").rglob("*.py") if outside.search(path.read_text())] == []
