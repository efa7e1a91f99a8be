"""Maps made by the random-forest reference, in the layout that `merge_tiles` writes.

Aggregation, validation and report then treat them as they treat a network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from sklearn.ensemble import RandomForestClassifier

from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.rasters import create_raster, gdal_env, open_raster, read_window
from builtup.geo.windows import Window, tiling
from builtup.jobs.files import atomic_path
from builtup.models.forest import WINDOWS, Scene, fit_forest, forest_probability
from builtup.runs.results import PredictionTags, write_tags
from builtup.sensors.radar.names import SceneFile

__all__ = ["as_bytes", "fit_on_scenes", "map_scenes"]

#: Pixels around a block that its local statistics reach.
HALO = max(WINDOWS) // 2
BLOCK = 1024
THRESHOLD = 0.5


def fit_on_scenes(
    images: Sequence[SceneFile], masks: Sequence[SceneFile], *, seed: int = 0
) -> RandomForestClassifier:
    """Fit the forest on 3-band scenes and the masks of the same scene ids."""
    by_scene = {mask.scene_id: mask.path for mask in masks}
    with gdal_env():
        scenes: list[Scene] = []
        for image in images:
            with open_raster(image.path) as dataset, open_raster(by_scene[image.scene_id]) as mask:
                vh, vv = read_window(dataset, indexes=[1, 2])
                scenes.append((vh, vv, read_window(mask, indexes=1)))
    return fit_forest(scenes, seed=seed)


def map_scenes(forest: RandomForestClassifier, images: Sequence[SceneFile], folder: Path) -> None:
    """Write `<folder>/raw/<scene>_prob….tif`: 8-bit probability with tags, block by block."""
    for image in images:
        target = folder / "raw" / f"{image.name.as_kind('prob')}.tif"
        with gdal_env(), open_raster(image.path) as dataset, atomic_path(target) as temporary:
            grid = Grid.of(dataset)
            tags = PredictionTags(
                image.scene_id,
                image.city,
                grid.width,
                grid.height,
                "",
                THRESHOLD,
                ("background", "building"),
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
                    values = _map_block(forest, dataset, block)
                    output.write(values, 1, window=block.rasterio)


def _map_block(
    forest: RandomForestClassifier, dataset: DatasetReader, block: Window
) -> NDArray[np.uint8]:
    around = Window(
        block.y - HALO, block.x - HALO, block.height + 2 * HALO, block.width + 2 * HALO
    ).intersection(Window(0, 0, dataset.height, dataset.width))
    if around is None:
        raise ValueError(f"{block} lies outside {dataset.name}")
    vh, vv = read_window(dataset, around, [1, 2])
    return as_bytes(forest_probability(forest, vh, vv)[block.relative_to(around).slices])


def as_bytes(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities as predictions hold them: round(254 · p), 255 where NaN."""
    scaled = np.rint(np.nan_to_num(probability) * 254).astype(np.uint8)
    scaled[np.isnan(probability)] = NODATA
    return scaled
