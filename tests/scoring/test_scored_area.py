"""The ground on which a map is scored, and the class that is scored there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.runs.results import CityRasters, PredictionTags
from builtup.scoring.scored_area import eroded, find_truths, open_scored_city
from helpers import TRANSFORM, write_polygons, write_raster

CITY = "38SLF_Alpha"
WHOLE = Window(0, 0, 8, 8)


def write_city(root: Path, mask: np.ndarray, prob: np.ndarray, **tags: str) -> CityRasters:
    paths = [root / f"{CITY}{end}.tif" for end in ("", "_prob")]
    for path, values in zip(paths, (mask, prob), strict=True):
        write_raster(path, values, nodata=255)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**PredictionTags("", CITY, 8, 8, "", 0.5).as_gdal() | tags)
    return CityRasters(CITY, *paths)


def write_truth(root: Path) -> Path:
    left, top = TRANSFORM @ (2.1, 2.1)
    right, bottom = TRANSFORM @ (5.9, 5.9)
    return write_polygons(
        root / "Alpha_2015" / f"{CITY}.shp", [shapely.box(left, bottom, right, top)]
    )


def test_of_three_classes_the_mapped_one_is_compared_with_the_polygons(tmp_path: Path) -> None:
    mask = np.full((8, 8), 2, np.uint8)
    mask[2:6, 2:6], mask[:, 0] = 0, 255
    prob = np.stack([np.full((8, 8), level, np.uint8) for level in (200, 30, 24)])
    prob[:, :, 0] = 255
    names = {"BUILTUP_CLASSES": "building,road,water", "BUILTUP_MAPPED": "building"}
    rasters = write_city(tmp_path, mask, prob, **names)
    with open_scored_city(rasters, write_truth(tmp_path), None) as city:
        counted = city.counted(WHOLE, mask)
        assert city.classes.mapped_index == 0
        assert (city.mapped(mask) == (city.truth.burn(WHOLE) == 1)).all()
        assert counted.sum() == 7 * 8
        assert set(city.levels(WHOLE, counted)) == {200}


def test_a_map_that_is_valid_where_its_probability_is_not_is_refused(tmp_path: Path) -> None:
    prob = np.full((8, 8), 255, np.uint8)
    rasters = write_city(tmp_path, np.ones((8, 8), np.uint8), prob)
    with (
        open_scored_city(rasters, write_truth(tmp_path), None) as city,
        pytest.raises(InputError, match=r"valid where 38SLF_Alpha_prob\.tif has no data"),
    ):
        city.levels(WHOLE, np.ones((8, 8), bool))


def test_of_images_it_is_told_that_masks_score_them(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    rasters = write_city(tmp_path, mask, mask, BUILTUP_SENSOR="rgb")
    with pytest.raises(InputError, match=r"no ground truth .*; validate scores .* gt_layer=masks"):
        find_truths([rasters], tmp_path)


def test_polygons_are_looked_for_below_the_split(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    rasters = write_city(tmp_path, mask, mask)
    with pytest.raises(InputError, match=r"no ground truth of any predicted city \(38SLF_Alpha\)"):
        find_truths([rasters], tmp_path)
    truth = write_truth(tmp_path)
    other = CityRasters("38SLG_Beta", rasters.mask, rasters.prob)
    assert find_truths([rasters, other], tmp_path) == ([(rasters, truth)], ["38SLG_Beta"])
    write_polygons(tmp_path / "Alpha_2016" / f"{CITY}.shp", [shapely.box(0, 0, 1, 1)])
    with pytest.raises(InputError, match=r"stands in .*Alpha_2016 as well"):
        find_truths([rasters], tmp_path)


def test_the_labelled_area_of_a_city_of_two_words_limits_its_score(tmp_path: Path) -> None:
    """The map has the city's key, the polygons are spelled as their folder, the area nearly so."""
    values = np.full((8, 8), 1, np.uint8)
    written = write_city(tmp_path, values, values)
    rasters = CityRasters("38SLF_New_York", written.mask, written.prob)
    folder = tmp_path / "New York_2015"
    box = shapely.box(*TRANSFORM @ (0, 8), *TRANSFORM @ (4, 0))
    truth = write_polygons(folder / "38SLF_New York.shp", [box])
    write_polygons(folder / "38SLF_New York_Labeled_Area.shp", [box])
    assert find_truths([rasters], tmp_path) == ([(rasters, truth)], [])
    with open_scored_city(rasters, truth, None) as city:
        assert city.counted(WHOLE, values)[:, :4].all()
        assert not city.counted(WHOLE, values)[:, 4:].any()


def test_the_map_of_a_year_is_scored_by_the_polygons_of_that_year(tmp_path: Path) -> None:
    values = np.full((8, 8), 1, np.uint8)
    box = shapely.box(0, 0, 1, 1)
    files = {
        year: write_polygons(tmp_path / f"Alpha_{year}" / f"{CITY}.shp", [box])
        for year in ("2015", "2020")
    }
    for year, city in (("2015", CITY), ("2020", f"{CITY}_2020"), ("2021", f"{CITY}_2021")):
        rasters = write_city(tmp_path, values, values, BUILTUP_CITY=city, BUILTUP_YEAR=year)
        rasters = CityRasters(city, rasters.mask, rasters.prob)
        if year in files:
            assert find_truths([rasters], tmp_path) == ([(rasters, files[year])], [])
        else:
            with pytest.raises(InputError, match="no ground truth of any predicted city"):
                find_truths([rasters], tmp_path)


@given(st.integers(1, 14), st.integers(1, 14), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_eroded_truth_keeps_what_no_other_class_is_near(
    height: int, width: int, radius: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    coarse = generator.choice([0, 3, 255], (4, 4), p=[0.5, 0.3, 0.2]).astype(np.uint8)
    truth = np.kron(coarse, np.ones((4, 4), np.uint8))[:height, :width]
    found = eroded(truth, radius)
    ys, xs = np.nonzero(truth != 255)
    for y, x in np.ndindex(truth.shape):
        near = (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
        alike = (truth[ys, xs][near] == truth[y, x]).all()
        assert found[y, x] == (truth[y, x] if alike else 255)
