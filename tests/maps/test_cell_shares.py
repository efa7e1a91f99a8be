"""Shares of cells: a coarse layer of any grid on the grids of scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.maps.cell_shares import cell_shares
from builtup.tiles.tile import read_tiles
from builtup.training.tagged import SharesRecord
from helpers import CRS, write_raster
from tile_data import TRANSFORM, add_scene, tile_all

SHAPE = (60, 80)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    add_scene(tmp_path, shape=SHAPE)
    tile_all(tmp_path, materialize=False)
    return tmp_path


def coarse(root: Path, values: Any, transform: Affine, crs: str = CRS, nodata: float = -1) -> Path:
    array = np.asarray(values, np.float32)
    return write_raster(root / "layer.tif", array, transform, crs, nodata=nodata)


def shares(root: Path) -> NDArray[np.uint8]:
    with rasterio.open(next((root / "tiles" / "shares").rglob("*.tif"))) as found:
        values: NDArray[np.uint8] = found.read(1)
    return values


def make(root: Path, layer: Path, **options: Any) -> int:
    cell_shares(shares_path=layer, tiles_path=root / "tiles", num_workers=1, **options)
    return SharesRecord.read(root / "tiles").cell


def test_cells_of_the_layer_are_cells_of_the_scene(data: Path) -> None:
    """200 m on 10 m: 20 pixels; the layer begins two cells further to the left."""
    values = np.linspace(0, 1, 3 * 6).reshape(3, 6)
    layer = coarse(data, values, TRANSFORM @ Affine.translation(-40, 0) @ Affine.scale(20))
    assert make(data, layer) == 20
    expected = np.round(254 * values[:, 2:]).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    assert np.array_equal(shares(data), expected)
    ids = [t.tile_id for t in read_tiles(data / "tiles" / "images" / "tiles.csv")]
    assert [t.tile_id for t in read_tiles(data / "tiles" / "shares" / "tiles.csv")] == ids


def test_a_finer_map_is_averaged_and_its_full_value_is_said(data: Path) -> None:
    mask = np.zeros(SHAPE, np.float32)
    mask[:30, :25] = 255
    layer = coarse(data, mask, TRANSFORM)
    with pytest.raises(InputError, match="values from 0 to 255, where shares are from 0 to 1; say"):
        make(data, layer)
    assert make(data, layer, full=255) == 10
    found = shares(data)[::10, ::10]
    assert found[0].tolist() == [254, 254, 127, 0, 0, 0, 0, 0] and not found[3:].any()
    assert make(data, layer, full=255, cell=30) == 30
    assert shares(data)[0, 0] == round(254 * 25 / 30)


def test_the_layer_may_have_another_crs(data: Path) -> None:
    """In degrees: a town in the western half of the scene."""
    corners = [TRANSFORM @ xy for xy in ((0, 0), (80, 60))]
    (west, east), (north, south) = rasterio.warp.transform(
        CRS, "EPSG:4326", *zip(*corners, strict=True)
    )
    values = np.zeros((40, 60))
    values[:, :30] = 1
    step = Affine(
        (east - west) / 40,
        0,
        west - (east - west) / 4,
        0,
        (south - north) / 20,
        north + (north - south) / 2,
    )
    cell = make(data, coarse(data, values, step, "EPSG:4326"))
    assert cell == 10
    found = shares(data)[5::10, 5::10]
    assert (found[:, :3] > 250).all() and not found[:, 5:].any()


def test_what_the_layer_does_not_say_is_unknown(data: Path) -> None:
    values = np.full((3, 2), 0.5)
    values[0, 0] = -1
    make(data, coarse(data, values, TRANSFORM @ Affine.scale(20)))
    found = shares(data)
    assert (found[:20, :20] == 255).all() and (found[:, 40:] == 255).all()
    assert (found[20:, :40] == 127).all()


def test_a_layer_that_says_nothing_is_refused(data: Path) -> None:
    far = TRANSFORM @ Affine.translation(5000, 0) @ Affine.scale(20)
    with pytest.raises(InputError, match=r"layer\.tif: no value on scene s1a_38SLF.*covers it"):
        make(data, coarse(data, np.ones((3, 4)), far))
    with pytest.raises(BuiltupError, match="expected above 0"):
        make(data, coarse(data, np.ones((3, 4)), far), full=0)
