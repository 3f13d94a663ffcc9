"""A chain with convolutions, one model at a time; per-record gradients as matrix products over image patches."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from mico_hub.data.base import Inputs
from mico_hub.training.gradients.base import Clipped, OneModel, Weigh, chain_of, features

_BETWEEN = (nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten)
"""Parts without parameters that treat each record by itself: no normalisation over a batch."""


class ConvolutionalChain(OneModel):
    """Closed form for a chain of `Conv2d` and `Linear` layers, with parts between them that keep records apart.

    The gradient of a convolution's weight for one record is the product of its output's gradient, (out, positions),
    and the patches of its input that the kernel was laid on, (positions, kernel x in). With channels last the patches
    are copied in long runs, and all work is in dense matrix products and convolutions. These gradients are held for
    `microbatch` records at once and then summed, each scaled by its clip factor; a `Linear` layer's never are, see
    `LinearStack`.
    """

    def __init__(self, network: nn.Module, microbatch: int) -> None:
        """See `OneModel`."""
        super().__init__(network, microbatch)
        self._chain = chain_of(network)
        self._memory: dict[int, torch.Tensor] = {}  # for the per-record gradients of each convolution, used again

    @staticmethod
    def fits(network: nn.Module) -> bool:
        """Whether the network is such a chain, its convolutions plain ones."""
        parts = chain_of(network)
        return any(isinstance(part, nn.Conv2d) for part in parts) and all(
            isinstance(part, _BETWEEN) or _plain(part) for part in parts
        )

    def mean(self, inputs: Inputs, labels: torch.Tensor) -> list[torch.Tensor]:
        """See `Gradients.mean`."""
        return super().mean(_channels_last(features(inputs)[0])[None], labels)

    def _weighted_sum(self, inputs: Inputs, labels: torch.Tensor, weigh: Weigh) -> Clipped:
        parts = self._parts(inputs, labels)
        norms = _norms_of(parts)
        with torch.no_grad():
            factors = weigh(norms)
            return [summed for part in parts for summed in part.weighted_sum(factors)], norms

    def _norms(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        return _norms_of(self._parts(inputs, labels))

    def _parts(self, inputs: Inputs, labels: torch.Tensor) -> list["_Linear | _Convolution"]:
        """The gradients of the records by layer."""
        seen: list[tuple[nn.Conv2d | nn.Linear, torch.Tensor, torch.Tensor]] = []  # layer, its input, its output
        value = _channels_last(features(inputs))
        for part in self._chain:
            if isinstance(part, nn.Conv2d | nn.Linear):
                activation, value = value.detach(), _apply(part, value)
                seen.append((part, activation, value if value.requires_grad else value.requires_grad_()))
            else:
                value = part(value)
        loss = functional.cross_entropy(value, labels, reduction="sum")
        deltas = torch.autograd.grad(loss, [output for _, _, output in seen])
        with torch.no_grad():
            return [
                self._convolution(layer, activation, delta)
                if isinstance(layer, nn.Conv2d)
                else _Linear(activation, delta)
                for (layer, activation, _), delta in zip(seen, deltas, strict=True)
            ]

    def _convolution(self, layer: nn.Conv2d, activation: torch.Tensor, delta: torch.Tensor) -> "_Convolution":
        patches = _patches(layer, activation)  # (B, positions, kernel x in)
        rows = delta.permute(0, 2, 3, 1).flatten(1, 2)  # (B, positions, out)
        if id(layer) not in self._memory or len(self._memory[id(layer)]) < len(rows):
            self._memory[id(layer)] = patches.new_empty((len(rows), rows.shape[2], patches.shape[2]))
        gradients = torch.bmm(rows.transpose(1, 2), patches, out=self._memory[id(layer)][: len(rows)])
        return _Convolution(layer, gradients, rows.sum(dim=1))


class _Linear:
    """The gradients of a `Linear` layer for B records, as factors: they are never written out."""

    def __init__(self, activation: torch.Tensor, delta: torch.Tensor) -> None:
        self._activation, self._delta = activation, delta  # (B, in), (B, out)

    def squares(self) -> torch.Tensor:
        """(B,) squared norms."""
        return self._delta.square().sum(dim=1) * (self._activation.square().sum(dim=1) + 1)

    def weighted_sum(self, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of weight and bias, each record's gradient multiplied by its factor."""
        scaled = self._delta * factors[:, None]
        return scaled.T @ self._activation, scaled.sum(dim=0)


class _Convolution:
    """The gradients of a convolution for B records: (B, out, kernel x in), and (B, out) of its bias."""

    def __init__(self, layer: nn.Conv2d, weights: torch.Tensor, biases: torch.Tensor) -> None:
        self._layer, self._weights, self._biases = layer, weights, biases

    def squares(self) -> torch.Tensor:
        """(B,) squared norms."""
        squares: torch.Tensor = torch.linalg.vector_norm(self._weights, dim=(1, 2)).square_()
        return squares + self._biases.square().sum(dim=1)

    def weighted_sum(self, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of weight and bias, each record's gradient multiplied by its factor."""
        outputs, inputs, height, width = self._layer.weight.shape
        summed = (factors @ self._weights.flatten(1)).view(outputs, height, width, inputs)
        return summed.permute(0, 3, 1, 2), factors @ self._biases


@torch.no_grad()
def _norms_of(parts: Sequence[_Linear | _Convolution]) -> torch.Tensor:
    """(B,) over all layers."""
    return torch.stack([part.squares() for part in parts]).sum(dim=0).sqrt_()


def _patches(layer: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """What the kernel is laid on, (B, positions, kernel height x kernel width x in), from (B, in, H, W)."""
    vertical, horizontal = map(int, layer.padding)
    padded = functional.pad(images, (horizontal, horizontal, vertical, vertical))
    windows = padded.permute(0, 2, 3, 1)  # (B, H, W, in)
    for dimension in (0, 1):
        windows = windows.unfold(dimension + 1, layer.kernel_size[dimension], layer.stride[dimension])
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)


def _plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        usual = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        return usual and isinstance(layer.padding, tuple) and layer.bias is not None
    return isinstance(layer, nn.Linear) and layer.bias is not None


def _apply(layer: nn.Conv2d | nn.Linear, value: torch.Tensor) -> torch.Tensor:
    """The layer with its weights as constants, so that autograd computes no gradient for them."""
    weight, bias = layer.weight.detach(), layer.bias.detach() if layer.bias is not None else None
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(value, weight, bias, layer.stride, layer.padding)
    return functional.linear(value, weight, bias)


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)
