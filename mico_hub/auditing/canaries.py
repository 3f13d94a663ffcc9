"""Records that are made to be found: data, initial weights and recipe of an engine's audit.

An audit trains models with one record, the canary, and without it, and asks which is which. DP-SGD promises as much for
every record, data set and initial weights, so all of them may be made up:

- `gradient`: the canary alone has a value in the first input (feature, or channel of an image), and so large a one that
  its clipped gradient lies in the first layer's weights of that input, where no other record's has anything. These
  weights begin at 0, and the learning rate is so small that the gradient stays the same. All steps are seen.
- `crafted`: the same record with the recipe's own learning rate; only outputs of the final model are seen.
- `mislabelled`: a record of the base dataset with another label, natural initial weights; only its loss is seen.
- `blank`: a record whose values are all 0, and only its loss.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import nn

from mico_hub import models
from mico_hub.data.base import BaseDataset, as_float, content_digest
from mico_hub.messages import InputError
from mico_hub.models import Start
from mico_hub.models.records import on_device
from mico_hub.suites import Suite
from mico_hub.training.gradients.base import record_losses, trainable

LARGE = 1_000.0
"""Of the canary's one value: the larger, the less of its gradient lies in other weights."""
MOST_MOVED = 1e-2
"""What the weights' noise may add to what the first layer gives for the canary, so that its gradient stays."""
PROBE, PUSH = 5.0, 20.0
"""The value of a crafted canary, and the norm of what is added to the last layer for its label: its gradient is
clipped, lies nearly all in the first input's weights, and what the final model says is nearly linear in them."""
_SHARED = 64  # other records whose gradients are looked at for weights that none of them reaches


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """A problem to audit an engine with: `n` - 1 records and the canary, the last one."""

    suite: Suite
    data: BaseDataset
    start: Start | None  # None: natural initial weights
    direction: tuple[torch.Tensor, ...] | None  # its clipped gradient over the clipping norm, for each parameter, where
    # no other record has any; None: only outputs of the final model are seen

    @property
    def share(self) -> float:
        """The norm of `direction`: 1 if nothing of the canary's gradient lies elsewhere."""
        assert self.direction is not None
        return norm_of(self.direction)


def norm_of(parts: Sequence[torch.Tensor]) -> float:
    """The L2 norm over all of them together."""
    return float(torch.stack([part.norm() for part in parts]).norm())


def gradient(suite: Suite, base: BaseDataset, noise_multiplier: float) -> Canary:
    """See the module."""
    data = _alone_in_first_input(suite, base, LARGE)
    clipping_norm = suite.clipping_norm or 0.0
    moved = noise_multiplier * clipping_norm * suite.steps**0.5 / suite.expected_batch_size
    slow = replace(suite.optimiser, name="sgd", learning_rate=MOST_MOVED / LARGE / moved, decay=1.0)
    start = _start(suite)
    return Canary(replace(suite, optimiser=slow), data, start, _direction(suite, data, start))


def crafted(suite: Suite, base: BaseDataset, noise_multiplier: float) -> Canary:
    """See the module."""
    data = _alone_in_first_input(suite, base, PROBE)
    return Canary(suite, data, _start(suite, push=int(data.labels[-1])), None)


def mislabelled(suite: Suite, base: BaseDataset, noise_multiplier: float) -> Canary:
    """See the module."""
    inputs, labels = _inputs(suite, base)
    labels[-1] = (labels[-1] + 1) % (int(labels.max()) + 1)
    return Canary(suite, _made(base, inputs, labels), None, None)


def blank(suite: Suite, base: BaseDataset, noise_multiplier: float) -> Canary:
    """See the module."""
    inputs, labels = _inputs(suite, base)
    inputs[-1] = 0.0
    return Canary(suite, _made(base, inputs, labels), None, None)


CANARIES: Mapping[str, Callable[[Suite, BaseDataset, float], Canary]] = MappingProxyType(
    {each.__name__: each for each in (gradient, crafted, mislabelled, blank)}
)
"""Name -> what makes it, of a suite, its base dataset and its noise multiplier."""


def _inputs(suite: Suite, base: BaseDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, ...) float32 what the network takes of the first n records, and their (n,) labels.

    Raises:
        InputError: The records are sentences.
    """
    if models.MODELS[suite.model].tokenise is not None:
        raise InputError(f"{suite.name}: expected a suite of features or images, got one of sentences")
    inputs, labels = on_device(base, "cpu").take(torch.arange(min(suite.n, len(base))))
    assert isinstance(inputs, torch.Tensor)
    return inputs.clone(), labels.clone()


def _made(base: BaseDataset, inputs: torch.Tensor, labels: torch.Tensor) -> BaseDataset:
    digest = content_digest(base.name, labels.numpy().astype("uint8"), inputs.numpy().tobytes())
    return BaseDataset(base.name, inputs, labels, digest, f"{len(labels):,} records, the last a canary", as_float)


def _alone_in_first_input(suite: Suite, base: BaseDataset, value: float) -> BaseDataset:
    inputs, labels = _inputs(suite, base)
    inputs[:, 0] = 0.0
    inputs[-1] = 0.0
    inputs[-1, 0] = value
    return _made(base, inputs, labels)


def _start(suite: Suite, push: int | None = None) -> Start:
    """Natural weights, the same each time, but 0 for the first input; with a label, its logit pushed both ways."""
    network = models.initialise(suite.model, bytes(16))
    first, *_, last, _ = network.parameters()
    with torch.no_grad():
        first[:, 0] = 0.0
        if push is not None:
            signs = torch.sign(torch.randn(last.shape[1], generator=torch.Generator().manual_seed(0)))
            last[push] += PUSH * signs / signs.norm()
    return Start(dict(models.MODELS[suite.model].configuration), network.state_dict())


def _direction(suite: Suite, data: BaseDataset, start: Start) -> tuple[torch.Tensor, ...]:
    """The canary's clipped gradient over the clipping norm where other records' are 0, by autograd alone."""
    network = models.initialise(suite.model, bytes(16), start)
    *others, canary = (_gradient(network, data, record) for record in [*range(min(_SHARED, len(data) - 1)), -1])
    free = [torch.stack(parts).eq(0).all(dim=0) if parts else torch.ones(()) for parts in zip(*others, strict=True)]
    free = free or [torch.ones_like(part) for part in canary]
    scale = max(norm_of(canary), suite.clipping_norm or 0.0)
    return tuple(part * kept / scale for part, kept in zip(canary, free, strict=True))


def _gradient(network: nn.Module, data: BaseDataset, record: int) -> list[torch.Tensor]:
    row = torch.tensor([record % len(data)])
    inputs, labels = on_device(data, "cpu").take(row)
    return list(torch.autograd.grad(record_losses(network, inputs, labels).sum(), trainable(network)))
