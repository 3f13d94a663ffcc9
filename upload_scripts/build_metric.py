"""Assembles the Space that is published as the metric: the module, all that it imports, its card and a small app.

python upload_scripts/build_metric.py --out mico_score
"""

import argparse
import shutil
import sys
from pathlib import Path

from cards.render import GRADIO, metric_card
from mico_hub.cache import atomic_write
from mico_hub.sources.hooks import METRIC, METRIC_FOLDER

APP = Path(__file__).resolve().parents[1] / "cards" / "metric_app.py"
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


def main() -> int:
    """Builds the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(METRIC), help="the Space's folder (default: %(default)s)")
    parser.add_argument("--name", default=METRIC, help="org/mico_score, for the card (default: %(default)s)")
    options = parser.parse_args()
    try:
        build_metric(options.out, options.name)
    except OSError as error:
        sys.stderr.write(f"build_metric: {error}\n")
        return 2
    sys.stdout.write(f"{options.out} is ready: a Space for evaluate.load({options.name!r})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
