"""How rough images are where they are smoothest: what their looks, filter and noise leave.

Levels do not tell images of four looks from filtered ones of the same ground, and a network that
knows the one fails on the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.sensor import Sensor

__all__ = ["Texture", "texture_ratio"]

#: Of the pixels, by the deviation of 3 × 3 of them: fields and water, where there are any.
SMOOTHEST = 0.05
#: Whole neighbourhoods that a window must have to count.
LEAST = 1000


class Texture:
    """The texture of each band that a sensor's samples have, from windows of an image.

    That of a window is the standard deviation in 3 × 3 pixels that a twentieth of the pixels fall
    below, on the sensor's axis (decibels for radar); of windows the median.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self.found: list[NDArray[np.float64]] = []

    def passing(self, windows: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Look at windows (B, H, W), NaN where invalid, as they pass; not at layers beside."""
        for window in windows:
            found = _of_window(self._on_axis(window[: len(self.sensor.read)]))
            if found is not None:
                self.found.append(found)
            yield window

    @property
    def median(self) -> tuple[float, ...]:
        """Of all windows with enough valid pixels; empty where there was none."""
        return tuple(np.median(self.found, axis=0).tolist()) if self.found else ()

    def _on_axis(self, window: NDArray[np.float32]) -> NDArray[np.float64]:
        invalid = self.sensor.invalid(window, None)
        placed = self.sensor.axis.place(np.where(invalid, np.float32(1), window))
        return np.where(invalid, np.nan, placed.astype(np.float64))


def _of_window(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if min(values.shape[1:]) < 3 or not np.isfinite(values).any():
        return None
    # about their mean: the variance is a difference of two large numbers elsewhere
    centred = values - np.nanmean(values, axis=(1, 2), keepdims=True)
    mean, square = _mean3(centred), _mean3(centred**2)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    whole = np.isfinite(deviation).all(axis=0)
    if whole.sum() < LEAST:
        return None
    return np.asarray(np.quantile(deviation[:, whole], SMOOTHEST, axis=1))


def _mean3(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of 3 × 3 neighbourhoods within the image, NaN where one of them is."""
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def texture_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """How many times rougher the one is than the other, or the other than the one, in the band
    where that is most; NaN where one of them is not known, or has a band without any texture."""
    if not one or len(one) != len(other) or not (min(one) > 0 and min(other) > 0):
        return math.nan
    return max(max(a / b, b / a) for a, b in zip(one, other, strict=True))
