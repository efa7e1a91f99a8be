"""The classic reference: a per-pixel random forest on an image and its local statistics.

What a network must beat to be worth its training. Features of a pixel: each band on its sensor's
axis (radar: dB), and its local mean and standard deviation in square windows of 3, 7 and 15 pixels.
Its maps have the layout that `merge_tiles` writes, so that aggregation, validation and report treat
them as they treat a network's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier

from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, NODATA, encode
from builtup.geo.rasters import create_raster, gdal_env, open_raster, read_window
from builtup.geo.windows import Window, tiling
from builtup.jobs.files import atomic_path
from builtup.runs.results import PredictionTags, write_tags
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.scene_files import SceneFile
from builtup.sensors.sensor import Sensor

__all__ = ["fit_forest", "fit_on_scenes", "forest_features", "forest_probability", "map_scenes"]

WINDOWS = (3, 7, 15)
TREES = 100
MIN_SAMPLES_LEAF = 5
TRAINING_PIXELS = 40_000
#: Pixels around a block that its local statistics reach.
HALO = max(WINDOWS) // 2
BLOCK = 1024
THRESHOLD = 0.5

Float = NDArray[np.float32]
#: The bands that are read (B, H, W), NaN where no-data, and the mask (H, W) of 0, 1 and 255.
Scene = tuple[Float, NDArray[np.uint8]]


def forest_features(bands: Float, sensor: Sensor = DEFAULT) -> tuple[Float, NDArray[np.bool_]]:
    """Features (7 B, H, W) and validity (H, W) of the bands (B, H, W) that are read.

    Local statistics are over the valid pixels of a window; windows shrink at the edges of data.
    """
    valid = ~sensor.invalid(bands, None)
    features: list[Float] = []
    for band in bands:
        values = np.where(valid, sensor.axis.place(np.where(valid, band, 1)), 0).astype(np.float64)
        features.append(values.astype(np.float32))
        for window in WINDOWS:
            share = np.maximum(_local_mean(valid.astype(np.float64), window), 1e-9)
            mean = _local_mean(values, window) / share
            square = _local_mean(values**2, window) / share
            features.append(mean.astype(np.float32))
            features.append(np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32))
    return np.stack(features), valid


def _local_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    return uniform_filter(values, window, mode="constant")


def fit_forest(
    scenes: Iterable[Scene],
    *,
    pixels: int = TRAINING_PIXELS,
    seed: int = 0,
    num_workers: int = 2,
    sensor: Sensor = DEFAULT,
) -> RandomForestClassifier:
    """Fit on `pixels` labelled valid pixels drawn alike from all scenes."""
    rng = np.random.default_rng(seed)
    features, targets = [], []
    scenes = list(scenes)
    for bands, mask in scenes:
        values, valid = forest_features(bands, sensor)
        known = np.flatnonzero(valid & (mask != IGNORE))
        drawn = rng.choice(known, min(len(known), -(-pixels // len(scenes))), replace=False)
        features.append(values.reshape(len(values), -1)[:, drawn].T)
        targets.append(mask.reshape(-1)[drawn])
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=MIN_SAMPLES_LEAF, n_jobs=num_workers, random_state=seed
    )
    return forest.fit(np.concatenate(features), np.concatenate(targets))


def forest_probability(
    forest: RandomForestClassifier, bands: Float, sensor: Sensor = DEFAULT
) -> Float:
    """Probability of built-up (H, W) from the bands (B, H, W), NaN where there is no data."""
    values, valid = forest_features(bands, sensor)
    probability = np.full(valid.shape, np.nan, np.float32)
    rows = values[:, valid].T
    built_up = list(forest.classes_).index(BUILT_UP.mapped_index)
    # in parts: a forest holds a probability per tree and class
    parts = [
        forest.predict_proba(part)[:, built_up]
        for part in np.array_split(rows, max(1, len(rows) // 500_000))
    ]
    probability[valid] = np.concatenate(parts)
    return probability


def fit_on_scenes(
    images: Sequence[SceneFile],
    masks: Sequence[SceneFile],
    *,
    seed: int = 0,
    sensor: Sensor = DEFAULT,
) -> RandomForestClassifier:
    """Fit the forest on scenes and the masks of the same scene ids."""
    by_scene = {mask.scene_id: mask.path for mask in masks}
    with gdal_env():
        scenes: list[Scene] = []
        for image in images:
            with open_raster(image.path) as dataset, open_raster(by_scene[image.scene_id]) as mask:
                bands = read_window(dataset, indexes=list(sensor.read))
                scenes.append((bands, read_window(mask, indexes=1)))
    return fit_forest(scenes, seed=seed, sensor=sensor)


def map_scenes(
    forest: RandomForestClassifier,
    images: Sequence[SceneFile],
    folder: Path,
    sensor: Sensor = DEFAULT,
) -> None:
    """Write `<folder>/raw/<scene>_prob….tif`: 8-bit probability with tags, block by block."""
    for image in images:
        target = folder / "raw" / image.output_name("prob")
        with gdal_env(), open_raster(image.path) as dataset, atomic_path(target) as temporary:
            grid = Grid.of(dataset)
            tags = PredictionTags(
                image.scene_id,
                image.city,
                grid.width,
                grid.height,
                "",
                THRESHOLD,
                BUILT_UP.names,
            )
            profile = {
                "dtype": "uint8",
                "count": 1,
                "width": grid.width,
                "height": grid.height,
                "crs": grid.crs,
                "transform": grid.transform,
                "nodata": NODATA,
                "tiled": True,
                "blockxsize": 512,
                "blockysize": 512,
                "compress": "ZSTD",
            }
            with create_raster(temporary, **profile) as output:
                write_tags(output, tags)
                for block in tiling(grid.width, grid.height, BLOCK, 0):
                    values = _map_block(forest, dataset, block, sensor)
                    output.write(values, 1, window=block.rasterio)


def _map_block(
    forest: RandomForestClassifier, dataset: DatasetReader, block: Window, sensor: Sensor
) -> NDArray[np.uint8]:
    around = Window(
        block.y - HALO, block.x - HALO, block.height + 2 * HALO, block.width + 2 * HALO
    ).intersection(Window(0, 0, dataset.height, dataset.width))
    if around is None:
        raise ValueError(f"{block} lies outside {dataset.name}")
    bands = read_window(dataset, around, list(sensor.read))
    probability = forest_probability(forest, bands, sensor)[block.relative_to(around).slices]
    return encode(probability, np.isnan(probability))
