"""What is known of a scene: polygons burnt, probabilities, nothing; imported to the last byte."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from rasterio import features

from builtup.errors import ConfigError, GridError, InputError
from builtup.geo.vectors import read_polygons
from builtup.sensors.optical.import_scenes import import_scenes
from helpers import real_data, write_raster
from open_cities_data import houses, write_geojson, write_tier
from picture_data import PLACE, UTM, colours

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def run(root: Path, out: Path, layout: str = "open_cities", **options: Any):
    return import_scenes(
        input_path=root, output_path=out, layout=layout, **{"num_workers": 1, **options}
    )


def layer(out: Path, kind: str, name: str = "a1", site: str = "acc"):
    folder = {"image": "images", "mask": "masks", "soft": "soft"}[kind]
    with rasterio.open(out / folder / site / f"{name}_{kind}.tif") as dataset:
        return dataset.read(), dataset.profile, dataset.tags()


def rgba(alpha=255):
    image = np.concatenate([colours((100, 120)), np.full((1, 100, 120), 255, np.uint8)])
    image[3, :, :15] = alpha
    return image


ONE = (("acc", "a1"),)


# --- polygons -------------------------------------------------------------------------------------


def test_polygons_in_degrees_are_burnt_onto_the_images_grid(tmp_path):
    # 10 to 30, 10 to 20 in whole pixels, but for the roundings of the projection: touching
    boxes = ((10.5, 10.5, 29.5, 19.5), (60.5, 40.5, 89.5, 69.5))
    write_tier(tmp_path / "raw", scenes=ONE, image=rgba(alpha=0), boxes=boxes)
    summary = run(tmp_path / "raw", tmp_path / "out")
    assert summary.counts == {"polygons": 2}
    mask, profile, tags = layer(tmp_path / "out", "mask")
    expected = np.zeros((100, 120), np.uint8)
    expected[10:20, 10:30] = expected[40:70, 60:90] = 1
    expected[:, :15] = 255  # alpha says that nothing is there
    assert (mask[0] == expected).all()
    assert (profile["transform"], profile["crs"], profile["nodata"]) == (PLACE, UTM, 255)
    assert tags["BUILTUP_CLASSES"] == "background,building"
    assert tags["BUILTUP_CITY"] == "acc"
    image, _, _ = layer(tmp_path / "out", "image")
    assert (image == rgba(alpha=0)).all()


def test_what_incomplete_labels_leave_out_is_not_known(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_tier(tmp_path / "raw", "train_tier_2", ONE)
    run(tmp_path / "raw", tmp_path / "out")
    mask, _, _ = layer(tmp_path / "out", "mask")
    assert set(np.unique(mask)) == {1, 255}
    assert ",acc,train_tier_2,incomplete," in (tmp_path / "out/scenes.csv").read_text()
    assert "labels of train_tier_2 are incomplete" in caplog.text


def test_the_real_masks_are_those_that_gdal_burns_at_once(tmp_path):
    root = real_data("optical")
    run(root, tmp_path / "out", "spacenet")
    name = "spacenet7_0331E"
    mask, profile, _ = layer(tmp_path / "out", "mask", name, name)
    polygons = read_polygons(root / name / "buildings.geojson").geometries
    left, bottom, right, top = shapely.total_bounds(polygons)
    assert -122 < left < right < -121
    assert 37 < bottom < top < 38
    geometries = rasterio.warp.transform_geom(
        "EPSG:4326", profile["crs"], [shapely.geometry.mapping(p) for p in polygons]
    )
    whole = features.rasterize(
        geometries, mask.shape[1:], transform=profile["transform"], all_touched=True
    )
    image, _, _ = layer(tmp_path / "out", "image", name, name)
    known = image[3] == 255
    assert known.any()
    assert (mask[0][known] == whole[known]).mean() > 0.9999
    assert (mask[0][~known] == 255).all()


def test_two_to_ninety_eight_percent_of_all_bands_together(tmp_path):
    values = np.arange(1, 3 * 100 * 100 + 1, dtype=np.uint16).reshape(3, 100, 100)
    root = tmp_path / "raw"
    write_raster(root / "a/image.tif", values, PLACE, UTM)
    write_geojson(root / "a/buildings.geojson", houses([(10, 10, 20, 20)]))
    run(root, tmp_path / "out", "spacenet")
    image, _, _ = layer(tmp_path / "out", "image", "a", "a")
    low, high = np.percentile(values, (2, 98))
    expected = np.round(np.clip((values - low) / (high - low), 0, 1) * 255)
    assert np.abs(image[:3] - expected).max() <= 1
    assert image[0, 0, 0] == 0  # and one rule for the three: the first band is the darkest
    assert image[2, -1, -1] == 255
    assert image[0].max() < image[1].min() + 2


def test_polygons_in_pixels(tmp_path):
    root = tmp_path / "raw/site"
    write_raster(root / "images_masked/m.tif", rgba(), PLACE, UTM, photometric="RGB", alpha="YES")
    boxes = [shapely.box(10.5, 20.5, 29.5, 39.5)]
    write_geojson(root / "labels_match_pix/m_Buildings.geojson", boxes)
    run(tmp_path / "raw", tmp_path / "out", "spacenet")
    mask, _, _ = layer(tmp_path / "out", "mask", "m", "site")
    expected = np.zeros((100, 120), np.uint8)
    expected[20:40, 10:30] = 1
    assert (mask[0] == expected).all()


def test_no_polygon_is_no_building(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_tier(tmp_path / "raw", scenes=ONE, boxes=())
    run(tmp_path / "raw", tmp_path / "out")
    mask, _, _ = layer(tmp_path / "out", "mask")
    assert (mask == 0).all()
    assert "a1.geojson: no polygon in it: no building" in caplog.text


def test_some_polygons_off_the_image_are_counted(tmp_path, caplog):
    boxes = ((10, 10, 20, 20), (500, 10, 520, 20), (110, 10, 130, 20))
    write_tier(tmp_path / "raw", scenes=ONE, boxes=boxes)
    caplog.set_level(logging.INFO)
    run(tmp_path / "raw", tmp_path / "out")
    what = "some of its polygons lie off the picture, and are left out (1 of 3)"
    assert f"a1.geojson: {what}" in caplog.text


def refused(root: Path, out: Path, kind, message: str, layout: str = "open_cities") -> None:
    with pytest.raises(kind, match=message) as error:
        run(root, out, layout)
    assert "\n" not in str(error.value)
    assert not [path for path in out.rglob("*") if path.is_file()]


def geojson_of(folder: Path) -> Path:
    return folder / "acc/a1-labels/a1.geojson"


def test_polygons_off_the_image(tmp_path):
    write_tier(tmp_path / "raw", scenes=ONE, boxes=((40_500, 10, 40_520, 20),))
    message = r"a1\.geojson: its polygons do not meet the picture a1\.tif \(10\.\d km away\)"
    refused(tmp_path / "raw", tmp_path / "out", GridError, message)


def test_labels_in_another_crs_than_they_say(tmp_path):
    folder = write_tier(tmp_path / "raw", scenes=ONE)
    box = shapely.box(*(PLACE @ (10, 20)), *(PLACE @ (30, 10)))
    write_geojson(geojson_of(folder), [box])
    message = r"300007\.5, \d+\.\d are no degrees, as their CRS has them"
    refused(tmp_path / "raw", tmp_path / "out", GridError, message)
    turned = [shapely.transform(h, lambda xy: xy[:, ::-1]) for h in houses([(10, 10, 30, 20)])]
    write_geojson(geojson_of(folder), turned)
    message = "with latitude first they would; longitude comes first"
    refused(tmp_path / "raw", tmp_path / "out", GridError, message)
    write_geojson(geojson_of(folder), houses([(10, 10, 30, 20)]), "urn:ogc:def:crs:EPSG::32638")
    refused(tmp_path / "raw", tmp_path / "out", GridError, "do not meet the picture")


def test_a_crs_that_the_labels_say_themselves_counts(tmp_path):
    folder = write_tier(tmp_path / "raw", scenes=ONE)
    box = shapely.box(*(PLACE @ (10.5, 19.5)), *(PLACE @ (29.5, 10.5)))
    write_geojson(geojson_of(folder), [box], "urn:ogc:def:crs:EPSG::32638")
    run(tmp_path / "raw", tmp_path / "out")
    mask, _, _ = layer(tmp_path / "out", "mask")
    assert mask.sum() == 200
    assert (mask[0, 10:20, 10:30] == 1).all()


def test_labels_that_cannot_be_read(tmp_path):
    folder = write_tier(tmp_path / "raw", scenes=ONE)
    geojson_of(folder).write_text('{"type": "FeatureCollection", "features": [')
    refused(tmp_path / "raw", tmp_path / "out", InputError, "not a readable vector file")


def test_polygons_beside_a_picture_without_a_place(tmp_path):
    root = tmp_path / "raw"
    write_raster(root / "a/image.tif", rgba(), None, None, photometric="RGB", alpha="YES")
    write_geojson(root / "a/buildings.geojson", houses([(10, 10, 20, 20)]))
    message = "no CRS, so that nothing says where its polygons lie"
    refused(root, tmp_path / "out", InputError, message, "spacenet")


def test_an_image_without_alpha_in_a_set_with(tmp_path, caplog):
    folder = write_tier(tmp_path / "raw")
    image = colours((100, 120))
    image[:, :, 100:] = 0
    path = folder / "kam/k1/k1.tif"
    write_raster(path, image, PLACE, UTM, photometric="RGB")
    run(tmp_path / "raw", tmp_path / "out")
    what = "no alpha, as others here have: black at its border is taken for no data"
    assert f"WARNING: k1.tif: {what}" in caplog.text.replace("WARNING  builtup", "WARNING: ") or (
        f"k1.tif: {what}" in caplog.text
    )
    found, _, _ = layer(tmp_path / "out", "image", "k1", "kam")
    assert (found[3, :, 100:] == 0).all()
    caplog.clear()
    write_tier(tmp_path / "all", image=colours((100, 120)))
    run(tmp_path / "all", tmp_path / "other")
    assert what not in caplog.text


# --- probabilities --------------------------------------------------------------------------------


def soft_set(root: Path, values, image=None) -> Path:
    root.mkdir(parents=True)
    image = rgba(alpha=0) if image is None else image
    write_raster(root / "one.tif", image, PLACE, UTM, photometric="RGB", alpha="YES")
    Image.fromarray(values).save(root / "one_mask.png")
    return root


def test_a_mask_of_8_bits_is_a_probability_of_254_levels(tmp_path):
    values = np.zeros((100, 120), np.uint8)
    values[50, 20:120] = np.arange(156, 256)
    values[51, 20:120] = np.arange(56, 156)
    values[:, :15] = 255
    run(soft_set(tmp_path / "raw", values), tmp_path / "out", "chips")
    soft, profile, tags = layer(tmp_path / "out", "soft", "one", "raw")
    mask, _, _ = layer(tmp_path / "out", "mask", "one", "raw")
    column = 20 + 128 - 56
    assert soft[0, 51, column] == 127  # 128 of 255 is .502, and 127/254 is half
    assert soft[0, 50, 119] == 254  # certain, and never unknown
    assert (soft[0, :, :15] == 255).all()  # only where alpha says so
    assert (soft[0, :, 15:] < 255).all()
    expected = np.round(values.astype(float) * 254 / 255)
    assert (soft[0, :, 15:] == expected[:, 15:]).all()
    assert (mask[0, :, 15:] == (soft[0, :, 15:] >= 127)).all()
    assert (mask[0, :, :15] == 255).all()
    assert (profile["dtype"], profile["nodata"]) == ("uint8", 255)
    assert tags["BUILTUP_CLASSES"] == "background,building"
    assert ",one_soft.tif" in (tmp_path / "out/scenes.csv").read_text().replace("soft/raw/", "")


def test_a_probability_shrunk_by_area_keeps_its_sum(tmp_path):
    """Resized bilinearly and cut off, as the original did, a house would lose its rim."""
    values = np.zeros((100, 120), np.uint8)
    values[21:40, 33:58] = 255
    run(soft_set(tmp_path / "raw", values, rgba()), tmp_path / "out", "chips")
    soft, _, _ = layer(tmp_path / "out", "soft", "one", "raw")
    known = (soft[0] / 254).reshape(50, 2, 60, 2).mean(axis=(1, 3))
    assert known.sum() * 4 == pytest.approx(19 * 25)
    with rasterio.open(tmp_path / "out/soft/raw/one_soft.tif") as dataset:
        half = dataset.read(1, out_shape=(50, 60), resampling=rasterio.enums.Resampling.average)
    assert (half / 254).sum() * 4 == pytest.approx(19 * 25, rel=0.01)


def test_known_to_be_empty(tmp_path):
    root = soft_set(tmp_path / "raw", np.full((100, 120), 255, np.uint8))
    for name in ("bare", "unknown"):
        path = root / f"{name}.tif"
        write_raster(path, rgba(alpha=0), PLACE, UTM, photometric="RGB", alpha="YES")
    (root / "empty.txt").write_text("bare\n")
    run(root, tmp_path / "out", "chips")
    for kind in ("mask", "soft"):
        values, _, _ = layer(tmp_path / "out", kind, "bare", "raw")
        assert (values[0, :, :15] == 255).all()
        assert (values[0, :, 15:] == 0).all()
        assert not list((tmp_path / "out").rglob(f"unknown_{kind}.tif"))
    text = (tmp_path / "out/scenes.csv").read_text()
    assert "bare,raw,,labelled," in text
    assert "unknown,raw,,unlabelled," in text


@pytest.mark.parametrize(
    ("mode", "message"),
    [("RGB", "3 bands of type uint8: no probability"),
     ("P", "1 bit: no probability|a palette: no probability"),
     ("1", "1 bit: no probability|a palette: no probability"),
     ("I;16", "1 bands of type uint16: no probability")],
)  # fmt: skip
def test_masks_that_are_no_probability(tmp_path, mode, message):
    root = soft_set(tmp_path / "raw", np.zeros((100, 120), np.uint8))
    Image.new(mode, (120, 100)).save(root / "one_mask.png")
    refused(root, tmp_path / "out", InputError, message, "chips")


def test_an_unreadable_mask_is_an_error_and_never_a_negative(tmp_path):
    root = soft_set(tmp_path / "raw", np.full((100, 120), 255, np.uint8))
    whole = (root / "one_mask.png").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (100, 120), dtype=np.uint8)
    Image.fromarray(noise).save(root / "one_mask.png")
    other = (root / "one_mask.png").read_bytes()
    cut, spoilt = other[:4000], other[:4000] + bytes([255 - other[4000]]) + other[4001:]
    for content, message in (
        (b"", "empty file"), (b"no picture", "not a readable raster"),
        (cut, "cannot be read to its end"), (whole[:20], "cannot be read to its end"),
        (spoilt, "cannot be read to its end"),
    ):  # fmt: skip
        (root / "one_mask.png").write_bytes(content)
        refused(root, tmp_path / "out", InputError, message, "chips")


def test_a_mask_of_another_size_and_classes_of_three(tmp_path):
    root = soft_set(tmp_path / "raw", np.zeros((99, 120), np.uint8))
    refused(root, tmp_path / "out", GridError, "120x99 pixels, its picture one.tif", "chips")
    (tmp_path / "classes.csv").write_text("name\na\nbuilding\nc\n")
    with pytest.raises(ConfigError, match="classes: 3 of them"):
        run(root, tmp_path / "out", "chips", classes=str(tmp_path / "classes.csv"))


def test_classes_of_0_and_1_are_doubted(tmp_path, caplog):
    values = np.zeros((100, 120), np.uint8)
    values[20:40, 30:60] = 1
    run(soft_set(tmp_path / "raw", values), tmp_path / "out", "chips")
    assert "one_mask.png: no value above 1: 255 is certainty" in caplog.text


def test_links_out_of_the_folder_by_leave(tmp_path):
    write_tier(tmp_path / "raw", scenes=ONE)
    moved = tmp_path / "elsewhere"
    image = tmp_path / "raw/train_tier_1/acc/a1/a1.tif"
    moved.mkdir()
    image.rename(moved / "a1.tif")
    image.symlink_to(moved / "a1.tif")
    refused(tmp_path / "raw", tmp_path / "out", InputError, "outside .*/raw; add it to allow")
    run(tmp_path / "raw", tmp_path / "out", allow=str(moved))
    assert layer(tmp_path / "out", "mask")[0].any()


def test_a_turned_image(tmp_path):
    place = PLACE @ Affine.rotation(30)
    folder = write_tier(tmp_path / "raw", scenes=ONE)
    write_raster(folder / "acc/a1/a1.tif", rgba(), place, UTM, photometric="RGB", alpha="YES")
    write_geojson(geojson_of(folder), houses([(40.5, 30.5, 59.5, 44.5)], place))
    run(tmp_path / "raw", tmp_path / "out")
    mask, _, _ = layer(tmp_path / "out", "mask")
    expected = np.zeros((100, 120), np.uint8)
    expected[30:45, 40:60] = 1
    assert (mask[0] == expected).all()


def files(root: Path) -> dict[str, bytes]:
    found = [p for p in root.rglob("*") if p.is_file() and p.parent.name != ".manifest"]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_again_is_the_same_bytes_and_a_changed_label_makes_its_scene_anew(tmp_path):
    folder = write_tier(tmp_path / "raw")
    run(tmp_path / "raw", tmp_path / "one")
    run(tmp_path / "raw", tmp_path / "two", num_workers=2)
    first = files(tmp_path / "one")
    assert len(first) == 6
    assert files(tmp_path / "two") == first
    assert run(tmp_path / "raw", tmp_path / "one").done == 0
    write_geojson(geojson_of(folder), houses([(50, 50, 60, 60)]))
    summary = run(tmp_path / "raw", tmp_path / "one")
    assert (summary.done, summary.up_to_date) == (1, 1)
    changed = {name for name, content in files(tmp_path / "one").items() if first[name] != content}
    assert changed == {"masks/acc/a1_mask.tif"}
