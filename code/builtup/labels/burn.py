"""Polygons burnt into a raster window by window, as if into the whole raster at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio import features

from builtup.labels.vectors import PolygonSet
from builtup.raster.grid import Grid
from builtup.raster.windows import Window

__all__ = ["Burner"]

#: Polygons up to this many pixels along both axes are burnt uncut: a window is widened until it
#: holds them, because GDAL clips edges at the border of a raster and may then miss a pixel.
LARGEST_UNCUT = 256
#: Larger ones are cut this far outside the window, where a missed pixel does not matter.
MARGIN = 4


@dataclass(frozen=True)
class Burner:
    """Polygons in pixel coordinates of a grid, indexed, ready to be burnt by windows."""

    points: NDArray[np.float64]
    ring_starts: NDArray[Any]
    polygon_starts: NDArray[Any]
    bounds: NDArray[np.float64]
    index: shapely.STRtree
    shape: tuple[int, int]
    all_touched: bool

    @classmethod
    def of(cls, polygons: PolygonSet, grid: Grid, *, all_touched: bool) -> Burner:
        """Prepare polygons that are in the CRS of `grid`; those beside the grid are left out."""
        pixels = shapely.transform(polygons.geometries, lambda xy: to_pixels(xy, grid.transform))
        pixels = pixels[shapely.intersects(pixels, shapely.box(0, 0, grid.width, grid.height))]
        points: NDArray[Any] = np.empty((0, 2))
        rings: NDArray[Any] = np.zeros(1, dtype=np.int64)
        parts = rings
        if len(pixels) > 0:
            _, points, (rings, parts) = shapely.to_ragged_array(pixels)
        bounds, index = shapely.bounds(pixels), shapely.STRtree(pixels)
        return cls(points, rings, parts, bounds, index, grid.shape, all_touched)

    def __len__(self) -> int:
        return len(self.bounds)

    def burn(self, window: Window) -> NDArray[np.uint8]:
        """(height, width) uint8: 1 where a polygon holds the pixel's centre, or touches the pixel
        with `all_touched`, else 0, by the rules of gdal_rasterize."""
        near = shapely.box(
            window.x - 1, window.y - 1, window.x + window.width + 1, window.y + window.height + 1
        )
        hits = np.sort(self.index.query(near))
        if len(hits) == 0:
            return np.zeros((window.height, window.width), dtype=np.uint8)
        frame = self._frame(window, self.bounds[hits])
        burnt = features.rasterize(
            [self._mapping(i) for i in hits],
            out_shape=(frame.height, frame.width),
            # moving by whole pixels changes no coordinate by a bit
            transform=Affine.translation(frame.x, frame.y),
            all_touched=self.all_touched,
            dtype="uint8",
        )
        return burnt[window.relative_to(frame).slices]

    def _mapping(self, i: int) -> dict[str, Any]:
        """A polygon as rasterio takes it, made when it is needed: lists of all would be large."""
        rings = pairwise(self.ring_starts[self.polygon_starts[i] : self.polygon_starts[i + 1] + 1])
        # two flat lists and a zip: half the time of a list of pairs
        columns, rows = self.points[:, 0], self.points[:, 1]
        coordinates = [
            list(zip(columns[a:b].tolist(), rows[a:b].tolist(), strict=True)) for a, b in rings
        ]
        return {"type": "Polygon", "coordinates": coordinates}

    def _frame(self, window: Window, bounds: NDArray[np.float64]) -> Window:
        """The window, widened to hold the polygons that are burnt uncut."""
        sizes = bounds[:, 2:] - bounds[:, :2]
        uncut = bounds[(sizes <= LARGEST_UNCUT).all(axis=1)]
        lower = np.array([[window.x, window.y]])
        upper = lower + np.array([[window.width, window.height]])
        left, top = np.concatenate([lower, uncut[:, :2]]).min(axis=0) - MARGIN
        right, bottom = np.concatenate([upper, uncut[:, 2:]]).max(axis=0) + MARGIN
        x, y = max(0, math.floor(left)), max(0, math.floor(top))
        width = min(self.shape[1], math.ceil(right)) - x
        height = min(self.shape[0], math.ceil(bottom)) - y
        return Window(y, x, height, width)


def to_pixels(xy: NDArray[np.float64], transform: Affine) -> NDArray[np.float64]:
    """(n, 2) ground coordinates as columns and rows, by GDAL's own formula.

    The same roundings as in GDAL, so that a vertex on a pixel's edge falls to the same side.
    """
    if transform.b == 0 and transform.d == 0:
        column = -transform.c / transform.a + xy[:, 0] * (1 / transform.a)
        row = -transform.f / transform.e + xy[:, 1] * (1 / transform.e)
    else:
        inverse = ~transform
        column = inverse.c + xy[:, 0] * inverse.a + xy[:, 1] * inverse.b
        row = inverse.f + xy[:, 0] * inverse.d + xy[:, 1] * inverse.e
    return np.stack([column, row], axis=1)
