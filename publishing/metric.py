"""The metric as a Space, for `evaluate.load("org/mico_score")`: the module, what it imports, its card and an app."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi

import cards
from cards.render import GRADIO, metric_card
from mico_hub.cache import atomic_write
from mico_hub.hooks import METRIC, METRIC_FOLDER
from mico_hub.messages import counted
from publishing.hub import Content, PublishError, sync, verify
from publishing.publish import known_to, opened

APP = Path(cards.__path__[0]) / "metric_app.py"
REQUIREMENTS = ("datasets", "evaluate", f"gradio>={GRADIO}", "numpy")


def build_metric(out: Path, repository_id: str = METRIC) -> None:
    """Writes the Space's folder, replacing what is there.

    Args:
        out: The folder; its name must be the metric's for `evaluate.load(out)`.
        repository_id: `org/mico_score`, for the card.
    """
    out.mkdir(parents=True, exist_ok=True)
    for module in sorted(METRIC_FOLDER.glob("*.py")):
        if module.stem != "__init__":
            shutil.copyfile(module, out / module.name)
    shutil.copyfile(APP, out / "app.py")
    atomic_write(out / "requirements.txt", ("\n".join(REQUIREMENTS) + "\n").encode())
    atomic_write(out / "README.md", metric_card(repository_id).encode())


def publish_metric(api: HfApi, repo_id: str) -> str:
    """Makes the Space hold the metric, and says what was done.

    Raises:
        PublishError: It could not be done, or is not what it should be.
    """
    known_to(api)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / METRIC
        build_metric(folder, repo_id)
        contents = {path.name: Content(path, last=True) for path in sorted(folder.iterdir())}
        space = opened(api, repo_id, "space", private=False, space_sdk="gradio")
        foreign = sorted(space.files().keys() - contents.keys() - {"app.py"})
        if f"{METRIC}.py" not in space.files() and foreign:
            raise PublishError(f"{space.id} holds something else, which would be deleted: {', '.join(foreign[:5])}")
        synced = sync(space, contents, "Publish the metric")
        verify(space, contents, contents, "main")
    uploaded = f"{len(synced.uploaded)} of {counted(len(contents), 'file')} uploaded"
    return f"{space.id}: {uploaded}, {counted(synced.commits, 'commit')}; verified"
