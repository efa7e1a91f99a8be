"""Where a scene lies: its MGRS square, its UTM zone, and the grid that it is predicted on."""

from __future__ import annotations

import math

import numpy as np
from affine import Affine
from mgrs import MGRS
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from builtup.errors import InputError
from builtup.geo.grid import Grid

__all__ = [
    "check_place",
    "degrees_of",
    "mgrs_square",
    "square_of",
    "target_grid",
    "utm_zone",
]

#: A pixel may differ from the wanted one by this share before it is resampled.
TOLERANCE = 0.03

Bounds = tuple[float, float, float, float]


def check_place(grid: Grid, name: str) -> None:
    """Raise InputError for a grid whose place in degrees cannot be told: a local CRS, or one of
    the whole earth's three axes."""
    try:
        known = grid.crs.is_geographic or grid.crs.is_projected
        known = known and all(map(math.isfinite, degrees_of(grid)))
    except CPLE_BaseError:  # no error of rasterio's public family
        known = False
    if not known:
        problem = f"its CRS ({grid.crs.to_string()[:40]}) has no place on Earth"
        raise InputError(name, problem, "assign the right CRS (gdal_edit.py -a_srs)")


def target_grid(source: Grid, name: str, metres: float) -> Grid:
    """The grid that a scene on `source` is predicted on, of pixels of `metres`: `source` itself
    where it has these.

    Else such pixels in its own CRS, or, where that is in degrees or stretches the ground, in the
    UTM zone of its centre. Raises InputError for a scene too near a pole for that, or across the
    date line on a map that ends there.
    """
    sides = source.metres_per_pixel
    flat = source.crs.is_projected
    if flat and all(abs(side / metres - 1) <= TOLERANCE for side in sides):
        return source
    true = [r / side for r, side in zip(source.resolution, sides, strict=True)]
    if flat and all(abs(units - 1) <= TOLERANCE for units in true):
        left, bottom, right, top = source.bounds
        return _grid(source.crs, (left, bottom, right, top), metres)
    left, bottom, right, top = degrees_of(source)
    if not (bottom >= -80 and top <= 84):
        remedy = f"warp it to {metres:g} m pixels first (gdalwarp -tr)"
        raise InputError(name, "reaches beyond the UTM zones", remedy)
    if not source.crs.is_geographic and _leaves_its_map(source):
        problem = "goes on beyond the edge of its projection, across the date line"
        warp = f"gdalwarp -t_srs EPSG:32601 -tr {metres:g} {metres:g}"
        raise InputError(name, problem, f"warp it to UTM first ({warp})")
    zone = utm_zone((left + right) / 2, (bottom + top) / 2)
    bounds = transform_bounds(source.crs, zone, *source.bounds, densify_pts=41)
    snapped = [math.floor(v / metres) * metres for v in bounds[:2]]
    snapped += [math.ceil(v / metres) * metres for v in bounds[2:]]
    return _grid(zone, (snapped[0], snapped[1], snapped[2], snapped[3]), metres)


def _leaves_its_map(grid: Grid) -> bool:
    """Whether corners have other coordinates when they come back from degrees, as on a Mercator map
    beyond 180°: what is looked for there would be looked for at the other end of the world."""
    left, bottom, right, top = grid.bounds
    corners = [left, right, left, right], [bottom, bottom, top, top]
    earth = CRS.from_epsg(4326)
    back = transform(earth, grid.crs, *transform(grid.crs, earth, *corners))
    return bool(np.abs(np.subtract(corners, back)).max() > max(grid.resolution))


def _grid(crs: CRS, bounds: Bounds, metres: float) -> Grid:
    left, bottom, right, top = bounds
    width = max(1, round((right - left) / metres))
    height = max(1, round((top - bottom) / metres))
    return Grid(crs, Affine(metres, 0, left, 0, -metres, top), width, height)


def utm_zone(longitude: float, latitude: float) -> CRS:
    """The UTM zone of a place on WGS 84, by the regular 6° pattern, which is EPSG's.

    PROJ's database would say the same in 0.4 s, and at a border name both zones.
    """
    zone = int((longitude + 180) // 6) % 60 + 1
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def degrees_of(grid: Grid) -> Bounds:
    """(west, south, east, north) of a grid on WGS 84, in degrees."""
    west, south, east, north = transform_bounds(
        grid.crs, CRS.from_epsg(4326), *grid.bounds, densify_pts=21
    )
    return west, south, east if east >= west else east + 360, north


def square_of(grid: Grid) -> str:
    """The MGRS square of a grid's centre."""
    x, y = grid.transform @ (grid.width / 2, grid.height / 2)
    (longitude,), (latitude,) = transform(grid.crs, CRS.from_epsg(4326), [x], [y])
    return mgrs_square(longitude, latitude)


def mgrs_square(longitude: float, latitude: float) -> str:
    """The 100 km square of the Military Grid Reference System, such as 38SLF.

    Beyond 80° S and 84° N, where squares have no zone, that of the nearest place that has one.
    """
    return str(MGRS().toMGRS(min(84.0, max(-80.0, latitude)), longitude, MGRSPrecision=0))


def shared_ground(one: Grid, other: Grid) -> float:
    """The share of the smaller grid's ground that two grids share, by boxes in degrees."""
    a, b = degrees_of(one), degrees_of(other)
    turn = 360 * round((a[0] + a[2] - b[0] - b[2]) / 720)  # one may be west of the date line
    b = (b[0] + turn, b[1], b[2] + turn, b[3])
    west, south = max(a[0], b[0]), max(a[1], b[1])
    east, north = min(a[2], b[2]), min(a[3], b[3])
    if east <= west or north <= south:
        return 0.0
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return (east - west) * (north - south) / smaller
