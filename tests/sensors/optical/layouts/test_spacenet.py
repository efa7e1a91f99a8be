"""The folders of SpaceNet data sets: which picture goes with which polygons."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.sensors.optical.layouts.spacenet import find
from builtup.sensors.optical.raw_scenes import PIXELS, POLYGONS, refuse_twins
from helpers import real_data


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def short(found, root):
    return [
        (s.name, s.site, s.split, s.date, s.labels and str(s.labels.relative_to(root)))
        for s in found.scenes
    ]


def said(found):
    return [(remark.file, remark.what.partition(":")[0].partition(",")[0], remark.doubtful)
            for remark in found.remarks]  # fmt: skip


def test_one_scene_a_folder(tmp_path):
    root = made(tmp_path, "a/image.tif", "a/buildings.geojson", "b/image.tif")
    found = find(root)
    assert short(found, root) == [
        ("a", "a", "", "", "a/buildings.geojson"),
        ("b", "b", "", "", None),
    ]
    assert said(found) == [("image.tif", "no labels", True)]


def test_vegas_as_it_is_published_today_and_as_it_was(tmp_path):
    new = "SN2_buildings_train_AOI_2_Vegas"
    root = made(
        tmp_path,
        f"train/AOI_2_Vegas/PS-RGB/{new}_PS-RGB_img205.tif",
        f"train/AOI_2_Vegas/PS-RGB/{new}_PS-RGB_img7.tif",
        f"train/AOI_2_Vegas/geojson_buildings/{new}_geojson_buildings_img205.geojson",
        f"train/AOI_2_Vegas/geojson_buildings/{new}_geojson_buildings_img7.geojson",
        "AOI_5_Khartoum_Train/RGB-PanSharpen/RGB-PanSharpen_AOI_5_Khartoum_img3.tif",
        "AOI_5_Khartoum_Train/geojson/buildings/buildings_AOI_5_Khartoum_img3.geojson",
        "AOI_5_Khartoum_Train/MUL-PanSharpen/MUL-PanSharpen_AOI_5_Khartoum_img3.tif",
    )
    found = find(root)
    labels = f"train/AOI_2_Vegas/geojson_buildings/{new}_geojson_buildings"
    old = "AOI_5_Khartoum_Train/geojson/buildings/buildings_AOI_5_Khartoum_img3.geojson"
    assert short(found, root) == [
        ("AOI_5_Khartoum_img3", "AOI_5_Khartoum", "", "", old),
        (f"{new}_img205", "AOI_2_Vegas", "train", "", f"{labels}_img205.geojson"),
        (f"{new}_img7", "AOI_2_Vegas", "train", "", f"{labels}_img7.geojson"),
    ]
    assert {scene.labels_are for scene in found.scenes} == {POLYGONS}
    mul = "AOI_5_Khartoum_Train/MUL-PanSharpen/MUL-PanSharpen_AOI_5_Khartoum_img3.tif"
    assert said(found) == [(mul, "passed over", True)]


def test_rotterdam(tmp_path):
    name = "SN6_Train_AOI_11_Rotterdam"
    root = made(
        tmp_path,
        f"PS-RGB/{name}_PS-RGB_20190822070610_tile_1.tif",
        f"geojson_buildings/{name}_Buildings_20190822070610_tile_1.geojson",
    )
    with pytest.raises(InputError, match="no SpaceNet pictures in it"):
        find(root / "PS-RGB")
    (scene,) = find(root).scenes
    assert (scene.site, scene.labels is not None) == ("AOI_11_Rotterdam", True)


def test_months_of_a_site(tmp_path):
    site = "L15-0331E-1257N_1327_3160_13"
    name = "global_monthly_2018_01_mosaic"
    root = made(
        tmp_path,
        *(f"train/{site}/{folder}/{name}_{site}.tif" for folder in ("images", "images_masked")),
        *(
            f"train/{site}/{folder}/{name}_{site}_Buildings.geojson"
            for folder in ("labels_match_pix", "labels", "labels_match")
        ),
        f"train/{site}/labels/{name}_{site}_UDM.geojson",
    )
    found = find(root)
    labels = f"train/{site}/labels/{name}_{site}_Buildings.geojson"
    assert short(found, root) == [(f"{name}_{site}", site, "train", "20180101", labels)]
    assert found.scenes[0].image.parent.name == "images_masked"
    assert {file.split("/")[2] for file, _, _ in said(found)} == {
        "images", "labels", "labels_match", "labels_match_pix",
    }  # fmt: skip


def test_labels_in_pixels_where_there_are_no_others(tmp_path):
    root = made(tmp_path, "s/images_masked/m.tif", "s/labels_match_pix/m_Buildings.geojson")
    (scene,) = find(root).scenes
    assert (scene.name, scene.site, scene.labels_are) == ("m", "s", PIXELS)


def test_polygons_of_no_picture_are_named(tmp_path):
    root = made(tmp_path, "PS-RGB/x_PS-RGB_img1.tif", "geojson_buildings/x_img2.geojson")
    made(root, "PS-RGB/../other.geojson")
    found = find(root)
    assert ("geojson_buildings/x_img2.geojson", "passed over", True) in said(found)
    assert ("other.geojson", "passed over", False) in said(found)


def test_two_scenes_of_one_name(tmp_path):
    found = find(made(tmp_path, "a/x/image.tif", "b/x/image.tif"))
    refuse_twins(found)
    (problem,) = found.problems
    assert problem.problem == f"the scene x stands twice, here and in {tmp_path}/a/x/image.tif"


def test_the_real_ones():
    root = real_data("optical")
    found = find(root)
    assert [(s.name, s.role) for s in found.scenes] == [
        ("spacenet2_vegas_img205", "labelled"), ("spacenet7_0331E", "labelled"),
    ]  # fmt: skip
    assert found.problems == []
