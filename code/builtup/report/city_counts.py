"""One pass over a city's map: pixels by picture cell, by block of ground and by tile.

Nothing but the sums is kept, so that a city may be of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine

from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.vectors import PolygonSet
from builtup.geo.windows import Window, aligned
from builtup.runs.results import CityRasters, PredictionTags, read_tags
from builtup.scoring.blocks import BlockCounter
from builtup.scoring.counts import CELLS, PixelCounts, overlap
from builtup.scoring.scored_area import ScoredCity, open_scored_city
from builtup.sensors.scene_files import is_simulated

__all__ = [
    "PICTURE",
    "TILE",
    "CellCounts",
    "CityCounts",
    "CityMeasure",
    "TileCounts",
    "TileCrop",
    "measure_city",
]

#: Longest side of a picture, in pixels.
PICTURE = 1200
#: Side of the tiles that are ranked by their IoU, in pixels of the map.
TILE = 256
#: How many of them are shown.
WORST = 3
#: Least share of a tile that must count, and of what counts that must be built-up in map or truth.
LEAST_COUNTED, LEAST_BUILT_UP = 0.25, 0.01
#: What picture cells are counted for; `unknown` is what does not count.
LAYERS = ("builtup", "truth", "found", "missed", "false", "unknown")
WINDOW = (512, 2048)


@dataclass(frozen=True)
class TileCounts:
    """A tile of the map, and its pixels: built-up in both, in the truth only, in the map only."""

    window: Window
    found: int
    missed: int
    false: int

    @property
    def iou(self) -> float:
        """Intersection over union of built-up; NaN where there is none."""
        return float(overlap([self.found, self.false, self.missed, 0]))


@dataclass(frozen=True)
class TileCrop:
    """The pixels (H, W) of a tile: `mapped` and `true` are built-up, `counted` says what counts."""

    tile: TileCounts
    mapped: NDArray[np.bool_]
    true: NDArray[np.bool_]
    counted: NDArray[np.bool_]


@dataclass(frozen=True)
class CityCounts:
    """What was counted against ground truth: all pixels, by block of ground, and by tile.

    `blocks` (n, 4) are the cells of the confusion matrix by block, in the order of CELLS. `ranked`
    is how many tiles have an IoU to be ranked by, `worst` those with the least of them.
    """

    truth: Path
    pixels: PixelCounts
    blocks: NDArray[np.int64]
    ranked: int
    worst: tuple[TileCrop, ...]

    @property
    def simulated(self) -> bool:
        """Whether the ground truth is that of a simulated town."""
        return is_simulated(self.truth)


@dataclass(frozen=True)
class CityMeasure:
    """A city's map, summed up. `shares`: of each picture pixel, (H, W) float32 from 0 to 1."""

    rasters: CityRasters
    tags: PredictionTags
    grid: Grid
    picture: Grid
    shares: Mapping[str, NDArray[np.float32]]
    counts: CityCounts | None

    @property
    def city(self) -> str:
        """The city's key, `<TILE>_<City>`."""
        return self.rasters.city


def measure_city(
    rasters: CityRasters,
    truth: Path | None,
    scored_area: PolygonSet | None,
    largest: int = PICTURE,
) -> CityMeasure:
    """Go through a city once; `largest` limits the longer side of its pictures.

    Raises InputError where a raster or the polygons cannot be read.
    """
    with gdal_env(), open_raster(rasters.mask) as mask:
        grid, tags = Grid.of(mask), read_tags(mask)
        picture = shrunk(grid, largest)
        cells = {name: CellCounts.shrunk(grid.shape, picture.shape) for name in LAYERS}
        counts = None
        if truth is None:
            for window in aligned(grid.width, grid.height, WINDOW):
                values = read_window(mask, window, 1)
                cells["builtup"].add(window, values == tags.class_set.mapped_index)
                cells["unknown"].add(window, values == NODATA)
        else:
            with open_scored_city(rasters, truth, scored_area) as city:
                counts = _count(city, truth, cells)
    shares = {
        name: cells.pop(name).shares for name in LAYERS
    }  # one after the other: they are large
    return CityMeasure(rasters, tags, grid, picture, shares, counts)


def shrunk(grid: Grid, largest: int) -> Grid:
    """The same ground with at most `largest` pixels along the longer side."""
    factor = max(1.0, max(grid.shape) / largest)
    width, height = max(1, round(grid.width / factor)), max(1, round(grid.height / factor))
    scale = Affine.scale(grid.width / width, grid.height / height)
    return Grid(grid.crs, grid.transform @ scale, width, height)


