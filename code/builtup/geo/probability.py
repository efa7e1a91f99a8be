"""8-bit rasters: probabilities (value v means v/254) and masks, 255 where nothing is known.

254 levels keep a probability to 0.002, far below what a network knows of its own confidence, in a
quarter of the bytes of float32; 255 is left for no-data, as in masks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from builtup.errors import ConfigError

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

__all__ = [
    "IGNORE",
    "LEVELS",
    "NODATA",
    "SCALE",
    "decode",
    "describe_probability",
    "encode",
    "level_of",
    "mapped_band",
    "moved_threshold",
    "parse_threshold",
]

#: The value of probability 1.
SCALE = 254
#: Values that a probability may have: 0 to 254.
LEVELS = SCALE + 1
#: No-data of 8-bit probabilities.
NODATA = 255
#: Invalid or unlabelled in masks of classes.
IGNORE = 255


def encode(probability: NDArray[np.floating], invalid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """round(254 p) as uint8, 255 where `invalid` or NaN; both of one shape."""
    levels = np.nan_to_num(np.clip(np.round(probability * SCALE), 0, SCALE), nan=NODATA)
    return np.where(invalid, NODATA, levels).astype(np.uint8)


def decode(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities 0 to 1 as float32, NaN where no-data; the shape of `levels`."""
    values = levels.astype(np.float32) / np.float32(SCALE)
    values[levels == NODATA] = np.nan
    return values


def describe_probability(dataset: DatasetWriter) -> None:
    """Say in a raster of 8-bit probabilities that v means v/254, so that a GIS shows 0 to 1.

    rasterio and GDAL read v all the same.
    """
    bands = dataset.count
    dataset.scales, dataset.offsets = (1 / SCALE,) * bands, (0.0,) * bands
    dataset.units = ("probability",) * bands


def level_of(threshold: float) -> int:
    """The least 8-bit value that counts as above a threshold, ⌈254 · threshold⌉.

    254 · (k / 254) may come out a hair above k; that hair is taken off.
    """
    return math.ceil(SCALE * threshold - 1e-9)


def mapped_band(bands: int, mapped: int = 1) -> int:
    """The band (from 1) of a class's probability: a raster's only one, or that of the class."""
    return 1 if bands == 1 else mapped + 1


def parse_threshold(text: str, otherwise: str = "") -> float | None:
    """The option or setting `threshold`; None where it is empty.

    `otherwise` names what may be given instead of a number ("mean, or "), for the ConfigError.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as e:
        raise ConfigError(
            f"threshold={text}: not a number; use {otherwise}one between 0 and 1"
        ) from e
    if not 0 < value <= 1:
        raise ConfigError(
            f"threshold={text}: out of range; use {otherwise}a number above 0, at most 1"
        )
    return value


def moved_threshold(threshold: float, temperature: float | None) -> float:
    """The threshold that maps the same pixels once logits are divided by `temperature`."""
    if temperature is None or temperature == 1.0 or not 0 < threshold < 1:
        return threshold
    logit = math.log(threshold / (1 - threshold))
    return 1 / (1 + math.exp(-logit / temperature))
