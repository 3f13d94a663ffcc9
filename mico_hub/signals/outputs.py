"""Signals that are made of a model's outputs.

With p the softmax of the logits z and y the label:

    loss                -log p_y, in nats
    margin              log p_y - log(1 - p_y), the "stable logit scaling" of LiRA (Carlini et al. 2022, section IV-C)
    modified_entropy    -(1 - p_y) log p_y - sum over k != y of p_k log(1 - p_k) (Song and Mittal 2021, equation 8)

All are made of log p and log(1 - p), which are exact to float32 also where p is so near to 1 that it rounds to it: then
1 - p is the sum of the other probabilities; and where p is too near to 0 for float32, log p is taken of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FAINT = 1e-30  # below it a probability, or a sum of some, may have lost what float32 cannot hold


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What models answer to records.

    There are few passes over all classes and none with a condition: with those it took longer than a small network.
    """

    labels: torch.Tensor  # (..., 1)
    p: torch.Tensor  # (..., 1), of the label
    log_p: torch.Tensor  # (..., 1), of the label
    likeliest: torch.Tensor  # (..., 1), the greatest p; "likely" is one above 1/2
    others: torch.Tensor  # (..., classes), all p, the likely one as 0
    log_others: torch.Tensor  # (..., 1), of their sum: log(1 - p) of the likely class, where there is one

    @classmethod
    def of(cls, outputs: torch.Tensor, labels: torch.Tensor) -> Answers:
        """From logits, (..., classes), of at least two classes, and labels, (..., 1)."""
        import torch  # only now: the names of signals need none of it
        from torch.nn import functional

        p = outputs.softmax(dim=-1)
        of_label = p.gather(-1, labels)
        likeliest = p.amax(dim=-1, keepdim=True)
        others = p.sub_(functional.threshold(p, 0.5, 0.0))
        rest = others.sum(dim=-1, keepdim=True)
        log_p = torch.where(of_label > 0.5, torch.log1p(-rest), of_label.log())
        log_others = rest.log()
        faint = torch.minimum(rest, of_label)[..., 0] < _FAINT
        if faint.any():
            exact = outputs[faint].log_softmax(dim=-1)
            log_p[faint] = torch.where(of_label[faint] < _FAINT, exact.gather(-1, labels[faint]), log_p[faint])
            without_likeliest = exact.scatter(-1, exact.argmax(dim=-1, keepdim=True), -torch.inf)
            log_others[faint] = without_likeliest.logsumexp(dim=-1, keepdim=True)
        return cls(labels, of_label, log_p, likeliest, others, log_others)

    def log_rest(self) -> torch.Tensor:
        """log(1 - p) of the label, (..., 1)."""
        import torch

        return torch.where(self.p > 0.5, self.log_others, torch.log1p(-self.p))


def _loss(answers: Answers) -> torch.Tensor:
    """Cross-entropy in nats; to float32's precision also where the probability rounds to 1."""
    return -answers.log_p


def _margin(answers: Answers) -> torch.Tensor:
    """The logarithm of the label's odds, log p - log(1 - p): LiRA's."""
    return answers.log_p - answers.log_rest()


def _modified_entropy(answers: Answers) -> torch.Tensor:
    """Song and Mittal 2021, equation 8."""
    import torch

    own = answers.log_rest().exp() * answers.log_p
    terms = (
        answers.others.neg().log1p_().mul_(answers.others).scatter_(-1, answers.labels, 0.0).sum(dim=-1, keepdim=True)
    )
    another_is_likely = (answers.likeliest > 0.5) & (answers.p <= 0.5)
    return -(own + terms + torch.where(another_is_likely, answers.likeliest * answers.log_others, 0.0))


OUTPUT_SIGNALS: Mapping[str, Callable[[Answers], torch.Tensor]] = MappingProxyType(
    {"loss": _loss, "margin": _margin, "modified_entropy": _modified_entropy}
)
"""Name -> what is made of the answers, (..., 1), and in its docstring what that is."""


def of_outputs(
    outputs: torch.Tensor, labels: torch.Tensor, names: Iterable[str] = tuple(OUTPUT_SIGNALS)
) -> dict[str, torch.Tensor]:
    """Signals by name, (B,) each, or (K, B) of K models at once.

    Args:
        outputs: Logits, (B, classes) or (K, B, classes); a tensor, or what makes one.
        labels: (B,) int64.
        names: Of `OUTPUT_SIGNALS`.
    """
    import torch

    outputs, labels = torch.as_tensor(outputs), torch.as_tensor(labels)
    answers = Answers.of(outputs, labels.expand(outputs.shape[:-1])[..., None])
    return {name: OUTPUT_SIGNALS[name](answers)[..., 0] for name in names}
