"""What a channel set is made of on a network's device; each sensor's module declares its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from builtup.sensors.sensor import Sensor

__all__ = ["Formula"]


@dataclass(frozen=True)
class Formula:
    """How the channels of a set are computed from the bands that it reads.

    `inputs` are these bands of the `sensor`, in order, and behind them layers that lie beside its
    scenes. `compute` takes them, (B, inputs, H, W) float32, all bands measured, and gives
    (B, channels, H, W) of its own memory. `valid` tells the pixels whose bands are measured,
    (B, 1, H, W) bool, and `all_measured` whether all inputs are, where that is cheap to know;
    `stretch`, of channels and valid pixels, is what depends on the whole image. `known` tells where
    each channel is known, (B, channels, H, W) bool, of a set with layers that may be unknown where
    the bands are not. `names` and `units` are the channels'; `reads` and `nodata` say in words what
    the numbers and gaps of the input mean.
    """

    sensor: Sensor
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    units: str
    compute: Callable[[Tensor], Tensor]
    valid: Callable[[Tensor], Tensor]
    all_measured: Callable[[Tensor], bool]
    stretch: Callable[[Tensor, Tensor], Tensor] | None
    reads: str
    nodata: str
    known: Callable[[Tensor], Tensor] | None = None
