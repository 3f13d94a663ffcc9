"""Signals computed: records outside, models inside, so that a batch is prepared once for all models."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mico_hub.models import default_device, logits, to_device
from mico_hub.models.records import Records, subset
from mico_hub.progress import Bar
from mico_hub.release.checkpoints import load
from mico_hub.release.rows import Row, name_of
from mico_hub.signals.coefficient import Coefficients
from mico_hub.signals.layout import public_population
from mico_hub.signals.names import GRADIENT_COEFFICIENT, SignalError, layer_of, layers_of, of_gradients
from mico_hub.signals.outputs import OUTPUT_SIGNALS, of_outputs
from mico_hub.splits import Indices
from mico_hub.training.gradients import Gradients, gradients_of

if TYPE_CHECKING:
    from mico_hub.data import BaseDataset
    from mico_hub.data.base import Inputs

FLAT_BATCH, BATCH, ACCELERATOR_BATCH = 512, 128, 2_048  # records: of tables, of others; what caches like
MICROBATCH = 32  # records whose gradients are held at once, where they are written out
HELD_BYTES = 64 << 20  # of the models that are held at a time; always one model

Values = dict[str, npt.NDArray[np.float32]]
"""Signal -> (K, R)."""


def values_of(
    networks: Sequence[nn.Module],
    data: "BaseDataset",
    records: Indices,
    names: Iterable[str],
    device: str | torch.device,
) -> Values:
    """Signals of some models on some records, (K, R) each.

    Args:
        networks: K of one architecture; moved to the device, dropout ends.
        data: The base dataset.
        records: R indices into it.
        names: Of `signals_of` that architecture.
        device: Where to compute.
    """
    return Models(networks, data, names, device).values(subset(data, records, device))


def outputs_of(network: nn.Module, inputs: "Inputs") -> npt.NDArray[np.float32]:
    """Logits, (B, classes), of a network that is on the CPU afterwards, in eval mode."""
    device = default_device()
    with torch.inference_mode():
        outputs = logits(network.to(device).eval(), to_device(inputs, device)).float().cpu()
    network.cpu()
    return outputs.numpy()


class Models:
    """K models of one architecture, ready for any number of records."""

    def __init__(
        self, networks: Sequence[nn.Module], data: "BaseDataset", names: Iterable[str], device: str | torch.device
    ) -> None:
        """Makes them ready, as of `values_of`; with gradients in train mode, without anything to drop."""
        self._networks = [_ready(network, device) for network in networks]
        self._names, self._device = list(names), device
        names = self._names
        self._of_outputs = [name for name in names if name in OUTPUT_SIGNALS]
        self._gradients: list[Gradients] = []
        asked = [layer for name in names if (layer := layer_of(name)) is not None]
        if asked and max(asked) >= (layers := layers_of(networks[0])):
            raise SignalError(f"expected a layer up to {layers} of this network, got {max(asked) + 1}")
        self._coefficients: Coefficients | None = None
        if GRADIENT_COEFFICIENT in names:
            population = subset(data, public_population(len(data)), device)
            every = torch.arange(len(population), device=population.labels.device)
            self._coefficients = Coefficients(self._networks, *population.take(every))
        if any(of_gradients(name) for name in names):
            for network in self._networks:
                _without_dropout(network.train())
            self._gradients = [gradients_of([network], MICROBATCH) for network in self._networks]

    def values(self, records: Records) -> Values:
        """Signal -> (K, R) on R records that are on the device."""
        values = np.empty((len(self._names), len(self._networks), len(records)), dtype=np.float32)
        for at in torch.split(records.by_size(), _batch_size(records, self._device)):
            inputs, labels = records.take(at)
            values[:, :, at.cpu().numpy()] = self._signals(_channels_last(inputs), labels).cpu().numpy()
        return dict(zip(self._names, values, strict=True))

    def _signals(self, inputs: "Inputs", labels: torch.Tensor) -> torch.Tensor:
        """(S, K, B), in the order of the names; those of outputs are made of all models' at once."""
        found: dict[str, torch.Tensor] = {}
        if self._of_outputs:
            with torch.inference_mode():
                outputs = torch.stack([logits(network, inputs) for network in self._networks])
                found = of_outputs(outputs, labels, self._of_outputs)
        if self._gradients:
            only = {name: part[None] for name, part in inputs.items()} if isinstance(inputs, dict) else inputs[None]
            norms = torch.cat([each.record_norms(only, labels[None]) for each in self._gradients])  # (K, B, parts)
            for name in self._names:
                if of_gradients(name):
                    layer = layer_of(name)
                    found[name] = torch.linalg.vector_norm(norms, dim=2) if layer is None else norms[:, :, layer]
        if self._coefficients is not None:
            found[GRADIENT_COEFFICIENT] = self._coefficients.of(inputs, labels)
        return torch.stack([found[name] for name in self._names])


def _ready(network: nn.Module, device: str | torch.device) -> nn.Module:
    return network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _without_dropout(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def _batch_size(records: Records, device: str | torch.device) -> int:
    if torch.device(device).type != "cpu":
        return ACCELERATOR_BATCH
    return FLAT_BATCH if records.rows.ndim == 2 else BATCH


def _channels_last(inputs: "Inputs") -> "Inputs":
    """Images in the order in which convolutions and pooling on a CPU take less time; the same values."""
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 4:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def compute(
    rows: Iterable[Row],
    records: Indices,
    data: "BaseDataset",
    checkpoints: Callable[[Sequence[Row]], Iterable[tuple[Row, Path]]],
    names: Iterable[str] = tuple(OUTPUT_SIGNALS),
) -> Values:
    """Signals of every model on every record, (M, R) each, models in the order of `rows`.

    Args:
        rows: Rows of a suite, M of them; their checkpoints are brought several at once.
        records: R indices into the base dataset.
        data: The base dataset.
        checkpoints: Brings those of rows here, each row with its file, in any order: `Handle.checkpoints`.
        names: Of `signals_of` the suite's network.

    Raises:
        SignalError: A model's network has no such signal.
    """
    device = default_device()
    names = list(names)
    held = subset(data, records, device)
    listed = list(rows)
    positions: dict[tuple[str, str | None], list[int]] = {}
    for index, row in enumerate(listed):
        positions.setdefault((name_of(row), row["sha256"]), []).append(index)
    values = {name: np.empty((len(listed), len(records)), dtype=np.float32) for name in names}
    brought = iter(checkpoints(listed))
    together = max(1, HELD_BYTES // listed[0]["num_bytes"]) if listed else 1
    with Bar(desc="signals", total=len(listed), unit="model", leave=False) as bar:
        while group := list(islice(brought, together)):
            networks = [load(path) for _, path in group]
            at = [positions[name_of(row), row["sha256"]].pop() for row, _ in group]
            for name, of_group in Models(networks, data, values, device).values(held).items():
                values[name][at] = of_group
            bar.update(len(group))
    return values
