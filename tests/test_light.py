"""What starts light, and what needs neither torch nor what draws and trains."""

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import fresh
import pytest

from mico_hub.messages import EXTRAS

HEAVY = ("torch", "opacus", "transformers", "sklearn", "matplotlib", "jinja2", "dp_accounting", "loky", "evaluate")

BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def run(code: str, cwd: Path, missing: tuple[str, ...] = ()) -> str:
    """What code prints where some packages are missing."""
    program = BLOCK.format(missing=missing) + textwrap.dedent(code)
    environment = os.environ | ({"USE_TORCH": "NO"} if missing else {})  # datasets asks for the package by its metadata
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import mico_hub",
        "from mico_hub.scoring import mico_score",
        "import mico_hub.cli\ntry: mico_hub.cli.main(['--version'])\nexcept SystemExit: pass",
        "import mico_hub.cli\ntry: mico_hub.cli.main(['attack', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_starting_imports_nothing_heavy(code: str, tmp_path: Path) -> None:
    printed = run(f"{code}\nprint(sorted({{*{HEAVY}, 'datasets', 'pyarrow', 'scipy'}} & sys.modules.keys()))", tmp_path)
    assert printed.splitlines()[-1] == "[]"


def test_everything_that_the_package_offers_is_there(tmp_path: Path) -> None:
    """And its modules, although none was imported."""
    code = """
        import mico_hub
        assert set(mico_hub.__all__) <= set(dir(mico_hub))
        assert all(getattr(mico_hub, name) is not None for name in mico_hub.__all__)
        print(mico_hub.attacks.attack is mico_hub.attack, hasattr(mico_hub, "nothing"))
    """
    assert run(code, tmp_path) == "True False\n"


@pytest.mark.parametrize("first", ["datasets, evaluate", "mico_hub", "evaluate, mico_hub"])
def test_the_names_work_whatever_is_imported_first(first: str, published: Path, tmp_path: Path) -> None:
    (tmp_path / "mico").symlink_to(published)
    code = f"""
        import {first}
        import mico_hub, datasets, evaluate
        from datasets import load_dataset
        rows = load_dataset("mico", "digits_hi")
        print(len(rows["train"]), datasets.get_dataset_config_names("mico")[0], evaluate.load("mico_score").name)
    """
    done = fresh.run("-c", textwrap.dedent(code), cwd=tmp_path)
    assert done.stdout == "4 digits_inf mico_score\n", done.stderr[-3000:]


def test_a_missing_extra_is_a_line_with_the_command(published: Path, tmp_path: Path) -> None:
    (tmp_path / "mico").symlink_to(published)
    code = """
        import contextlib, io
        import mico_hub
        from mico_hub.cli import main
        suite = mico_hub.open_suite("digits_hi")
        for call in (suite.model, suite.challenge):
            try:
                call(suite.dev[0])
            except ImportError as error:
                print(error)
        for command in (["train", "digits_hi"], ["attack", "digits_hi", "--html", "report.html"]):
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                code = main(command)
            print(code, errors.getvalue().splitlines()[-1])
    """
    torch = "torch is not installed, and this needs it: pip install 'mico-hub[models]'"
    page = "matplotlib is not installed, and this needs it: pip install 'mico-hub[report]'"
    assert run(code, tmp_path, HEAVY).splitlines() == [torch, torch, f"2 mico-hub: {torch}", f"2 mico-hub: {page}"]


def test_every_extra_is_one_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


def test_published_signals_are_attacked_and_scored_without_torch(published: Path, tmp_path: Path) -> None:
    (tmp_path / "mico").symlink_to(published)
    code = """
        from pathlib import Path
        import numpy as np
        import mico_hub
        from datasets import load_dataset
        from mico_hub import submissions
        from mico_hub.cli import main
        from mico_hub.scoring import mico_score
        suite = load_dataset("mico", "digits_hi")
        predictions = mico_hub.attack("lira", suite["dev"], suite["train"])
        train = mico_hub.attack("rmia", suite["train"])
        score = mico_score(np.concatenate(suite["train"]["membership"]), np.concatenate(train))["AUC"]
        by_model = dict(zip(suite["dev"]["model_id"], predictions))
        handle = mico_hub.open_suite("digits_hi")
        submissions.write(Path("out"), {(handle.manifest.suite, "dev"): by_model})
        assert main(["suites"]) == main(["attacks"]) == main(["fetch", "digits_hi", "--split", "dev"]) == 0
        assert main(["attack", "digits_hi", "--attack", "lira_shrunken", "--out", "shrunken"]) == 0
        assert main(["score", "shrunken", "--suite", "digits_hi"]) == 0
        print(0 < score < 1, handle.signals("loss").train.values.shape[0], handle.manifest.suite.name)
    """
    assert run(code, tmp_path, HEAVY).splitlines()[-1] == "True 4 digits_hi"
