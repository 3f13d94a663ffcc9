"""Trains what is missing of a suite into its folder: splits and keys first, then models, wherever the workers are."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mico_hub import models, splits
from mico_hub.data import BaseDataset, load_base
from mico_hub.progress import Bar
from mico_hub.randomness import Keys
from mico_hub.randomness.generators import draws_on
from mico_hub.release import checkpoints
from mico_hub.release.consistency import checkpoint_path
from mico_hub.release.disclosure import Measured, disclose, truth
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import FolderError
from mico_hub.release.rows import Truth
from mico_hub.suites import Suite
from mico_hub.training import accounting, engine
from mico_hub.training.job import Finished, TrainingJob
from mico_hub.training.sgd import Assignment, Runtime
from mico_hub.workers import Common, ThisProcess, Workers


def train_suite(
    suite: Suite,
    root: Path,
    runtime: Runtime | None = None,
    workers: Workers | None = None,
    *,
    data: BaseDataset | None = None,
    pretrained: Path | str | None = None,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[float], None] = lambda share: None,
) -> SuiteFolder:
    """Trains what is missing of a suite, with a bar, and writes its folder.

    Splits, keys and noise multiplier are fixed on the first run. A run that is interrupted loses only the models it
    was at; the next one trains those with their own keys again. A complete suite is left alone; with more models than
    it has it grows, until it was published.

    Args:
        suite: The recipe, with the number of models wanted.
        root: The suite's folder.
        runtime: How a model is trained; on the CPU by default.
        workers: Where; in this process by default.
        data: What splits index; the suite's base dataset by default.
        pretrained: Where the weights are that text models start from, see `models.load_start`.
        announce: Gets a line for each model that is finished.
        progress: Gets the share of the suite that is done, 0 to 1, now and then.

    Raises:
        FolderError: The folder holds another suite, or the same one begun with other data, weights to start from,
            engine, versions or kind of device, or it cannot grow so; or another run is at work in it.
        DataError: The base dataset was not found.
        DeviceError: See `Runtime.check`.
        WorkerError: A worker failed.
        OSError: A file cannot be written, or the weights to start from was not found.
    """
    runtime, workers = runtime or Runtime(), workers or ThisProcess()
    runtime.check(suite)
    folder = SuiteFolder(root)
    data = models.prepared(data or load_base(suite.dataset), suite.model)
    start = None if folder.exists() else models.load_start(suite.model, pretrained)  # before anything is written
    with folder.locked():
        begun = folder.manifest() if folder.exists() else None
        if begun is not None:
            _require_same(begun, suite, data, root)
            folder.settle()
        if begun is None or begun.suite != suite or not folder.complete():
            common = Common(data, start or models.load_start(suite.model, pretrained))
            manifest = _begin(folder, suite, common, runtime)
            epsilon = _spent(folder, manifest)
            missing = _missing(folder, manifest)
            size = min(runtime.stack_of(suite), math.ceil(len(missing) / workers.parallel) or 1)
            jobs = _jobs(folder, manifest, data, missing, runtime, size)
            with (
                _Bar(suite, len(missing), progress) as bar,
                closing(workers.run(jobs, common, bar.advance)) as results,
            ):
                for finished in results:
                    for model in finished:
                        measured = _keep(folder, suite, model, epsilon)
                        bar.finish_model()
                        announce(_line(suite, model.model_id, measured))
            _finish(folder, suite, data)
    progress(1.0)
    return folder


def _require_same(begun: Manifest, suite: Suite, data: BaseDataset, root: Path) -> None:
    wrong = []
    if begun.suite.with_models(*suite.models) != suite:
        wrong.append(f"expected the recipe {suite}, got {begun.suite}")
    if begun.data_digest != data.digest:
        wrong.append(f"expected data with digest {begun.data_digest}, got {data.digest}")
    if wrong:
        raise FolderError("\n".join([f"{root} holds another suite; name another folder", *wrong]))


def _grow(folder: SuiteFolder, suite: Suite, data: BaseDataset) -> None:
    """Draws what a suite that was begun with fewer models needs for the others."""
    begun = folder.manifest().suite
    ids = range(sum(begun.models))
    has, asked = ("/".join(map(str, each.models)) for each in (begun, suite))
    keeps = sum(suite.models) > len(ids) and all(suite.split_of(i) == begun.split_of(i) for i in ids)
    if not keeps:
        raise FolderError(
            f"{folder.root} has {has} models, and {asked} were asked for: a suite may only grow so that every model "
            f"keeps its id, which final can (2/1/1 to 2/1/5) and no split before it; name another folder"
        )
    if repository := folder.published():
        raise FolderError(
            f"{folder.root} has {has} models, and {asked} were asked for: it was published in {repository}, and its "
            f"truth was committed to there; name another folder"
        )
    drawn = _drawn(suite, data, range(len(ids), sum(suite.models)))
    folder.grow(suite, drawn, [Keys.draw() for _ in drawn])


def _drawn(suite: Suite, data: BaseDataset, model_ids: Iterable[int]) -> list[Truth]:
    """A fresh split for each model."""
    draw = splits.draw_coins if suite.design == "coins" else splits.draw
    return [truth(suite, model_id, draw(len(data), suite.n, suite.m)) for model_id in model_ids]


def _begin(folder: SuiteFolder, suite: Suite, common: Common, runtime: Runtime) -> Manifest:
    data, code = common.data, engine.code()
    now = Manifest(
        suite=suite,
        noise_multiplier=None,
        data_digest=data.digest,
        data_official=data.official,
        data_note=data.note,
        versions=engine.versions(),
        engine=engine.TRAINING,
        commit=code.commit,
        clean=code.clean,
        start_digest=common.start_digest,
        network_note=models.shape_note(suite.model, common.start),
        randomness=draws_on(runtime.device),
    )
    if not folder.exists():
        drawn = _drawn(suite, data, range(sum(suite.models)))
        begun = replace(now, noise_multiplier=accounting.calibrate(suite))
        folder.begin(begun, drawn, [Keys.draw() for _ in drawn])
    elif wrong := _mixed(folder.manifest(), now):
        raise FolderError(
            "\n".join(
                [
                    f"{folder.root} was begun with other settings, and all of its models must be made alike:",
                    *wrong,
                    "Or name another folder.",
                ]
            )
        )
    elif folder.manifest().suite != suite:
        _grow(folder, suite, data)
    return folder.manifest()


def _mixed(begun: Manifest, now: Manifest) -> list[str]:
    """What of a suite that was begun would be different in the models that it lacks, a line each with how to resume."""
    of_code = f"mico-hub {begun.versions.get('mico-hub')}" + (f", commit {begun.commit}" if begun.commit else "")
    wrong = []
    for name, before, here in differing(begun):
        install = of_code if name == engine.NAME else f"{name}=={before}"
        wrong.append(f"begun with {name} {before}, here {name} {here}: install {install} to resume")
    if begun.start_digest != now.start_digest:
        wrong.append(
            f"begun from pretrained weights with digest {begun.start_digest}, now {now.start_digest}: name those that "
            f"it was begun from with --pretrained"
        )
    if begun.randomness != now.randomness:
        wrong.append(
            f"begun with noise and dropout drawn on {begun.randomness}, now on {now.randomness}: the same keys give "
            f"others there; resume with --device {begun.randomness}"
        )
    return wrong


def differing(begun: Manifest) -> list[tuple[str, str, str]]:
    """What decides results and is not as it was when a suite was begun: name, then, here."""
    before = engine.deciding(begun.suite, begun.engine, begun.versions)
    here = engine.deciding(begun.suite, engine.TRAINING, engine.versions())
    return [(name, before[name], here[name]) for name in before if before[name] != here[name]]


def discard_other_versions(root: Path) -> None:
    """Removes an unfinished suite folder that was begun with other versions than those here."""
    folder = SuiteFolder(root)
    if folder.exists() and not folder.complete() and differing(folder.manifest()):
        shutil.rmtree(root)


def _spent(folder: SuiteFolder, manifest: Manifest) -> float:
    """The epsilon of the suite's models, which is never above what the suite claims."""
    suite = manifest.suite
    epsilon = accounting.spent_epsilon(suite, manifest.noise_multiplier)
    if not epsilon <= suite.epsilon:
        raise FolderError(
            f"{folder.root}: the noise multiplier {manifest.noise_multiplier} spends epsilon {epsilon:.4f}, more than "
            f"the {suite.epsilon:g} that {suite.name} claims"
        )
    return epsilon


