"""Batches that do not fit into a GPU's memory, halved until they do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from builtup.errors import BuiltupError, one_line
from builtup.prediction.windows import Stream

__all__ = ["Halving", "halving", "within_memory"]

log = logging.getLogger(__name__)

T = TypeVar("T")
_REMEDY = "use a smaller window, tta=none, or device=cpu"


def within_memory(name: str, work: Callable[[], T]) -> T:
    """What `work` returns; BuiltupError where the device's memory does not hold the rest of it.

    That is the network itself, or what is held beside its batches.
    """
    try:
        return work()
    except torch.OutOfMemoryError as e:
        reason = one_line(e, 120)
    # outside of the handler nothing holds on to what did not fit
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise BuiltupError(f"{name}: out of memory on the device ({reason}); {_REMEDY}")


def halving(stream: Stream) -> Stream:
    """The same stream, whose batches are halved where the device runs out of memory."""
    return replace(stream, probabilities=Halving(stream.probabilities))


class Halving:
    """Probabilities of a batch, in as many parts as the device's memory asks for.

    Once a batch was halved, later ones are not tried whole again. Raises BuiltupError where even
    one window does not fit.
    """

    def __init__(self, probabilities: Callable[[Tensor], Tensor]) -> None:
        self.probabilities = probabilities
        self.most: int | None = None

    def __call__(self, power: Tensor) -> Tensor:
        """(B, C, H, W) power to (B, bands, H, W) probabilities."""
        parts = []
        start = 0
        while start < len(power):
            size = min(self.most or len(power), len(power) - start)
            found = self._try(power[start : start + size])
            if found is None:
                self._halve(size, power)
                continue
            parts.append(found)
            start += size
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _try(self, part: Tensor) -> Tensor | None:
        try:
            return self.probabilities(part)
        except torch.OutOfMemoryError:
            return None  # outside of the handler nothing holds on to what did not fit

    def _halve(self, size: int, power: Tensor) -> None:
        if power.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            side = power.shape[-1]
            raise BuiltupError(
                f"out of memory on {power.device}: one window of {side} x {side} does not fit; "
                + _REMEDY
            )
        self.most = size // 2
        log.warning(
            "out of memory on %s: batches of %d windows instead of %d; set batch_size=%d",
            *(power.device, self.most, size, self.most),
        )
