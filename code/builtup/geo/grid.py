"""Where a raster's pixels lie on the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS
from rasterio.io import DatasetReader

__all__ = ["SAME_CITY_TOLERANCE", "SAME_GRID_TOLERANCE", "Grid", "common_grid"]

#: VV and VH of one scene agree when no corner differs by more than this many pixels.
SAME_GRID_TOLERANCE = 1e-3
#: Dates of one city are averaged pixel by pixel when no corner differs by more than this.
SAME_CITY_TOLERANCE = 1e-2


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
    def pixel_area(self) -> float:
        """Area of a pixel in squared CRS units."""
        return abs(self.transform.determinant)

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


def _name(crs: CRS | None) -> str:
    return "none" if not crs else str(crs.to_string())[:60]
