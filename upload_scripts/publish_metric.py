"""Publishes the metric as a Space, for `evaluate.load("org/mico_score")`, and verifies what is online.

python upload_scripts/publish_metric.py org/mico_score
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi

from mico_hub.sources.hooks import METRIC
from publishing.hub import Content, PublishError, sync, verify
from publishing.publish import known_to, opened
from upload_scripts.build_metric import build_metric


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
    return f"{space.id}: {len(synced.uploaded)} of {len(contents)} files uploaded, {synced.commits} commits; verified"


def parse_space(text: str) -> str:
    """`org/mico_score`: the module's file has that name, so the Space must.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    if text.count("/") != 1 or not text.endswith(f"/{METRIC}") or text == f"/{METRIC}":
        raise argparse.ArgumentTypeError(f"expected org/{METRIC}, got {text!r}: evaluate looks for a file of that name")
    return text


def main() -> int:
    """Publishes to the Space named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=parse_space, metavar=f"ORG/{METRIC}")
    options = parser.parse_args()
    try:
        done = publish_metric(HfApi(), options.space)
    except (PublishError, OSError) as error:
        sys.stderr.write(f"publish_metric: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\npublish_metric: interrupted; the same command goes on from there\n")
        return 130
    sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
