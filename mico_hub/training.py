"""SGD and DP-SGD, for one model and for all models of a suite.

Nothing in `Runtime` can change the privacy or the distribution of the result; everything that can is in the suite.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import nn
from tqdm import tqdm

from mico_hub import accounting, checkpoint, models, splits
from mico_hub.data import BaseDataset, Inputs, load_base
from mico_hub.disclosure import Measured, Row, disclose, truth
from mico_hub.folder import FolderError, Manifest, SuiteFolder, checkpoint_path
from mico_hub.gradients import clipped_gradients, record_losses, trainable
from mico_hub.randomness import Keys, numpy_generator, torch_randomness
from mico_hub.splits import Indices, Split
from mico_hub.suites import Optimiser, Suite

EVALUATION_BATCH = 1_000
_VERSIONED = ("mico-hub", "torch", "opacus", "numpy", "transformers", "safetensors")


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how fast; no choice here changes what is trained."""

    device: str = "cpu"  # a torch device
    microbatch: int = 32  # records whose gradients are held at once
    processes: int = 1  # models trained side by side, each by a process of one thread
    data: Path | None = None  # folder of the base datasets; None: see `mico_hub.data.load_base`
    pretrained: str | None = None  # folder or Hub model that text models start from; None: the architecture's own


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that decides a model's weights; the same assignment gives the same weights on the same machine."""

    suite: Suite  # the recipe
    split: Split  # the model is trained on `member` and `training`
    keys: Keys  # all randomness of the training
    data: BaseDataset  # what the split indexes
    noise_multiplier: float | None  # standard deviation of the noise over the clipping norm; None without DP


def train_model(assignment: Assignment, runtime: Runtime) -> nn.Module:
    """Trains one model by its suite's recipe.

    Returns:
        The trained network on the CPU, in eval mode.

    Raises:
        ValueError: The recipe promises a finite epsilon and lacks noise or a clipping norm, or the other way round; or
            it has dropout, and the device cannot draw that from a whole key.
        OSError: The pretrained weights cannot be had.
    """
    suite, keys = assignment.suite, assignment.keys
    if any(suite.private != (value is not None) for value in (assignment.noise_multiplier, suite.clipping_norm)):
        raise ValueError(
            f"{suite.name} claims epsilon {suite.epsilon:g}, got noise multiplier {assignment.noise_multiplier} and "
            f"clipping norm {suite.clipping_norm}: both belong to a finite epsilon, neither to an infinite one"
        )
    device = torch.device(runtime.device)
    network = models.initialise(suite.model, keys.initialisation, runtime.pretrained).to(device)
    if device.type not in ("cpu", "cuda") and any(isinstance(module, nn.Dropout) for module in network.modules()):
        raise ValueError(
            f"{suite.name} has dropout, which {device.type} cannot draw from a 128-bit key: use cuda or cpu"
        )
    with torch_randomness(keys.dropout, device):
        train = _dp_sgd if suite.private else _sgd
        train(network, assignment, runtime)
    return network.cpu().eval()


def _sgd(network: nn.Module, assignment: Assignment, runtime: Runtime) -> None:
    suite = assignment.suite
    network.train()
    optimiser, schedule = make_optimiser(network, suite.optimiser)
    for batches in fixed_batches(suite, assignment.split, numpy_generator(assignment.keys.sampling)):
        for records in batches:
            inputs, labels = _fetch(assignment.data, records, runtime.device)
            loss = record_losses(network, inputs, labels).mean()
            gradients = torch.autograd.grad(loss, trainable(network))
            for parameter, gradient in zip(trainable(network), gradients, strict=True):
                parameter.grad = gradient
            if suite.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(trainable(network), suite.max_grad_norm)
            optimiser.step()
        schedule.step()


