"""Pictures of predicted tiles: image, probability and, where it is known, ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from builtup.geo.probability import IGNORE, NODATA
from builtup.jobs.files import atomic_path
from builtup.training.pictures import tile_picture

__all__ = ["save_overlay"]


def save_overlay(
    path: Path,
    power: NDArray[np.float32],
    values: NDArray[np.uint8],
    level: int,
    truth: NDArray[np.uint8] | None,
    title: str = "",
) -> None:
    """Write a PNG of panels: image, probability, truth, and the image under either.

    `power` (2 or 3, H, W) linear; `values` (H, W) 8-bit probability, built-up from `level` on;
    `truth` (H, W) 0/1/255, all unknown where None.
    """
    known = values != NODATA
    probability = np.where(known, values, 0).astype(np.float32) / np.float32(254)
    label = ((values >= level) & known).astype(np.uint8)
    target = np.full(values.shape, IGNORE, np.uint8) if truth is None else truth
    picture: Image.Image = tile_picture(power, probability, label, target, title)
    with atomic_path(path) as temporary:
        picture.save(temporary)
