"""Outlines with fewer vertices that still fit together."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["simplified"]


def simplified(
    outlines: NDArray[np.object_], tolerance: float, pixel: tuple[float, float]
) -> NDArray[np.object_]:
    """Remove vertices whose triangle is smaller than `tolerance`² (metres).

    `outlines` are regions of one mask in pixel coordinates, `pixel` the size of a pixel in metres.
    What is left are vertices of the input: valid polygons that do not overlap, and touch where
    they touched. 0 returns the outlines as they are. (Visvalingam & Whyatt 1993, on the whole
    coverage at once, in GEOS.)
    """
    if tolerance <= 0 or not len(outlines):
        return outlines
    width, height = pixel
    stretch = height / width  # a degree is not as wide as it is high
    if stretch != 1:
        outlines = _scaled(outlines, stretch)
    simple = np.asarray(shapely.coverage_simplify(outlines, tolerance / width))
    if stretch != 1:
        simple = shapely.transform(_scaled(simple, 1 / stretch), np.rint)
    return simple


def _scaled(outlines: NDArray[np.object_], factor: float) -> NDArray[np.object_]:
    return np.asarray(shapely.transform(outlines, lambda xy: xy * (1.0, factor)))
