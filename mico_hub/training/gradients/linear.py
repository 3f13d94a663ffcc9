"""K chains of `Linear` and `Tanh`, as batched matrix products; gradients and their norms in closed form."""

from collections.abc import Sequence

import torch
from torch import nn

from mico_hub.data.base import Inputs
from mico_hub.training.gradients.base import TINY, Clipped, chain_of, factors_of, features

ROWS = 128  # of a Gram matrix, made at once: what caches like


class LinearStack:
    """Closed form for models of `Linear` layers with `Tanh` between them.

    With a record's input a to a layer and the gradient b of its loss by the layer's output, its weight's gradient is
    the outer product b a^T, of squared norm |b|^2 |a|^2, and its bias' is b. So norms cost no more than the backward
    pass, and the clipped sum is one matrix product with the rows of b scaled (Goodfellow 2015, Efficient Per-Example
    Gradient Computations).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Copies the networks' values; `networks()` writes them back."""
        self._networks = list(networks)
        columns = zip(*(network.parameters() for network in networks), strict=True)
        self.parameters = [nn.Parameter(torch.stack([value.data for value in column])) for column in columns]
        values = [parameter.data for parameter in self.parameters]
        self._layers = list(zip(values[::2], values[1::2], strict=True))  # weights (K, out, in), biases (K, out)

    @staticmethod
    def fits(network: nn.Module) -> bool:
        """Whether the network is such a chain."""
        chain = chain_of(network)
        layers, between = chain[::2], chain[1::2]
        return (
            len(chain) % 2 == 1
            and all(isinstance(layer, nn.Linear) and layer.bias is not None for layer in layers)
            and all(isinstance(part, nn.Tanh) for part in between)
        )

    def networks(self) -> list[nn.Module]:
        """See `Gradients.networks`."""
        for k, network in enumerate(self._networks):
            for own, stacked in zip(network.parameters(), self.parameters, strict=True):
                own.data.copy_(stacked.data[k])
        return self._networks

    @torch.no_grad()
    def mean(self, inputs: Inputs, labels: torch.Tensor) -> list[torch.Tensor]:
        """See `Gradients.mean`."""
        activations, deltas = self._backpropagate(inputs, labels)
        return _sums(activations, [delta.div_(labels.shape[1]) for delta in deltas])

    @torch.no_grad()
    def clipped_sum(
        self, inputs: Inputs, labels: torch.Tensor, clipping_norm: float, present: torch.Tensor | None = None
    ) -> Clipped:
        """See `Gradients.clipped_sum`."""
        activations, deltas = self._backpropagate(inputs, labels)
        norms = torch.stack(_squares(activations, deltas)).sum(dim=0).sqrt_()  # (K, B)
        factors = factors_of(norms, clipping_norm, present)[..., None]
        return _sums(activations, [delta.mul_(factors) for delta in deltas]), norms

    @torch.no_grad()
    def record_norms(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """See `Gradients.record_norms`."""
        return torch.stack(_squares(*self._backpropagate(inputs, labels)), dim=2).sqrt_()

    @torch.no_grad()
    def unit_gradients(self, inputs: Inputs, labels: torch.Tensor) -> "UnitGradients":
        """Records' gradients, each scaled to norm 1; arguments as of `record_norms`."""
        activations, deltas = self._backpropagate(inputs, labels, careful=True)
        norms = torch.stack(_squares(activations, deltas)).sum(dim=0).sqrt_().clamp_(min=TINY)[..., None]
        return UnitGradients(activations, [delta.div_(norms) for delta in deltas])

    def _backpropagate(
        self, inputs: Inputs, labels: torch.Tensor, *, careful: bool = False
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The input of each layer, (K, B, in), and the gradient of each record's loss by its output, (K, B, out).

        Careful: p - 1 of the label is taken as minus the sum of the others, which is right where p rounds to 1, and
        where the gradient's direction counts, not its length alone.
        """
        activations = [features(inputs)]
        for weight, bias in self._layers[:-1]:
            activations.append(_affine(activations[-1], weight, bias).tanh_())
        delta = _softmax(_affine(activations[-1], *self._layers[-1]))
        at = labels[..., None]
        if careful:
            delta.scatter_(2, at, 0.0)
            delta.scatter_(2, at, -delta.sum(dim=2, keepdim=True))
        else:
            delta.scatter_(2, at, delta.gather(2, at).sub_(1))  # softmax - one hot
        deltas = [delta]
        for activation, (weight, _) in zip(activations[:0:-1], self._layers[:0:-1], strict=True):
            slope = activation.square().neg_().add_(1)  # of tanh
            deltas.append(torch.bmm(deltas[-1], weight).mul_(slope))
        deltas.reverse()
        return activations, deltas


class UnitGradients:
    """The gradients of B records for each of K models, each scaled to norm 1, as factors: none is written out."""

    def __init__(self, activations: list[torch.Tensor], deltas: list[torch.Tensor]) -> None:
        """A layer's gradient is a delta, (K, B, out), times its input, (K, B, in)."""
        self._activations, self._deltas = activations, deltas

    @torch.no_grad()
    def gram(self) -> torch.Tensor:
        """(K, B, B) inner products, the lower triangle with the diagonal; zeros above, where they would be the same."""
        models, records, _ = self._deltas[0].shape
        gram = self._deltas[0].new_zeros((models, records, records))
        for start in range(0, records, ROWS):
            rows, before = slice(start, start + ROWS), slice(start + ROWS)
            for activation, delta in zip(self._activations, self._deltas, strict=True):
                of_inputs = torch.bmm(activation[:, rows], activation[:, before].transpose(1, 2)).add_(1)
                of_deltas = torch.bmm(delta[:, rows], delta[:, before].transpose(1, 2))
                gram[:, rows, before].addcmul_(of_inputs, of_deltas)
        return gram.tril_()

    @torch.no_grad()
    def projections(self, direction: Sequence[torch.Tensor]) -> torch.Tensor:
        """(K, B) inner products with a direction: one tensor for each of the stack's `parameters`, shaped like it."""
        layers = zip(self._activations, self._deltas, direction[::2], direction[1::2], strict=True)
        parts = [(_affine(activation, weight, bias) * delta).sum(dim=2) for activation, delta, weight, bias in layers]
        return torch.stack(parts).sum(dim=0)

    @torch.no_grad()
    def sum(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """Their sum, each times its weight, (K, B)."""
        return _sums(self._activations, [delta * weights[..., None] for delta in self._deltas])


def _sums(activations: list[torch.Tensor], deltas: list[torch.Tensor]) -> list[torch.Tensor]:
    sums = []
    for activation, delta in zip(activations, deltas, strict=True):
        sums += [torch.bmm(delta.transpose(1, 2), activation), delta.sum(dim=1)]
    return sums


def _squares(activations: list[torch.Tensor], deltas: list[torch.Tensor]) -> list[torch.Tensor]:
    """The squared norms of each layer's gradients, (K, B) each."""
    return [
        torch.linalg.vector_norm(delta, dim=2).square_() * torch.linalg.vector_norm(activation, dim=2).square_().add_(1)
        for activation, delta in zip(activations, deltas, strict=True)
    ]


def _affine(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(K, B, in) by (K, out, in) and (K, out) -> (K, B, out)."""
    return torch.baddbmm(bias[:, None], inputs, weight.transpose(1, 2))


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Over the last dimension; torch takes 8 times as long over a last one of a few classes."""
    return torch.softmax(logits.transpose(1, 2).contiguous(), dim=1).transpose(1, 2).contiguous()
