"""From probabilities to the map of an image: the class of each pixel, and how sure it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.prefetch import running_ahead
from builtup.geo.probability import IGNORE, NODATA, SCALE, describe_probability
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import aligned
from builtup.runs.prediction_tags import CONFIDENCE, PredictionTags, write_tags
from builtup.sensors.classes import Classes

__all__ = ["palette", "write_class_map"]

#: Side of the blocks that are worked on, and of those of the COGs.
BLOCK = 512
CACHE_BYTES = 16_000_000


def write_class_map(
    probabilities: Path, classes: Path, confidence: Path, tags: PredictionTags
) -> None:
    """Write the class of each pixel (uint8, 255 no-data, with a table of colours) and its own
    probability (v/254, 255), as COGs on the grid of `probabilities`.

    `tags` are those of the scene: its threshold decides where there are two classes.
    """
    profile: dict[str, Any] = {"count": 1, "dtype": "uint8"}
    own = replace(tags, scene="")
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(probabilities) as source:
        grid = Grid.of(source)
        blocks = list(aligned(grid.width, grid.height, (BLOCK, BLOCK)))
        with (
            # entered first and so finished last: it stands for the map
            create_cog(classes, grid, resampling="mode", nodata=IGNORE, **profile) as map_out,
            create_cog(confidence, grid, nodata=NODATA, **profile) as sure_out,
            running_ahead(lambda block: read_window(source, block), blocks) as read,
        ):
            map_out.write_colormap(1, palette(tags.class_set))
            describe_probability(sure_out)
            write_tags(map_out, own.of_kind("classes"))
            write_tags(sure_out, own.of_kind(CONFIDENCE))
            for block, levels in zip(blocks, read, strict=True):
                label = tags.class_set.decide(levels, tags.threshold)
                map_out.write(label, 1, window=block.rasterio)
                sure = _confidence(levels, label, tags.class_set)
                sure_out.write(sure, 1, window=block.rasterio)


def palette(classes: Classes) -> dict[int, tuple[int, int, int, int]]:
    """A table of colours for class numbers; no-data is transparent."""
    colours = {number: (*colour, 255) for number, colour in enumerate(classes.colours)}
    return {**colours, IGNORE: (0, 0, 0, 0)}


def _confidence(
    levels: NDArray[np.uint8], label: NDArray[np.uint8], classes: Classes
) -> NDArray[np.uint8]:
    """The 8-bit probability of each pixel's own class, 255 where it has none."""
    if len(levels) > 1:
        chosen = np.minimum(label, len(levels) - 1).astype(np.intp)[None]
        sure = np.take_along_axis(levels, chosen, axis=0)[0]
    else:
        mapped = label == classes.mapped_index
        sure = np.where(mapped, levels[0], np.uint8(SCALE) - levels[0])
    return np.where(label == IGNORE, np.uint8(NODATA), sure)
