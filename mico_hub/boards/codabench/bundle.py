"""The bundle that Codabench takes: `competition.yaml` and the files that it names, in one zip.

What the platform reads, and what it does where a key is missing, is in src/apps/competitions/unpackers/v2.py of
https://github.com/codalab/codabench; tests/test_codabench.py has its keys and types.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mico_hub.attacks import attack
from mico_hub.cache import atomic_path
from mico_hub.handle import Handle
from mico_hub.messages import InputError
from mico_hub.reporting.figures import COLOURS
from mico_hub.scoring import RANKING
from mico_hub.sources import PublishedRepository
from mico_hub.submissions.archive import archive_bytes
from mico_hub.submissions.folder import files_of
from mico_hub.submissions.writing import complete

DOCKER_IMAGE = "codalab/codalab-legacy:py312"
"""The platform's own with Python 3.12 and numpy, which its workers have already: nothing is pulled for a submission."""

MEAN = f"average_{RANKING}"
MOST_SUBMISSIONS = {"dev": (30, 1_000), "final": (3, 10)}
"""Of a participant: a day, and in all. Those of dev are the competition's."""
SECONDS = 300
DECIMALS = 4

_ENVIRONMENT = Environment(
    loader=PackageLoader("mico_hub.boards.codabench"),
    undefined=StrictUndefined,
    autoescape=select_autoescape(),  # of pages in HTML; these are Markdown
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_PAGES = ("overview", "data", "submission", "evaluation", "terms")


class DatesError(InputError, ValueError):
    """Phases that overlap."""


@dataclass(frozen=True, slots=True)
class Dates:
    """When phases begin, UTC; dev ends where final begins, and the last one never.

    Raises:
        DatesError: They overlap.
    """

    dev: datetime
    final: datetime | None = None  # None: there is no such phase, and nothing of its truth in the bundle

    @classmethod
    def of(cls, dev: datetime | None, final: datetime | bool | None) -> "Dates":
        """Dev from today where no day is named; final, if it is wanted, 90 days later where none is."""
        dev = dev or datetime.combine(datetime.now(UTC).date(), time())
        return cls(dev, dev + timedelta(days=90) if final is True else final or None)

    def __post_init__(self) -> None:
        if self.final is not None and self.final <= self.dev:
            raise DatesError(f"expected final to begin after dev, {self.dev}, got {self.final}")

    @property
    def phases(self) -> dict[str, datetime]:
        """Split -> when its phase begins."""
        return {"dev": self.dev} | ({} if self.final is None else {"final": self.final})


def write_bundle(
    path: Path,
    suites: Sequence[Handle],
    dates: Dates,
    *,
    truth: Path | None = None,
    baselines: Sequence[str] = (),
    source: str | None = None,
) -> None:
    """Writes the bundle, whole or not at all, for its owner's eyes alone.

    Args:
        path: The zip.
        suites: All suites of a track, public: challenges and models are read from them.
        dates: Says which phases there are. Only their truth goes into the bundle.
        truth: As `Handle.truth` takes it.
        baselines: Reference attacks that are run and go into it as solutions.
        source: As `mico_hub.attack` takes it.

    Raises:
        SourceError: The truth is hidden and was not found.
        FolderError: The truth is of other models.
    """
    splits = [*dates.phases]
    labels = {(suite.name, split): suite.truth(split, truth) for split in splits for suite in suites}
    rng = np.random.default_rng(0)  # of an example, which is public

    def drawn(suite: Handle, split: str) -> Sequence[ArrayLike]:
        return [rng.random(2 * suite.manifest.suite.m).round(3) for _ in suite.split(split)]

    solutions = {}
    for name in baselines:

        def attacked(suite: Handle, split: str, name: str = name) -> Sequence[ArrayLike]:
            return attack(name, suite.split(split), suite.train, source)

        solutions[name] = archive_bytes(_submission(suites, splits, attacked))
    example = archive_bytes(_submission(suites, splits, drawn))
    about = _about(suites, dates)
    contents: dict[str, bytes] = {
        "competition.yaml": yaml.safe_dump(_competition(about, dates, [*solutions]), sort_keys=False).encode(),
        "logo.png": _logo(),
        **{f"pages/{page}.md": _page(page, about) for page in _PAGES},
        "scoring_program.zip": archive_bytes(_program()),
        "starting_kit.zip": archive_bytes(_kit(about, example)),
        **{f"solutions/{name}.zip": content for name, content in solutions.items()},
        **{f"reference_data_{split}.zip": archive_bytes(_solutions(suites, split, labels)) for split in splits},
    }
    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600)  # it holds the truth
        temporary.write_bytes(archive_bytes(contents.items()))


def _submission(
    suites: Sequence[Handle], splits: Sequence[str], predict: Callable[[Handle, str], Sequence[ArrayLike]]
) -> Iterator[tuple[str, bytes]]:
    """The files of a submission, from predictions in the order of a split's rows."""
    return files_of(complete({(suite, split): predict(suite, split) for suite, split in product(suites, splits)}), {})


def _solutions(
    suites: Sequence[Handle], split: str, labels: Mapping[tuple[str, str], Mapping[int, NDArray[np.int8]]]
) -> Iterator[tuple[str, bytes]]:
    """`<track>/<suite>/<split>/model_N/solution.csv`, as the competition had them: a secret."""
    for suite in suites:
        for model_id, of_model in labels[suite.name, split].items():
            line = ",".join(map(str, of_model.tolist())) + "\n"
            yield f"{suite.manifest.suite.track}/{suite.name}/{split}/model_{model_id}/solution.csv", line.encode()


