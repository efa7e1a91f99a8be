"""Power as networks take it, read from tiles and 3-band scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.geo.rasters import as_nan, gdal_env, open_raster, read_window
from builtup.geo.windows import Window
from builtup.tiles.tile import Tile, read_tile

__all__ = ["INDEXES", "mark_invalid", "scene_power", "tile_power"]

Float = NDArray[np.float32]

#: Enough for the blocks that neighbouring windows share; more would only add to the memory.
CACHE_BYTES = 16_000_000
#: Polarisations that a network is given: VH and VV (the third band of a scene is their mean).
INDEXES = [1, 2]


@contextmanager
def scene_power(path: Path) -> Iterator[Callable[[Window], Float]]:
    """Open a 3-band scene: what reads a window's power (2, h, w), NaN where invalid."""
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as scene:
        nodata = scene.nodata
        yield lambda window: mark_invalid(read_window(scene, window, INDEXES), nodata)


@contextmanager
def tile_power() -> Iterator[Callable[[Tile], Float]]:
    """What reads a tile's power (2, h, w), NaN where invalid."""
    yield lambda tile: read_tile(tile, INDEXES)


def mark_invalid(power: Float, nodata: float | None = None) -> Float:
    """Make what is not finite, or the declared no-data value, NaN."""
    if nodata is not None and not np.isnan(nodata):
        power = as_nan(power, nodata)
    infinite = np.isinf(power)
    return np.where(infinite, np.float32(np.nan), power) if infinite.any() else power
