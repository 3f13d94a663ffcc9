"""How much of a record's gradient is in a model's weights, beyond what the gradients of other records put there.

Training adds gradients up, and noise: a member's gradient is in the weights. With u(x) the gradient of the loss of x
over all parameters, scaled to norm 1, and theta the weights,

    coefficient(x) = -u(x) . (I + F / r)^-1 theta        F the mean of u u' over Z records of the population

This is the matched filter for a known direction in correlated noise: F is how other training records, of which one does
not know which they are, move the weights, and I stands for what comes without a direction, the start and the noise of
DP-SGD. Of a record of the population it is r Z times its coefficient when the weights are written as a sum of the
population's gradients, by ridge regression (a trained network's weights are such a sum: Haim et al. 2022,
Reconstructing Training Data from Trained Neural Networks). Without F it is the projection on the record's own gradient.

The gradients are those at 0.7 of the weights, for what was added up were gradients on the way there. Both numbers were
chosen on digits suites, beside which others were measured: docs/attacks.md.
"""

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mico_hub.data.base import Inputs
from mico_hub.signals.names import SignalError
from mico_hub.training.gradients import LinearStack

SCALE = 0.7
"""Of the weights at which gradients are taken."""

DAMPING = 1e-3
"""r; the trace of F is 1."""


class Coefficients:
    """Models that are chains of `Linear` and `Tanh`, ready for any number of batches."""

    def __init__(self, networks: Sequence[nn.Module], inputs: Inputs, labels: torch.Tensor) -> None:
        """Takes out of each model's weights what the population's gradients explain.

        Args:
            networks: K of them; they stay as they are.
            inputs: (Z, features) of the population, where the networks are.
            labels: (Z,) int64.

        Raises:
            SignalError: They are other networks.
        """
        if not all(map(LinearStack.fits, networks)):
            raise SignalError(f"expected a chain of Linear and Tanh, with biases, got {type(networks[0]).__name__}")
        shrunken = [copy.deepcopy(network) for network in networks]
        for network in shrunken:
            for parameter in network.parameters():
                parameter.data.mul_(SCALE)
        self._stacks = [LinearStack([network]) for network in shrunken]
        self._left = [
            _unexplained(stack, [parameter.data[None] for parameter in network.parameters()], inputs, labels)
            for stack, network in zip(self._stacks, networks, strict=True)
        ]

    def of(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """(K, B) coefficients.

        Args:
            inputs: (B, features).
            labels: (B,) int64.
        """
        found = [
            stack.unit_gradients(_one(inputs), labels[None]).projections(left)
            for stack, left in zip(self._stacks, self._left, strict=True)
        ]
        return -torch.cat(found)


def gradient_coefficients(
    network: nn.Module, inputs: Inputs, labels: torch.Tensor, population: tuple[Inputs, torch.Tensor]
) -> npt.NDArray[np.float32]:
    """The signal of one network on records, (B,), for `attacks.run`.

    Args:
        network: A chain of `Linear` and `Tanh`.
        inputs: (B, features).
        labels: (B,) int64.
        population: Inputs and labels of records like those that it was trained on, 2,000 say; they may be among them.
            The same for the target and its shadow models.

    Raises:
        SignalError: It is another network.
    """
    found: npt.NDArray[np.float32] = Coefficients([network], *population).of(inputs, labels)[0].detach().numpy()
    return found


def _unexplained(
    stack: LinearStack, weights: Sequence[torch.Tensor], inputs: Inputs, labels: torch.Tensor
) -> list[torch.Tensor]:
    """(I + F / r)^-1 theta, of one model: by Woodbury theta - U' (r Z I + U U')^-1 U theta, U the unit gradients."""
    gradients = stack.unit_gradients(_one(inputs), labels[None])
    gram = gradients.gram()
    gram.diagonal(dim1=1, dim2=2).add_(DAMPING * len(labels))
    factor, wrong = torch.linalg.cholesky_ex(gram)
    factor[wrong > 0] = torch.nan  # of weights that are not finite, nor is the signal
    explained = torch.cholesky_solve(gradients.projections(weights)[..., None], factor).squeeze(2)
    return [weight - total for weight, total in zip(weights, gradients.sum(explained), strict=True)]


def _one(inputs: Inputs) -> torch.Tensor:
    if not isinstance(inputs, torch.Tensor):
        raise TypeError("expected inputs of a chain of Linear layers, a tensor")
    return inputs[None]
