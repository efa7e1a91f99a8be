from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.tiles.tile import open_tile_grid, read_tile, read_tiles, tiff_size
from helpers import write_raster
from tile_data import add_scene, tile_all


def listed(root: Path, materialize: bool = True) -> Path:
    add_scene(root)
    return tile_all(root, materialize=materialize) / "images/tiles.csv"


@pytest.mark.parametrize("materialize", [True, False])
def test_bands_and_a_part_of_a_tile_can_be_chosen(tmp_path: Path, materialize: bool) -> None:
    tile = read_tiles(listed(tmp_path, materialize))[5]
    whole = read_tile(tile)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(read_tile(tile, 2), whole[1])
    part = read_tile(tile, [1, 2], Window(3, 4, 10, 12))
    np.testing.assert_array_equal(part, whole[:2, 3:13, 4:16])


@pytest.mark.parametrize("materialize", [True, False])
def test_the_grid_of_a_tile_is_its_window_of_the_scene(tmp_path: Path, materialize: bool) -> None:
    tile = read_tiles(listed(tmp_path, materialize))[5]
    grid = open_tile_grid(tile)
    assert (tile.x, tile.y) == (19, 19)
    assert grid.transform.c == 300_000 + 190
    assert grid.transform.f == 4_000_000 - 190
    assert grid.shape == (32, 32)


def test_a_missing_tile_file_is_named(tmp_path: Path) -> None:
    path = listed(tmp_path)
    gone = read_tiles(path)[3].path
    gone.unlink()
    with pytest.raises(InputError, match=str(gone)):
        read_tiles(path)


def test_a_tile_of_another_size_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path)
    write_raster(read_tiles(path)[3].path, np.zeros((3, 16, 16), np.float32))
    with pytest.raises(InputError, match="16x16 pixels, which does not match"):
        read_tiles(path)


def test_a_window_beyond_its_scene_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path, materialize=False)
    write_raster(read_tiles(path)[0].path, np.zeros((3, 60, 90), np.float32))
    with pytest.raises(InputError, match="90x60 pixels, which does not match"):
        read_tiles(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "lists no tiles"),
        (lambda text: text.replace(",width,", ",w,"), "malformed list"),
        (lambda text: text.replace(",32,32,", ",x,32,", 1), "malformed list"),
        (lambda text: text + text.splitlines()[-1], "twice"),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, change: object, message: str) -> None:
    path = listed(tmp_path)
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        read_tiles(path)


def test_a_missing_list_names_the_step_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run generate_tiles first"):
        read_tiles(tmp_path / "tiles.csv")


def test_a_scene_written_anew_is_read_anew(tmp_path: Path) -> None:
    tile = read_tiles(listed(tmp_path, materialize=False))[0]
    read_tile(tile)
    new = np.full((3, 70, 90), 7, np.float32)
    add_scene(tmp_path, image=new, mask=np.zeros((70, 90), np.uint8))
    np.testing.assert_array_equal(read_tile(tile), new[:, :32, :32])


def _read_all(tiles: list) -> list[float]:
    return [float(np.nansum(read_tile(t))) for t in tiles for _ in range(3)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same_whether_forked_or_spawned(tmp_path: Path, method: str) -> None:
    tiles = read_tiles(listed(tmp_path, materialize=False))
    expected = _read_all(tiles)  # leaves the scene open, as a parent of workers would
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found in pool.map(_read_all, [tiles, tiles]):
            assert found == expected


def test_declared_nodata_becomes_nan(tmp_path: Path) -> None:
    tile = read_tiles(listed(tmp_path))[0]
    values = np.full((3, 32, 32), 0.5, np.float32)
    values[:, 0, 0] = -1
    write_raster(tile.path, values, nodata=-1)
    assert np.isnan(read_tile(tile)[:, 0, 0]).all()


@pytest.mark.parametrize(
    "options", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"tiled": True}]
)
def test_sizes_from_the_head_of_a_file_are_gdals(tmp_path: Path, options: dict) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((2, 48, 70), np.float32), **options)
    with rasterio.open(path) as dataset:
        expected = (dataset.width, dataset.height)
    assert tiff_size(path) in {expected, None}
    if not set(options) & {"BIGTIFF", "ENDIANNESS"}:
        assert tiff_size(path) == expected


def test_tiles_travel_to_other_processes(tmp_path: Path) -> None:
    import pickle

    tile = read_tiles(listed(tmp_path))[0]
    assert pickle.loads(pickle.dumps(tile)) == tile == replace(tile)
