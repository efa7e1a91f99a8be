"""Tiles merge into the scene they were cut from, exactly; lists that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterioCRS
from torch import Tensor

from builtup.errors import GridError, InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.windows import tiling
from builtup.maps.mosaic import merge_tiles
from builtup.prediction.network import predict_array
from builtup.prediction.tiles import write_tile
from builtup.prediction.windows import Stream
from builtup.runs.results import PredictionTags, read_tags
from builtup.tiles.tile import tile_name
from helpers import CRS, TRANSFORM

SCENE = "s1a_38SLF_{}_ASC_20150101"


def tags_of(width: int, height: int, scene: str = SCENE) -> PredictionTags:
    return PredictionTags(
        scene, "38SLF_Alpha", width, height, "run", 0.4, ("background", "building")
    )


def grid_of(width: int, height: int) -> Grid:
    return Grid(RasterioCRS.from_user_input(CRS), TRANSFORM, width, height)


def write_tiles(
    root: Path, values: NDArray[np.uint8], size: int, overlap: int, scene: str = SCENE
) -> Path:
    """Cut a scene's probabilities (1, H, W) into tiles as the inference leaves them."""
    _, height, width = values.shape
    folder = root / "raw" / f"{scene.replace('{}', '3b')}_tiles"
    folder.mkdir(parents=True, exist_ok=True)
    grid = grid_of(width, height)
    for w in tiling(width, height, size, overlap):
        write_tile(
            folder / tile_name(w.x, w.y),
            values[:, *w.slices],
            grid.window(w.x, w.y, w.width, w.height),
            tags_of(width, height, scene),
        )
    return folder


def merge(root: Path) -> NDArray[np.uint8]:
    merge_tiles(input_path=str(root), num_workers=1)
    with rasterio.open(root / "raw" / f"{SCENE.format('prob')}.tif") as dataset:
        return dataset.read()


