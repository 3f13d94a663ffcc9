"""Sums of clipped per-record gradients, the heart of DP-SGD.

    sum over records i of  g_i * min(1, C / ||g_i||)

with g_i the gradient of record i's own loss over all parameters together. Two ways that give the same sum: in closed
form for networks of `Linear` layers, and with opacus' hooks for any other.
"""

import warnings
from collections.abc import Iterator
from typing import Protocol

import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from mico_hub.data.base import Inputs
from mico_hub.models import logits

_TINY = 1e-12  # below it a norm divides nothing; such a gradient is not clipped at any clipping norm in use


class ClippedGradients(Protocol):
    """Sums the clipped gradients of a batch."""

    def clipped_sum(
        self, inputs: Inputs, labels: torch.Tensor, clipping_norm: float
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The clipped sum and the norms before clipping.

        Args:
            inputs: A batch of B records; B may be 0.
            labels: (B,) int64.
            clipping_norm: C, in the units of the loss' gradient.

        Returns:
            (one tensor for each trainable parameter, in `parameters()`' order and shaped like it; (B,) L2 norms)
        """
        ...


def clipped_gradients(network: nn.Module, microbatch: int) -> ClippedGradients:
    """The cheapest exact way for this network.

    Args:
        network: Its own forward pass is used, in whatever mode (train or eval) it is in.
        microbatch: Records whose gradients are held at once where they are written out.
    """
    if LinearGradients.fits(network):
        return LinearGradients(network)
    return HookedGradients(network, microbatch)


def clip_factors(norms: torch.Tensor, clipping_norm: float) -> torch.Tensor:
    """(B,) factors min(1, C / norm)."""
    return (clipping_norm / norms.clamp(min=_TINY)).clamp(max=1.0)


def record_losses(network: nn.Module, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
    """(B,) cross-entropies."""
    return nn.functional.cross_entropy(logits(network, inputs), labels, reduction="none")


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes, in `parameters()`' order."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


class LinearGradients:
    """Closed form for a network whose every parameter belongs to a `Linear` layer that is applied once to (B, in).

    With a record's input a and the gradient b of its loss by the layer's output, its weight's gradient is the outer
    product b a^T, of squared norm |b|^2 |a|^2, and its bias' is b. So norms cost no more than the backward pass, and
    the clipped sum is one matrix product with the rows of b scaled (Goodfellow 2015, Efficient Per-Example Gradient
    Computations).
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        self._seen: list[tuple[nn.Linear, torch.Tensor, torch.Tensor]] = []
        for layer in self._layers:
            layer.register_forward_hook(self._record)

    @staticmethod
    def fits(network: nn.Module) -> bool:
        """Whether all trainable parameters belong to `Linear` layers, each used in the obvious way.

        Only a chain of modules (`Sequential`) is accepted: there each layer is applied once.
        """
        chain = [module for module in network.modules() if isinstance(module, nn.Sequential)]
        if len(chain) != 1 or len(list(network.children())) != 1:
            return False
        linear = [module for module in chain[0] if isinstance(module, nn.Linear)]
        owned = {id(parameter) for layer in linear for parameter in layer.parameters()}
        distinct = len(owned) == sum(len(list(layer.parameters())) for layer in linear)
        return distinct and all(id(parameter) in owned for parameter in network.parameters())

    def _record(self, layer: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if torch.is_grad_enabled() and isinstance(layer, nn.Linear):
            self._seen.append((layer, args[0].detach(), output))

    def clipped_sum(
        self, inputs: Inputs, labels: torch.Tensor, clipping_norm: float
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """See `ClippedGradients.clipped_sum`."""
        self._seen.clear()
        loss = record_losses(self._network, inputs, labels).sum()
        seen = list(self._seen)
        self._seen.clear()
        outputs = torch.autograd.grad(loss, [output for _, _, output in seen])
        squared = torch.zeros(len(labels), dtype=loss.dtype, device=loss.device)
        for (layer, activation, _), gradient in zip(seen, outputs, strict=True):
            share = activation.square().sum(dim=1) + (layer.bias is not None)
            squared += gradient.square().sum(dim=1) * share
        norms = squared.sqrt()
        factors = clip_factors(norms, clipping_norm)[:, None]
        sums: dict[int, torch.Tensor] = {}
        for (layer, activation, _), gradient in zip(seen, outputs, strict=True):
            scaled = gradient * factors  # (B, out)
            sums[id(layer.weight)] = scaled.T @ activation
            if layer.bias is not None:
                sums[id(layer.bias)] = scaled.sum(dim=0)
        return [sums[id(parameter)] for parameter in trainable(self._network)], norms


class HookedGradients:
    """Per-record gradients written out by opacus' hooks, `microbatch` records at a time."""

    def __init__(self, network: nn.Module, microbatch: int) -> None:
        self._parameters = trainable(network)
        self._module = GradSampleModule(network, loss_reduction="sum")
        self._microbatch = microbatch

    def clipped_sum(
        self, inputs: Inputs, labels: torch.Tensor, clipping_norm: float
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """See `ClippedGradients.clipped_sum`."""
        sums = [torch.zeros_like(parameter) for parameter in self._parameters]
        norms = [torch.zeros(0, device=labels.device)]
        for part, part_labels in self._microbatches(inputs, labels):
            with warnings.catch_warnings():
                # The network's inputs need no gradient; torch notes that its hooks cope with it.
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                torch.autograd.backward(record_losses(self._module, part, part_labels).sum())
            samples = [self._take(parameter) for parameter in self._parameters]
            part_norms = torch.stack([sample.flatten(1).norm(dim=1) for sample in samples]).norm(dim=0)
            factors = clip_factors(part_norms, clipping_norm)
            for total, sample in zip(sums, samples, strict=True):
                total.add_(torch.einsum("b,b...->...", factors, sample))
            norms.append(part_norms)
        return sums, torch.cat(norms)

    @staticmethod
    def _take(parameter: nn.Parameter) -> torch.Tensor:
        """(B, *shape), removed from the parameter, where opacus would add the next microbatch to it."""
        sample: torch.Tensor = getattr(parameter, "grad_sample")  # noqa: B009 (opacus adds the attribute)
        setattr(parameter, "grad_sample", None)  # noqa: B010
        parameter.grad = None
        return sample

    def _microbatches(self, inputs: Inputs, labels: torch.Tensor) -> Iterator[tuple[Inputs, torch.Tensor]]:
        for start in range(0, len(labels), self._microbatch):
            chosen = slice(start, start + self._microbatch)
            if isinstance(inputs, dict):
                yield {name: tensor[chosen] for name, tensor in inputs.items()}, labels[chosen]
            else:
                yield inputs[chosen], labels[chosen]
