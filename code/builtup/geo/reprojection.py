"""Polygons brought to another CRS, and how far they lie from a place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.vectors import CRS_REMEDY, PolygonSet
from builtup.logs import warn_once

__all__ = ["EDGES", "densify", "distance_to", "reproject"]

#: Longest edges, in degrees where the key (is the CRS geographic?) is true, else in CRS units.
EDGES = {True: 0.01, False: 1000.0}
#: Metres by which a way between datums may be off without a word.
PIXEL = 10.0


def reproject(polygons: PolygonSet, crs: Any) -> PolygonSet:
    """The same polygons in another CRS (anything that pyproj takes, or a rasterio CRS).

    Long edges are split first (`densify`), so that they stay where they are. Polygons that have no
    place in `crs` are left out. A warning where PROJ knows no way from the one datum to the other
    and leaves coordinates as they are, or one that is off by more than a pixel. Raises InputError
    where no way leads from the one CRS to the other.
    """
    target = pyproj.CRS.from_user_input(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)
    if target == polygons.crs:
        return polygons
    try:
        transformer = pyproj.Transformer.from_crs(polygons.crs, target, always_xy=True)
    except pyproj.exceptions.ProjError as e:
        raise InputError(
            polygons.path,
            f"its CRS ({polygons.crs.name}) cannot be brought to that of the scene ({target.name})",
            CRS_REMEDY,
        ) from e

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1)

    _check_turn(polygons)
    moved = shapely.transform(densify(polygons).geometries, move)
    if len(moved):
        _check_accuracy(polygons, target, transformer)
    finite = np.isfinite(shapely.bounds(moved)).all(axis=1)
    return replace(polygons, geometries=moved[finite], crs=target)


def densify(polygons: PolygonSet) -> PolygonSet:
    """The same polygons, edges longer than 0.01° or 1000 units of their CRS split.

    What is straight in one CRS is not in another: a parallel of 1.2° at 36° N leaves the straight
    line between its ends by 167 m in UTM. The parts of an edge stay within 10 cm.
    """
    step, shapes = EDGES[polygons.crs.is_geographic], polygons.geometries
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    long = (bounds[:, 2:] - bounds[:, :2] > step).any(axis=1)
    if not long.any():
        return polygons
    split = shapes.copy()
    split[long] = shapely.segmentize(shapes[long], step)
    return replace(polygons, geometries=split)


def _check_turn(polygons: PolygonSet) -> None:
    """Warn of a ring that was meant to cross 180° and goes round the Earth the other way."""
    if not polygons.crs.is_geographic:
        return
    bounds = shapely.bounds(polygons.geometries).reshape(-1, 4)
    width = bounds[:, 2] - bounds[:, 0]
    if ((width > 180) & (width < 360 - 1e-6)).any():
        warn_once(
            f"{polygons.path}: a polygon is wider than 180°; if it is to cross the date line, "
            "split it there (RFC 7946: a multipolygon)"
        )


def _check_accuracy(
    polygons: PolygonSet, target: pyproj.CRS, transformer: pyproj.Transformer
) -> None:
    """Warn where the way that was taken leaves out a shift of datums, or is a rough one."""
    try:
        way = transformer.get_last_used_operation()
    except pyproj.exceptions.ProjError:  # nothing had a place
        return
    datums = f"from the datum of its CRS ({polygons.crs.name}) to that of the scene ({target.name})"
    remedy = "bring the file to WGS 84 by the shift of its country (ogr2ogr -ct) to be sure"
    if "ballpark" in way.description.lower():
        warn_once(
            f"{polygons.path}: PROJ knows no way {datums} at this place, and only guesses: it "
            f"shifts nothing (ballpark), which may be off by 100 m and more; {remedy}"
        )
    elif way.accuracy > PIXEL:
        warn_once(
            f"{polygons.path}: the way {datums} has an accuracy of {way.accuracy:g} m; {remedy}"
        )


def distance_to(polygons: PolygonSet, corners: Sequence[tuple[float, float]]) -> float:
    """Least distance in metres from any polygon to the area within `corners`, in CRS units.

    On the ellipsoid where the CRS has degrees. Infinite without polygons.
    """
    if len(polygons) == 0:
        return float("inf")
    area, shapes = shapely.Polygon(corners), polygons.geometries
    if not polygons.crs.is_geographic:
        metres = polygons.crs.axis_info[0].unit_conversion_factor
        return float(shapely.distance(shapes, area).min()) * metres
    # the nearest is found in the plane, where a degree of longitude is as short as it is there
    scale = np.array([math.cos(math.radians(area.centroid.y)), 1.0])
    plane = shapely.transform(shapes, lambda xy: xy * scale)
    target = shapely.transform(area, lambda xy: xy * scale)
    nearest = plane[shapely.distance(plane, target).argmin()]
    line = shapely.get_coordinates(shapely.shortest_line(nearest, target)) / scale
    geod = polygons.crs.get_geod() or pyproj.Geod(ellps="WGS84")
    return float(geod.line_length(line[:, 0], line[:, 1]))
