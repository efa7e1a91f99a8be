"""What networks read of tiles: the bands of a sensor, and the height beside them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from aerial_data import add_site, measured, tile_layers
from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.sensors.optical import RGB
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.tiles.inputs import TileInputs, heights_beside, require_sensor
from builtup.tiles.tile import read_tile, read_tiles


def test_colours_have_gaps_where_alpha_says_so_and_heights_where_they_are_unknown(
    tmp_path: Path,
) -> None:
    add_site(tmp_path, "alpha")
    tiles = read_tiles(tile_layers(tmp_path) / "images" / "tiles.csv")
    found = heights_beside(tmp_path / "tiles" / "images", tiles)
    inputs = TileInputs.of(RGB, ("red", "green", "blue", "height"), found)
    first = inputs.read(tiles[0])
    stored = read_tile(tiles[0])
    assert first.shape == (4, 48, 48) and first.dtype == np.float32
    assert np.isnan(first[:3, :4]).all() and not np.isnan(first[:3, 4:]).any()
    np.testing.assert_array_equal(first[:3, 4:], stored[:3, 4:])
    assert (stored[:3, 40:44, 40:44] == 0).all() and (first[:3, 40:44, 40:44] == 0).all()
    window = Window(3, 5, 20, 30)
    np.testing.assert_array_equal(inputs.read(tiles[0], window), first[:, *window.slices])
    lower = next(t for t in tiles if t.x == 0 and t.y + t.height == 96)
    assert np.isnan(inputs.read(lower)[3, -12:, :12]).all()


def test_a_scene_without_heights_is_read_as_unknown_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_site(tmp_path, "alpha")
    add_site(tmp_path, "beta", seed=1, height=False)
    tiles = read_tiles(tile_layers(tmp_path) / "images" / "tiles.csv")
    inputs = TileInputs(RGB, True, heights_beside(tmp_path / "tiles" / "images", tiles))
    assert "no heights of 9 of 18 tiles" in caplog.text
    known = {t.city: not np.isnan(inputs.read(t)[3]).all() for t in tiles}
    assert known == {"alpha": True, "beta": False}


def test_rows_of_statistics_bring_their_heights(tmp_path: Path) -> None:
    add_site(tmp_path, "alpha")
    add_site(tmp_path, "beta", seed=1)
    _, rows = measured(tmp_path)
    found = heights_beside(tmp_path / "nowhere", rows)
    assert set(found) == {t.tile.tile_id for t in rows}


def test_what_reads_can_be_sent_to_another_process(tmp_path: Path) -> None:
    inputs = TileInputs(RGB, with_height=True)
    assert pickle.loads(pickle.dumps(inputs)).sensor == RGB


def test_tiles_of_another_sensor_are_refused(tmp_path: Path) -> None:
    add_site(tmp_path, "alpha", height=False)
    tiles = read_tiles(tile_layers(tmp_path) / "images" / "tiles.csv")
    require_sensor(tiles, RGB)
    with pytest.raises(InputError, match="sensor rgb, and the network reads sentinel1"):
        require_sensor(tiles, SENTINEL1)
