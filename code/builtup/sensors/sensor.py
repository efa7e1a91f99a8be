"""What a scene's stored numbers mean: the one noun that tells radar from pictures.

In memory one rule holds for all: float32 bands (B, H, W) as `Sensor.read` orders them, NaN where
there is no data in any of them. On disk each sensor has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNKNOWN", "Axis", "ChannelSet", "Sensor"]

#: The colour of pixels of which nothing is known.
UNKNOWN = (60, 60, 90)


@dataclass(frozen=True)
class Axis:
    """The axis on which values of a sensor are shown: its ends, its unit, and the way onto it.

    `place` takes values as they are in memory to those of the axis, element by element. `spelled`
    is the unit in full, where that is another word.
    """

    low: float
    high: float
    unit: str
    place: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    spelled: str = ""


@dataclass(frozen=True)
class Sensor:
    """What stored numbers mean.

    `bands` are those of a scene's file in order, `unit` what their numbers are, `typical` a usual
    one of each; `read` are the numbers (from 1) of those that samples and networks get, `dtype` is
    that of the file, `metres` the pixel that networks are trained on (None: the data set's own).
    `invalid` gives the (H, W) pixels without data from the bands that are read, (B, H, W), and the
    file's declared no-data value. `colours` makes what red, green and blue of a picture stand for,
    (3, H, W), to be stretched; `legend` says it in words, `drawn` in letters, `title` what the
    picture is. `picture` draws (H, W, 3) uint8 with the same stretch for every scene, in the colour
    `UNKNOWN` where there is no data. `alpha` is the number of a further band of the file that is 0
    where there is no data, None where the bands say it themselves. `kind` stands in the names of
    its scenes' files, for the braces of their ids.
    """

    name: str
    bands: tuple[str, ...]
    unit: str
    typical: tuple[float, ...]
    read: tuple[int, ...]
    dtype: str
    metres: float | None
    invalid: Callable[[NDArray[np.float32], float | None], NDArray[np.bool_]]
    axis: Axis
    colours: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    picture: Callable[[NDArray[np.float32]], NDArray[np.uint8]]
    title: str
    legend: str
    drawn: str
    alpha: int | None = None
    kind: str = "3b"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the bands that are read."""
        return tuple(self.bands[i - 1] for i in self.read)


@dataclass(frozen=True)
class ChannelSet:
    """A set of channels: names, and the function that makes (C, …) of them from its inputs.

    It belongs to one sensor. Its inputs are the bands that are read of it and, behind them, the
    `layers` that lie beside a scene, which may be unknown (NaN) where the bands are not.
    """

    names: tuple[str, ...]
    compute: Callable[..., NDArray[np.float32]]
    sensor: str
    layers: tuple[str, ...] = ()