def _dp_sgd(network: nn.Module, assignment: Assignment, runtime: Runtime) -> None:
    suite = assignment.suite
    clipping_norm, noise_multiplier = suite.clipping_norm or 0.0, assignment.noise_multiplier or 0.0
    network.train()
    gradients = clipped_gradients(network, runtime.microbatch)
    optimiser, schedule = make_optimiser(network, suite.optimiser)
    noise = numpy_generator(assignment.keys.noise)
    for batches in poisson_batches(suite, assignment.split, numpy_generator(assignment.keys.sampling)):
        for records in batches:
            inputs, labels = _fetch(assignment.data, records, runtime.device)
            sums, _ = gradients.clipped_sum(inputs, labels, clipping_norm)
            for parameter, clipped_sum in zip(trainable(network), sums, strict=True):
                drawn = torch.from_numpy(noise.standard_normal(tuple(parameter.shape), dtype=np.float32))
                noisy = clipped_sum + noise_multiplier * clipping_norm * drawn.to(runtime.device)
                parameter.grad = noisy / suite.expected_batch_size
            optimiser.step()
        schedule.step()


def _fetch(data: BaseDataset, records: Indices, device: str) -> tuple[Inputs, torch.Tensor]:
    return models.to_device(data.inputs(records), device), data.labels[torch.from_numpy(records)].to(device)


def fixed_batches(suite: Suite, split: Split, rng: np.random.Generator) -> Iterator[list[Indices]]:
    """The batches without DP, epoch by epoch: each record once an epoch.

    `sequential` has one order for all epochs, the members first, as the competition's loop had it; `shuffled` draws a
    new one each epoch.
    """
    if suite.order not in ("sequential", "shuffled"):
        raise ValueError(f"{suite.name}: expected the order sequential or shuffled, got {suite.order}")
    records = np.concatenate([rng.permutation(split.member), rng.permutation(split.training)])
    for _ in range(suite.epochs):
        if suite.order == "shuffled":
            records = rng.permutation(records)
        yield [records[start : start + suite.batch_size] for start in range(0, len(records), suite.batch_size)]


def poisson_batches(suite: Suite, split: Split, rng: np.random.Generator) -> Iterator[Iterator[Indices]]:
    """The batches with DP, epoch by epoch: each step takes each record with probability q, on its own.

    Drawn as a binomial number of records and then that many without replacement, which is the same distribution.
    A batch may be empty.
    """
    if suite.order != "poisson":
        raise ValueError(f"{suite.name} has epsilon {suite.epsilon:g}: expected the order poisson, got {suite.order}")
    records = np.concatenate([split.member, split.training])

    def batch() -> Indices:
        size = rng.binomial(len(records), suite.sampling_rate)
        return records[rng.choice(len(records), size, replace=False, shuffle=False)]

    for _ in range(suite.epochs):
        yield (batch() for _ in range(suite.steps_per_epoch))