def _count(city: ScoredCity, truth: Path, cells: Mapping[str, CellCounts]) -> CityCounts:
    pixels = PixelCounts.zero()
    blocks = BlockCounter("", 0)
    tiles = {name: CellCounts.squares(city.grid.shape, TILE) for name in LAYERS}
    for window in city.windows():
        mask = read_window(city.mask, window, 1)
        counted = city.counted(window, mask)
        true, mapped = city.truth.burn(window) == 1, city.mapped(mask)
        chosen = {
            "builtup": mapped,
            "truth": true,
            "found": counted & true & mapped,
            "missed": counted & true & ~mapped,
            "false": counted & ~true & mapped,
            "unknown": ~counted,
        }
        for name, values in chosen.items():
            cells[name].add(window, values)
            tiles[name].add(window, values)
        if counted.any():
            part = city.grid.window(window.x, window.y, window.width, window.height)
            blocks.add("", "", part, mapped[None], true, counted)
            level = city.levels(window, counted)
            pixels += PixelCounts.of(true[counted], mapped[counted], level)
    ranked = _ranked(city.grid, tiles)
    worst = tuple(_crop(city, tile) for tile in ranked[:WORST])
    by_block = [row.counts[0] for row in blocks.rows()]
    counts = np.array(by_block, np.int64).reshape(-1, len(CELLS))
    return CityCounts(truth, pixels, counts, len(ranked), worst)


def _crop(city: ScoredCity, tile: TileCounts) -> TileCrop:
    mask = read_window(city.mask, tile.window, 1)
    true = city.truth.burn(tile.window) == 1
    return TileCrop(tile, city.mapped(mask), true, city.counted(tile.window, mask))


def _ranked(grid: Grid, cells: Mapping[str, CellCounts]) -> tuple[TileCounts, ...]:
    """The tiles with enough ground and enough built-up, the worst first."""
    found = []
    for row, column in np.ndindex(cells["found"].counts.shape):
        window = Window(row * TILE, column * TILE, TILE, TILE).intersection(
            Window(0, 0, grid.height, grid.width)
        )
        if window is None:
            raise ValueError(f"tile {row}, {column} lies outside a raster of {grid.shape}")
        hit, missed, false, unknown = (
            int(cells[name].counts[row, column]) for name in ("found", "missed", "false", "unknown")
        )
        size = window.height * window.width
        enough = size - unknown >= LEAST_COUNTED * size
        if enough and hit + missed + false >= max(1, LEAST_BUILT_UP * (size - unknown)):
            found.append(TileCounts(window, hit, missed, false))
    return tuple(sorted(found, key=lambda t: (t.iou, -t.missed - t.false, t.window)))


# --- counting by cells ---------------------------------------------------------------------------


class CellCounts:
    """Counts of chosen pixels by cell: `counts` (rows, columns) int32.

    Pixel row r of a raster of `shape` falls into cell row `row_cells[r]`, columns likewise; both
    ascend from 0 without a gap. Windows may come in any order and cut through cells.
    """

    def __init__(self, row_cells: NDArray[np.integer], column_cells: NDArray[np.integer]) -> None:
        self._rows, self._columns = row_cells, column_cells
        self.counts = np.zeros((int(row_cells[-1]) + 1, int(column_cells[-1]) + 1), np.int32)

    @classmethod
    def shrunk(cls, shape: tuple[int, int], cells: tuple[int, int]) -> CellCounts:
        """As many cells as a picture of `shape`, shrunk to `cells`, has pixels."""
        return cls(*(np.arange(n) * c // n for n, c in zip(shape, cells, strict=True)))

    @classmethod
    def squares(cls, shape: tuple[int, int], side: int) -> CellCounts:
        """Square cells of `side` pixels from the upper left corner on."""
        return cls(*(np.arange(n) // side for n in shape))

    def add(self, window: Window, chosen: NDArray[np.bool_]) -> None:
        """Count the chosen pixels (H, W) of a window."""
        rows, columns = (
            cells[part]
            for cells, part in zip((self._rows, self._columns), window.slices, strict=True)
        )
        starts = [np.flatnonzero(np.diff(cells, prepend=-1)) for cells in (rows, columns)]
        sums = np.add.reduceat(chosen, starts[1], axis=1, dtype=np.int32)
        sums = np.add.reduceat(sums, starts[0], axis=0)
        self.counts[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += sums

    @property
    def shares(self) -> NDArray[np.float32]:
        """The chosen share of each cell's pixels, 0 to 1."""
        sizes = np.outer(np.bincount(self._rows), np.bincount(self._columns))
        shares: NDArray[np.float32] = (self.counts / sizes).astype(np.float32)
        return shares
