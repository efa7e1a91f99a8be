"""Validity of polygons, the largest ones included."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["are_large", "are_valid"]

Objects = NDArray[np.object_]
Bools = NDArray[np.bool_]
#: Holes times vertices of the shell up to which GEOS tells within some hundredths of a second.
_FOR_GEOS = 10_000_000


def are_large(polygons: Objects) -> Bools:
    """Which polygons have so many holes and vertices that GEOS's own check takes long.

    It looks for each hole at all of the shell.
    """
    holes = shapely.get_num_interior_rings(polygons)
    vertices = shapely.get_num_coordinates(shapely.get_exterior_ring(polygons))
    return np.asarray(holes * vertices > _FOR_GEOS)


def are_valid(polygons: Objects) -> Bools:
    """Which polygons are valid, in time that hardly grows faster than their vertices.

    Of large ones (`are_large`) it is not asked whether holes that touch each other in a ring cut
    the interior in two: where rings touch at vertices alone, as they did before, none does.
    """
    valid = np.ones(len(polygons), bool)
    large = are_large(polygons)
    valid[~large] = shapely.is_valid(polygons[~large])
    valid[large] = [_is_valid(polygon) for polygon in polygons[large]]
    return valid


def _is_valid(polygon: shapely.Polygon) -> bool:
    rings = shapely.get_rings(polygon)
    shell, holes = rings[0], rings[1:]
    west, south, east, north = shapely.bounds(polygon)
    wide, high = east - west, north - south
    # of a polygon with a hole outside its shell, GEOS says so once it has found its edges in order
    x, y = east + wide, south
    outside = shapely.linearrings([(x, y), (x + wide, y), (x + wide, y + high), (x, y)])
    reason = shapely.is_valid_reason(shapely.polygons(shell, np.append(outside, holes)))
    if not reason.startswith("Hole lies outside shell"):
        return False
    inside = shapely.polygons(shell)
    shapely.prepare(inside)
    firsts = shapely.get_coordinates(shapely.get_point(holes, 0))
    if not shapely.intersects_xy(inside, *firsts.T).all():
        return False
    around = shapely.linearrings(
        shapely.get_coordinates(shapely.box(west - wide, south - high, east + wide, north + high))
    )
    return bool(shapely.is_valid(shapely.polygons(around, holes)))
