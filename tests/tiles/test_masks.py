"""Masks: the same as GDAL's on the whole grid, whatever the windows."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import read_polygons
from builtup.jobs.steps import Summary
from builtup.sensors.radar.merge import generate_3b_images
from builtup.tiles import masks as module
from builtup.tiles.masks import rasterize
from helpers import CRS, TRANSFORM, city_polygons, on_ground, real_data, write_polygons, write_scene

UTM = rasterio.crs.CRS.from_string(CRS)
SIZE = 96


def run(folder: Path, **options: object) -> Summary:
    settings = {"num_workers": 1, **options}
    return rasterize(input_path=folder / "in", output_path=folder / "out", **settings)  # type: ignore[arg-type]


def only_mask(folder: Path) -> NDArray[np.uint8]:
    (path,) = (folder / "out").rglob("*.tif")
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_mask_is_on_the_scene_s_grid_with_255_where_it_is_invalid(tmp_path: Path) -> None:
    vv = np.full((40, 50), 0.1, np.float32)
    vv[:, :8] = np.nan
    write_scene(tmp_path / "in", vv=vv, vh=vv)
    box = shapely.box(2, 5, 20, 10)
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(box)])
    summary = run(tmp_path)
    expected = np.zeros((40, 50), np.uint8)
    expected[5:10, 2:20] = 1
    expected[:, :8] = 255
    np.testing.assert_array_equal(only_mask(tmp_path), expected)
    path = tmp_path / "out" / "Alpha_2015" / "s1a_38SLF_mask_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        assert (dataset.nodata, dataset.dtypes) == (255, ("uint8",))
        assert (dataset.transform, dataset.crs.to_epsg()) == (TRANSFORM, 32638)
    assert summary.counts == {"polygons": 1}


def test_what_a_mask_hides_is_255(tmp_path: Path) -> None:
    paths = write_scene(tmp_path / "in")
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(np.arange(64) >= 9 * np.ones((64, 1)))
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.box(0, 0, 20, 20))])
    run(tmp_path)
    mask = only_mask(tmp_path)
    np.testing.assert_array_equal(mask == 255, np.arange(64) < 9 * np.ones((64, 1)))
    assert mask[5, 15] == 1


def test_a_mask_lies_on_the_grid_of_the_merged_scene_in_degrees_too(tmp_path: Path) -> None:
    place = Affine(9e-5, 0, 43.0, 0, -9e-5, 36.3)
    write_scene(tmp_path / "in", transform=place, crs="EPSG:4326")
    box = on_ground(shapely.box(10, 10, 40, 40), place)
    write_polygons(city_polygons(tmp_path / "in"), [box], "EPSG:4326")
    run(tmp_path)
    generate_3b_images(input_path=tmp_path / "in", output_path=tmp_path / "3b", num_workers=1)
    (image,), (mask,) = ((tmp_path / name).rglob("*.tif") for name in ("3b", "out"))
    with rasterio.open(image) as scene, rasterio.open(mask) as labels:
        assert Grid.of(scene) == Grid.of(labels)
        np.testing.assert_array_equal(np.isnan(scene.read(1)), labels.read(1) == 255)
        assert 500 < np.count_nonzero(labels.read(1) == 1) < 1000


def test_outside_the_labelled_area_is_255(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    shp = city_polygons(tmp_path / "in")
    write_polygons(shp, [on_ground(shapely.box(10, 10, 40, 20))])
    write_polygons(
        shp.with_name("38SLF_Alpha_labelled_area.shp"), [on_ground(shapely.box(5, 5, 30, 30))]
    )
    run(tmp_path)
    expected = np.full((64, 64), 255, np.uint8)
    expected[5:30, 5:30] = 0
    expected[10:20, 10:30] = 1
    np.testing.assert_array_equal(only_mask(tmp_path), expected)


def test_all_touched_burns_more_than_centres(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.Point(30, 30).buffer(7.3))])
    areas = {}
    for all_touched in (True, False):
        run(tmp_path, all_touched=all_touched)
        areas[all_touched] = int((only_mask(tmp_path) == 1).sum())
    assert areas[True] > areas[False] == pytest.approx(np.pi * 7.3**2, rel=0.05)


def test_polygons_in_degrees_are_reprojected(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    shp = city_polygons(tmp_path / "in")
    ground = [
        on_ground(shapely.box(10, 12, 30, 25)),
        on_ground(shapely.Point(50.3, 49.6).buffer(5.2)),
    ]
    degrees = reproject(read_polygons(write_polygons(shp, ground)), "EPSG:4326")
    write_polygons(shp, degrees.geometries, "EPSG:4326")
    run(tmp_path)
    expected = rasterio.features.rasterize(
        ground, (64, 64), transform=TRANSFORM, all_touched=True, dtype="uint8"
    )
    np.testing.assert_array_equal(only_mask(tmp_path), expected)


def test_repaired_geometries_are_counted(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    bowtie = shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(bowtie)])
    summary = run(tmp_path)
    assert summary.counts["repaired"] == 1
    assert "1 repaired" in summary.line()


def test_polygons_beside_the_scene_are_a_warning_with_the_distance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vv, _ = write_scene(tmp_path / "in")
    shp = write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.box(564, 0, 570, 10))])
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    (record,) = caplog.records
    message = record.getMessage()
    assert str(shp) in message
    assert str(vv) in message
    assert "5.0 km away" in message
    assert not only_mask(tmp_path).any()


def test_the_distance_on_a_scene_in_degrees_is_in_kilometres(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transform = Affine(1e-4, 0, 43, 0, -1e-4, 36)
    write_scene(tmp_path / "in", transform=transform, crs="EPSG:4326")
    north = shapely.box(43, 36.5, 43.1, 36.6)
    write_polygons(city_polygons(tmp_path / "in"), [north], "EPSG:4326")
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    assert "(55.5 km away)" in caplog.text  # half a degree of latitude


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('GEOGCS["nonsense"]', "not understood"),
        ('LOCAL_CS["arbitrary",UNIT["metre",1]]', "cannot be brought to that of the scene"),
    ],
)
def test_a_bad_crs_is_refused_or_skipped(tmp_path: Path, text: str, why: str) -> None:
    for city, tile in (("Alpha_2015", "38SLF"), ("Beta_2015", "38RNV")):
        write_scene(tmp_path / "in", city, tile)
        shape = on_ground(shapely.box(10, 10, 30, 30))
        write_polygons(city_polygons(tmp_path / "in", city, tile), [shape])
    shp = city_polygons(tmp_path / "in")
    shp.with_suffix(".prj").write_text(text)
    with pytest.raises(InputError) as caught:
        run(tmp_path)
    assert str(caught.value).startswith(f"{shp}: ")
    assert why in str(caught.value)
    summary = run(tmp_path, on_error="skip")
    assert len(summary.skipped) == 1
    assert [path.parent.name for path in (tmp_path / "out").rglob("*.tif")] == ["Beta_2015"]


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for on_error in ("stop", "skip"):
        with pytest.raises(InputError, match="in: no VV–VH scene below it"):
            run(tmp_path, on_error=on_error)


def test_a_city_without_polygons_is_refused_with_the_expected_file(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    with pytest.raises(InputError, match=r"38SLF_Alpha\.shp: no such file"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    summary = run(tmp_path, on_error="skip")
    assert len(summary.skipped) == 1


def test_an_empty_labelled_area_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    shp = write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.box(1, 1, 9, 9))])
    write_polygons(shp.with_name("38SLF_Alpha_labelled_area.shp"), [])
    with pytest.raises(InputError, match=r"labelled_area\.shp: empty"):
        run(tmp_path)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_small_blocks_give_the_same_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path / "in", vv=np.full((70, 75), 0.1))
    write_polygons(city_polygons(tmp_path / "in"), [on_ground(shapely.Point(35, 33).buffer(29))])
    run(tmp_path)
    once = only_mask(tmp_path)
    monkeypatch.setattr(module, "WINDOW", (16, 32))
    monkeypatch.setattr(module, "BLOCK", 16)
    run(tmp_path, all_touched=False)
    run(tmp_path, all_touched=True)
    np.testing.assert_array_equal(only_mask(tmp_path), once)


@pytest.mark.skipif(shutil.which("gdal_rasterize") is None, reason="gdal-bin is not installed")
def test_mask_equals_gdal_rasterize(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    generator = np.random.default_rng(3)
    shapes = [
        on_ground(shapely.Point(*generator.uniform(0, 64, 2)).buffer(generator.uniform(0.3, 6)))
        for _ in range(30)
    ]
    shp = write_polygons(city_polygons(tmp_path / "in"), shapes)
    run(tmp_path)
    bounds = [str(value) for value in Grid(UTM, TRANSFORM, 64, 64).bounds]
    command = ["gdal_rasterize", "-q", "-at", "-burn", "1", "-ot", "Byte", "-ts", "64", "64"]
    subprocess.run([*command, "-te", *bounds, shp, tmp_path / "gdal.tif"], check=True)
    with rasterio.open(tmp_path / "gdal.tif") as dataset:
        np.testing.assert_array_equal(only_mask(tmp_path), dataset.read(1))


def test_real_labels_outside_the_campus_are_unknown(tmp_path: Path) -> None:
    summary = rasterize(input_path=real_data() / "train", output_path=tmp_path, num_workers=1)
    assert summary.counts["polygons"] == 626 + 3
    with rasterio.open(next(tmp_path.rglob("s1a_50TMK_mask*.tif"))) as dataset:
        mask = dataset.read(1)
    assert set(np.unique(mask)) == {0, 1, 255}
    known = mask != 255
    assert 0.05 < known.mean() < 0.2  # one campus of 3 km² in 36 km²
    assert 0.2 < mask[known].mean() < 0.6
