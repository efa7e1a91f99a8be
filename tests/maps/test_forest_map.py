"""Maps of the random-forest reference."""

from __future__ import annotations

import numpy as np
import rasterio

from builtup.maps import forest_map as reference
from builtup.models.forest import fit_forest, forest_probability
from builtup.runs.results import read_tags
from builtup.sensors.radar.names import find_rasters
from helpers import speckle, write_raster


def town(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A 3-band scene (3, 90, 70) with a bright block and a gap, and its mask."""
    mask = np.zeros((90, 70), np.uint8)
    mask[30:60, 20:50] = 1
    level = np.where(mask, 5, 1).astype(np.float32)
    vh, vv = (speckle(mask.shape, base, seed + n) * level for n, base in enumerate((0.02, 0.1)))
    image = np.stack([vh, vv, (vh + vv) / 2])
    image[:, :10] = np.nan
    mask[:10] = 255
    return image, mask


def test_map_by_blocks_equals_the_map_of_the_whole_scene(tmp_path, monkeypatch):
    image, mask = town(0)
    folder = tmp_path / "images" / "Alpha_2015"
    write_raster(folder / "s1a_38SLF_3b_ASC_20150101.tif", image, nodata=np.nan)
    forest = fit_forest([(image[0], image[1], mask)], pixels=3000)
    monkeypatch.setattr(reference, "BLOCK", 32)
    reference.map_scenes(forest, find_rasters(tmp_path / "images", "3b"), tmp_path / "out")
    path = tmp_path / "out" / "raw" / "s1a_38SLF_prob_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        mapped = dataset.read(1)
    whole = forest_probability(forest, image[0], image[1])
    expected = np.where(np.isnan(whole), 255, np.rint(np.nan_to_num(whole) * 254))
    np.testing.assert_array_equal(mapped, expected)
    assert read_tags(path).city == "38SLF_Alpha"


def test_forest_is_fitted_on_scenes_and_their_own_masks(tmp_path):
    for number in range(2):
        image, mask = town(10 * number)
        stem = f"s1a_38SLF_{{}}_ASC_2015010{number + 1}.tif"
        write_raster(tmp_path / "3b" / "Alpha_2015" / stem.format("3b"), image)
        write_raster(tmp_path / "mask" / "Alpha_2015" / stem.format("mask"), mask)
    forest = reference.fit_on_scenes(
        find_rasters(tmp_path / "3b", "3b"), find_rasters(tmp_path / "mask", "mask")
    )
    image, mask = town(99)
    probability = forest_probability(forest, image[0], image[1])
    known = mask != 255
    assert ((probability > 0.5) == (mask == 1))[known].mean() > 0.9
