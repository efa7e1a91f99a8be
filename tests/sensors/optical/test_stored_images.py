"""Which files are images, what lies beside them, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from builtup.errors import BuiltupError, InputError
from builtup.sensors.optical.stored_images import ImageHeaders, find_images, read_headers
from helpers import CRS, write_raster

TENTHS = Affine(0.1, 0, 500000, 0, -0.1, 4100000)


def picture(path: Path, size: int = 20, crs: str | None = CRS, bands: int = 3) -> Path:
    values = np.full((bands, size, size), 90, np.uint8)
    return write_raster(path, values, TENTHS, crs)


def elevation(path: Path, size: int = 20) -> Path:
    return write_raster(path, np.full((size, size), 80, np.float32), TENTHS, CRS)


def headers_of(path: Path, with_height: bool = False) -> list[ImageHeaders | BuiltupError]:
    return list(read_headers(find_images(str(path)).scenes, with_height=with_height))


def test_a_folder_of_pictures_is_one_scene_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "field 1.tif")
    picture(tmp_path / "deep" / "yard_20240501.tiff")
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.PNG")
    picture(tmp_path / "field 1_mask.tif", bands=1)
    (tmp_path / "notes.txt").write_text("no image")
    found = find_images(f"{tmp_path}; {tmp_path / 'photo.PNG'}")
    ids = {scene.plain_id: scene for scene in found.scenes}
    assert list(ids) == ["field_1", "photo", "yard_20240501"]
    assert ids["yard_20240501"].date == "20240501"
    assert ids["photo"].output_name("prob") == "photo_prob.tif"
    assert "field 1_mask.tif: passed over, by the name no image" in caplog.text


def test_an_elevation_beside_its_picture_is_not_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "yard.tif")
    used = elevation(tmp_path / "yard-elev.tif")
    elevation(tmp_path / "elsewhere-elev.tif")
    (scene,) = find_images(str(tmp_path)).scenes
    assert scene.height == used
    assert "elsewhere-elev.tif: passed over" in caplog.text
    assert "yard-elev.tif" not in caplog.text


def test_what_import_scenes_writes_is_found_with_its_heights(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "Dole" / "dole1_image.tif")
    elevation(tmp_path / "height" / "Dole" / "dole1_height.tif")
    for root in (tmp_path, tmp_path / "images"):
        (scene,) = find_images(str(root)).scenes
        assert (scene.plain_id, scene.city, scene.is_elevation) == ("dole1", "Dole", False)
        assert scene.height == tmp_path / "height" / "Dole" / "dole1_height.tif"


def test_the_layout_of_dronedeploy_is_found_with_its_elevations(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a-ortho.tif", crs=None)
    picture(tmp_path / "images" / "b-ortho.tif")
    elevation(tmp_path / "elevations" / "b-elev.tif")
    for root in (tmp_path, tmp_path / "images"):
        a, b = find_images(str(root)).scenes
        assert (a.plain_id, a.height, a.metres) == ("a", None, 0.1)
        assert b.height == tmp_path / "elevations" / "b-elev.tif" and b.is_elevation
    (alone,) = find_images(str(tmp_path / "images" / "b-ortho.tif")).scenes
    assert alone.height == tmp_path / "elevations" / "b-elev.tif" and alone.plain_id == "b"


def test_what_lies_beside_an_image_says_by_its_name_what_it_is(tmp_path: Path) -> None:
    picture(tmp_path / "a.tif")
    picture(tmp_path / "b.tif")
    elevation(tmp_path / "a_height.tif")
    elevation(tmp_path / "b_dsm.tif")
    a, b = find_images(str(tmp_path)).scenes
    assert (a.height, a.is_elevation) == (tmp_path / "a_height.tif", False)
    assert (b.height, b.is_elevation) == (tmp_path / "b_dsm.tif", True)


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "a.tif")
    picture(tmp_path / "two" / "a.tif")
    found = find_images(str(tmp_path))
    assert len(found.scenes) == 1
    assert "the scene a stands twice, here and in" in str(found.problems[0])


@pytest.mark.parametrize(
    ("entry", "problem"),
    [("nowhere", "no such file or folder"), ("s3://a/b.tif", "images are read from files here")],
)
def test_what_is_no_image_is_one_line(tmp_path: Path, entry: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        find_images(entry)
    with pytest.raises(InputError, match=r"no image in it; give orthomosaics"):
        find_images(str(tmp_path))


def test_headers_say_what_is_not_known(tmp_path: Path) -> None:
    picture(tmp_path / "a.tif", crs=None)
    (headers,) = headers_of(tmp_path, with_height=True)
    assert isinstance(headers, ImageHeaders)
    said = [remark.what for remark in headers.remarks]
    assert "has no CRS: it gets rasters, and no polygons" in said
    assert any("height above ground is unknown" in what for what in said)
    assert headers.files == (tmp_path / "a.tif",) and headers.validity["height"] == "unknown"
    assert not any("height" in remark.what for remark in headers_of(tmp_path)[0].remarks)  # type: ignore[union-attr]


def test_a_height_is_a_file_of_its_scene_where_the_network_takes_it(tmp_path: Path) -> None:
    path, height = picture(tmp_path / "a.tif"), elevation(tmp_path / "a_height.tif")
    assert headers_of(tmp_path)[0].files == (path,)  # type: ignore[union-attr]
    assert headers_of(tmp_path, with_height=True)[0].files == (path, height)  # type: ignore[union-attr]
    elevation(tmp_path / "a_height.tif", size=30)
    (problem,) = find_and_read(tmp_path)
    assert "a_height.tif: not on the grid of a.tif: sizes 20x20 and 30x30" in problem


def find_and_read(path: Path) -> list[str]:
    try:
        return [str(of) for of in headers_of(path, with_height=True)]
    except InputError as e:
        return [str(e)]


def test_a_picture_without_colours_is_refused_in_one_line(tmp_path: Path) -> None:
    picture(tmp_path / "grey.tif", bands=1)
    (problem,) = find_and_read(tmp_path)
    assert "grey.tif: 1 band without a palette, no picture in colours" in problem
