"""Outlines of grids on the ground, and the same in another CRS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from builtup.geo.grid import Grid
from builtup.geo.windows import Window

__all__ = ["ground_polygon", "in_crs"]

#: Straight edges of one UTM zone are curves in the next: points every so many CRS units.
_SEGMENT = 1_000.0


def ground_polygon(grid: Grid, window: Window | None = None) -> BaseGeometry:
    """The outline of a grid or of a window of it, in CRS units."""
    part = grid if window is None else grid.window(window.x, window.y, window.width, window.height)
    return shapely.Polygon(part.corners)


def in_crs(
    polygons: Iterable[BaseGeometry], source: CRS | None, target: CRS | None
) -> NDArray[Any]:
    """Polygons in another CRS, their edges followed at every kilometre; as they are without one."""
    shapes = np.array(list(polygons), dtype=object)
    if source is None or target is None or source == target:
        return shapes
    transformer = Transformer.from_crs(source.to_wkt(), target.to_wkt(), always_xy=True)
    segment = _SEGMENT if source.is_projected else 0.01
    dense = shapely.segmentize(shapes, segment)
    return np.asarray(
        shapely.transform(
            dense, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
        )
    )
