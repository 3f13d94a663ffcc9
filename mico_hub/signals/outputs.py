"""Signals that are made of a model's outputs.

With p the softmax of the logits z and y the label:

    loss                -log p_y, in nats
    margin              log p_y - log(1 - p_y), the "stable logit scaling" of LiRA (Carlini et al. 2022, section IV-C)
    modified_entropy    -(1 - p_y) log p_y - sum over k != y of p_k log(1 - p_k) (Song and Mittal 2021, equation 8)

All are made of log p and log(1 - p), which are exact to float32 also where p is so near to 1 that it rounds to it: then
1 - p is the sum of the other probabilities.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

_FAINT = 1e-30  # below it a sum of probabilities may have lost some that float32 cannot hold


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model says, (B, classes) each."""

    p: torch.Tensor
    log_p: torch.Tensor
    log_rest: torch.Tensor  # log(1 - p)

    @classmethod
    def of(cls, outputs: torch.Tensor) -> "Answers":
        """From logits, (B, classes), of at least two classes."""
        log_p = outputs.log_softmax(dim=1)
        p = log_p.exp()
        top = p.argmax(dim=1, keepdim=True)
        rest = p.scatter(1, top, 0.0).sum(dim=1, keepdim=True)  # 1 - p of the likeliest class
        log_rest_of_top = rest.log()
        faint = rest[:, 0] < _FAINT
        if faint.any():
            others = log_p[faint].scatter(1, top[faint], -torch.inf)
            log_rest_of_top[faint] = others.logsumexp(dim=1, keepdim=True)
        log_rest = p.neg().log1p_().scatter_(1, top, log_rest_of_top)
        return cls(p, log_p.scatter_(1, top, rest.neg_().log1p_()), log_rest)


def _loss(said: Answers, of_label: torch.Tensor) -> torch.Tensor:
    return -said.log_p.gather(1, of_label)[:, 0]


def _margin(said: Answers, of_label: torch.Tensor) -> torch.Tensor:
    return (said.log_p.gather(1, of_label) - said.log_rest.gather(1, of_label))[:, 0]


def _modified_entropy(said: Answers, of_label: torch.Tensor) -> torch.Tensor:
    terms = (said.p * said.log_rest).scatter_(1, of_label, 0.0)
    own = said.log_rest.gather(1, of_label).exp() * said.log_p.gather(1, of_label)
    return -(own[:, 0] + terms.sum(dim=1))


OUTPUT_SIGNALS: Mapping[str, Callable[[Answers, torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"loss": _loss, "margin": _margin, "modified_entropy": _modified_entropy}
)
"""Name -> what is made of a model's answers and the labels, (B, 1)."""


def of_outputs(
    outputs: torch.Tensor, labels: torch.Tensor, names: Iterable[str] = tuple(OUTPUT_SIGNALS)
) -> dict[str, torch.Tensor]:
    """Signals by name, (B,) each.

    Args:
        outputs: Logits, (B, classes).
        labels: (B,) int64.
        names: Of `OUTPUT_SIGNALS`.
    """
    said = Answers.of(outputs)
    return {name: OUTPUT_SIGNALS[name](said, labels[:, None]) for name in names}
