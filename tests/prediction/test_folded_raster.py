"""Blocks of the folded raster: what they cover, what they need of each level, how they round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window
from builtup.prediction.fold import Folding
from builtup.prediction.folded_raster import BLOCK, Parts, blocks_of, folded_bytes
from builtup.prediction.zoom import Zoom

GRID = Grid(CRS.from_epsg(32638), Affine(10, 0, 3e5, 0, -10, 4e6), 8, 6)


def write(path: Path, values: np.ndarray) -> Path:
    _, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "nodata": NODATA, "count": len(values)}
    with rasterio.open(path, "w", height=height, width=width, **profile) as out:
        out.write(values)
    return path


@pytest.mark.parametrize("size", [(1100, 700), (300, 200), (1024, 512)])
def test_blocks_cover_a_raster_once_those_of_a_tile_together(size: tuple[int, int]) -> None:
    width, height = size
    seen = np.zeros((height, width), int)
    tiles = []
    for block in blocks_of(width, height):
        assert block.height <= BLOCK[0] and block.width <= BLOCK[1]
        seen[block.slices] += 1
        tiles.append((block.y // BLOCK[1], block.x // BLOCK[1]))
    assert (seen == 1).all()
    assert tiles == sorted(tiles)


def test_a_window_needs_the_pixels_around_it_of_coarser_levels_and_means_of_finer(
    tmp_path: Path,
) -> None:
    """Scales ½, 1 and 2 of 8 x 6 pixels: two columns and rows of the scene from the middle."""
    coarse = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) * 20
    own = np.full((1, 6, 8), 127, np.uint8)
    fine = np.full((1, 12, 16), 254, np.uint8)
    fine[0, 4:6, 4:6] = [[0, 254], [254, 0]]  # one pixel of the scene: its mean is a half
    zooms = [Zoom(GRID, scale) for scale in (0.5, 1.0, 2.0)]
    paths = [write(tmp_path / f"{i}.tif", v) for i, v in enumerate((coarse, own, fine))]
    rasters = [rasterio.open(path) for path in paths]
    parts = Parts.read(rasters, zooms, Window(2, 2, 2, 2))
    assert [values.shape for values in parts.values] == [(1, 3, 3), (1, 2, 2), (1, 4, 4)]
    levels = list(parts.levels())
    assert parts.last is None and levels[0].enlarge is None and levels[1].enlarge is not None
    np.testing.assert_allclose(levels[2].p[0], [[0.5, 1], [1, 1]])
    # bilinear, by hand: pixel (2, 2) lies a quarter from row and column 1 to 0
    brought = levels[1].enlarge(levels[0].p)[0] * 254
    row = {y: [20 * (4 * y + x) for x in (0, 1, 2)] for y in (0, 1, 2)}
    left = 0.25 * row[0][0] + 0.75 * row[0][1], 0.25 * row[1][0] + 0.75 * row[1][1]
    assert brought[0, 0] == pytest.approx(0.25 * left[0] + 0.75 * left[1], abs=1e-3)


def test_what_lies_half_way_is_rounded_up_and_gaps_stay(tmp_path: Path) -> None:
    """Means of 8 bits: 3 and 4 give 4, 6 and 7 give 7, whatever a sum's last bit says."""
    one = np.array([[[3, 6, 5, NODATA]]], np.uint8)
    two = np.array([[[4, 7, 5, 9]]], np.uint8)
    parts = Parts([one, two], [None, None], [None, None])
    assert folded_bytes(Folding("mean"), parts, None).tolist() == [[[4, 7, 5, 9]]]
    valid = np.array([[True, True, False, True]])
    assert folded_bytes(Folding("mean"), parts, valid).tolist() == [[[4, 7, NODATA, 9]]]
