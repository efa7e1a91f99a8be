"""Quicklooks: means over cells, whatever the windows; written where the scene lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.sensors import quicklook
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.quicklook import Quicklook

UTM = CRS.from_epsg(32638)


def grid(width: int, height: int) -> Grid:
    return Grid(UTM, Affine(10, 0, 330_000, 0, -10, 4_020_000), width, height)


def cut(width: int, height: int, step: int) -> list[Window]:
    return [
        Window(y, x, min(step, height - y), min(step, width - x))
        for y in range(0, height, step)
        for x in range(0, width, step)
    ]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.integers(3, 12))
def test_cells_hold_the_mean_of_what_is_looked_at_however_it_is_cut(width, height, step, longest):
    values = np.random.default_rng(width * height).gamma(4, 0.02, (2, height, width))
    values = values.astype(np.float32)
    values[:, : height // 3, : width // 2] = np.nan
    before, quicklook.LONGEST = quicklook.LONGEST, longest
    try:
        look = Quicklook(grid(width, height), DEFAULT)
        read = look.watching(lambda w: values[:, w.y : w.y + w.height, w.x : w.x + w.width])
        for window in cut(width, height, step):
            assert read(window).shape == (2, window.height, window.width)
    finally:
        quicklook.LONGEST = before
    assert max(look.shape) <= longest
    every = values[:, :: look.step, :: look.step]
    side = look.factor // look.step
    for row in range(look.shape[0]):
        for column in range(look.shape[1]):
            cell = every[
                :, row * side : (row + 1) * side, column * side : (column + 1) * side
            ].reshape(2, -1)
            known = cell[:, np.isfinite(cell).all(axis=0)]
            picture = look.picture()[row, column]
            assert picture[3] == (255 if known.size else 0)
            if known.size:
                mean = known.mean(axis=1, dtype=np.float64).astype(np.float32)
                expected = DEFAULT.picture(mean[:, None, None])[0, 0].astype(int)
                assert np.abs(picture[:3].astype(int) - expected).max() <= 1


def test_at_most_sixteen_pixels_of_a_large_cell_are_looked_at():
    look = Quicklook(grid(24_576, 24_576), DEFAULT)
    assert (look.factor, look.step) == (16, 4)
    assert max(look.shape) <= quicklook.LONGEST


def test_the_file_lies_on_the_scenes_ground_and_shows_gaps(tmp_path: Path):
    values = np.full((2, 30, 20), 0.1, np.float32)
    values[:, :10] = np.nan
    look = Quicklook(grid(20, 30), DEFAULT)
    look.add(Window(0, 0, 30, 20), values)
    look.write(tmp_path / "look.tif", {"BUILTUP_KIND": "quicklook"})
    with rasterio.open(tmp_path / "look.tif") as dataset:
        assert dataset.bounds == (330_000, 4_019_700, 330_200, 4_020_000)
        assert dataset.crs == UTM and dataset.tags()["BUILTUP_KIND"] == "quicklook"
        alpha = dataset.read(4)
        assert dataset.colorinterp[3] is rasterio.enums.ColorInterp.alpha
    assert (alpha[:10] == 0).all() and (alpha[10:] == 255).all()