def _missing(folder: SuiteFolder, manifest: Manifest) -> list[int]:
    suite = manifest.suite
    return [model_id for model_id in range(sum(suite.models)) if folder.measured(suite, model_id) is None]


def _jobs(
    folder: SuiteFolder, manifest: Manifest, data: BaseDataset, missing: Sequence[int], runtime: Runtime, size: int
) -> Iterator[TrainingJob]:
    """The missing models in groups, made when there is a worker for them."""
    keys, wanted = folder.keys(), set(missing)
    group: dict[int, Assignment] = {}
    for model_id, split in enumerate(folder.splits(len(data))):
        if model_id in wanted:
            group[model_id] = Assignment(manifest.suite, split, keys[model_id], manifest.noise_multiplier)
        if group and (len(group) == size or model_id == missing[-1]):
            yield TrainingJob(
                tuple(group), tuple(group.values()), runtime, engine.installed(), data.digest, manifest.start_digest
            )
            group = {}


def _keep(folder: SuiteFolder, suite: Suite, model: Finished, epsilon: float) -> Measured:
    """Writes a model's files; with the last of them it is done."""
    sha256, num_bytes = checkpoints.write(model.weights, folder.checkpoint(suite, model.model_id))
    path = checkpoint_path(suite, model.model_id)
    measured = Measured(path, sha256, num_bytes, model.accuracy, epsilon, suite.delta, model.member_loss)
    folder.finish_model(suite, model.model_id, measured)
    return measured


