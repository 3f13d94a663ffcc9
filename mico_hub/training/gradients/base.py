"""What all ways of computing gradients share."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import nn

from mico_hub.data.base import Inputs
from mico_hub.models import logits

TINY = 1e-12  # below it a norm divides nothing; such a gradient is not clipped at any clipping norm in use


Weigh = Callable[[torch.Tensor], torch.Tensor]
"""(B,) norms -> (B,) factors, see `factors_of`."""

Clipped = tuple[list[torch.Tensor], torch.Tensor]
"""A sum for each parameter, and the norms of the records in it before clipping."""


class Gradients(Protocol):
    """The gradients of K models of one architecture, each over a batch of its own."""

    parameters: list[nn.Parameter]
    """The trainable values of all models, (K, *shape) each, in `parameters()`' order: what an optimiser changes."""

    def mean(self, inputs: Inputs, labels: torch.Tensor) -> list[torch.Tensor]:
        """The gradient of each model's mean loss over its batch.

        Args:
            inputs: (K, B, ...), B at least 1.
            labels: (K, B) int64.

        Returns:
            One tensor for each of `parameters`, shaped like it.
        """
        ...

    def clipped_sum(
        self, inputs: Inputs, labels: torch.Tensor, clipping_norm: float, present: torch.Tensor | None = None
    ) -> Clipped:
        """The sum of each model's clipped per-record gradients, and their norms before clipping.

        Args:
            inputs: (K, B, ...); B may be 0.
            labels: (K, B) int64.
            clipping_norm: C, in the units of the loss' gradient.
            present: (K, B) bool, False for rows that only fill up a batch and count for nothing; None: all count.

        Returns:
            (one tensor for each of `parameters`, shaped like it; (K, B) L2 norms, those of fillers without meaning)
        """
        ...

    def record_norms(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """The L2 norm of each record's gradient, (K, B, parts); over all parameters it is the norm over the parts.

        Args:
            inputs: (K, B, ...).
            labels: (K, B) int64.

        Returns:
            The parts are the layers of stackable models; any other model is one part.
        """
        ...

    def networks(self) -> list[nn.Module]:
        """The K models with their present values."""
        ...


def clip_factors(norms: torch.Tensor, clipping_norm: float) -> torch.Tensor:
    """min(1, C / norm), shaped like the norms."""
    return (clipping_norm / norms.clamp(min=TINY)).clamp(max=1.0)


def record_losses(network: nn.Module, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
    """(B,) cross-entropies."""
    return nn.functional.cross_entropy(logits(network, inputs), labels, reduction="none")


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes, in `parameters()`' order."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def chain_of(network: nn.Module) -> list[nn.Module]:
    """The modules of a network that is one `Sequential` of parts without parts, in order; empty for any other.

    In such a chain each layer is applied once, to what the layer before it gives.
    """
    children = list(network.children())
    if len(children) != 1 or not isinstance(children[0], nn.Sequential):
        return []
    parts = list(children[0])
    owned = {id(parameter) for part in parts for parameter in part.parameters()}
    distinct = len(owned) == sum(len(list(part.parameters())) for part in parts)
    whole = all(parameter.requires_grad and id(parameter) in owned for parameter in network.parameters())
    simple = distinct and whole and not any(list(part.children()) for part in parts)
    return parts if simple else []


class OneModel:
    """The parts of `Gradients` that are alike for all ways that take one model at a time (K = 1)."""

    def __init__(self, network: nn.Module, microbatch: int) -> None:
        """Trains `network` itself.

        Args:
            network: Its own forward pass is used, in the mode that it is in: for clipped sums, train.
            microbatch: Records whose gradients are held at once.
        """
        self._network = network
        self._trainable = trainable(network)
        self._microbatch = microbatch
        self.parameters = [nn.Parameter(parameter.data[None]) for parameter in self._trainable]  # the same memory

    def networks(self) -> list[nn.Module]:
        """See `Gradients.networks`."""
        return [self._network]

    def mean(self, inputs: Inputs, labels: torch.Tensor) -> list[torch.Tensor]:
        """See `Gradients.mean`."""
        loss = record_losses(self._network, _only(inputs), labels[0]).mean()
        return [gradient[None] for gradient in torch.autograd.grad(loss, self._trainable)]

    def clipped_sum(
        self, inputs: Inputs, labels: torch.Tensor, clipping_norm: float, present: torch.Tensor | None = None
    ) -> Clipped:
        """See `Gradients.clipped_sum`."""
        sums = [torch.zeros_like(parameter) for parameter in self._trainable]
        norms = [torch.zeros(0, device=labels.device)]
        for start in range(0, labels.shape[1], self._microbatch):
            rows = slice(start, start + self._microbatch)
            kept = None if present is None else present[0, rows]
            weigh = partial(factors_of, clipping_norm=clipping_norm, present=kept)
            more, of_rows = self._weighted_sum(_only(inputs, rows), labels[0, rows], weigh)
            for total, part in zip(sums, more, strict=True):
                total.add_(part)
            norms.append(of_rows)
        return [total[None] for total in sums], torch.cat(norms)[None]

    def record_norms(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """See `Gradients.record_norms`."""
        rows = [slice(start, start + self._microbatch) for start in range(0, labels.shape[1], self._microbatch)]
        norms = [self._norms(_only(inputs, part), labels[0, part]) for part in rows]
        return torch.cat(norms)[None, :, None] if norms else torch.zeros(1, 0, 1, device=labels.device)

    def _norms(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """Of at most `microbatch` records, (B,)."""
        raise NotImplementedError

    def _weighted_sum(self, inputs: Inputs, labels: torch.Tensor, weigh: Weigh) -> Clipped:
        """Of at most `microbatch` records, each one's gradient multiplied by what `weigh` makes of its norm."""
        raise NotImplementedError


def _only(inputs: Inputs, rows: slice = slice(None)) -> Inputs:
    """The rows of the one model."""
    if isinstance(inputs, dict):
        return {name: tensor[0, rows] for name, tensor in inputs.items()}
    return inputs[0, rows]


def features(inputs: Inputs) -> torch.Tensor:
    """The inputs of a network that is not for text.

    Raises:
        TypeError: They are those of one that is.
    """
    if isinstance(inputs, dict):
        raise TypeError("expected a tensor of features, got the inputs of a text model")
    return inputs


def factors_of(norms: torch.Tensor, clipping_norm: float, present: torch.Tensor | None) -> torch.Tensor:
    """What each record's gradient is multiplied by: its clip factor, or 0 for a filler."""
    factors = clip_factors(norms, clipping_norm)
    return factors if present is None else factors * present
