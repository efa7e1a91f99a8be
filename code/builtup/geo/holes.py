"""Small holes of regions filled, by their area on the ground."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["without_small_holes"]

Objects = NDArray[np.object_]


def without_small_holes(
    outlines: Objects,
    vacant: NDArray[np.bool_],
    pixel_area: NDArray[np.float64],
    *,
    min_hole: float,
    min_area: float,
) -> Objects:
    """Polygons without their holes below `min_hole` (m²).

    `outlines` are in pixel coordinates, `pixel_area` (m²) that of a pixel of each; `vacant` has a
    value for each hole, in the order of the outlines: nothing is built up in it. A hole in which
    a polygon of `min_area` or more may lie stays, so that no two polygons overlap.
    """
    if min_hole <= 0 or not len(vacant):
        return outlines
    rings, owner = shapely.get_rings(outlines, return_index=True)
    hole = np.concatenate((np.zeros(1, bool), owner[1:] == owner[:-1]))
    area = shapely.area(shapely.polygons(rings[hole])) * pixel_area[owner[hole]]
    filled = (area < min_hole) & (vacant | (area <= min_area))
    if not filled.any():
        return outlines
    changed = np.zeros(len(outlines), bool)
    changed[owner[hole][filled]] = True
    kept = changed[owner]
    kept[np.flatnonzero(hole)[filled]] = False
    number = np.cumsum(changed) - 1
    out = outlines.copy()
    out[changed] = shapely.polygons(rings[kept], indices=number[owner[kept]])
    return out
