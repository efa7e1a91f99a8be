"""The report page."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from PIL import Image

from builtup.report import CityMaps, Table, write_report
from helpers import CRS, TRANSFORM, write_raster

SQUARE = shapely.box(300_200, 3_999_400, 300_500, 3_999_800)  # rows 20 to 60, columns 20 to 50


def city(folder):
    rng = np.random.default_rng(0)
    image = rng.gamma(4.4, 0.02, (3, 100, 80)).astype(np.float32)
    image[:, :, :5] = np.nan
    mask = np.zeros((100, 80), np.uint8)
    mask[20:70, 20:50] = 1
    mask[:, :5] = 255
    probability = np.where(mask == 255, 255, mask * 200).astype(np.uint8)
    polygons = folder / "polygons.gpkg"
    pyogrio.raw.write(
        polygons, np.array([SQUARE.wkb], object), [], [], crs=CRS, geometry_type="Polygon"
    )
    return CityMaps(
        "38SLF_Alpha",
        write_raster(folder / "image.tif", image, nodata=np.nan),
        write_raster(folder / "prob.tif", probability, nodata=255),
        write_raster(folder / "std.tif", np.full((100, 80), 0.1, np.float32)),
        polygons,
        write_raster(folder / "mask.tif", mask, nodata=255),
    )


def pictures(page: str) -> dict[str, np.ndarray]:
    found = re.findall(r'base64,([^"]+)"><figcaption>([^<]+)', page)
    return {
        caption: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data, caption in found
    }


def test_page_needs_nothing_from_outside_and_shows_what_it_was_given(tmp_path):
    table = Table("Scores", ["", "f1"], [["<network>", "0.91"]], "a note")
    write_report(tmp_path / "r.html", "A & B", "A summary.", [city(tmp_path)], [table])
    page = (tmp_path / "r.html").read_text()
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)
    assert "A &amp; B" in page and "&lt;network&gt;" in page and "a note" in page
    assert len(pictures(page)) == 5


def test_errors_are_found_false_missed_and_unknown_pixels(tmp_path):
    write_report(tmp_path / "r.html", "t", "s", [city(tmp_path)], [])
    errors = next(
        picture
        for caption, picture in pictures((tmp_path / "r.html").read_text()).items()
        if caption.startswith("found")
    )
    assert (errors[40, 30] == 255).all()  # in polygon and mask
    assert tuple(errors[65, 30]) == (70, 120, 230)  # in the mask only
    assert (errors[40, 2] == 128).all()  # unknown
    assert (errors[90, 60] == 0).all()


def test_polygons_of_another_crs_are_drawn_in_place(tmp_path):
    maps = city(tmp_path)
    xs, ys = rasterio.warp.transform(CRS, "EPSG:4326", *zip(*SQUARE.exterior.coords, strict=True))
    moved = shapely.Polygon(zip(xs, ys, strict=True))
    pyogrio.raw.write(
        tmp_path / "wgs84.gpkg",
        np.array([moved.wkb], object),
        [],
        [],
        crs="EPSG:4326",
        geometry_type="Polygon",
    )
    other = CityMaps(
        maps.city, maps.image, maps.probability, None, tmp_path / "wgs84.gpkg", maps.truth
    )
    write_report(tmp_path / "a.html", "t", "s", [maps], [])
    write_report(tmp_path / "b.html", "t", "s", [other], [])
    first, second = (pictures((tmp_path / name).read_text()) for name in ("a.html", "b.html"))
    outline = "polygons on the image"
    differing = (first[outline] != second[outline]).any(-1).mean()
    assert differing < 0.01
    assert TRANSFORM.a == 10
