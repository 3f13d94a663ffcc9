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

BATCH = 2_000  # records in one forward pass


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


SIGNALS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"loss": loss, "margin": margin}
)


@torch.inference_mode()
def compute(
    rows: Iterable[Mapping[str, Any]], records: Indices, data: "BaseDataset", source: str | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Every signal of every model on every record.

    Args:
        rows: Rows of a suite, M of them; their checkpoints are brought several at once and loaded one by one.
        records: R indices into the base dataset.
        data: The base dataset.
        source: Where the checkpoints are, as for `load_model`.

    Returns:
        Signal -> (M, R) float32, models in the order of `rows`.
    """
    device = default_device()
    labels = data.labels[torch.from_numpy(records)].to(device)
    batches = [slice(start, start + BATCH) for start in range(0, len(records), BATCH)]
    inputs = [to_device(data.inputs(records[batch]), device) for batch in batches]
    listed = list(rows)
    position = {id(row): index for index, row in enumerate(listed)}
    values = {name: np.empty((len(listed), len(records)), dtype=np.float32) for name in SIGNALS}
    brought = fetch_checkpoints(listed, source)
    for row, path in tqdm(brought, desc="signals", total=len(listed), unit="model", leave=False):
        network = checkpoint.load(path).to(device)
        outputs = torch.cat([logits(network, batch) for batch in inputs])  # (R, classes)
        for name, signal in SIGNALS.items():
            values[name][position[id(row)]] = signal(outputs, labels).float().cpu().numpy()
    return values