def _program() -> Iterator[tuple[str, bytes]]:
    """The scoring program with the code of mico_score that it uses, which needs numpy alone."""
    yield "metadata.yaml", b"command: python3 /app/program/score.py /app/input/ /app/output/\n"
    text = (files("mico_hub.boards.codabench") / "score.py").read_text()
    yield "score.py", text.replace("from mico_hub.metrics.mico_score", "from mico_score").encode()
    for name in ("__init__.py", "scores.py", "scoring.py"):
        yield f"mico_score/{name}", (files("mico_hub.metrics.mico_score") / name).read_bytes()


def _kit(about: Mapping[str, Any], example: bytes) -> Iterator[tuple[str, bytes]]:
    yield "README.md", _page("kit", about)
    yield "attack.py", _ENVIRONMENT.get_template("kit.py.jinja").render(**about).encode()
    yield "example_submission.zip", example


def _page(name: str, about: Mapping[str, Any]) -> bytes:
    return _ENVIRONMENT.get_template(f"{name}.md.jinja").render(**about).encode()


def _about(suites: Sequence[Handle], dates: Dates) -> dict[str, Any]:
    """What pages say."""
    recipes = [suite.manifest.suite for suite in suites]
    place = suites[0].place
    return {
        "track": recipes[0].track,
        "suites": recipes,
        "splits": [*dates.phases],
        "dataset": str(place) if isinstance(place, PublishedRepository) else "",
        "limits": MOST_SUBMISSIONS,
        "models": {split: len(suites[0].challenges(split)) for split in dates.phases},
    }


def _competition(about: Mapping[str, Any], dates: Dates, solutions: Sequence[str]) -> dict[str, Any]:
    """`competition.yaml`: what has a default of the platform's that is another is said, too."""
    track, splits = about["track"], about["splits"]
    return {
        "version": 2,
        "title": f"MICO {track}: membership inference",
        "description": f"Which challenge records were in the training sets of the models of {track}?",
        "image": "logo.png",
        "terms": "pages/terms.md",
        "competition_type": "competition",
        "registration_auto_approve": True,
        "docker_image": DOCKER_IMAGE,
        "make_programs_available": True,
        "make_input_data_available": False,
        "enable_detailed_results": False,
        "auto_run_submissions": True,
        "can_participants_make_submissions_public": True,
        "forum_enabled": True,
        "pages": [{"title": page.capitalize(), "file": f"pages/{page}.md"} for page in _PAGES if page != "terms"],
        "phases": [_phase(index, split, dates) for index, split in enumerate(splits)],
        "tasks": [
            {
                "index": index,
                "name": f"{track} {split}",
                "description": f"The {split} models of all suites of {track}.",
                "scoring_program": "scoring_program.zip",
                "reference_data": f"reference_data_{split}.zip",
            }
            for index, split in enumerate(splits)
        ],
        **(
            {
                "solutions": [
                    {"index": index, "name": name, "path": f"solutions/{name}.zip", "tasks": [*range(len(splits))]}
                    for index, name in enumerate(solutions)
                ]
            }
            if solutions
            else {}
        ),
        "leaderboards": [
            {
                "title": "Results",
                "key": "main",
                "submission_rule": "Force_Last",
                "hidden": dates.final is not None,
                "columns": [*_columns([suite.name for suite in about["suites"]])],
            }
        ],
    }


def _phase(index: int, split: str, dates: Dates) -> dict[str, Any]:
    """Times are texts: of what YAML takes for a time the platform keeps the day alone."""
    a_day, in_all = MOST_SUBMISSIONS[split]
    begins = [*dates.phases.values()]
    ends = {"end": str(begins[index + 1])} if index + 1 < len(begins) else {}
    return {
        "index": index,
        "name": split,
        "description": "Scores are shown at once." if split == "dev" else "Scores are shown when it is over.",
        "start": str(begins[index]),
        **ends,
        "tasks": [index],
        "max_submissions_per_day": a_day,
        "max_submissions": in_all,
        "execution_time_limit": SECONDS,
        "auto_migrate_to_this_phase": False,
        "hide_output": False,
        "hide_prediction_output": False,
        "hide_score_output": split == "final",
        "starting_kit": "starting_kit.zip",
    }


def _columns(suites: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The mean, by which the platform ranks, then what it is the mean of."""
    shown = {"sorting": "desc", "precision": DECIMALS, "hidden": False}
    yield {
        "title": f"Mean of {len(suites)} suites", "key": MEAN, "index": 0, **shown,
        "computation": "avg", "computation_indexes": [*range(1, 1 + len(suites))],
    }  # fmt: skip
    for index, suite in enumerate(suites, start=1):
        yield {"title": suite, "key": f"{suite}_{RANKING}", "index": index, **shown}


def _logo() -> bytes:
    """A curve above the diagonal."""
    figure = Figure(figsize=(3, 3), dpi=100)
    axes = figure.add_axes((0.08, 0.08, 0.84, 0.84))
    rate = np.linspace(0, 1, 200)
    axes.plot(rate, rate, color="0.6", linewidth=3, linestyle=":")
    axes.plot(rate, rate**0.35, color=COLOURS[0], linewidth=8, solid_capstyle="round")
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()
