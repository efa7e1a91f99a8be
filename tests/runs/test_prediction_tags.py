"""What the rasters of a prediction say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.runs.prediction_tags import PredictionTags, read_tags, write_tags
from helpers import write_raster as write_array

TAGS = PredictionTags(
    "s1a_38SLF_{}_ASC_20150101", "38SLF_Alpha", 30, 20, "abc", 0.37, ("background", "building")
)


def write_raster(path: Path, tags: dict[str, str]) -> Path:
    write_array(path, np.zeros((2, 3), np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)
    return path


@given(st.floats(0, 1), st.integers(1, 10**6), st.integers(1, 10**6))
def test_tags_survive_gdal_metadata(threshold: float, width: int, height: int) -> None:
    from builtup.runs.prediction_tags import _parse

    tags = PredictionTags("s1a_38SLF_{}_2015", "38SLF_A", width, height, "r", threshold, ("a",))
    assert _parse(tags.as_gdal(), "x.tif") == tags


def test_tags_survive_a_file_also_without_scene(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", TAGS.as_gdal())
    assert read_tags(path) == TAGS
    with rasterio.open(path) as dataset:
        assert read_tags(dataset) == TAGS
    city = PredictionTags("", "38SLF_Alpha", 30, 20, "", 0.5)
    with rasterio.open(path, "r+") as dataset:
        write_tags(dataset, city)
    assert read_tags(path) == city


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {**TAGS.as_gdal(), "BUILTUP_CITY": ""},
        {**TAGS.as_gdal(), "BUILTUP_GRID": "30"},
        {**TAGS.as_gdal(), "BUILTUP_GRID": "0,20"},
        {**TAGS.as_gdal(), "BUILTUP_THRESHOLD": "high"},
        {**TAGS.as_gdal(), "BUILTUP_THRESHOLD": "1.5"},
    ],
)
def test_a_raster_without_sound_tags_is_refused_in_one_line(
    tmp_path: Path, tags: dict[str, str]
) -> None:
    path = write_raster(tmp_path / "a.tif", tags)
    with pytest.raises(InputError, match=r"a\.tif: .*tags.*; ") as e:
        read_tags(path)
    assert "\n" not in str(e.value)


def test_tags_of_two_classes_are_the_same_as_ever() -> None:
    assert " ".join(TAGS.as_gdal()) == (
        "BUILTUP_SCENE BUILTUP_CITY BUILTUP_GRID BUILTUP_RUN_ID BUILTUP_THRESHOLD BUILTUP_CLASSES"
    )


def test_more_classes_say_what_a_raster_is_and_how_it_was_decided(tmp_path: Path) -> None:
    tags = replace(TAGS, kind="classes", mapped="building", decision="argmax")
    assert read_tags(write_raster(tmp_path / "a.tif", tags.as_gdal())) == tags


def test_of_images_all_rasters_say_their_kind_also_of_two_classes(tmp_path: Path) -> None:
    assert TAGS.of_kind("scene") == TAGS
    tags = replace(TAGS, sensor="rgb").of_kind("classes")
    assert (tags.kind, tags.mapped, tags.decision) == ("classes", "building", "threshold:0.37")
    assert read_tags(write_raster(tmp_path / "a.tif", tags.as_gdal())) == tags
