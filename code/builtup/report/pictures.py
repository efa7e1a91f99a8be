"""Pictures of a city, read at the size at which they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject, transform_bounds

from builtup.geo.grid import Grid
from builtup.geo.rasters import open_raster
from builtup.report.image_source import SceneImage
from builtup.report.quicklook import read_parts
from builtup.sensors.radar.bands import to_db

__all__ = ["Stretch", "paint_power", "paint_probability", "read_band", "read_power", "shade"]

#: Dates that are averaged for the background at most.
MOST_DATES = 4
#: GDAL's working memory of a warp, in MB.
WARP_MB = 64
RGBA = NDArray[np.uint8]
Array = NDArray[np.float32]


def chosen_dates(scenes: Sequence[SceneImage]) -> tuple[SceneImage, ...]:
    """At most MOST_DATES of a city's scenes, spread over time."""
    if len(scenes) <= MOST_DATES:
        return tuple(scenes)
    return tuple(scenes[i * (len(scenes) - 1) // (MOST_DATES - 1)] for i in range(MOST_DATES))


def read_power(scenes: Sequence[SceneImage], grid: Grid) -> Array:
    """Linear power (2, H, W) of VH and VV on `grid`, the mean of the scenes; NaN where none is.

    Averaged down where `grid` is coarser. Raises InputError where a file cannot be read.
    """
    total = np.zeros((2, *grid.shape), np.float32)
    valid = np.zeros(grid.shape, np.float32)
    for scene in scenes:
        power = np.full((2, *grid.shape), np.nan, np.float32)
        for path in scene.paths:
            with open_raster(path) as dataset:
                _lay(power, rasterio.band(dataset, [1, 2]), Grid.of(dataset), grid)
        if scene.stored is not None:
            for part, place in read_parts(scene.stored, grid):
                _lay(power, part, place, grid)
        known = np.isfinite(power).all(axis=0)
        total += np.where(known, power, 0)
        valid += known
    mean: Array = np.where(valid > 0, total / np.maximum(valid, 1), np.nan).astype(np.float32)
    return mean


def _lay(power: Array, source: Array | rasterio.Band, place: Grid, grid: Grid) -> None:
    """Lay two bands that lie at `place` over `power` where they have data."""
    left, bottom, right, top = transform_bounds(place.crs, grid.crs, *place.bounds)
    west, south, east, north = grid.bounds
    if left >= east or right <= west or bottom >= north or top <= south:
        return
    coarser = max(grid.resolution) > 1.5 * max(place.resolution)
    fresh = np.full_like(power, np.nan)
    reproject(
        source,
        fresh,
        src_transform=place.transform,
        src_crs=place.crs,
        src_nodata=math.nan,
        dst_transform=grid.transform,
        dst_crs=grid.crs,
        dst_nodata=math.nan,
        resampling=Resampling.average if coarser else Resampling.bilinear,
        warp_mem_limit=WARP_MB,
    )
    known = np.isfinite(fresh).all(axis=0)
    power[:, known] = fresh[:, known]


def read_band(dataset: DatasetReader, band: int, grid: Grid) -> Array:
    """One band (H, W) float32 at the size of `grid`, which covers the same ground; NaN: no data.

    GDAL takes the overview that is near, and averages what is valid.
    """
    values = dataset.read(
        band, out_shape=grid.shape, resampling=Resampling.average, masked=True
    ).astype(np.float32)
    filled: Array = values.filled(np.nan)
    return filled


@dataclass(frozen=True)
class Stretch:
    """The lower and upper end of each channel, for pictures of one city that can be compared."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, channels: Array) -> Stretch:
        """From the 1st to the 99th percentile of what is valid."""
        ends = [
            np.percentile(band[known], (1, 99)) if (known := np.isfinite(band)).any() else (0, 1)
            for band in channels
        ]
        return cls(*(tuple(float(end[i]) for end in ends) for i in (0, 1)))

    def apply(self, channels: Array) -> Array:
        """(C, H, W) from 0 to 1."""
        low, high = (np.array(end, np.float32)[:, None, None] for end in (self.low, self.high))
        scaled: Array = np.clip((channels - low) / np.maximum(high - low, 1e-6), 0, 1)
        return scaled


def false_colour(power: Array) -> Array:
    """VV, VH and VV/VH in dB (3, H, W): red, green and blue of the picture."""
    vh, vv = to_db(power[0]), to_db(power[1])
    return np.stack([vv, vh, vv - vh])


def paint_power(power: Array, stretch: Stretch) -> RGBA:
    """The false-colour picture (H, W, 4); transparent where there are no data."""
    picture = np.zeros((*power.shape[1:], 4), np.uint8)
    known = np.isfinite(power).all(axis=0)
    channels = stretch.apply(false_colour(power))
    for i, channel in enumerate(channels):
        picture[known, i] = np.rint(channel[known] * 255)
    picture[known, 3] = 255
    return picture


def paint_probability(value: Array, top: float = 1.0) -> RGBA:
    """Viridis from 0 to `top` (H, W, 4); transparent where undefined."""
    known = np.isfinite(value)
    picture = np.zeros((*value.shape, 4), np.uint8)
    picture[known] = _viridis()[
        np.rint(np.clip(value[known] / max(top, 1e-6), 0, 1) * 255).astype(int)
    ]
    return picture


def shade(share: Array) -> NDArray[np.uint8]:
    """How opaque a layer is, 0 to 15, where it has that share of a picture's pixel.

    The root lets single pixels of a large raster show at all.
    """
    return np.ceil(np.sqrt(np.clip(share, 0, 1)) * 15).astype(np.uint8)


@cache
def _viridis() -> NDArray[np.uint8]:
    """256 colours, (256, 4)."""
    from matplotlib import colormaps

    return np.asarray(colormaps["viridis"](np.arange(256), bytes=True))
