"""The Space of the metric, as it is assembled: loads from its folder alone, and its card and app are sound."""

import os
import re
from pathlib import Path

import evaluate
import fresh
import pytest
import yaml
from huggingface_hub import SpaceCard

from mico_hub.scoring import mico_score
from publishing.metric import build_metric


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("space") / "mico_score"
    build_metric(out, "org/mico_score")
    return out


def test_the_folder_holds_what_a_space_needs(space: Path) -> None:
    names = {path.name for path in space.iterdir()}
    modules = {"mico_score.py", "scoring.py", "curves.py", "intervals.py", "resampling.py", "scores.py"}
    assert names == modules | {"README.md", "app.py", "requirements.txt"}


def test_it_is_loaded_from_the_folder_alone(space: Path, tmp_path: Path) -> None:
    """In a process that cannot import mico_hub."""
    code = """
        import sys; sys.modules["mico_hub"] = None
        import evaluate
        points = {"predictions": [[0.1, 0.9], [0.3, 0.2]], "references": [[0, 1], [0, 1]]}
        found = evaluate.load(FOLDER).compute(**points, full=True)
        print(found["AUC"], found["TPR_FPR_hull_1000"], found["intervals"]["AUC"])
    """.replace("\n        ", "\n").replace("FOLDER", repr(str(space)))
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HOME": str(tmp_path)}
    done = fresh.run("-c", code, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["0.75", "0.6", "[0.0,", "1.0]"]


def test_the_card_is_valid_and_says_what_the_module_says(space: Path) -> None:
    card = SpaceCard.load(space / "README.md")
    assert card.data.sdk == "gradio"
    assert card.data.app_file == "app.py"
    assert "metric" in card.data.tags
    front = yaml.safe_load(card.content.split("---\n")[1])
    assert front["sdk_version"] in (space / "requirements.txt").read_text()
    text = card.text
    assert 'evaluate.load("org/mico_score")' in text
    assert "TPR_FPR_le_1000" in text
    assert "{{" not in text.replace("{{MICO}", "")
    assert text.count("```") % 2 == 0


def test_the_flag_adds_and_changes_nothing() -> None:
    metric = evaluate.load("mico_score")
    points: dict[str, list[list[float]]] = {
        "predictions": [[0.9, 0.2, 0.3], [0.8, 0.1, 0.4]],
        "references": [[1, 0, 1], [1, 0, 0]],
    }
    plain, full = metric.compute(**points), metric.compute(**points, full=True)
    assert plain == mico_score([1, 0, 1, 1, 0, 0], [0.9, 0.2, 0.3, 0.8, 0.1, 0.4])
    assert plain.items() <= full.items()
    flat = {name: [value for model in lists for value in model] for name, lists in points.items()}
    without = metric.compute(**flat, full=True)
    assert "intervals" not in without
    assert without.items() <= full.items()
    assert metric.compute(**points, full=True, seed=1)["intervals"].keys() == full["intervals"].keys()


def test_the_app_scores_what_is_pasted(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: the app needs it, nothing else does")
    monkeypatch.chdir(space)
    monkeypatch.syspath_prepend(str(space))
    import app  # type: ignore[import-not-found]  # the Space's own

    rows = app.score(*app.EXAMPLE)
    assert ["AUC", "0.9375", "0.7500 to 1.0000"] in rows
    assert any(re.match(r"TPR at FPR < 0\.1$", row[0]) for row in rows)
    for predictions, membership in (("0.1,x", "0,1"), ("0.1", "0,1"), ("", ""), ("0.1,0.2", "0,2")):
        with pytest.raises(app.gradio.Error):
            app.score(predictions, membership)
