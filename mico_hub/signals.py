"""Signals: a number per (model, record) that tells how the model treats the record."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from mico_hub import checkpoint
from mico_hub.loading import fetch_checkpoints
from mico_hub.models import default_device, logits, to_device
from mico_hub.splits import Indices

if TYPE_CHECKING:
    from mico_hub.data import BaseDataset
    from mico_hub.data.base import Inputs

BATCH = 2_000  # records in one forward pass
GRADIENT_MICROBATCH = 32  # records whose gradients are held at once, where they are written out


def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats.

    Args:
        outputs: Logits, (B, classes).
        labels: (B,).

    Returns:
        (B,)
    """
    return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")


def margin(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logit of the label's probability p, log(p / (1 - p)), without forming p.

    z_y - logsumexp over k != y of z_k: the "stable logit scaling" of LiRA (Carlini et al. 2022, section IV-C).

    Args:
        outputs: Logits z, (B, classes).
        labels: y, (B,).

    Returns:
        (B,)
    """
    of_label = outputs.gather(1, labels[:, None])  # (B, 1)
    others = outputs.scatter(1, labels[:, None], -torch.inf)
    return of_label[:, 0] - others.logsumexp(dim=1)


def modified_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-(1 - p_y) log p_y - sum over k != y of p_k log(1 - p_k); small for a sure and right answer.

    Source: Song and Mittal 2021, equation 8. Computed in float64; a probability within 2^-53 of 1 counts as that.

    Args:
        outputs: Logits, (B, classes).
        labels: y, (B,).

    Returns:
        (B,)
    """
    log_p = outputs.double().log_softmax(dim=1).clamp(max=-(2.0**-53))
    log_rest = torch.log(-torch.expm1(log_p))  # log(1 - p)
    terms = -log_p.exp() * log_rest
    of_label = labels[:, None]
    rest = terms.sum(dim=1) - terms.gather(1, of_label)[:, 0]
    log_p_y, log_rest_y = log_p.gather(1, of_label)[:, 0], log_rest.gather(1, of_label)[:, 0]
    return rest - log_rest_y.exp() * log_p_y


OUTPUT_SIGNALS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"loss": loss, "margin": margin, "modified_entropy": modified_entropy}
)
"""Name -> what is made of a model's outputs and the labels."""

GRADIENT_NORM = "gradient_norm"
"""The norm of the gradient of a record's loss over all parameters; it needs the model's weights."""

SIGNALS = (*OUTPUT_SIGNALS, GRADIENT_NORM)


def gradient_norms(network: torch.nn.Module, inputs: "Inputs", labels: torch.Tensor) -> torch.Tensor:
    """The norm of each record's gradient, (B,), without dropout.

    Args:
        network: One model; it stays in the mode that it is in.
        inputs: B records, as the network takes them.
        labels: (B,).
    """
    from mico_hub.gradients import gradients_of  # opacus takes a second to import

    gradients = gradients_of([network], GRADIENT_MICROBATCH)
    only = {name: part[None] for name, part in inputs.items()} if isinstance(inputs, dict) else inputs[None]
    _, norms = gradients.clipped_sum(only, labels[None], clipping_norm=1.0)
    return norms[0]


def compute(
    rows: Iterable[Mapping[str, Any]],
    records: Indices,
    data: "BaseDataset",
    source: str | None = None,
    names: Iterable[str] = tuple(OUTPUT_SIGNALS),
) -> dict[str, npt.NDArray[np.float32]]:
    """Signals of every model on every record.

    Args:
        rows: Rows of a suite, M of them; their checkpoints are brought several at once and loaded one by one.
        records: R indices into the base dataset.
        data: The base dataset.
        source: Where the checkpoints are, as for `load_model`.
        names: Of `SIGNALS`.

    Returns:
        Signal -> (M, R) float32, models in the order of `rows`.
    """
    device = default_device()
    labels = data.labels[torch.from_numpy(records)].to(device)
    batches = [slice(start, start + BATCH) for start in range(0, len(records), BATCH)]
    inputs = [to_device(data.inputs(records[batch]), device) for batch in batches]
    listed = list(rows)
    position = {id(row): index for index, row in enumerate(listed)}
    values = {name: np.empty((len(listed), len(records)), dtype=np.float32) for name in names}
    brought = fetch_checkpoints(listed, source)
    for row, path in tqdm(brought, desc="signals", total=len(listed), unit="model", leave=False):
        network = checkpoint.load(path).to(device)
        if values.keys() & OUTPUT_SIGNALS.keys():
            with torch.inference_mode():
                outputs = torch.cat([logits(network, batch) for batch in inputs])  # (R, classes)
        for name, of_models in values.items():
            if name == GRADIENT_NORM:
                norms = [
                    gradient_norms(network, part, labels[rows]) for part, rows in zip(inputs, batches, strict=True)
                ]
                signal = torch.cat(norms)
            else:
                signal = OUTPUT_SIGNALS[name](outputs, labels)
            of_models[position[id(row)]] = signal.detach().float().cpu().numpy()
    return values
