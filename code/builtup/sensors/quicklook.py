"""Quicklooks: what a scene looks like, taken in passing while it is read by windows.

A picture of at most `LONGEST` pixels a side, on the scene's ground: RGBA, transparent where there
is no data, in the colours that the sensor is drawn with. A GIS opens it, and previews lie on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.rasters import create_raster, gdal_env
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.sensors.sensor import Sensor

__all__ = ["LONGEST", "Quicklook"]

Float = NDArray[np.float32]
Read = Callable[[Window], Float]

#: Longest side, in pixels.
LONGEST = 1600
#: Pixels along each side of a cell that are averaged: all of a large one would cost as much as
#: reading, and 16 looks at speckle are enough for the eye.
LOOKS = 4


class Quicklook:
    """The mean of a scene's bands in cells of `factor` x `factor` pixels, as far as it was read.

    Of each cell at most LOOKS x LOOKS pixels, evenly spread, are looked at: every `step`-th row and
    column of the scene. What lies in several windows counts as often. 17 MB for two bands.
    """

    def __init__(self, grid: Grid, sensor: Sensor) -> None:
        self.grid, self.sensor = grid, sensor
        factor = max(1, -(-max(grid.width, grid.height) // LONGEST))
        self.step = max(1, factor // LOOKS)
        self.factor = -(-factor // self.step) * self.step
        self.shape = (-(-grid.height // self.factor), -(-grid.width // self.factor))
        self._sum = np.zeros((len(sensor.read), *self.shape), np.float32)
        self._count = np.zeros(self.shape, np.float32)

    def watching(self, read: Read) -> Read:
        """What reads as `read` does, (bands, h, w) with NaN where invalid, and takes note."""

        def watched(window: Window) -> Float:
            values = read(window)
            self.add(window, values)
            return values

        return watched

    def add(self, window: Window, values: Float) -> None:
        """Take a window into account: (bands, h, w), NaN where there is no data. What follows the
        sensor's bands (a height) is not looked at."""
        values = values[: len(self._sum)]
        (top, rows), (left, columns) = (self._cells(*side) for side in _sides(window))
        seen = values[:, top :: self.step, left :: self.step]
        if seen.size == 0:
            return
        known = np.logical_and.reduce(np.isfinite(seen), axis=0)
        place = np.ix_(rows[0], columns[0])
        measured = np.where(known, seen, 0).astype(np.float32)
        self._count[place] += _summed(known, rows[1], columns[1])
        for total, band in zip(self._sum, measured, strict=True):
            total[place] += _summed(band, rows[1], columns[1])

    def _cells(
        self, start: int, length: int
    ) -> tuple[int, tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """The first place looked at; the cells, and where in what is looked at each begins."""
        first = -start % self.step
        cells = np.arange(start + first, start + length, self.step) // self.factor
        return first, np.unique(cells, return_index=True)

    def picture(self) -> NDArray[np.uint8]:
        """RGBA, (H, W, 4)."""
        known = self._count > 0
        mean = np.where(known, self._sum / np.maximum(self._count, 1), np.float32(np.nan))
        opaque = np.where(known, np.uint8(255), np.uint8(0))
        return np.dstack([self.sensor.picture(mean), opaque])

    def write(self, final: Path, tags: Mapping[str, str]) -> None:
        """Write the picture as a GeoTIFF of four bands, whole or not at all."""
        height, width = self.shape
        place = self.grid.transform @ self.grid.transform.scale(self.factor, self.factor)
        profile = {"count": 4, "dtype": "uint8", "photometric": "RGB", "alpha": "yes"}
        layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "pixel"}
        with (
            gdal_env(),
            atomic_path(final) as temporary,
            create_raster(
                temporary,
                width=width,
                height=height,
                crs=self.grid.crs,
                transform=place,
                compress="deflate",
                **profile,
                **layout,
            ) as out,
        ):
            out.write(np.moveaxis(self.picture(), -1, 0))
            out.update_tags(**tags)


def _sides(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and length along the rows, and along the columns."""
    return (window.y, window.height), (window.x, window.width)


def _summed(values: Any, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float:
    """Sums of the values that belong to each cell; `rows` and `columns` say where it begins."""
    down = np.add.reduceat(values, rows, axis=0, dtype=np.float32)
    total: Float = np.add.reduceat(down, columns, axis=1)
    return total
