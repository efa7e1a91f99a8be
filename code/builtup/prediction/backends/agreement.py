"""Whether what runs a network gives PyTorch's probabilities: on what, and how closely."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from builtup.errors import BuiltupError
from builtup.training.export import example_power

__all__ = ["AGREEMENT", "check_power", "largest_difference", "require_agreement"]

log = logging.getLogger(__name__)

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


def require_agreement(backend: str, largest: float, allowed: float = AGREEMENT) -> None:
    """BuiltupError where probabilities differ from PyTorch's by more than is allowed."""
    if not largest <= allowed:
        raise BuiltupError(
            f"backend={backend}: probabilities differ from PyTorch's by {largest:.2g} "
            f"(at most {allowed:.2g}); use backend=torch"
        )
    log.info("%s: agrees with torch, largest difference %.1e", backend, largest)
