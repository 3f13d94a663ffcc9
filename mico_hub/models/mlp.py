"""One hidden layer with tanh: the competition's network for Purchase-100, and those of other tables."""

import torch
from torch import nn

from mico_hub.models.base import Architecture


class MLP(nn.Module):
    """One hidden layer with tanh."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> logits (B, classes)."""
        logits: torch.Tensor = self.mlp(features)
        return logits


def _architecture(features: int, hidden: int, classes: int) -> Architecture:
    return Architecture(
        MLP,
        f"MLP {features}-{hidden}-{classes}, tanh",
        2.0 * hidden * (features + classes),
        {"features": features, "hidden": hidden, "classes": classes},
    )


ARCHITECTURES = {
    "mlp": _architecture(600, 128, 100),
    "digits_mlp": _architecture(64, 64, 10),
    "location30_mlp": _architecture(446, 128, 30),
}
