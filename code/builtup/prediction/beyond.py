"""What a network is given where a scene ends before its window does: the scene, as in a mirror.

No-data there would be nothing for a convolution, and much for a network that takes a mean of all
that it sees, as EfficientFPN's context block does: an image of 256 x 256 in a window of 512 was
mapped as one of three quarters nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BEYOND", "beyond", "mirrored", "side_of"]

#: The coarsest stride of networks, and the least side with which they are tried.
STRIDE, LEAST = 32, 64
#: What maps of scenes smaller than a window depend on besides; once no-data filled them up.
BEYOND = {"beyond": "mirror"}


def beyond(shape: tuple[int, int], window: int) -> dict[str, str]:
    """`BEYOND` for a scene (height, width) that is smaller than a window, else nothing."""
    return BEYOND if min(shape) < window else {}


def side_of(length: int, window: int, backend: str) -> int:
    """The side of the square (views turn it) that a network is given of `length` pixels, which a
    window holds: by PyTorch the next multiple of its stride, by backends made for one size that."""
    if backend != "torch":
        return window
    return min(window, max(LEAST, -(-length // STRIDE) * STRIDE))


def mirrored(power: Tensor, side: int) -> Tensor:
    """An image (inputs, h, w) that goes on as in a mirror, below and at its right, to a square."""
    for axis in (1, 2):
        own = power.shape[axis]
        if own < side:
            places = torch.arange(side, device=power.device) % (2 * own)
            places = torch.where(places < own, places, 2 * own - 1 - places)
            power = power.index_select(axis, places)
    return power
