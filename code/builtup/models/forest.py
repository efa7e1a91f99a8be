"""The classic reference: a per-pixel random forest on backscatter and its local statistics.

What a network must beat to be worth its training. Features of a pixel: dB of VH and VV, and their
local mean and standard deviation in square windows of 3, 7 and 15 pixels (14 in all).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier

from builtup.geo.probability import IGNORE
from builtup.sensors.radar.bands import invalid, to_db

__all__ = ["fit_forest", "forest_features", "forest_probability"]

WINDOWS = (3, 7, 15)
TREES = 100
MIN_SAMPLES_LEAF = 5
TRAINING_PIXELS = 40_000

Float = NDArray[np.float32]
Scene = tuple[Float, Float, NDArray[np.uint8]]


def forest_features(vh: Float, vv: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Features (14, H, W) and validity (H, W) from two powers (H, W), linear, NaN where no-data.

    Local statistics are over the valid pixels of a window; windows shrink at the edges of data.
    """
    valid = ~invalid(vh, vv)
    bands: list[Float] = []
    for power in (vh, vv):
        decibels = np.where(valid, to_db(np.where(valid, power, 1)), 0).astype(np.float64)
        bands.append(decibels.astype(np.float32))
        for window in WINDOWS:
            share = np.maximum(_local_mean(valid.astype(np.float64), window), 1e-9)
            mean = _local_mean(decibels, window) / share
            square = _local_mean(decibels**2, window) / share
            bands.append(mean.astype(np.float32))
            bands.append(np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32))
    return np.stack(bands), valid


def _local_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    return uniform_filter(values, window, mode="constant")


def fit_forest(
    scenes: Iterable[Scene], *, pixels: int = TRAINING_PIXELS, seed: int = 0, num_workers: int = 2
) -> RandomForestClassifier:
    """Fit on `pixels` labelled valid pixels drawn alike from all scenes (VH, VV, mask 0/1/255)."""
    rng = np.random.default_rng(seed)
    features, targets = [], []
    scenes = list(scenes)
    for vh, vv, mask in scenes:
        values, valid = forest_features(vh, vv)
        known = np.flatnonzero(valid & (mask != IGNORE))
        drawn = rng.choice(known, min(len(known), -(-pixels // len(scenes))), replace=False)
        features.append(values.reshape(len(values), -1)[:, drawn].T)
        targets.append(mask.reshape(-1)[drawn])
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=MIN_SAMPLES_LEAF, n_jobs=num_workers, random_state=seed
    )
    return forest.fit(np.concatenate(features), np.concatenate(targets))


def forest_probability(forest: RandomForestClassifier, vh: Float, vv: Float) -> Float:
    """Probability of built-up (H, W), NaN where there is no data."""
    values, valid = forest_features(vh, vv)
    probability = np.full(valid.shape, np.nan, np.float32)
    rows = values[:, valid].T
    # in parts: a forest holds a probability per tree and class
    parts = [
        forest.predict_proba(part)[:, list(forest.classes_).index(1)]
        for part in np.array_split(rows, max(1, len(rows) // 500_000))
    ]
    probability[valid] = np.concatenate(parts)
    return probability
