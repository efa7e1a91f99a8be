"""A rectangle of pixels on the ground, and noise that depends on the place alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio import features

from builtup.simulate.plan.noise import hash_cells, hash_uniform

__all__ = ["Canvas", "hashed", "per_object"]

Float = NDArray[np.float32]
UInt = NDArray[np.uint32]


@dataclass(frozen=True)
class Canvas:
    """`height` × `width` pixels of `pixel` metres.

    `column`, `row`: its first pixel, counted from the scene's upper left corner, which lies at
    `corner` (metres east and south of the city's).
    """

    column: int
    row: int
    width: int
    height: int
    pixel: float
    corner: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def x(self) -> NDArray[np.float64]:
        """Metres east of the city's corner of the middle of each column."""
        return _middles(self.corner[0], self.column, self.width, self.pixel)

    @property
    def y(self) -> NDArray[np.float64]:
        """Metres south of the city's corner of the middle of each row."""
        return _middles(self.corner[1], self.row, self.height, self.pixel)

    @property
    def left_top(self) -> tuple[float, float]:
        """Metres of the upper left corner."""
        x, y = self.corner
        return x + self.column * self.pixel, y + self.row * self.pixel

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Metres: least x, least y, greatest x, greatest y."""
        x, y = self.left_top
        return x, y, x + self.width * self.pixel, y + self.height * self.pixel

    def near(self, boxes: NDArray[Any], reach: float = 0.0) -> NDArray[np.intp]:
        """Numbers of the boxes (n, 4) that come as near as `reach` metres."""
        x0, y0, x1, y1 = self.box
        one = (boxes[:, 2] > x0 - reach) & (boxes[:, 0] < x1 + reach)
        return np.flatnonzero(one & (boxes[:, 3] > y0 - reach) & (boxes[:, 1] < y1 + reach))

    def burn(
        self, polygons: Iterable[Any], values: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Values of the polygons (1, 2, … by default) at the pixels whose middles they cover; the
        last one wins, 0 where there is none."""
        shapes = list(polygons)
        if not shapes:
            return np.zeros(self.shape, np.int32)
        numbers = range(1, len(shapes) + 1) if values is None else values.tolist()
        x, y = self.left_top
        return features.rasterize(
            zip(shapes, numbers, strict=True),
            self.shape,
            transform=Affine(self.pixel, 0, x, 0, self.pixel, y),
            dtype="int32",
        )

    def places(self, points: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], Any]:
        """Row and column of points (n, 2) in metres, cut to the canvas, and which lie within."""
        x, y = self.left_top
        column = np.floor((points[:, 0] - x) / self.pixel).astype(np.intp)
        row = np.floor((points[:, 1] - y) / self.pixel).astype(np.intp)
        inside = (column >= 0) & (row >= 0) & (column < self.width) & (row < self.height)
        return row.clip(0, self.height - 1), column.clip(0, self.width - 1), inside

    def cells(self, spacing: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers (column, row) of all cells of a lattice of `spacing` metres that it meets."""
        x0, y0, x1, y1 = (math.floor(t / spacing) for t in self.box)
        column, row = np.meshgrid(np.arange(x0, x1 + 1), np.arange(y0, y1 + 1))
        return column.ravel(), row.ravel()

    def white(self, salt: int) -> Float:
        """A uniform number in [0, 1) for each pixel."""
        column = np.arange(self.column, self.column + self.width)[None, :]
        row = np.arange(self.row, self.row + self.height)[:, None]
        return hash_uniform(hash_cells(column, row, salt))

    def noise(self, spacing: float, salt: int) -> Float:
        """Noise of mean 0 and deviation about 1, smooth below `spacing` metres."""
        (first, count, down), (left, width, across) = (
            _lattice(t, spacing) for t in (self.y, self.x)
        )
        column = np.arange(left, left + width)[None, :]
        row = np.arange(first, first + count)[:, None]
        nodes = hash_uniform(hash_cells(column, row, salt)) - np.float32(0.5)
        # the mean square of the weights of two neighbours is 26/35 along each axis
        values: Float = down @ (nodes * np.float32(math.sqrt(12) * 35 / 26)) @ across.T
        return values


def _middles(corner: float, first: int, count: int, pixel: float) -> NDArray[np.float64]:
    return corner + (np.arange(first, first + count, dtype=np.float64) + 0.5) * pixel


def _lattice(t: NDArray[np.float64], spacing: float) -> tuple[int, int, Float]:
    """First node, number of nodes, and the weights (n, nodes) of positions on an axis."""
    scaled = t / spacing
    whole = np.floor(scaled).astype(np.int64)
    first, count = int(whole[0]), int(whole[-1] - whole[0]) + 2
    weights = np.zeros((len(t), count), np.float32)
    part = (scaled - whole).astype(np.float32)
    part = part * part * (3 - 2 * part)
    rows = np.arange(len(t))
    weights[rows, whole - first] = 1 - part
    weights[rows, whole - first + 1] = part
    return first, count, weights


def hashed(numbers: NDArray[Any], salt: int) -> UInt:
    """Well-spread 32 bits for each number."""
    return hash_cells(numbers, np.zeros_like(numbers), salt)


def per_object(objects: UInt, salt: int) -> Float:
    """A number of mean 0 and deviation 1 for each object, the same at all its pixels."""
    total = hash_uniform(objects, salt) + hash_uniform(objects, salt + 1)
    scaled: Float = (total - np.float32(1)) * np.float32(math.sqrt(6))
    return scaled