def _finish(folder: SuiteFolder, suite: Suite, data: BaseDataset) -> None:
    public = []
    for model_id, split in enumerate(folder.splits(len(data))):
        measured = folder.measured(suite, model_id, hashed=False)  # finishing hashes it
        if measured is None:
            raise FolderError(f"{folder.root}: the checkpoint of model_{model_id} is gone or damaged; run again")
        public.append(disclose(suite, model_id, split, measured)[0])
    folder.finish(public)


def _line(suite: Suite, model_id: int, measured: Measured) -> str:
    accuracy = "unknown" if measured.accuracy is None else f"{measured.accuracy:.1%}"
    name = f"{suite.name}/{suite.split_of(model_id)}/model_{model_id}"
    return f"{name}: accuracy {accuracy}, epsilon {measured.epsilon:.3g}"


class _Bar:
    """A suite's bar, in records trained on, with the number of finished models."""

    def __init__(self, suite: Suite, missing: int, progress: Callable[[float], None]) -> None:
        self._suite, self._progress = suite, progress
        self._records = suite.n / suite.steps_per_epoch  # of a step, on average
        self._models = sum(suite.models) - missing
        each = suite.n * suite.epochs
        self._total = each * sum(suite.models)
        self._bar = Bar(
            desc=suite.name,
            total=self._total,
            initial=each * self._models,
            unit=" records",
            unit_scale=True,
            postfix=self._postfix(),
            waiting="starting workers",
        )

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, steps: int) -> None:
        """Counts steps of models; fewer than none where work was lost."""
        self._bar.update(steps * self._records)
        self._progress(self._bar.n / self._total)

    def finish_model(self) -> None:
        """Counts a model."""
        self._models += 1
        self._bar.set_postfix_str(self._postfix(), refresh=False)

    def _postfix(self) -> str:
        return f"{self._models}/{sum(self._suite.models)} models"
