"""A competition on digits rehearsed from end to end, from the bundle for Codabench to the page of an open board.

python upload_scripts/rehearse.py --out rehearsal

Organisers make a bundle, a participant runs the starting kit, the platform's scoring program gives scores, the open
board its page, and results go to the Hub's own boards. The digits suites are trained into the cache if they are not
there; or name others, as of a trial, with --source and --truth.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import zipfile
from contextlib import chdir
from pathlib import Path
from statistics import mean

import mico_hub
from mico_hub import submissions
from mico_hub.boards.codabench.bundle import MEAN
from mico_hub.cli import frame
from mico_hub.cli import main as command
from mico_hub.loading import open_suite
from mico_hub.messages import InputError
from mico_hub.scoring import RANKING
from mico_hub.suites import tracks

TRACK = "digits"
SPLITS = ("dev", "final")


class RehearsalError(InputError):
    """A step that did not come out."""


def run(options: argparse.Namespace) -> None:
    """Rehearses all steps in a folder."""
    truth, source = (None if path is None else path.resolve() for path in (options.truth, options.source))
    if source is not None:
        os.environ["MICO_HUB_DATASET"] = str(source)
    options.out.mkdir(parents=True, exist_ok=True)
    with chdir(options.out):
        _say("The organisers make a bundle")
        _do("export", "codabench", "--track", TRACK, "--final", "--out", "bundle.zip", *_option("truth", truth))
        _unpack(Path("bundle.zip"), Path("bundle"))
        _unpack(Path("bundle/starting_kit.zip"), Path("kit"))

        _say("A participant runs the starting kit, and looks whether the submission is complete")
        with chdir("kit"):
            _process([sys.executable, "attack.py"])
            _do(
                "check-submission",
                "submission.zip",
                "--track",
                TRACK,
                "--split",
                ",".join(SPLITS),
                *_option("source", source),
            )

        _say("The platform scores it")
        for split in SPLITS:
            scores = _scored(Path("app") / split, Path("bundle"), split, Path("kit/submission.zip"))
            ours = _ours(split, truth, Path("kit/submission.zip"))
            apart = max(abs(scores[f"{name}_{RANKING}"] - value) for name, value in ours.items())
            average = mean(scores.values())
            sys.stdout.write(f"{split}: {MEAN} {average:.4f}; {len(scores)} scores, at most {apart:.1g} from ours\n")
            if apart:
                raise RehearsalError(f"{split}: the scoring program gives other scores than mico-hub")

        _say("On the open board are reference attacks, and then the participant's")
        _do("board", "open", "references", TRACK)
        _do("attack", TRACK, "--attack", "kit/attack.py", "--zip", "open.zip")
        if not Path("board", TRACK, "kit").exists():
            _do(
                "board",
                "open",
                "add",
                "open.zip",
                "--name",
                "kit",
                "--title",
                "starting kit",
                "--attack",
                "kit/attack.py",
            )
        _do("board", "open", "check")
        _do("board", "open", "reproduce", f"{TRACK}/kit")
        _do("board", "open", "render", "--out", "site")

        _say("Results for the Hub's own boards")
        _do("export", "eval-results", "open.zip", "--suite", TRACK, "--dataset", "org/mico", "--out", "attack")


def _say(step: str) -> None:
    sys.stdout.write(f"\n# {step}\n")
    sys.stdout.flush()


def _do(*arguments: str) -> None:
    """Runs the command `mico-hub`, and shows it."""
    sys.stdout.write(f"$ {shlex.join(['mico-hub', *arguments])}\n")
    sys.stdout.flush()
    if code := command(arguments):
        raise RehearsalError(f"{shlex.join(arguments)}: exit code {code}")


def _process(command: list[str], cwd: Path | None = None) -> None:
    sys.stdout.write(f"$ {shlex.join(['python', *command[1:]])}\n")
    sys.stdout.flush()
    if code := subprocess.run(command, cwd=cwd, check=False).returncode:
        raise RehearsalError(f"{shlex.join(command)}: exit code {code}")


def _option(name: str, value: Path | None) -> list[str]:
    return [] if value is None else [f"--{name}", str(value)]


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)


def _scored(app: Path, bundle: Path, split: str, submission: Path) -> dict[str, float]:
    """What the scoring program gives in the worker's layout, with `app` in place of /app."""
    for name, archive in (
        ("program", bundle / "scoring_program.zip"),
        ("input/ref", bundle / f"reference_data_{split}.zip"),
        ("input/res", submission),
    ):
        _unpack(archive, app / name)
    (app / "output").mkdir(exist_ok=True)
    folder = app.resolve()
    _process([sys.executable, str(folder / "program/score.py"), str(folder / "input"), str(folder / "output")])
    found: dict[str, float] = json.loads((app / "output/scores.json").read_text())
    return found


def _ours(split: str, truth: Path | None, submission: Path) -> dict[str, float]:
    """Suite -> the score that ranks, as `mico_hub.score` gives it."""
    found = {}
    for recipe in tracks()[TRACK]:
        suite = open_suite(recipe.name)
        predictions = submissions.read(submission, suite.manifest.suite, split)
        (result,) = mico_hub.score(suite, {"kit": predictions}, split, truth).results
        found[suite.name] = result.tpr
    return found


def main() -> int:
    """Rehearses in the folder named on the command line."""
    parser = frame.script(__doc__, run, "The same command completes the folder.")
    parser.add_argument("--out", type=Path, default=Path("rehearsal"), help="the folder (default: rehearsal)")
    parser.add_argument("--source", type=Path, help="a published folder with the suites (default: wherever `mico` is)")
    parser.add_argument("--truth", type=Path, help="their hidden membership (default: the cache)")
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
