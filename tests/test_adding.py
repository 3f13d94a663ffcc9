"""The six ways to add something, each in a copy of the project: a file or an entry, and nothing else has to change.

What is made of the tables is made again by the one command that a failing test names.
"""

import os
import shutil
import textwrap
from pathlib import Path

import fresh
import pytest

ROOT = Path(__file__).parents[1]
ADDITIONS = Path(__file__).parent / "additions"
PARTS = (
    *("mico_hub", "builders", "publishing", "cards", "docs", "benchmarks", "upload_scripts"),
    *("README.md", "CONTRIBUTING.md", "pyproject.toml"),
)
DERIVED = (
    *("docs.py::test_tables_are_what_the_code_makes", "builders.py::test_every_suites_recipe_can_be_said"),
    *("suites.py", "models.py", "cards.py", "scorecard.py", "curves.py"),
)
"""Tests of what is made of the tables."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, tests apart."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, tmp_path / part)
    (tmp_path / "tests" / "golden").mkdir(parents=True)
    shutil.copyfile(ROOT / "tests/golden/expected_scores.json", tmp_path / "tests/golden/expected_scores.json")
    return tmp_path


def add_file(copy: Path, name: str, room: str) -> None:
    shutil.copyfile(ADDITIONS / name, copy / "mico_hub" / room / name)


def add_line(copy: Path, module: str, after: str, line: str) -> None:
    path = copy / "mico_hub" / module
    text = path.read_text()
    assert text.count(after) == 1, after
    path.write_text(text.replace(after, after + line))


def a_suite(copy: Path) -> None:
    row = '    yield replace(_digits("digits_mini", 2), track="mini", n=200)\n'
    add_line(copy, "suites.py", '    yield _digits("digits_lo", 4)\n', row)


def a_signal(copy: Path) -> None:
    add_line(copy, "signals/outputs.py", '"modified_entropy": _modified_entropy', ', "confidence": lambda a: a.p')


def a_score(copy: Path) -> None:
    entry = '    Score("Gini", "Gini coefficient", lambda fpr, tpr: 2 * _area(fpr, tpr) - 1),\n'
    add_line(copy, "metrics/mico_score/scores.py", "SCORES: tuple[Score, ...] = (\n", entry)


def run(copy: Path, code: str) -> str:
    """What code prints in the copy."""
    return python(copy, "-c", f"import mico_hub; assert mico_hub.__file__.startswith({str(copy)!r})\n"
                  + textwrap.dedent(code))  # fmt: skip


def python(copy: Path, *arguments: str) -> str:
    own = {"PYTHONPATH": str(copy), "MICO_HUB_CACHE": str(copy / "cache"), "MICO_HUB_WRITE_GOLD": "1"}
    done = fresh.run(*arguments, cwd=copy, env=os.environ | own)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_suite_is_a_row(copy: Path) -> None:
    """Of a track of its own: trained, built, loaded and attacked."""
    a_suite(copy)
    printed = run(copy, """
        from pathlib import Path
        from builders.build import build
        from mico_hub.suites import SUITES
        from mico_hub.training.suite import train_suite
        train_suite(SUITES["digits_mini"].with_models(3, 1, 1), Path("suites/digits_mini"))
        build([Path("suites/digits_mini")], Path("mico"))
        suite = mico_hub.open_suite("digits_mini", "mico")
        print(suite.manifest.suite.epsilon, len(mico_hub.attack("loss", suite.dev)[0]))
    """)  # fmt: skip
    assert printed == "2 200\n"


def test_a_base_dataset_is_a_file(copy: Path) -> None:
    add_file(copy, "wine.py", "data")
    printed = run(copy, """
        from mico_hub.data import DATASETS, load_base
        base = load_base("wine")
        inputs = tuple(base.inputs([0, 177]).shape)
        print(DATASETS["wine"].num_records, len(base), inputs, base.labels.unique().tolist())
    """)  # fmt: skip
    assert printed == "178 178 (2, 13) [0, 1, 2]\n"


def test_a_text_network_is_a_file(copy: Path) -> None:
    """With its tokeniser: trained with DP and without, saved, and its signals computed."""
    add_file(copy, "letters.py", "models")
    printed = run(copy, """
        from dataclasses import replace
        import numpy as np, torch
        from mico_hub import models, signals
        from mico_hub.data import BaseDataset
        from mico_hub.models.records import subset
        from mico_hub.randomness import Keys
        from mico_hub.release import checkpoints
        from mico_hub.splits import draw
        from mico_hub.suites import SUITES, Optimiser
        from mico_hub.training.sgd import Assignment, Runtime, train_models
        sentences = tuple("good" * (i % 7 + 1) if i % 2 else "bad" * (i % 5 + 1) for i in range(200))
        raw = BaseDataset("text", sentences, torch.arange(200) % 2, "0" * 64, "", None)
        data = models.prepared(raw, "letters")
        for name in ("sst2_inf", "sst2_hi"):
            changes = {"model": "letters", "n": 100, "m": 20, "batch_size": 20, "epochs": 20}
            suite = replace(SUITES[name], optimiser=Optimiser("adamw", 0.05), max_grad_norm=None, **changes)
            split = draw(len(data), suite.n, suite.m)
            given = Assignment(suite, split, Keys.draw(), 0.7 if suite.private else None)
            (network,) = train_models([given], data, Runtime())
            network = checkpoints.deserialise(checkpoints.serialise(network, "letters"))
            values = signals.values_of([network], data, np.arange(200), ["loss", "gradient_norm"], "cpu")
            print(values["loss"].mean() < 0.5, np.isfinite(values["gradient_norm"]).all())
    """)  # fmt: skip
    assert printed == "True True\n" * 2


def test_an_attack_is_a_file_and_its_score_one_command(copy: Path) -> None:
    """The command is that of `make benchmark ATTACK=spread`, on four models of one suite here."""
    add_file(copy, "spread.py", "attacks")
    printed = run(copy, """
        import json, sys
        from benchmarks import attacks
        from cards import docs
        before = json.loads(docs.EXPECTED_SCORES.read_bytes())
        assert "| spread | - | - | - |" in docs.scores()
        attacks.SUITES, attacks.MODELS = {"digits_inf": attacks.SUITES["digits_inf"]}, 4
        attacks.tracks = lambda: {"digits": list(attacks.SUITES.values())}
        sys.argv = ["benchmarks/attacks.py", "--attack", "spread", "--suites", "2"]
        attacks.main()
        after = json.loads(docs.EXPECTED_SCORES.read_bytes())
        print(len(after["digits_inf"].pop("spread")["tpr"]) == 2, after == before)
        assert docs.scores() in (docs.ROOT / "docs/attacks.md").read_text()
    """)  # fmt: skip
    assert printed.endswith("True True\n")
    assert "| spread (4 targets) | " in printed


def test_a_signal_is_an_entry(copy: Path) -> None:
    a_signal(copy)
    printed = run(copy, """
        import torch
        from cards import docs
        from mico_hub import signals
        outputs, labels = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1])
        found = signals.of_outputs(outputs, labels)
        print(signals.signals_of("cnn"), torch.allclose(found["confidence"], (-found["loss"]).exp()))
        assert "| confidence |" in docs.signals()
    """)  # fmt: skip
    assert printed == "('loss', 'margin', 'modified_entropy', 'confidence', 'gradient_norm') True\n"


def test_a_score_is_an_entry(copy: Path) -> None:
    """It has a value, an interval, a paired difference; it is in the metric, the card and the JSON."""
    a_score(copy)
    printed = run(copy, """
        import evaluate, numpy as np
        from mico_hub.reporting import scorecard
        from mico_hub.reporting.results import Result
        from mico_hub.scoring import SCORES, compare, mico_score
        from mico_hub.suites import SUITES
        rng = np.random.default_rng(0)
        membership = np.tile([0, 1], (5, 50))
        predictions = rng.random(membership.shape) + 0.3 * membership
        result = Result(SUITES["digits_hi"], "final", "mine", "mine", membership, predictions)
        low, high = result.intervals["Gini"]
        print(np.isclose(result.scores["Gini"], 2 * result.scores["AUC"] - 1), low < result.scores["Gini"] < high)
        assert "Gini coefficient" in scorecard.card(result)
        assert "Gini" in scorecard.as_json([result])["results"][0]["intervals"]
        assert compare(membership, predictions, predictions, rng=rng, draws=20)["Gini"].difference == 0
        assert "Gini" not in mico_score(membership.ravel(), predictions.ravel())
        metric = evaluate.load("mico_score")
        found = metric.compute(predictions=predictions / 2, references=membership, full=True)
        assert found["Gini"] == result.scores["Gini"]
        assert "Gini: Gini coefficient." in metric.inputs_description
    """)  # fmt: skip
    assert printed == "True True\n"


def test_what_is_made_of_the_tables_still_is(copy: Path) -> None:
    """All six at once: after `make docs`, and with the cards written anew, the tests that look at tables pass."""
    for add in (a_suite, a_signal, a_score):
        add(copy)
    for name, room in (("wine.py", "data"), ("letters.py", "models"), ("spread.py", "attacks")):
        add_file(copy, name, room)
    shutil.copytree(ROOT / "tests", copy / "tests", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    python(copy, "-m", "cards.docs")
    python(copy, "-m", "pytest", "-q", *(f"tests/test_{name}" for name in DERIVED))
