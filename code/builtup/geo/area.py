"""The area that a prediction is limited to: a polygon file, or a box in degrees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.reprojection import EDGES, densify, reproject
from builtup.geo.vectors import PolygonSet, read_polygons
from builtup.geo.windows import Window

__all__ = ["Area", "GridArea", "parse_area"]

#: How far around a grid polygons are kept: as many of the longest edges.
_MARGIN = 100


@dataclass(frozen=True)
class Area:
    """Polygons, in their own CRS; `name` is what the user gave."""

    name: str
    polygons: PolygonSet

    @property
    def digest(self) -> str:
        """What tells one area from another."""
        crs = self.polygons.crs.to_wkt()
        shapes = shapely.to_wkb(self.polygons.geometries).tolist()
        return hashlib.sha256(b"".join([crs.encode(), *shapes])).hexdigest()

    def on(self, grid: Grid) -> GridArea | None:
        """The area on a grid, or None where it does not meet it."""
        moved = reproject(_near(self.polygons, grid), grid.crs)
        if not len(moved):
            return None
        burner = Burner.of(moved, grid, all_touched=False)
        if not len(burner):
            return None
        shapes = shapely.transform(moved.geometries, grid.to_pixels)
        return GridArea(shapely.STRtree(shapes), burner)


@dataclass(frozen=True)
class GridArea:
    """An area in the pixels of a grid."""

    index: shapely.STRtree
    burner: Burner

    def meets(self, window: Window) -> bool:
        """Whether any of it lies in a window."""
        box = shapely.box(window.x, window.y, window.x + window.width, window.y + window.height)
        return len(self.index.query(box, predicate="intersects")) > 0

    def holds(self, window: Window) -> NDArray[np.bool_]:
        """(height, width): the pixels of a window whose centre lies in it."""
        return self.burner.burn(window) == 1


def parse_area(text: str) -> Area | None:
    """Read `area`: a polygon file, or `west,south,east,north` in degrees; None where it is empty.

    A box across the date line has its west above its east, as GeoJSON has it (RFC 7946).

    Raises InputError or BuiltupError, in one line.
    """
    if not text.strip():
        return None
    parts = text.split(",")
    try:
        present = Path(text).exists()
    except OSError as e:  # the text of a polygon is no file's name
        remedy = "give a polygon file, or minx,miny,maxx,maxy in degrees"
        raise InputError(text[:80], f"no area that can be read ({e.strerror})", remedy) from e
    if len(parts) == 4 and not present:
        return Area(text, _box(text, parts))
    return Area(text, densify(read_polygons(Path(text))))


def _near(polygons: PolygonSet, grid: Grid) -> PolygonSet:
    """The polygons around a grid: one that reaches far beyond has no shape in a CRS of that place.

    Those that do not reach that far stay as they are.
    """
    try:
        back = pyproj.Transformer.from_crs(grid.crs.to_wkt(), polygons.crs, always_xy=True)
        left, bottom, right, top = back.transform_bounds(*grid.bounds)
    except pyproj.exceptions.ProjError:
        return polygons  # what moves them says so
    if not np.isfinite([left, bottom, right, top]).all():
        return polygons
    turns = [0.0]
    if polygons.crs.is_geographic:  # the date line may lie within the grid, or between them
        right += 360 if right < left else 0
        turns = [-360.0, 0.0, 360.0]
    margin = _MARGIN * EDGES[polygons.crs.is_geographic]
    west, south, east, north = left - margin, bottom - margin, right + margin, top + margin
    boxes = [shapely.box(west + turn, south, east + turn, north) for turn in turns]
    shapes = polygons.geometries
    far = ~np.any([shapely.contains(box, shapes) for box in boxes], axis=0)
    cut = np.concatenate([shapely.intersection(shapes[far], box) for box in boxes])
    parts = shapely.get_parts(shapely.get_parts(cut))  # of collections, of multipolygons
    parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    kept = np.concatenate([shapes[~far], parts[~shapely.is_empty(parts)]])
    return replace(polygons, geometries=kept)


def _box(text: str, parts: list[str]) -> PolygonSet:
    try:
        west, south, east, north = (float(part) for part in parts)
    except ValueError as e:
        raise BuiltupError(
            f"area={text}: no four numbers; use minx,miny,maxx,maxy in degrees, or a polygon file"
        ) from e
    on_earth = min(west, east) >= -180 and max(west, east) <= 180 and -90 <= south < north <= 90
    across = west > east and east + 360 - west <= 180
    if not on_earth or not (west < east or across):
        raise BuiltupError(
            f"area={text}: no box; use minx,miny,maxx,maxy in degrees with minx < maxx, miny < "
            "maxy; across the date line (180°) minx is the western edge, and larger (179,-17,-179,"
            "-16), or give a polygon file that is split there"
        )
    sides = [(west, 180.0), (-180.0, east)] if across else [(west, east)]
    boxes = [shapely.box(left, south, right, north) for left, right in sides if left < right]
    crs = pyproj.CRS.from_epsg(4326)
    return densify(PolygonSet(Path(text), np.array(boxes, dtype=object), crs))
