"""Shares of cells: a coarse settlement layer, on the grids of scenes.

The layer may have any grid and CRS. Of each scene it is averaged, by area, to square cells that
begin at the scene's upper left pixel, and written as a layer of tiles like any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.warp import transform

from builtup.errors import BuiltupError, InputError
from builtup.geo.cell_means import cell_means
from builtup.geo.grid import Grid
from builtup.geo.probability import encode
from builtup.geo.rasters import create_raster, gdal_env, open_raster
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.tiles.cut import write_list
from builtup.tiles.masks import mask_profile
from builtup.tiles.tile import TILES_CSV, Tile, by_scene, read_list, scene_grid
from builtup.training.tagged import SHARES, SharesRecord

__all__ = ["cell_shares"]

STEP = Step("cell_shares", 1, spawn_above=40_000_000)
#: Pixels of a cell of a layer that is finer: of fewer a share says little.
LEAST_CELL = 10


@dataclass(frozen=True)
class _Work:
    """A scene's grid, the side of its cells in pixels, the value of a cell that is full."""

    grid: Grid
    cell: int
    full: float


def cell_shares(
    *,
    shares_path: Path,
    tiles_path: Path,
    full: float = 1.0,
    cell: int = 0,
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Write the layer `shares` of a folder of tiles, and shares.json (`SharesRecord`).

    Of each scene a raster: uint8, level v is a share of v/254 of the cell built-up, 255 unknown.
    `shares_path` is a raster whose first band is between 0 and `full` (1 for shares and maps of
    0 and 1, 100 for percent, 10000 for the square metres in cells of 100 m of GHS-BUILT-S). `cell`
    is in pixels of the scenes; 0: that of the layer, at least 10. Raises InputError where it has no
    CRS, values out of that range, or does not meet a scene.
    """
    if not 0 < full < math.inf or cell < 0:
        raise BuiltupError(f"full={full:g}, cell={cell}: expected above 0, and 0 or more")
    scenes = by_scene(read_list(tiles_path / "images" / TILES_CSV))
    grids = {scene: scene_grid(tiles) for scene, tiles in scenes.items()}
    with gdal_env(), open_raster(shares_path) as layer:
        if layer.crs is None:
            raise InputError(shares_path, "no CRS", "give a raster that says where it lies")
        side = cell or max(_cell_of(layer, grid) for grid in grids.values())
    jobs = [
        Job(
            name=scene,
            inputs=(shares_path,),
            outputs=(_raster(tiles_path, tiles[0]),),
            settings={"cell": side, "full": full, "grid": _as_json(grids[scene])},
            pixels=grids[scene].pixels,
            context=_Work(grids[scene], side, full),
        )
        for scene, tiles in scenes.items()
    ]
    summary = run_step(STEP, jobs, _write, num_workers=num_workers, on_error=on_error)
    done = [tile for job in jobs if is_done(STEP, job) for tile in scenes[job.name]]
    own = [replace(tile, path=_raster(tiles_path, tile)) for tile in done]
    write_list(tiles_path / SHARES / TILES_CSV, own)
    SharesRecord(cell=side, source=str(shares_path), full=full).write(tiles_path)
    return summary


def _raster(folder: Path, tile: Tile) -> Path:
    return folder / SHARES / tile.city / f"{tile.scene.replace('{}', SHARES)}.tif"


def _as_json(grid: Grid) -> list[object]:
    return [grid.crs.to_wkt(), *list(grid.transform)[:6], grid.width, grid.height]


def _cell_of(layer: DatasetReader, grid: Grid) -> int:
    """The side of the layer's cells on a scene, in pixels of it, rounded."""
    middle = [[v] for v in grid.transform @ (grid.width / 2, grid.height / 2)]
    (x,), (y,) = transform(grid.crs, layer.crs, *middle)
    column, row = (math.floor(v) for v in ~layer.transform @ (x, y))
    corners = [layer.transform @ (column + i, row + j) for i, j in ((0, 0), (1, 0), (0, 1))]
    xs, ys = transform(layer.crs, grid.crs, *zip(*corners, strict=True))
    (x0, y0), (x1, y1), (x2, y2) = (~grid.transform @ xy for xy in zip(xs, ys, strict=True))
    area = abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
    return max(LEAST_CELL, round(math.sqrt(area)))


def _write(job: Job) -> None:
    """Write the raster of one scene, a row of cells at a time."""
    work: _Work = job.context
    grid, cell = work.grid, work.cell
    levels = _levels(job, work)
    with gdal_env(), atomic_path(job.outputs[0]) as beside:
        profile = {**mask_profile(grid), "compress": "ZSTD"}
        with create_raster(beside, **profile) as out:
            rows = cell * max(1, 256 // cell)
            for y in range(0, grid.height, rows):
                height = min(rows, grid.height - y)
                own = levels[y // cell : -(-(y + height) // cell)]
                values = own.repeat(cell, 0)[:height].repeat(cell, 1)[:, : grid.width]
                out.write(values, 1, window=Window(y, 0, height, grid.width).rasterio)


def _levels(job: Job, work: _Work) -> NDArray[np.uint8]:
    """The 8-bit share of each cell of a scene."""
    shares = cell_means(job.inputs[0], work.grid, work.cell, work.full, job.name)
    return encode(shares, np.isnan(shares))
