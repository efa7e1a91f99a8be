"""Where the images of a report come from, and what is read of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import mlflow
import numpy as np
import pytest
import rasterio

from aerial_data import add_site, tile_layers
from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.report import images as module
from builtup.report.city_counts import shrunk
from builtup.report.images import (
    SceneImage,
    chosen_dates,
    find_images,
    images_of,
    read_image,
    scene_title,
)
from builtup.runs.results import Results
from builtup.sensors.optical.cameras import RGB
from builtup.tiles.cut import generate_tiles
from helpers import CRS, TRANSFORM, write_raster, write_scene
from report_data import SHAPE, Maps, add_city

GRID = Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, *SHAPE[::-1])


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    """Predictions, and their scenes as VV and VH below `scenes` too."""
    made = add_city(tmp_path)
    for path in sorted(made.images.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            vh, vv = dataset.read([1, 2])
        write_scene(tmp_path / "scenes", date=path.stem.split("_")[-1], vv=vv, vh=vh)
    return made


def tiles(maps, target, materialize):
    generate_tiles(
        input_path=maps.images,
        output_path=target,
        tile_size=64,
        overlap=8,
        materialize=materialize,
        num_workers=1,
    )
    return target


def settings(maps, data_path):
    (maps.folder / "config").mkdir(exist_ok=True)
    text = json.dumps({"settings": {"data_path": str(data_path)}})
    (maps.folder / "config" / "settings.json").write_text(text)


def test_scenes_are_found_below_the_folder_that_is_given(tmp_path):
    maps = add_city(tmp_path)
    found = find_images(Results(maps.folder), str(maps.images))
    assert [scene.date for scene in found["38SLF_Alpha"]] == ["20150101", "20150201"]
    assert all(len(scene.paths) == 1 for scene in found["38SLF_Alpha"])


@pytest.mark.parametrize(("materialize", "files"), [(True, 4), (False, 1)])
def test_the_predicted_tiles_are_found_by_the_config_beside_the_predictions(
    tmp_path, materialize, files
):
    maps = add_city(tmp_path)
    settings(maps, tiles(maps, tmp_path / "tiles", materialize))
    scenes = find_images(Results(maps.folder))["38SLF_Alpha"]
    assert [len(scene.paths) for scene in scenes] == [files, files]


def test_nothing_known_is_a_warning_and_no_image(tmp_path, caplog):
    maps = add_city(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert find_images(Results(maps.folder)) == {}
    assert "give images_path" in caplog.text
    settings(maps, tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        assert find_images(Results(maps.folder)) == {}
    assert "gone: no such folder" in caplog.text


def test_a_given_folder_without_images_is_refused(tmp_path):
    maps = add_city(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_images(Results(maps.folder), str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no 3-band scenes and no tiles\.csv"):
        find_images(Results(maps.folder), str(maps.truth))


def test_scene_ids_are_read_out():
    assert scene_title("s1a_38SLF_{}_ASC_20151005_1") == "S1A ASC 2015-10-05"
    assert scene_title("anything") == "anything"


def power_of(maps):
    bands = []
    for path in sorted(maps.images.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            bands.append(dataset.read([1, 2]))
    return np.mean(bands, axis=0), Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, *SHAPE[::-1])


def test_power_is_the_mean_of_the_dates_and_unknown_where_they_are(maps):
    expected, grid = power_of(maps)
    found = read_image(find_images(Results(maps.folder), str(maps.images))["38SLF_Alpha"], grid)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isnan(found[:, :, :5]).all()


def test_tiles_give_the_image_of_their_scene(maps, tmp_path):
    expected, grid = power_of(maps)
    generate_tiles(
        input_path=maps.images,
        output_path=tmp_path / "tiles",
        tile_size=48,
        overlap=8,
        materialize=True,
        num_workers=1,
    )
    scenes = find_images(Results(maps.folder), str(tmp_path / "tiles"))["38SLF_Alpha"]
    np.testing.assert_allclose(read_image(scenes, grid), expected, rtol=1e-5)


def test_a_smaller_picture_averages_power(maps):
    expected, grid = power_of(maps)
    found = read_image(
        find_images(Results(maps.folder), str(maps.images))["38SLF_Alpha"], shrunk(grid, 24)
    )
    blocks = expected.reshape(2, 20, 5, 24, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(found[:, :, 1:], blocks[:, :, 1:], rtol=1e-4)


def test_a_scene_of_another_grid_is_moved_into_place(tmp_path):
    image = np.full((3, 40, 40), 0.01, np.float32)
    image[:, 10:20, 10:20] = 1
    path = write_raster(
        tmp_path / "s.tif", image, TRANSFORM @ rasterio.Affine.translation(7, 3), nodata=np.nan
    )
    grid = Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, 60, 60)
    found = read_image([SceneImage("s", "20150101", (path,))], grid)
    assert (found[:, 13:23, 17:27] > 0.9).all()
    assert np.isnan(found[:, :3]).all() and np.isnan(found[:, :, 47:]).all()
    far = Grid(grid.crs, TRANSFORM @ rasterio.Affine.translation(900, 0), 60, 60)
    assert np.isnan(read_image([SceneImage("s", "20150101", (path,))], far)).all()


def test_dates_are_at_most_four_spread_over_time():
    scenes = [SceneImage(str(i), str(i), ()) for i in range(9)]
    assert [scene.scene for scene in chosen_dates(scenes)] == ["0", "2", "5", "8"]
    assert len(chosen_dates(scenes[:3])) == 3


def test_vv_and_vh_give_the_image_of_the_3_band_scenes(maps: Maps, tmp_path: Path) -> None:
    merged = find_images(Results(maps.folder), str(maps.images))["38SLF_Alpha"]
    found = find_images(Results(maps.folder), str(tmp_path / "scenes"))["38SLF_Alpha"]
    assert [(s.scene, s.date) for s in found] == [(s.scene, s.date) for s in merged]
    np.testing.assert_allclose(read_image(found, GRID), read_image(merged, GRID), rtol=1e-5)
    small = shrunk(GRID, 24)
    np.testing.assert_allclose(read_image(found, small), read_image(merged, small), rtol=1e-4)


def test_a_scene_is_read_in_parts_that_fit_together(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_images(Results(maps.folder), str(tmp_path / "scenes"))["38SLF_Alpha"]
    whole = read_image(found, GRID)
    monkeypatch.setattr(module, "PART", (16, 50))
    np.testing.assert_array_equal(read_image(found, GRID), whole)
    corner = GRID.window(70, 60, 20, 20)
    np.testing.assert_allclose(read_image(found, corner), whole[:, 60:80, 70:90], rtol=1e-6)
    (survey,) = {s.stored for s in found[:1]}
    assert survey is not None
    assert len(list(module._read_parts(survey, corner))) < 10


def test_the_scenes_of_predict_are_those_that_its_run_names(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("Inferences", str(tmp_path / "mlruns")))
    client.log_param(run.info.run_id, "cfg/input_path", str(tmp_path / "scenes"))
    client.log_param(run.info.run_id, "cfg/units", "power")
    record = maps.folder / "inference.json"
    record.write_text(json.dumps({"run_id": run.info.run_id}))
    assert len(find_images(Results(maps.folder))["38SLF_Alpha"]) == 2
    assert len(find_images(Results(maps.folder, run.info.run_id))["38SLF_Alpha"]) == 2

    record.write_text(json.dumps({"run_id": "another"}))
    assert find_images(Results(maps.folder)) == {}
    assert "no radar images: run_id=another: no such run" in caplog.text


def test_a_scene_that_cannot_be_used_is_named(maps: Maps, tmp_path: Path) -> None:
    next((tmp_path / "scenes").rglob("*_vh_*")).unlink()
    with pytest.raises(InputError, match=r"no tile_stats.csv; as scenes of VV and VH: .*VH"):
        find_images(Results(maps.folder), str(tmp_path / "scenes"))


def test_the_images_of_a_map_of_one_year_are_those_of_that_year(tmp_path: Path) -> None:
    for folder in ("3b", "scenes"):
        for year in ("2015", "2020"):
            name = "s1a_38SLF_3b_{}.tif" if folder == "3b" else "s1a_38SLF_vv_{}.tif"
            if folder == "scenes":
                write_scene(tmp_path / folder, f"Alpha_{year}", date=f"{year}0101")
                continue
            path = tmp_path / folder / f"Alpha_{year}" / name.format(f"{year}0101")
            write_raster(path, np.full((3, 40, 40), 0.1, np.float32), nodata=np.nan)
        generated = tmp_path / "tiles"
        if folder == "3b":
            generate_tiles(
                input_path=tmp_path / folder, output_path=generated, tile_size=32, overlap=8,
                materialize=True, num_workers=1,
            )  # fmt: skip
        for place in [tmp_path / folder] + ([generated] if folder == "3b" else []):
            images = find_images(Results(tmp_path), str(place))
            assert list(images) == ["38SLF_Alpha"]
            for key, year, dates in (
                ("38SLF_Alpha", "2015", ["20150101"]),
                ("38SLF_Alpha_2020", "2020", ["20200101"]),
                ("38SLF_Alpha", "", ["20150101", "20200101"]),
                ("38SLF_Beta", "", []),
            ):
                assert [image.date for image in images_of(images, key, year)] == dates


@pytest.mark.parametrize("materialize", [True, False])
@pytest.mark.parametrize("crs", [CRS, None])
def test_images_of_a_camera_are_read_of_the_scene_and_of_its_tiles(tmp_path, crs, materialize):
    add_site(tmp_path, "hill", name="north", crs=crs)
    tiles = tile_layers(tmp_path, materialize=materialize) / "images"
    (path,) = (tmp_path / "images").rglob("*.tif")
    with rasterio.open(path) as dataset:
        expected, grid = dataset.read().astype(np.float32), Grid.of(dataset)
    expected[:, expected[3] == 0] = np.nan
    for place, key in ((tmp_path / "images", "north"), (path, "north"), (tiles, "hill")):
        scenes = find_images(Results(tmp_path), str(place), RGB)[key]
        np.testing.assert_array_equal(read_image(scenes, grid, RGB), expected[:3])
        part = grid.window(10, 20, 30, 40)  # column, row, width, height
        found = read_image(scenes, part, RGB)
        np.testing.assert_array_equal(found, expected[:3, 20:60, 10:40])


def test_a_map_of_a_camera_without_its_image_is_said_without_a_word_of_radar(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert find_images(Results(tmp_path), sensor=RGB) == {}
    assert "the report has no images" in caplog.text and "radar" not in caplog.text
    with pytest.raises(InputError, match="no such file or folder"):
        find_images(Results(tmp_path), str(tmp_path / "nowhere"), RGB)
