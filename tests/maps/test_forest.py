"""The random-forest reference and its maps."""

from __future__ import annotations

import numpy as np
import rasterio

from builtup.maps import forest as reference
from builtup.maps.forest import fit_forest, forest_features, forest_probability
from builtup.runs.results import read_tags
from builtup.sensors.scene_files import find_rasters
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
    forest = fit_forest([(image[:2], mask)], pixels=3000)
    monkeypatch.setattr(reference, "BLOCK", 32)
    reference.map_scenes(forest, find_rasters(tmp_path / "images", "3b"), tmp_path / "out")
    path = tmp_path / "out" / "raw" / "s1a_38SLF_prob_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        mapped = dataset.read(1)
    whole = forest_probability(forest, image[:2])
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
    probability = forest_probability(forest, image[:2])
    known = mask != 255
    assert ((probability > 0.5) == (mask == 1))[known].mean() > 0.9


def scene(seed: int):
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 70), np.uint8)
    mask[20:40, 20:50] = 1
    speckle = rng.gamma(4.4, 1 / 4.4, (2, 60, 70)).astype(np.float32)
    vh = np.where(mask, 0.08, 0.01).astype(np.float32) * speckle[0]
    vv = np.where(mask, 0.4, 0.05).astype(np.float32) * speckle[1]
    vh[:5], vv[:5] = np.nan, np.nan
    return np.stack([vh, vv]), mask


def test_features_are_local_statistics_of_the_valid_pixels_in_decibels():
    power, _ = scene(0)
    features, valid = forest_features(power)
    assert features.shape == (14, 60, 70)
    window = 10 * np.log10(power[1, 5:13, 23:38])  # rows 5 to 12: the valid part of rows -2 to 12
    np.testing.assert_allclose(features[12, 5, 30], window.mean(), rtol=1e-4)
    np.testing.assert_allclose(features[13, 5, 30], window.std(), rtol=1e-3)
    assert not valid[:5].any() and valid[5:].all()


def test_forest_finds_bright_blocks_and_leaves_no_data_undefined():
    forest = fit_forest([scene(0), scene(1)], pixels=4000)
    power, mask = scene(2)
    probability = forest_probability(forest, power)
    assert np.isnan(probability[:5]).all()
    predicted = probability[5:] > 0.5
    assert (predicted == mask[5:].astype(bool)).mean() > 0.95


def test_forest_learns_nothing_from_ignored_pixels():
    power, mask = scene(0)
    wrong = mask.copy()
    wrong[:, 35:] = 255
    wrong[20:40, 35:50] = 255
    forest = fit_forest([(power, wrong)], pixels=100_000)
    # 30 rows x 35 columns are labelled and valid: no more can have been drawn
    assert forest.estimators_[0].tree_.n_node_samples[0] <= 55 * 35
