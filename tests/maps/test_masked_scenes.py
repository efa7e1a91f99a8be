"""Which mask belongs to which map: by scene, by site and by year."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.errors import InputError
from builtup.geo.windows import Window
from builtup.maps.masked_scenes import classes_of, open_map, pair_scenes
from builtup.runs.results import PredictionTags, Results
from helpers import write_raster

ZERO = np.zeros((6, 8), np.uint8)


def write_map(root: Path, name: str, values: np.ndarray = ZERO, **tags: str) -> Path:
    path = write_raster(root / "raw" / f"{name}.tif", values, nodata=255)
    own = PredictionTags("", name, 8, 6, "run", 0.4).as_gdal()
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**(own | tags))
    return path


def write_masks(root: Path, *places: str) -> Path:
    for place in places:
        write_raster(root / "masks" / place, ZERO, nodata=255)
    return root / "masks"


def test_radar_s_maps_and_scenes_are_found_as_well(tmp_path: Path) -> None:
    """Two dates on one ground make one map, which is scored once; two scenes are two."""
    masks = write_masks(
        tmp_path,
        "Alpha_2015/s1a_38SLF_mask_ASC_20150101.tif",
        "Alpha_2015/s1a_38SLF_mask_ASC_20150113.tif",
        "Beta_2015/s1a_38RPV_mask_ASC_20150101.tif",
    )
    city = write_map(tmp_path, "38SLF_Alpha")
    scene = "s1a_38SLF_{}_ASC_20150113"
    prob = write_map(
        tmp_path, scene.format("prob"), BUILTUP_SCENE=scene, BUILTUP_CITY="38SLF_Alpha"
    )
    pairs, notes = pair_scenes(Results(tmp_path), masks, per_scene=False)
    assert [(pair.map, pair.name) for pair in pairs] == [(city, "s1a_38SLF_ASC_20150101")]
    assert notes == [
        "no map of: s1a_38RPV_{}_ASC_20150101",
        f"another date of ground that is scored once: {scene}",
    ]
    pairs, notes = pair_scenes(Results(tmp_path), masks, per_scene=True)
    assert [pair.map for pair in pairs] == [city, prob]
    assert "without probabilities of their own: s1a_38SLF_{}_ASC_20150101" in notes[1]


def test_maps_of_years_have_the_masks_of_their_year(tmp_path: Path) -> None:
    masks = write_masks(
        tmp_path,
        "Alpha_2015/s1a_38SLF_mask_ASC_20150101.tif",
        "Alpha_2020/s1a_38SLF_mask_ASC_20200101.tif",
    )
    maps = {
        year: write_map(tmp_path, name, BUILTUP_YEAR=year, BUILTUP_CITY=name)
        for year, name in (("2015", "38SLF_Alpha"), ("2020", "38SLF_Alpha_2020"))
    }
    pairs, notes = pair_scenes(Results(tmp_path), masks, per_scene=False)
    assert {pair.truth.year: pair.map for pair in pairs} == maps
    assert not notes


def test_two_classes_are_decided_by_the_threshold_of_the_tags(tmp_path: Path) -> None:
    masks = write_masks(tmp_path, "Alpha_2015/s1a_38SLF_mask_ASC_20150101.tif")
    scene = "s1a_38SLF_{}_ASC_20150101"
    levels = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    levels[0, 0] = 255
    write_map(tmp_path, scene.format("prob"), levels, BUILTUP_SCENE=scene)
    (pair,), _ = pair_scenes(Results(tmp_path), masks, per_scene=True)
    with rasterio.open(pair.truth.path) as mask, open_map(pair, mask) as read:
        found = read(Window(0, 0, 6, 8))
    expected = (levels >= np.ceil(0.4 * 254)).astype(np.uint8)
    expected[0, 0] = 255
    assert (found == expected).all()


def test_maps_of_other_classes_are_not_scored_together(tmp_path: Path) -> None:
    masks = write_masks(
        tmp_path,
        "Alpha_2015/s1a_38SLF_mask_ASC_20150101.tif",
        "Beta_2015/s1a_38RPV_mask_ASC_20150101.tif",
    )
    write_map(tmp_path, "38SLF_Alpha")
    write_map(tmp_path, "38RPV_Beta", BUILTUP_CLASSES="road,house")
    pairs, _ = pair_scenes(Results(tmp_path), masks, per_scene=False)
    with pytest.raises(InputError, match=r"has the classes road, house; 38SLF_Alpha\.tif has"):
        classes_of(pairs, tmp_path)