def make_optimiser(
    network: nn.Module, optimiser: Optimiser
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimiser and its schedule, to be stepped once an epoch."""
    parameters, rate = trainable(network), optimiser.learning_rate
    made: torch.optim.Optimizer
    match optimiser.name:
        case "sgd":
            made = torch.optim.SGD(parameters, rate)
        case "adam":
            made = torch.optim.Adam(parameters, rate)
        case "adamw":
            made = torch.optim.AdamW(parameters, rate, weight_decay=0.0)
    return made, torch.optim.lr_scheduler.StepLR(made, optimiser.decay_epochs, optimiser.decay)


@torch.no_grad()
def accuracy(network: nn.Module, data: BaseDataset, records: Indices, device: str = "cpu") -> float | None:
    """Share of the records that the network classifies rightly; None for no records."""
    if len(records) == 0:
        return None
    network = network.to(device).eval()
    right = 0
    for start in range(0, len(records), EVALUATION_BATCH):
        inputs, labels = _fetch(data, records[start : start + EVALUATION_BATCH], device)
        right += int((models.logits(network, inputs).argmax(dim=1) == labels).sum())
    return right / len(records)


def train_suite(suite: Suite, root: Path, runtime: Runtime) -> SuiteFolder:
    """Trains what is missing of a suite, with a bar, and writes its folder.

    Splits, keys and noise multiplier are fixed on the first run. A run that is interrupted loses only the models it
    was at; the next one trains those with their own keys again. A complete suite is left alone.

    Args:
        suite: The recipe, with the number of models wanted.
        root: The suite's folder.
        runtime: Where it runs.

    Raises:
        FolderError: The folder holds another suite, or the same one begun with another recipe or other data.
        DataError: The base dataset cannot be had.
    """
    folder = SuiteFolder(root)
    data = load_base(suite.dataset, runtime.data)
    manifest = _begin(folder, suite, data)
    if folder.complete():
        return folder
    epsilon = accounting.spent_epsilon(suite, manifest.noise_multiplier)
    if not epsilon <= suite.epsilon:
        raise FolderError(
            f"{root}: the noise multiplier {manifest.noise_multiplier} spends epsilon {epsilon:.4f}, more than the "
            f"{suite.epsilon:g} that {suite.name} claims"
        )
    model_ids = range(sum(suite.models))
    todo = [model_id for model_id in model_ids if folder.measured(suite, model_id) is None]
    job: Callable[..., None] = _train_one
    with tqdm(desc=suite.name, total=len(model_ids), initial=len(model_ids) - len(todo), unit="model") as bar:
        for _ in Parallel(runtime.processes, return_as="generator_unordered", inner_max_num_threads=1)(
            delayed(job)(folder, manifest, model_id, epsilon, runtime) for model_id in todo
        ):
            bar.update()
    folder.finish([_public_row(folder, suite, model_id, data) for model_id in model_ids])
    folder.verify()
    return folder


def _public_row(folder: SuiteFolder, suite: Suite, model_id: int, data: BaseDataset) -> Row:
    measured = folder.measured(suite, model_id)
    if measured is None:
        raise FolderError(f"{folder.root}: the checkpoint of model_{model_id} is gone or damaged; run again")
    return disclose(suite, model_id, folder.split(model_id, len(data.labels)), measured)[0]


def _begin(folder: SuiteFolder, suite: Suite, data: BaseDataset) -> Manifest:
    if folder.exists():
        begun = folder.manifest()
        wrong = []
        if begun.suite != suite:
            wrong.append(f"expected the recipe {suite}, got {begun.suite}")
        if begun.data_digest != data.digest:
            wrong.append(f"expected data with digest {begun.data_digest}, got {data.digest}")
        if wrong:
            raise FolderError("\n".join([f"{folder.root} holds another suite; name another folder", *wrong]))
        return begun
    manifest = Manifest(
        suite=suite,
        noise_multiplier=accounting.calibrate(suite),
        data_digest=data.digest,
        data_official=data.official,
        data_note=data.note,
        versions={package: version(package) for package in _VERSIONED},
    )
    drawn = [splits.draw(len(data.labels), suite.n, suite.m) for _ in range(sum(suite.models))]
    folder.begin(
        manifest,
        [truth(suite, model_id, split) for model_id, split in enumerate(drawn)],
        [Keys.draw() for _ in drawn],
    )
    return manifest


def _train_one(folder: SuiteFolder, manifest: Manifest, model_id: int, epsilon: float, runtime: Runtime) -> None:
    """Trains one model in this process; it is done when its measurements are written."""
    suite = manifest.suite
    data = load_base(suite.dataset, runtime.data)
    split = folder.split(model_id, len(data.labels))
    with _one_thread():
        assignment = Assignment(suite, split, folder.keys(model_id), data, manifest.noise_multiplier)
        network = train_model(assignment, runtime)
        right = accuracy(network, data, split.evaluation, runtime.device)
    sha256, num_bytes = checkpoint.save(network.cpu(), suite.model, folder.checkpoint(suite, model_id))
    path = checkpoint_path(suite, model_id)
    folder.finish_model(model_id, Measured(path, sha256, num_bytes, right, epsilon, suite.delta))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same in a worker and in the main process; more threads than cores are far slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_processes() -> int:
    """One process for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
