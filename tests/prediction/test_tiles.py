"""Tiles are predicted, kept, scored and drawn, each once; without a folder nothing is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor

from builtup.geo.probability import IGNORE
from builtup.prediction.tiles import (
    Selection,
    TileWork,
    predict_tiles,
    select_all,
    select_held_out,
)
from builtup.prediction.windows import Stream
from builtup.runs.results import read_tags
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.tiles.inputs import TileInputs
from builtup.tiles.tile import read_tile
from tile_data import add_scene, moved, prepared, tile_all

THREE = Classes.of(("water", "building", "street"))


def bright(power: Tensor) -> Tensor:
    """Building where VV is above its mean."""
    return (power[:, 1:2] > 0.14).float()


def three(power: Tensor) -> Tensor:
    """Streets, but for buildings where VV is above its mean."""
    building = bright(power)
    return torch.cat([torch.zeros_like(building), building, 1 - building], dim=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiles")
    add_scene(root)
    add_scene(root, "Beta_2015", "38RPV", transform=moved(20_000, 0))
    prepared(root, folds="city")
    return root / "tiles"


def work_on(selection: Selection, classes: Classes = BUILT_UP, **more: object) -> TileWork:
    network, bands = (bright, 1) if classes is BUILT_UP else (three, 3)
    stream = Stream(network, bands=bands, window=16, overlap=4)
    return TileWork(selection, stream, 0.5, classes, **more)  # type: ignore[arg-type]


def test_without_a_folder_nothing_is_written_and_all_is_counted(data: Path) -> None:
    selection = select_held_out(data, "38SLF_Alpha")
    before = {p for p in data.rglob("*") if p.is_file()}
    tally = predict_tiles(work_on(selection, scored=True, overlays=2), selection.tiles, quiet=True)
    assert {p for p in data.rglob("*") if p.is_file()} == before
    assert (tally.predicted, tally.kept, tally.pictures) == (len(selection.tiles), 0, [])
    assert tally.matrix.shape == (1, 2, 2)


def test_the_matrix_counts_each_scored_pixel_by_truth_and_class(data: Path) -> None:
    selection = select_held_out(data, "38SLF_Alpha")
    for classes in (BUILT_UP, THREE):
        tally = predict_tiles(work_on(selection, classes, scored=True), selection.tiles)
        wanted = np.zeros((len(classes), len(classes)), np.int64)
        for tile in selection.tiles:
            power, truth = TileInputs().read(tile), selection.truth(tile)
            label = np.where(power[1] > 0.14, 1, 0 if classes is BUILT_UP else 2)
            counted = (truth != IGNORE) & np.isfinite(power).all(axis=0)
            np.add.at(wanted, (truth[counted], label[counted]), 1)
        np.testing.assert_array_equal(tally.matrix[0], wanted)


def test_what_an_earlier_run_wrote_whole_is_kept_under_the_new_run(
    data: Path, tmp_path: Path
) -> None:
    selection = select_all(data / "images")
    tiles = selection.tiles[:4]
    first = work_on(selection, run_id="one", folder=tmp_path / "one")
    assert predict_tiles(first, tiles).predicted == 4
    second = replace(first, run_id="two", folder=tmp_path / "two", previous=tmp_path / "one")
    torn = sorted((tmp_path / "one").rglob("tile_*.tif"))[0]
    torn.write_bytes(torn.read_bytes()[:200])
    tally = predict_tiles(second, tiles)
    assert (tally.predicted, tally.kept) == (1, 3)
    for path in (tmp_path / "two").rglob("tile_*.tif"):
        assert read_tags(path).run_id == "two"


def test_of_more_classes_a_tile_says_so_and_two_say_what_they_always_did(
    data: Path, tmp_path: Path
) -> None:
    selection = select_all(data / "images")
    for name, classes in (("two", BUILT_UP), ("three", THREE)):
        predict_tiles(work_on(selection, classes, folder=tmp_path / name), selection.tiles[:1])
    (two,), (more,) = ((tmp_path / name).rglob("tile_*.tif") for name in ("two", "three"))
    with rasterio.open(two) as dataset:
        assert dataset.descriptions == ("building",)
        assert not {"BUILTUP_KIND", "BUILTUP_MAPPED", "BUILTUP_DECISION"} & dataset.tags().keys()
    with rasterio.open(more) as dataset:
        assert dataset.descriptions == THREE.names
        assert dataset.tags()["BUILTUP_KIND"] == "tile"
        assert dataset.tags()["BUILTUP_MAPPED"] == "building"
        assert dataset.tags()["BUILTUP_DECISION"] == "argmax"


def test_power_is_what_networks_read(data: Path) -> None:
    tile = select_all(data / "images").tiles[0]
    np.testing.assert_array_equal(TileInputs().read(tile), read_tile(tile, [1, 2]))


def test_tiles_say_the_year_and_earlier_ones_that_did_not_are_kept_and_say_it(
    tmp_path: Path,
) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path) / "images"
    before = work_on(select_all(folder), run_id="one", folder=tmp_path / "one")
    predict_tiles(before, before.selection.tiles)
    assert {read_tags(p).year for p in (tmp_path / "one").rglob("tile_*.tif")} == {""}
    add_scene(tmp_path, "Alpha_2020", date="20200101")
    selection = select_all(tile_all(tmp_path) / "images")
    assert selection.cities == ("38SLF_Alpha",)
    work = work_on(selection, folder=tmp_path / "two", previous=tmp_path / "one")
    tally = predict_tiles(work, selection.tiles)
    assert tally.kept == tally.predicted == len(before.selection.tiles)
    told = {read_tags(p) for p in (tmp_path / "two").rglob("tile_*.tif")}
    assert {(tags.scene[-8:], tags.city, tags.year) for tags in told} == {
        ("20150101", "38SLF_Alpha", "2015"),
        ("20200101", "38SLF_Alpha", "2020"),
    }
