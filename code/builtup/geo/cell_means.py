"""Means of a coarse layer over the cells of a scene, whatever the layer's grid and CRS."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)

#: A layer whose values are all below this share of a full cell's may be of another legend.
FAINT = 0.02


def cell_means(
    path: Path, grid: Grid, cell: int, full: float, scene: str, *, needed: bool = True
) -> NDArray[np.float32]:
    """The layer's first band by area over square cells of `cell` pixels that begin at the upper
    left pixel of `grid`, as shares of `full`, (rows, columns) float32, NaN where it has none.

    Raises InputError where it does not meet the scene and is `needed` there, has no CRS and the
    scene has one, or has values there that are not from 0 to `full`; values far below are logged.
    """
    with gdal_env(), open_raster(path) as layer:
        if grid.crs and not layer.crs:
            raise InputError(path, "has no CRS", "assign it (gdal_edit.py -a_srs)")
        # not of means alone: these hide values that another legend has
        shares, most, least = (
            _over_cells(layer, grid, cell, how)
            for how in (Resampling.average, Resampling.max, Resampling.min)
        )
    if np.isnan(shares).all():
        if not needed:
            return shares
        raise InputError(path, f"no value on scene {scene}", "give a layer that covers it")
    low, high = float(np.nanmin(least)), float(np.nanmax(most))
    if low < 0 or high > full * 1.0001:
        raise InputError(
            path,
            f"values from {low:g} to {high:g}, where shares are from 0 to {full:g}",
            "say what a cell is that is built-up all over (1, 100, 255, 10000, …), and declare "
            "no-data",
        )
    if 0 < high <= full * FAINT:
        log.warning(
            "%s: its greatest value on scene %s is %g, and full=%g is built-up all over: say which "
            "is, if it has another legend",
            *(path, scene, high, full),
        )
    return shares / np.float32(full)


def _over_cells(
    layer: rasterio.DatasetReader, grid: Grid, cell: int, how: Resampling
) -> NDArray[np.float32]:
    """The mean, greatest or least value of each cell, NaN where there is none."""
    values = np.full((-(-grid.height // cell), -(-grid.width // cell)), np.nan, np.float32)
    reproject(
        rasterio.band(layer, 1),
        values,
        src_nodata=layer.nodata,
        dst_transform=grid.transform @ Affine.scale(cell),
        dst_crs=grid.crs,
        dst_nodata=np.nan,
        resampling=how,
    )
    return values
