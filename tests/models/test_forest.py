"""The random-forest reference."""

import numpy as np

from builtup.models.forest import fit_forest, forest_features, forest_probability


def scene(seed: int):
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 70), np.uint8)
    mask[20:40, 20:50] = 1
    speckle = rng.gamma(4.4, 1 / 4.4, (2, 60, 70)).astype(np.float32)
    vh = np.where(mask, 0.08, 0.01).astype(np.float32) * speckle[0]
    vv = np.where(mask, 0.4, 0.05).astype(np.float32) * speckle[1]
    vh[:5], vv[:5] = np.nan, np.nan
    return vh, vv, mask


def test_features_are_local_statistics_of_the_valid_pixels_in_decibels():
    vh, vv, _ = scene(0)
    features, valid = forest_features(vh, vv)
    assert features.shape == (14, 60, 70)
    window = 10 * np.log10(vv[5:13, 23:38])  # rows 5 to 12: the valid part of rows -2 to 12
    np.testing.assert_allclose(features[12, 5, 30], window.mean(), rtol=1e-4)
    np.testing.assert_allclose(features[13, 5, 30], window.std(), rtol=1e-3)
    assert not valid[:5].any() and valid[5:].all()


def test_forest_finds_bright_blocks_and_leaves_no_data_undefined():
    forest = fit_forest([scene(0), scene(1)], pixels=4000)
    vh, vv, mask = scene(2)
    probability = forest_probability(forest, vh, vv)
    assert np.isnan(probability[:5]).all()
    predicted = probability[5:] > 0.5
    assert (predicted == mask[5:].astype(bool)).mean() > 0.95


def test_forest_learns_nothing_from_ignored_pixels():
    vh, vv, mask = scene(0)
    wrong = mask.copy()
    wrong[:, 35:] = 255
    wrong[20:40, 35:50] = 255
    forest = fit_forest([(vh, vv, wrong)], pixels=100_000)
    # 30 rows x 35 columns are labelled and valid: no more can have been drawn
    assert forest.estimators_[0].tree_.n_node_samples[0] <= 55 * 35
