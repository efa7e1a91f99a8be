"""A folder of results as all_agg_by_city and polygonize leave it, for the tests of products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from builtup.maps.polygonize import polygonize
from builtup.runs.results import PredictionTags
from helpers import CRS, TRANSFORM, write_raster

CITY = "38SLF_Alpha"
MASK = np.zeros((60, 80), np.uint8)
MASK[5:20, 5:30] = MASK[30:50, 40:70] = 1
MASK[:, 78:] = 255


def make_city(
    root: Path,
    city: str = CITY,
    mask: NDArray[np.uint8] = MASK,
    transform: Affine = TRANSFORM,
    crs: str = CRS,
    scenes: tuple[str, ...] = ("s1a_38SLF_prob_ASC_20150522t153536", "s1a_38SLF_prob_20150214"),
) -> Path:
    """Rasters and polygons of one city and its scenes; the folder raw/."""
    prob = np.where(mask == 255, 255, 40 + 150 * (mask == 1)).astype(np.uint8)
    std = np.where(mask == 255, np.nan, 0.1).astype(np.float32)
    rasters: list[tuple[str, Any, str]] = [(city, mask, ""), (f"{city}_prob", prob, "")]
    rasters += [(f"{city}_std", std, ""), *((name, prob, f"{name}_id") for name in scenes)]
    for name, values, scene in rasters:
        nodata = np.nan if values.dtype == np.float32 else 255
        path = write_raster(root / "raw" / f"{name}.tif", values, transform, crs, nodata=nodata)
        tags = PredictionTags(scene, city, mask.shape[1], mask.shape[0], "run", 0.5)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags.as_gdal())
    polygonize(input_path=str(root))
    return root / "raw"
