"""The competition's network for CIFAR-10."""

import torch
from torch import nn

from mico_hub.models.base import Architecture


class CNN(nn.Module):
    """Three convolutions with tanh, 974k parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 128, kernel_size=8, stride=2, padding=3),
            nn.Tanh(),
            nn.MaxPool2d(kernel_size=3, stride=1),
            nn.Conv2d(128, 256, kernel_size=3),
            nn.Tanh(),
            nn.Conv2d(256, 256, kernel_size=3),
            nn.Tanh(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.Flatten(),
            nn.Linear(6400, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32) -> logits (B, classes)."""
        logits: torch.Tensor = self.cnn(images)
        return logits


ARCHITECTURES = {"cnn": Architecture(CNN, "4-layer CNN", 215.6e6)}
