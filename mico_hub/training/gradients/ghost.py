"""Any other network, one model at a time, by opacus' ghost clipping."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from torch.nn.modules.batchnorm import _BatchNorm

from mico_hub.data.base import Inputs
from mico_hub.training.gradients.base import Clipped, OneModel, Weigh, record_losses


class GhostClipping(OneModel):
    """Norms from a first backward pass that writes no per-record gradient out, sums from a second one.

    Both passes go back through one forward pass, so dropout has one mask (Li et al. 2022, Large Language Models Can Be
    Strong Differentially Private Learners). For roberta-base this takes 2.4 times less time and 3.8 times less memory
    than writing out the per-record gradients.
    """

    @cached_property
    def _module(self) -> GradSampleModuleFastGradientClipping:
        """Made when it is first needed: without DP the network need not be one that opacus knows.

        Raises:
            ValueError: It normalises over the batch, so that a record changes the gradients of others; opacus itself
                refuses only layers that have parameters.
        """
        for name, part in self._network.named_modules():
            if isinstance(part, _BatchNorm):
                raise ValueError(f"{name} is a {type(part).__name__}, which mixes records: no DP with it")
        return GradSampleModuleFastGradientClipping(self._network, loss_reduction="sum", use_ghost_clipping=True)

    def _weighted_sum(self, inputs: Inputs, labels: torch.Tensor, weigh: Weigh) -> Clipped:
        with _without_notes():
            losses, norms = self._first_pass(inputs, labels, again=True)
            weighted = (losses * weigh(norms)).sum()
            return list(torch.autograd.grad(weighted, self._trainable, materialize_grads=True)), norms

    def _norms(self, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        with _without_notes():
            return self._first_pass(inputs, labels, again=False)[1]

    def _first_pass(self, inputs: Inputs, labels: torch.Tensor, *, again: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) losses, through which one can go back `again`, and (B,) norms."""
        self._module.enable_hooks()
        try:
            losses = record_losses(self._module, inputs, labels)
            torch.autograd.backward(losses.sum(), retain_graph=again)
        finally:
            self._module.disable_hooks()
        norms: torch.Tensor = self._module.get_norm_sample().detach()
        self._module.zero_grad(set_to_none=True)  # the sum without clipping, and the norms
        return losses, norms


@contextmanager
def _without_notes() -> Iterator[None]:
    """The network's inputs need no gradient; torch notes that opacus' hooks cope with it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield
