"""Importing data sets of pictures: what is refused, skipped and left behind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from builtup.errors import BuiltupError, ConfigError, GridError, InputError
from builtup.sensors.optical.import_scenes import _take_split, import_scenes
from builtup.sensors.optical.raw_scenes import Found, RawScene
from helpers import write_raster
from open_cities_data import write_tier
from picture_data import (
    PLACE,
    UTM,
    class_numbers,
    elevation,
    painted,
    write_dronedeploy,
)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def run(root: Path, out: Path, **options: Any):
    return import_scenes(input_path=root, output_path=out, **{"num_workers": 1, **options})


def rows(out: Path):
    with (out / "scenes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def refused(root: Path, out: Path, kind: type[BuiltupError], message: str, **options: Any) -> None:
    """In one line, with nothing written."""
    with pytest.raises(kind, match=message) as error:
        run(root, out, **options)
    assert "\n" not in str(error.value)
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_labels_of_another_size(tmp_path):
    write_dronedeploy(tmp_path / "raw", labels=painted(class_numbers((300, 399))))
    message = (
        r"one-label\.png: 399x300 pixels, its picture one-ortho\.tif has 400x300; "
        "give labels on the picture's grid"
    )
    refused(tmp_path / "raw", tmp_path / "out", GridError, message)


@pytest.mark.parametrize(
    ("crs", "place", "message"),
    [
        (UTM, PLACE @ Affine.translation(4000, 0), "does not meet its picture one-ortho.tif"),
        ("EPSG:32633", PLACE, "does not meet its picture"),
        (None, PLACE @ Affine.translation(4000, 0), "does not meet its picture"),
    ],
)
def test_an_elevation_that_does_not_meet_its_picture(tmp_path, crs, place, message):
    root = write_dronedeploy(tmp_path / "raw")
    write_raster(root / "elevations/one-elev.tif", elevation(), place, crs)
    refused(root, tmp_path / "out", GridError, message)


def test_an_elevation_with_a_place_beside_a_picture_without(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", crs=None, transform=None)
    write_raster(root / "elevations/one-elev.tif", elevation(), PLACE, UTM)
    refused(root, tmp_path / "out", GridError, "has a CRS, and its picture one-ortho.tif has none")


def test_an_elevation_of_another_ratio(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", crs=None, transform=None)
    write_raster(root / "elevations/one-elev.tif", elevation()[:, :200], None, None)
    refused(root, tmp_path / "out", GridError, "200x300 pixels have another ratio than .* 400x300")


def test_an_elevation_without_a_value_on_its_picture(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", heights=np.full((300, 400), -9999, np.float32))
    refused(root, tmp_path / "out", InputError, "no elevation on its picture one-ortho.tif")


def test_a_picture_without_a_valid_pixel(tmp_path):
    write_dronedeploy(tmp_path / "raw", image=np.zeros((3, 300, 400), np.uint8))
    refused(tmp_path / "raw", tmp_path / "out", InputError, "no valid pixel")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "none"}, "layout=none: unknown; choose one of dronedeploy, chips"),
        ({"pixel": "ten"}, "pixel=ten: no size of a pixel"),
        ({"pixel": "-1"}, "pixel=-1: no size of a pixel"),
        ({"layout": "chips"}, "layout=chips has no classes of its own; give classes="),
    ],
)
def test_wrong_options(tmp_path, options, message):
    write_dronedeploy(tmp_path / "raw")
    refused(tmp_path / "raw", tmp_path / "out", ConfigError, message, **options)


def test_what_is_wrong_in_another_tier_is_no_matter(tmp_path):
    """A tier is imported whatever the others hold: a dead link, an image of the same name."""
    root = tmp_path / "raw"
    write_tier(root)
    other = write_tier(root, "train_tier_2", (("dar", "a1"), ("dar", "d1")))
    (other / "dar/d1/d1.tif").unlink()
    options = {"layout": "open_cities"}
    run(root, tmp_path / "one", split="train_tier_1", **options)
    assert [row["scene"] for row in rows(tmp_path / "one")] == ["a1", "k1"]
    refused(root, tmp_path / "out", InputError, "a dead link", **options)
    refused(root, tmp_path / "out", InputError, "a dead link", split="train_tier_2", **options)
    (other / "dar/d1/d1.tif").symlink_to(other / "dar/a1/a1.tif")
    refused(root, tmp_path / "out", InputError, "scene a1 stands twice", **options)


def test_a_fault_in_a_folder_of_labels_is_no_other_split_s(tmp_path):
    """Which scenes a folder beside the split is of cannot be seen: what is wrong there is said."""
    root = tmp_path / "raw"
    write_tier(root)
    found = Found(
        [RawScene("a", "a", root / "train_tier_1/a.tif", "train_tier_1")],
        [InputError(root / folder / "x", "bad", "mend it") for folder in ("labels", "test_1")],
    )
    (root / "labels").mkdir()
    (root / "test_1").mkdir()
    _take_split(root, found, "train_tier_1")
    assert [Path(e.path).parent.name for e in found.problems] == ["labels"]


@pytest.mark.parametrize("what", ["image", "folder", "labels"])
def test_a_link_out_of_the_folder_needs_leave(tmp_path, what):
    root = write_dronedeploy(tmp_path / "raw")
    place = {
        "image": root / "images" / "one-ortho.tif",
        "folder": root / "images",
        "labels": root / "labels" / "one-label.png",
    }[what]
    aside = tmp_path / "elsewhere" / place.name
    aside.parent.mkdir()
    place.rename(aside)
    place.symlink_to(aside)
    message = rf"leads to {aside}.*, outside {root}; add its folder to allow of import_scenes"
    refused(root, tmp_path / "out", InputError, message)
    run(root, tmp_path / "out", allow=str(tmp_path / "elsewhere"))
    assert [row["scene"] for row in rows(tmp_path / "out")] == ["one"]
    linked = tmp_path / "by_a_link"
    linked.symlink_to(tmp_path / "raw2")
    write_dronedeploy(tmp_path / "raw2")
    run(linked, tmp_path / "other")  # what the user names may be a link


def test_a_split_that_is_none(tmp_path):
    root = write_dronedeploy(tmp_path / "raw")
    message = r"no scene of the split test: it has no list of splits \(train.txt, …\)"
    refused(root, tmp_path / "out", InputError, message, split="test")
    (root / "train.txt").write_text("one\n")
    message = "no scene of the split test: it has train"
    refused(root, tmp_path / "out", InputError, message, split="test")
    refused(root, tmp_path / "out", InputError, message, split="train;test")


def test_bad_scenes_are_skipped_and_named(tmp_path):
    root = write_dronedeploy(tmp_path / "raw", "good")
    write_dronedeploy(root, "small", labels=painted(class_numbers((30, 40))))
    write_dronedeploy(root, "black", image=np.zeros((3, 300, 400), np.uint8))
    summary = run(root, tmp_path / "out", on_error="skip")
    assert (summary.done, len(summary.skipped)) == (1, 2)
    assert {Path(e.path).name for e in summary.skipped} == {"small-label.png", "black-ortho.tif"}
    assert [row["scene"] for row in rows(tmp_path / "out")] == ["good"]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.tif")) == [
        "good_image.tif", "good_mask.tif",
    ]  # fmt: skip


def test_what_earlier_imports_left_is_named(tmp_path, caplog):
    root = write_dronedeploy(tmp_path / "raw", "a")
    write_dronedeploy(root, "b")
    run(root, tmp_path / "out")
    (root / "images/b-ortho.tif").unlink()
    run(root, tmp_path / "out")
    assert "b_image.tif: of no scene of this import; it is left as it is" in caplog.text
