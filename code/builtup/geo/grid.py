"""Where a raster's pixels lie on the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import DatasetReader

__all__ = ["SAME_CITY_TOLERANCE", "SAME_GRID_TOLERANCE", "Grid", "common_grid", "joined_grid"]

#: The files of one scene agree when no corner differs by more than this many pixels.
SAME_GRID_TOLERANCE = 1e-3
#: Dates of one city are averaged pixel by pixel when no corner differs by more than this.
SAME_CITY_TOLERANCE = 1e-2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """CRS, geotransform (pixel to CRS units, upper left corner) and size in pixels."""

    crs: CRS
    transform: Affine
    width: int
    height: int

    @classmethod
    def of(cls, dataset: DatasetReader) -> Grid:
        """The grid of an open rasterio dataset."""
        return cls(dataset.crs, dataset.transform, dataset.width, dataset.height)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as numpy has it."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def resolution(self) -> tuple[float, float]:
        """Pixel width and height in CRS units, both positive."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """Ground coordinates of the four corners, from the upper left, clockwise."""
        w, h = self.width, self.height
        return tuple(self.transform @ xy for xy in ((0, 0), (w, 0), (w, h), (0, h)))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of the corners in CRS units."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def metres_per_pixel(self) -> tuple[float, float]:
        """Width and height of a pixel on the ground at the grid's centre, in metres."""
        across, down = _steps(self, np.array([[self.width / 2, self.height / 2]]))
        return float(np.hypot(*across)[0]), float(np.hypot(*down)[0])

    def pixel_areas(self, at: Floats) -> Floats:
        """Area (n,) in m² on the ellipsoid of a pixel around each point (n, 2: column, row).

        A region's pixels taken to be as large as the one at its centroid, its area differs from
        the geodesic one by less than 2e-5 for regions of 10 km. (Areas in the plane of UTM are
        off by up to 0.2 %.)
        """
        across, down = _steps(self, at)
        return np.asarray(np.abs(across[0] * down[1] - across[1] * down[0]))

    def to_ground(self, xy: NDArray[np.floating]) -> Floats:
        """Points (n, 2) from columns and rows (the upper left corner is 0, 0) to the CRS."""
        t, x, y = self.transform, xy[:, 0], xy[:, 1]
        return np.stack((t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f), axis=1)

    def to_pixels(self, xy: NDArray[np.floating]) -> Floats:
        """Points (n, 2) from the CRS to columns and rows, by GDAL's own formula.

        The same roundings as in GDAL, so that a vertex on a pixel's edge falls to the same side.
        """
        t, x, y = self.transform, xy[:, 0], xy[:, 1]
        if t.b == 0 and t.d == 0:
            return np.stack((-t.c / t.a + x * (1 / t.a), -t.f / t.e + y * (1 / t.e)), axis=1)
        i = ~t
        return np.stack((i.c + x * i.a + y * i.b, i.f + x * i.d + y * i.e), axis=1)

    def window(self, x: int, y: int, width: int, height: int) -> Grid:
        """The part of this grid that starts at column `x`, row `y`."""
        return Grid(self.crs, self.transform @ Affine.translation(x, y), width, height)

    def difference(self, other: Grid, tolerance: float = SAME_GRID_TOLERANCE) -> str | None:
        """Say how `other` differs, or None where the grids are the same.

        `tolerance` is the largest distance of a corner, in pixels of this grid.
        """
        if self.crs != other.crs:
            return f"CRS {_name(self.crs)} and {_name(other.crs)}"
        if self.shape != other.shape:
            return f"sizes {self.width}x{self.height} and {other.width}x{other.height} pixels"
        offset = self.corner_offset(other)
        if offset > tolerance:
            return f"grids up to {offset:.3g} pixels apart"
        return None

    def corner_offset(self, other: Grid) -> float:
        """Largest distance between equal corners, in pixels of this grid."""
        inverse = ~self.transform
        own = ((0, 0), (self.width, 0), (self.width, self.height), (0, self.height))
        return max(
            math.dist(inverse @ theirs, mine)
            for mine, theirs in zip(own, other.corners, strict=True)
        )

    def matches(self, other: Grid, tolerance: float = SAME_GRID_TOLERANCE) -> bool:
        """Whether both lie on the same pixels, to within `tolerance` pixels at the corners."""
        return self.difference(other, tolerance) is None


def common_grid(grids: Sequence[Grid]) -> Grid:
    """The grid that most dates of a city have; `grids` are in the order of dates, ties: first."""
    votes = [sum(a.matches(b, SAME_CITY_TOLERANCE) for b in grids) for a in grids]
    return grids[votes.index(max(votes))]


def joined_grid(grids: Sequence[Grid]) -> Grid | None:
    """The grid of all ground that some grids have, where their pixels fall together; else None."""
    first, t = grids[0], grids[0].transform
    left = top = right = bottom = 0.0
    for grid in grids:
        (x0, y0), (x1, y1) = (~t @ grid.corners[0], ~t @ grid.corners[2])
        off = (abs(v - round(v)) for v in (x0, y0, x1 - grid.width, y1 - grid.height))
        same_size = abs(x1 - x0 - grid.width) + abs(y1 - y0 - grid.height) < SAME_CITY_TOLERANCE
        if grid.crs != first.crs or not same_size or max(off) > SAME_CITY_TOLERANCE:
            return None
        left, top = min(left, x0), min(top, y0)
        right, bottom = max(right, x1), max(bottom, y1)
    x, y = round(left), round(top)
    return first.window(x, y, round(right) - x, round(bottom) - y)


def _name(crs: CRS | None) -> str:
    return "none" if not crs else str(crs.to_string())[:60]


def _steps(grid: Grid, at: Floats) -> tuple[Floats, Floats]:
    """Metres to the east and north (2, n) of a step by one column, and of one by one row."""
    return _step(grid, at, np.array((0.5, 0))), _step(grid, at, np.array((0, 0.5)))


def _step(grid: Grid, at: Floats, half: Floats) -> Floats:
    from pyproj import CRS, Transformer  # late: many who need a grid need no projection

    before, after = grid.to_ground(at - half).T, grid.to_ground(at + half).T
    crs = CRS.from_wkt(grid.crs.to_wkt())
    geodetic, geod = crs.geodetic_crs, crs.get_geod()
    if geodetic is None or geod is None:
        unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        return (after - before) * unit  # a local plane
    to_geodetic = Transformer.from_crs(crs, geodetic, always_xy=True)
    radians = geodetic.axis_info[0].unit_conversion_factor
    one = np.array(to_geodetic.transform(*before)) * radians
    other = np.array(to_geodetic.transform(*after)) * radians
    meridian, parallel = _radii(geod, (one[1] + other[1]) / 2)
    longitude = (other[0] - one[0] + np.pi) % (2 * np.pi) - np.pi  # across the date line too
    return np.stack((longitude * parallel, (other[1] - one[1]) * meridian))


def _radii(geod: Any, latitude: Floats) -> tuple[Floats, Floats]:
    """Radii of the ellipsoid's meridian and of its parallel (metres) at a latitude (radians)."""
    w = 1 - geod.es * np.sin(latitude) ** 2
    return geod.a * (1 - geod.es) / w**1.5, geod.a * np.cos(latitude) / np.sqrt(w)
