"""Means of a coarse layer over the cells of a scene, whatever the layer's grid and CRS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import gdal_env, open_raster

__all__ = ["cell_means"]


def cell_means(path: Path, grid: Grid, cell: int, full: float, scene: str) -> NDArray[np.float32]:
    """The layer's first band by area over square cells of `cell` pixels that begin at the upper
    left pixel of `grid`, as shares of `full`, (rows, columns) float32, NaN where it has none.

    Raises InputError where it does not meet the scene, or has values that are not from 0 to `full`.
    """
    shares = np.full((-(-grid.height // cell), -(-grid.width // cell)), np.nan, np.float32)
    with gdal_env(), open_raster(path) as layer:
        reproject(
            rasterio.band(layer, 1),
            shares,
            src_nodata=layer.nodata,
            dst_transform=grid.transform @ Affine.scale(cell),
            dst_crs=grid.crs,
            dst_nodata=np.nan,
            resampling=Resampling.average,
        )
    known = shares[np.isfinite(shares)]
    if not known.size:
        raise InputError(path, f"no value on scene {scene}", "give a layer that covers it")
    low, high = float(known.min()), float(known.max())
    if low < 0 or high > full * 1.0001:
        raise InputError(
            path,
            f"values from {low:g} to {high:g}, where shares are from 0 to {full:g}",
            "say what a cell is that is built-up all over (1, 100, 255, 10000, …), and declare "
            "no-data",
        )
    return shares / np.float32(full)
