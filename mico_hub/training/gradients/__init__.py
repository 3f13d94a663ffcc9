"""Gradients of many models, and sums of clipped per-record gradients, the heart of DP-SGD.

    sum over records i of  g_i * min(1, C / ||g_i||)

with g_i the gradient of record i's own loss over all parameters together. Three ways that give the same sum: in closed
form for stacks of small models of `Linear` layers; in closed form for one model with convolutions; and opacus' ghost
clipping for one model of any other kind.
"""

from collections.abc import Sequence

from torch import nn

from mico_hub.training.gradients.base import Gradients, clip_factors, trainable
from mico_hub.training.gradients.convolutional import ConvolutionalChain
from mico_hub.training.gradients.linear import LinearStack

__all__ = [
    "ConvolutionalChain",
    "Gradients",
    "LinearStack",
    "clip_factors",
    "gradients_of",
    "stackable",
    "trainable",
]


def stackable(network: nn.Module) -> bool:
    """Whether many models of this kind can be computed as one."""
    return LinearStack.fits(network)


def gradients_of(networks: Sequence[nn.Module], microbatch: int) -> Gradients:
    """The cheapest exact way for these networks.

    Args:
        networks: All of one architecture; only one unless they are `stackable`.
        microbatch: Records whose gradients are held at once where they are written out.

    Raises:
        ValueError: There are several, and they are not `stackable`.
    """
    if stackable(networks[0]):
        return LinearStack(networks)
    if len(networks) > 1:
        raise ValueError(f"expected one {type(networks[0]).__name__} at a time, got {len(networks)}")
    if ConvolutionalChain.fits(networks[0]):
        return ConvolutionalChain(networks[0], microbatch)
    from mico_hub.training.gradients.ghost import GhostClipping  # opacus takes a second to import

    return GhostClipping(networks[0], microbatch)
