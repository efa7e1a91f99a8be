"""Height above local ground, by surfaces whose ground is known."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.geo.height import GroundCells
from builtup.geo.windows import Window, aligned


def heights(surface, metres=1.0, window=(64, 128)):
    """Heights of a whole surface, taken in and read in windows."""
    cells = GroundCells(surface.shape[1], surface.shape[0], metres)
    rows, columns = (side // cells.pixels * cells.pixels for side in window)
    for part in aligned(surface.shape[1], surface.shape[0], (rows, columns)):
        cells.add(part, surface[part.slices])
    ground = cells.ground()
    out = np.empty_like(surface)
    for part in aligned(surface.shape[1], surface.shape[0], (50, 70)):
        out[part.slices] = surface[part.slices] - ground.under(part)
    return out


def terrain(height=400, width=500, by_row=0.0, by_column=0.0, level=100.0):
    y, x = np.mgrid[:height, :width]
    return (level + by_row * y + by_column * x).astype(np.float32)


def test_a_house_on_flat_ground_has_its_height():
    surface = terrain()
    surface[100:112, 200:210] += 1.37
    found = heights(surface)
    assert np.abs(found[100:112, 200:210] - 1.37).max() < 1e-3
    found[100:112, 200:210] = 0
    assert np.abs(found).max() < 1e-3


def test_a_hall_of_130_m_is_no_ground():
    surface = terrain()
    surface[100:230, 150:280] += 12
    assert np.abs(heights(surface)[100:230, 150:280] - 12).max() < 0.2


@pytest.mark.parametrize(("by_row", "by_column"), [(0.1, 0.0), (0.0, -0.08), (0.05, 0.05)])
def test_a_slope_is_ground_up_to_its_edges(by_row, by_column):
    surface = terrain(by_row=by_row, by_column=by_column)
    surface[:30, :40] += 8  # at a corner
    found = heights(surface)
    assert np.abs(found[:30, :40] - 8).max() < 0.3
    found[:30, :40] = 0
    assert np.abs(found).max() < 0.3


def test_a_building_on_one_side_of_a_small_scene_does_not_tilt_it():
    surface = terrain(60, 100)
    surface[10:50, 60:95] += 10
    found = heights(surface)
    assert np.abs(found[10:50, 60:95] - 10).max() < 0.3
    assert np.abs(found[:, :55]).max() < 0.3


def test_rolling_hills_are_mostly_ground():
    y, x = np.mgrid[:600, :800]
    relief = 9 * np.sin(x / 800 * 2 * np.pi) * np.cos(y / 600 * 2 * np.pi)
    surface = (300 + relief).astype(np.float32)
    surface[300:312, 100:112] += 6
    found = heights(surface)
    assert np.abs(found[300:312, 100:112] - 6).max() < 1.5
    assert np.sqrt(np.mean(found**2)) < 1.2
    assert np.percentile(np.abs(found), 90) < 2


def test_gaps_stay_and_do_not_spread():
    surface = terrain(by_column=0.02)
    surface[50:300, 100:420] = np.nan
    surface[320:330, 200:210] += 5
    found = heights(surface)
    assert np.isnan(found[50:300, 100:420]).all()
    assert np.isfinite(found).sum() == surface.size - 250 * 320
    assert np.abs(found[320:330, 200:210] - 5).max() < 0.3


def test_windows_do_not_matter():
    generator = np.random.default_rng(0)
    surface = terrain(by_row=0.03) + generator.normal(0, 0.1, (400, 500)).astype(np.float32)
    assert (heights(surface, window=(64, 128)) == heights(surface, window=(400, 504))).all()


def test_nothing_known_is_no_ground():
    cells = GroundCells(100, 100, 1.0)
    cells.add(Window(0, 0, 100, 100), np.full((100, 100), np.nan, np.float32))
    assert cells.ground() is None


def test_windows_may_cut_cells():
    surface = terrain(by_row=0.03)
    surface[100:130, 200:260] = np.nan
    assert (heights(surface, window=(60, 130)) == heights(surface, window=(400, 504))).sum() == (
        np.isfinite(surface).sum()
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (9, 9)])
def test_small_scenes_have_heights(shape):
    assert np.abs(heights(terrain(*shape), metres=0.1, window=(80, 80))).max() < 1e-3
