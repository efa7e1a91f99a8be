"""Whether what runs a network gives PyTorch's probabilities: on what, and how closely."""

from __future__ import annotations

import torch
from torch import Tensor

from builtup.training.export import example_power

__all__ = ["AGREEMENT", "check_power", "largest_difference"]

#: Probabilities may differ from PyTorch's by half of an 8-bit unit.
AGREEMENT = 0.5 / 254


def check_power(window: int) -> Tensor:
    """Power (1, 2, window, window) to compare backends on: speckle, a town, both kinds of gap."""
    power = example_power(1, 2, window, window)
    power[..., window - window // 16 :, :] = torch.nan
    return power


def largest_difference(found: Tensor, wanted: Tensor) -> float:
    """The largest absolute difference of two tensors; infinite where one has NaN."""
    largest = (found - wanted).abs().max()
    return float(largest) if torch.isfinite(largest) else float("inf")
