"""SGD and DP-SGD, for several models of one suite side by side.

Nothing in `Runtime` can change the privacy or the distribution of the result; everything that can is in the suite.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from mico_hub import models
from mico_hub.data import BaseDataset
from mico_hub.messages import InputError
from mico_hub.models.records import Records, on_device
from mico_hub.randomness import Keys, numpy_generator
from mico_hub.randomness.generators import GaussianNoise, torch_randomness
from mico_hub.splits import Indices, Split
from mico_hub.suites import Optimiser, Suite
from mico_hub.training.gradients import gradients_of, stackable
from mico_hub.training.sampling import batches, blocks, padded_rows

EVALUATION_BATCH = 1_000
REPORT_SECONDS = 0.2
HELD_VALUES = 1 << 30  # of per-record gradients on an accelerator, 4 GiB
ACCELERATOR_STACK = 256
CPU_STACK_VALUES = 1 << 16  # parameters of a stack's models together; more models gain nothing
CPU_MICROBATCH = 16


Observe = Callable[[Sequence[torch.Tensor]], object]
"""Called with the gradients of K models, (K, *shape) for each parameter: with DP the noisy means."""


class DeviceError(InputError, ValueError):
    """A suite that cannot be trained on a device, or not by this version."""


class NotFiniteError(InputError, ValueError):
    """A record's gradient that is infinite or NaN: clipped, it would still be, and noise would hide it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how fast; what a choice changes besides rounding stands beside it."""

    device: str = "cpu"  # a torch device; CUDA draws other noise and dropout from the same keys, see `draws_on`
    stack: int | None = None  # small models computed as one; None: by device
    microbatch: int | None = None  # records whose gradients are held, and dropout drawn, at once; None: by device

    def smaller(self, suite: Suite) -> "Runtime":
        """Half the stack and half the microbatch, for a device that ran out of memory."""
        return replace(self, stack=max(1, self.stack_of(suite) // 2), microbatch=max(1, self.microbatch_of(suite) // 2))

    def stack_of(self, suite: Suite) -> int:
        """How many of the suite's models are computed as one; 1 where they cannot be."""
        if not stackable(_outline(suite)):
            return 1
        if self.stack or torch.device(self.device).type != "cpu":
            return self.stack or ACCELERATOR_STACK
        return max(1, CPU_STACK_VALUES // _values(suite))

    def microbatch_of(self, suite: Suite) -> int:
        """How many records' gradients are held at once."""
        if self.microbatch or torch.device(self.device).type == "cpu":
            return self.microbatch or CPU_MICROBATCH
        return max(1, HELD_VALUES // _values(suite))

    def check(self, suite: Suite) -> None:
        """Sees to it that the suite can be trained on the device.

        Raises:
            DeviceError: It has dropout, and the device cannot draw that from a whole key; or its recipe is none that
                this version trains.
        """
        if suite.precision != "float32":
            raise DeviceError(f"{suite.name}: this version trains suites with precision float32, got {suite.precision}")
        if suite.design == "coins" and not suite.private:
            raise DeviceError(
                f"{suite.name}: this version trains suites by coins with DP alone: others fill whole batches"
            )
        kind = torch.device(self.device).type
        if kind not in ("cpu", "cuda") and any(isinstance(part, nn.Dropout) for part in _outline(suite).modules()):
            raise DeviceError(f"{suite.name} has dropout, which {kind} cannot draw from a 128-bit key: use cuda or cpu")


def _outline(suite: Suite) -> nn.Module:
    """The suite's network without values."""
    with torch.device("meta"):
        return models.build(suite.model)


def _values(suite: Suite) -> int:
    """Of the parameters of one of its models."""
    return sum(parameter.numel() for parameter in _outline(suite).parameters())


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is a model's own; the same assignment, data and start give the same weights on the same machine."""

    suite: Suite  # the recipe
    split: Split  # the model is trained on `member` and `training`
    keys: Keys  # all randomness of the training
    noise_multiplier: float | None  # standard deviation of the noise over the clipping norm; None without DP


def train_models(
    assignments: Sequence[Assignment],
    data: BaseDataset,
    runtime: Runtime,
    report: Callable[[int], None] = lambda steps: None,
    start: models.Start | None = None,
    observe: Observe | None = None,
) -> list[nn.Module]:
    """Trains models of one suite side by side, each by its own keys on its own split.

    Args:
        assignments: One for each model, all of one suite and noise multiplier; no more than `runtime.stack_of(suite)`.
        data: What the splits index.
        runtime: Where it runs.
        report: Called now and then with the number of steps done.
        start: The weights that all of them start from, see `models.load_start`; None: random ones.
        observe: Called at each step with what the optimiser is given, for an audit that sees every step.

    Returns:
        The trained networks on the CPU, in eval mode.

    Raises:
        ValueError: The recipe promises a finite epsilon and lacks noise or a clipping norm, or the other way round.
        DeviceError: See `Runtime.check`.
        NotFiniteError: A record, or the gradient of its loss, is not finite.
        torch.OutOfMemoryError: The device has too little memory for this stack and microbatch.
    """
    suite, device = assignments[0].suite, torch.device(runtime.device)
    noise_multiplier = assignments[0].noise_multiplier
    if any((each.suite, each.noise_multiplier) != (suite, noise_multiplier) for each in assignments):
        raise ValueError(f"expected models of {suite.name} with one noise multiplier, got others among them")
    if any(suite.private != (value is not None) for value in (noise_multiplier, suite.clipping_norm)):
        raise ValueError(
            f"{suite.name} claims epsilon {suite.epsilon:g}, got noise multiplier {noise_multiplier} and clipping norm "
            f"{suite.clipping_norm}: both belong to a finite epsilon, neither to an infinite one"
        )
    runtime.check(suite)
    networks = [models.initialise(suite.model, each.keys.initialisation, start) for each in assignments]
    dropout = any(isinstance(module, nn.Dropout) for module in networks[0].modules())
    masks = torch_randomness(assignments[0].keys.dropout, device) if dropout else nullcontext()  # one model's alone
    with exact_arithmetic(runtime.device), masks:
        placed = [network.to(device).train() for network in networks]
        trained = _train(placed, assignments, data, runtime, report, observe)
        return [network.cpu().eval() for network in trained]


def _train(
    networks: list[nn.Module],
    assignments: Sequence[Assignment],
    data: BaseDataset,
    runtime: Runtime,
    report: Callable[[int], None],
    observe: Observe | None,
) -> list[nn.Module]:
    suite, device = assignments[0].suite, torch.device(runtime.device)
    records = on_device(data, runtime.device)
    gradients = gradients_of(networks, runtime.microbatch_of(suite))
    optimiser, schedule = make_optimiser(gradients.parameters, suite.optimiser)
    shapes = [parameter.shape[1:] for parameter in gradients.parameters]
    noise = GaussianNoise([each.keys.noise for each in assignments], shapes, device) if suite.private else None
    clipping_norm, noise_multiplier = suite.clipping_norm or 0.0, assignments[0].noise_multiplier or 0.0
    rows = padded_rows(suite) if suite.private and runtime.stack_of(suite) > 1 else None
    finite = torch.ones((), dtype=torch.bool, device=device)  # so far; looked at now and then, for a GPU would wait

    def mean(step: Sequence[Indices]) -> list[torch.Tensor]:
        (selected, _), *_ = blocks(step, rows=None)
        found = gradients.mean(*records.take(selected.to(device)))
        for gradient in found:
            finite.logical_and_(torch.isfinite(gradient).all())
        return found

    def noisy_mean(step: Sequence[Indices], noise: GaussianNoise) -> list[torch.Tensor]:
        totals: list[torch.Tensor] = []
        for selected, present in blocks(step, rows):
            kept = None if present is None else present.to(device)
            sums, norms = gradients.clipped_sum(*records.take(selected.to(device)), clipping_norm, kept)
            finite.logical_and_(torch.isfinite(norms).all())
            totals = [total + more for total, more in zip(totals, sums, strict=True)] if totals else sums
        for total, drawn in zip(totals, noise.draw(), strict=True):
            total.add_(drawn, alpha=noise_multiplier * clipping_norm).div_(suite.expected_batch_size)
        return totals

    sampled = [batches(suite, each.split, numpy_generator(each.keys.sampling)) for each in assignments]
    reported_at = time.monotonic()
    for number, step in enumerate(zip(*sampled, strict=True), start=1):
        found = mean(step) if noise is None else noisy_mean(step, noise)
        if observe is not None:
            observe(found)
        for parameter, gradient in zip(gradients.parameters, found, strict=True):
            parameter.grad = gradient
        if suite.max_grad_norm is not None:
            _clip_each(gradients.parameters, suite.max_grad_norm)
        optimiser.step()
        if number % suite.steps_per_epoch == 0:
            schedule.step()
        if time.monotonic() > reported_at + REPORT_SECONDS or number == suite.steps:
            reported_at = time.monotonic()
            if not finite:
                raise NotFiniteError(
                    f"{suite.name}: the gradient of a record is not finite, by step {number:,} of {suite.steps:,}: "
                    f"expected finite records of {data.name}, and a learning rate at which the loss stays finite"
                )
            report(number)
    return gradients.networks()


def _clip_each(parameters: Sequence[nn.Parameter], max_grad_norm: float) -> None:
    """Scales each model's gradient down to the norm, as `clip_grad_norm_` does for one model."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)  # (K,)
    factors = (max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def make_optimiser(
    parameters: Sequence[nn.Parameter], optimiser: Optimiser
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimiser and its schedule, to be stepped once an epoch.

    All of them work value by value, so models that are stacked do not touch each other.
    """
    rate = optimiser.learning_rate
    made: torch.optim.Optimizer
    match optimiser.name:
        case "sgd":
            made = torch.optim.SGD(parameters, rate, fused=True)
        case "adam":
            made = torch.optim.Adam(parameters, rate, fused=True)
        case "adamw":
            made = torch.optim.AdamW(parameters, rate, weight_decay=0.0, fused=True)
    return made, torch.optim.lr_scheduler.StepLR(made, optimiser.decay_epochs, optimiser.decay)


def accuracy(network: nn.Module, data: BaseDataset, records: Indices, device: str = "cpu") -> float | None:
    """Share of the records that the network classifies rightly; None for no records."""
    if len(records) == 0:
        return None
    right = sum(
        int((logits.argmax(dim=1) == labels).sum()) for logits, labels in _outputs(network, data, records, device)
    )
    return right / len(records)


def mean_loss(network: nn.Module, data: BaseDataset, records: Indices, device: str = "cpu") -> float:
    """Mean cross-entropy of some records, one at least."""
    total = sum(
        float(functional.cross_entropy(logits.double(), labels, reduction="sum"))
        for logits, labels in _outputs(network, data, records, device)
    )
    return total / len(records)


@torch.no_grad()
def _outputs(
    network: nn.Module, data: BaseDataset, records: Indices, device: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (B, classes) and labels (B,), a batch at a time."""
    network = network.to(device).eval()
    held: Records = on_device(data, device)
    with exact_arithmetic(device):
        for start in range(0, len(records), EVALUATION_BATCH):
            inputs, labels = held.take(torch.tensor(records[start : start + EVALUATION_BATCH], device=device))
            yield models.logits(network, inputs), labels


@contextmanager
def exact_arithmetic(device: str) -> Iterator[None]:
    """Inside the block the same work gives the same bits, and float32 is float32.

    One CPU thread: sums come out the same in a worker and in the main process, and two processes with one thread beat
    one with two. On CUDA no TF32 (convolutions would use it), and algorithms whose result is the same in every run;
    torch warns where no such algorithm exists.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _exact_cuda() if torch.device(device).type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _exact_cuda() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    cudnn.allow_tf32 = matmul.allow_tf32 = cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, deterministic = before
        torch.use_deterministic_algorithms(deterministic)
