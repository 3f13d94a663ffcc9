"""Signals that are made of a model's outputs.

With p the softmax of the logits z and y the label:

    loss                -log p_y, in nats
    margin              log p_y - log(1 - p_y), the "stable logit scaling" of LiRA (Carlini et al. 2022, section IV-C)
    modified_entropy    -(1 - p_y) log p_y - sum over k != y of p_k log(1 - p_k) (Song and Mittal 2021, equation 8)

All are made of log p and log(1 - p), which are exact to float32 also where p is so near to 1 that it rounds to it: then
1 - p is the sum of the other probabilities.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch


def log_probabilities(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log p and log(1 - p).

    Args:
        outputs: Logits, (B, classes), at least two classes.

    Returns:
        Two of (B, classes).
    """
    log_p = outputs.log_softmax(dim=1)
    top = log_p.argmax(dim=1, keepdim=True)
    others = log_p.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)  # log(1 - p) of the likeliest class
    log_rest = torch.log1p(log_p.exp().neg_()).scatter_(1, top, others)
    return log_p.scatter_(1, top, torch.log1p(others.exp().neg_())), log_rest


def _loss(log_p: torch.Tensor, log_rest: torch.Tensor, of_label: torch.Tensor) -> torch.Tensor:
    return -log_p.gather(1, of_label)[:, 0]


def _margin(log_p: torch.Tensor, log_rest: torch.Tensor, of_label: torch.Tensor) -> torch.Tensor:
    return (log_p.gather(1, of_label) - log_rest.gather(1, of_label))[:, 0]


def _modified_entropy(log_p: torch.Tensor, log_rest: torch.Tensor, of_label: torch.Tensor) -> torch.Tensor:
    terms = log_p.exp().mul_(log_rest).scatter_(1, of_label, 0.0)
    own = log_rest.gather(1, of_label).exp() * log_p.gather(1, of_label)
    return -(own[:, 0] + terms.sum(dim=1))


OUTPUT_SIGNALS: Mapping[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"loss": _loss, "margin": _margin, "modified_entropy": _modified_entropy}
)
"""Name -> what is made of log p, log(1 - p) and the labels, (B, 1)."""


def of_outputs(
    outputs: torch.Tensor, labels: torch.Tensor, names: Iterable[str] = tuple(OUTPUT_SIGNALS)
) -> dict[str, torch.Tensor]:
    """Signals by name, (B,) each.

    Args:
        outputs: Logits, (B, classes).
        labels: (B,) int64.
        names: Of `OUTPUT_SIGNALS`.
    """
    log_p, log_rest = log_probabilities(outputs)
    return {name: OUTPUT_SIGNALS[name](log_p, log_rest, labels[:, None]) for name in names}