def random_scene(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 255, (1, height, width), dtype=np.uint8)
    values[:, : height // 3, : width // 4] = NODATA
    return values


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chains")


@st.composite
def chain_cases(draw: st.DrawFn) -> tuple[NDArray[np.float32], dict[str, int], int, int]:
    """(scene with gaps, window settings, tile size, tile overlap)."""
    width, height = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    window, size = draw(st.integers(2, 16)), draw(st.integers(16, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scene = generator.random((2, height, width), dtype=np.float32)
    scene[:, generator.random((height, width)) < draw(st.sampled_from([0, 0.3]))] = np.nan
    scene[:, : draw(st.integers(0, height)), : draw(st.integers(0, width))] = np.nan
    cut = {"window": window, "overlap": draw(st.integers(0, window - 1))}
    return scene, cut, size, draw(st.integers(0, size - 1))


def through_the_chain(
    root: Path, case: tuple[NDArray[np.float32], dict[str, int], int, int], network: object
) -> NDArray[np.uint8]:
    """Windows, tiles and merge: the scene's mosaic."""
    scene, cut, size, overlap = case
    _, height, width = scene.shape
    for old in root.rglob("*.*"):
        if old.is_file():
            old.unlink()
    folder = root / "raw" / f"{SCENE.format('3b')}_tiles"
    stream = Stream(network, **cut)  # type: ignore[arg-type]
    for w in tiling(width, height, size, overlap):
        write_tile(
            folder / tile_name(w.x, w.y),
            predict_array(scene[:, *w.slices], stream),
            grid_of(width, height).window(w.x, w.y, w.width, w.height),
            tags_of(width, height),
        )
    return merge(root)


@settings(max_examples=25)
@given(chain_cases())
def test_the_identity_comes_through_windows_tiles_and_merge(chains: Path, case: tuple) -> None:
    def identity(power: Tensor) -> Tensor:
        return power[:, :1]

    scene = case[0][0]
    gap = np.isnan(scene)
    expected = np.where(gap, NODATA, np.round(np.float32(254) * np.where(gap, 0, scene)))
    np.testing.assert_array_equal(through_the_chain(chains, case, identity)[0], expected)


@settings(max_examples=25)
@given(chain_cases(), st.integers(0, 254))
def test_a_constant_comes_through_windows_tiles_and_merge(
    chains: Path, case: tuple, k: int
) -> None:
    def constant(power: Tensor) -> Tensor:
        return power[:, :1] * 0 + k / 254  # NaN where the input is: no help from the network

    expected = np.where(np.isnan(case[0][0]), NODATA, k)
    np.testing.assert_array_equal(through_the_chain(chains, case, constant)[0], expected)


def test_the_mosaic_is_a_cog_that_carries_grid_and_tags(tmp_path: Path) -> None:
    values = random_scene(700, 600)
    write_tiles(tmp_path, values, 256, 64)
    np.testing.assert_array_equal(merge(tmp_path), values)
    path = tmp_path / "raw" / "s1a_38SLF_prob_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.transform == TRANSFORM
        assert dataset.nodata == NODATA
        assert dataset.descriptions == ("building",)
    assert read_tags(path) == tags_of(600, 700)


def test_a_second_merge_does_nothing_and_a_new_tile_redoes_its_scene(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path, random_scene(40, 50), 32, 8)
    other = "s1a_38SLF_{}_DES_20150108"
    write_tiles(tmp_path, random_scene(40, 50, 1), 32, 8, other)
    assert merge_tiles(input_path=str(tmp_path), num_workers=1).done == 2
    again = merge_tiles(input_path=str(tmp_path), num_workers=1)
    assert (again.done, again.up_to_date) == (0, 2)
    values = np.full((1, 32, 32), 7, np.uint8)
    write_tile(folder / tile_name(0, 0), values, grid_of(32, 32), tags_of(50, 40))
    assert merge_tiles(input_path=str(tmp_path), num_workers=1).done == 1


def test_two_processes_write_the_bytes_of_one(tmp_path: Path) -> None:
    for root in ("one", "two"):
        write_tiles(tmp_path / root, random_scene(90, 80), 32, 8)
        write_tiles(tmp_path / root, random_scene(90, 80, 1), 32, 8, "s1a_38SLF_{}_20150108")
    merge_tiles(input_path=str(tmp_path / "one"), num_workers=1)
    merge_tiles(input_path=str(tmp_path / "two"), num_workers=2)
    for path in (tmp_path / "one" / "raw").glob("*.tif"):
        assert path.read_bytes() == (tmp_path / "two" / "raw" / path.name).read_bytes()


def test_a_missing_tile_is_refused_with_the_bare_pixels(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path, random_scene(40, 40), 20, 0)
    (folder / tile_name(20, 0)).unlink()
    with pytest.raises(InputError, match=r"3 tiles leave 400 pixels of 40x40 bare; .*resume_from"):
        merge(tmp_path)
    assert not list((tmp_path / "raw").glob("*.tif"))


def test_a_tile_of_another_scene_run_or_grid_is_refused(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path, random_scene(40, 40), 20, 0)
    values = np.zeros((1, 20, 20), np.uint8)
    stray = tags_of(40, 40, "s1a_38SLF_{}_DES_20150102")
    write_tile(folder / tile_name(20, 20), values, grid_of(40, 40).window(20, 20, 20, 20), stray)
    with pytest.raises(InputError, match=r"tile_20_20\.tif: its scene is s1a_38SLF_{}_DES"):
        merge(tmp_path)
    shifted = grid_of(40, 40).window(21, 20, 20, 20)
    write_tile(folder / tile_name(20, 20), values, shifted, tags_of(40, 40))
    with pytest.raises(GridError, match=r"tile_20_20\.tif: not on the grid of tile_0_0\.tif"):
        merge(tmp_path)


def test_a_tile_beyond_its_scene_is_refused(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path, random_scene(40, 40), 20, 0)
    values = np.zeros((1, 20, 20), np.uint8)
    place = grid_of(40, 40).window(30, 20, 20, 20)
    write_tile(folder / tile_name(30, 20), values, place, tags_of(40, 40))
    with pytest.raises(InputError, match="reaches over its scene of 40x40"):
        merge(tmp_path)


def test_skipping_merges_the_scenes_that_are_whole(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path, random_scene(40, 40), 20, 0)
    write_tiles(tmp_path, random_scene(40, 40), 20, 0, "s1a_38SLF_{}_20150108")
    path = folder / tile_name(20, 0)
    path.write_bytes(path.read_bytes()[:200])
    summary = merge_tiles(input_path=str(tmp_path), num_workers=1, on_error="skip")
    assert (summary.done, len(summary.skipped)) == (1, 1)
    assert [p.name for p in (tmp_path / "raw").glob("*.tif")] == ["s1a_38SLF_prob_20150108.tif"]


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="no folder <scene>_tiles"):
        merge_tiles(input_path=str(tmp_path))


def test_a_scene_says_the_year_of_its_tiles_which_must_agree(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path, np.full((1, 40, 60), 9, np.uint8), 32, 8)
    tiles = sorted(folder.glob("tile_*.tif"))
    for path in tiles:
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(BUILTUP_YEAR="2015")
    merge(tmp_path)
    assert read_tags(tmp_path / "raw" / "s1a_38SLF_prob_ASC_20150101.tif").year == "2015"
    with rasterio.open(tiles[-1], "r+") as dataset:
        dataset.update_tags(BUILTUP_YEAR="2016")
    with pytest.raises(InputError, match=r"its year is 2016, that of tile_0_0\.tif is 2015"):
        merge(tmp_path)
