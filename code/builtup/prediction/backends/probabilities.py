"""The network's last step, the same for every backend: from logits to probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Probabilities", "class_probabilities", "moved_threshold"]


class Probabilities(nn.Module):
    """Probabilities (B, bands, H, W) float32 from power (B, 2, H, W), NaN where invalid.

    Logits are divided by each of `temperatures`, which give bands of their own; two classes give
    one band, the building's (class 1).
    """

    def __init__(self, model: nn.Module, temperatures: tuple[float, ...] = (1.0,)) -> None:
        super().__init__()
        self.model = model
        self.temperatures = temperatures

    def forward(self, power: Tensor) -> Tensor:
        """Probabilities of a batch, see the class."""
        logits = self.model(power).float()
        if self.temperatures == (1.0,):
            return class_probabilities(logits)
        return torch.cat([class_probabilities(logits / t) for t in self.temperatures], dim=1)

    def extra_repr(self) -> str:
        """What the weights do not tell."""
        return f"temperatures={self.temperatures}"


def class_probabilities(logits: Tensor) -> Tensor:
    """Softmax of (B, classes, H, W); of two classes the second only, (B, 1, H, W)."""
    if logits.shape[1] == 2:
        # softmax of two is the logistic of their difference
        return (logits[:, 1:] - logits[:, :1]).sigmoid_()
    return logits.softmax(dim=1)


def moved_threshold(threshold: float, temperature: float | None) -> float:
    """The threshold that maps the same pixels once logits are divided by `temperature`."""
    if temperature is None or temperature == 1.0 or not 0 < threshold < 1:
        return threshold
    logit = math.log(threshold / (1 - threshold))
    return 1 / (1 + math.exp(-logit / temperature))
