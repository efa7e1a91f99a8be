"""Small data sets of pictures in the layouts that are imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from builtup.sensors.optical.layouts.dronedeploy import CLASSES
from helpers import write_raster

UTM = "EPSG:32638"
#: Pixels of 25 cm.
PLACE = Affine(0.25, 0, 300_000, 0, -0.25, 4_000_000)


def colours(shape: tuple[int, int] = (300, 400), seed: int = 0) -> NDArray[np.uint8]:
    """A picture (3, H, W) without black."""
    return np.random.default_rng(seed).integers(1, 256, (3, *shape), dtype=np.uint8)


def class_numbers(shape: tuple[int, int] = (300, 400)) -> NDArray[np.uint8]:
    """Classes 0 to 5 in stripes, 255 at the right."""
    numbers = np.tile((np.arange(shape[1]) // 20 % 6).astype(np.uint8), (shape[0], 1))
    numbers[:, -30:] = 255
    return numbers


def painted(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class numbers in the benchmark's colours, (H, W, 3)."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(CLASSES)] = CLASSES.colours
    table[255] = CLASSES.ignored[0]
    return table[numbers]


def elevation(shape: tuple[int, int] = (300, 400)) -> NDArray[np.float32]:
    """Flat ground at 100 m with a house of 6 m, 40 x 60 pixels from row 50 and column 80."""
    surface = np.full(shape, 100, np.float32)
    surface[50:90, 80:140] += 6
    return surface


def write_dronedeploy(
    root: Path,
    name: str = "one",
    *,
    image: NDArray[Any] | None = None,
    labels: NDArray[np.uint8] | None = None,
    heights: NDArray[Any] | None = None,
    crs: str | None = UTM,
    transform: Affine | None = PLACE,
    **profile: Any,
) -> Path:
    """Write one scene: its picture, its labels (H, W, 3), its elevation where one is given."""
    image = colours() if image is None else image
    labels = painted(class_numbers(image.shape[1:])) if labels is None else labels
    settings = {"photometric": "RGB", **profile}
    write_raster(root / f"images/{name}-ortho.tif", image, transform, crs, **settings)
    (root / "labels").mkdir(exist_ok=True)
    Image.fromarray(labels).save(root / f"labels/{name}-label.png")
    if heights is not None:
        path = root / f"elevations/{name}-elev.tif"
        write_raster(path, heights, transform, crs, nodata=-9999)
    return root
