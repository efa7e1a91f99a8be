"""Even tilings of a raster and the weights with which overlapping windows are blended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

__all__ = [
    "Window",
    "aligned",
    "blend_weights",
    "even_offsets",
    "gaussian_weights",
    "stride_overlap",
    "tiling",
]

#: The largest weight of a Gaussian: with those of both axes, and 254, a sum of 32 bits holds 500.
MOST_WEIGHT = 128


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels: `x`, `y` are column and row of its upper left pixel."""

    y: int
    x: int
    height: int
    width: int

    @property
    def rasterio(self) -> RasterioWindow:
        """The same rectangle for rasterio's reads and writes."""
        return RasterioWindow(self.x, self.y, self.width, self.height)

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) to index an array of the whole raster."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def intersection(self, other: Window) -> Window | None:
        """The common part, or None."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - y
        width = min(self.x + self.width, other.x + other.width) - x
        return Window(y, x, height, width) if height > 0 and width > 0 else None

    def relative_to(self, other: Window) -> Window:
        """The same rectangle counted from the upper left pixel of `other`."""
        return Window(self.y - other.y, self.x - other.x, self.height, self.width)


def aligned(width: int, height: int, window: tuple[int, int]) -> Iterator[Window]:
    """Windows of (rows, columns) side by side from the upper left, row by row, cut at the edges."""
    rows, columns = window
    for y in range(0, height, rows):
        for x in range(0, width, columns):
            yield Window(y, x, min(rows, height - y), min(columns, width - x))


def even_offsets(length: int, size: int, overlap: int) -> list[int]:
    """Starts of the fewest windows of `size` that cover `length` with at least `overlap`.

    The first starts at 0, the last ends at `length`, the rest are spread evenly (rounded down).
    A length of at most `size` gives one window, which the caller cuts to the length.
    """
    if length < 1 or size < 1:
        raise ValueError(f"length and size must be positive, got {length} and {size}")
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and below size {size}, got {overlap}")
    if length <= size:
        return [0]
    count = 1 + math.ceil((length - size) / (size - overlap))
    return [i * (length - size) // (count - 1) for i in range(count)]


def tiling(width: int, height: int, size: int, overlap: int) -> Iterator[Window]:
    """Windows that cover a raster evenly, row by row; none reaches over the edge.

    A raster smaller than `size` along an axis gives windows of its own extent there.
    """
    for y in even_offsets(height, size, overlap):
        for x in even_offsets(width, size, overlap):
            yield Window(y, x, min(size, height), min(size, width))


def blend_weights(length: int, ramp: int) -> NDArray[np.int32]:
    """Weights of one axis of a window: 1, 2, … `ramp` from both ends, `ramp` between.

    Small integers, so that the weighted sum of 8-bit values is an integer and does not depend on
    the order in which windows come; the weight of a pixel is the product of those of its row and
    its column. All are at least 1: a pixel seen by one window only keeps that window's value.
    """
    if length < 1 or ramp < 1:
        raise ValueError(f"length and ramp must be positive, got {length} and {ramp}")
    up = np.arange(1, length + 1, dtype=np.int32)
    return np.minimum(np.minimum(up, up[::-1]), np.int32(ramp))


def gaussian_weights(length: int) -> NDArray[np.int32]:
    """Weights of one axis of a window: a Gaussian about its centre, σ a sixth of its length.

    Integers from 1 to 128, for the reasons of `blend_weights`.
    """
    if length < 1:
        raise ValueError(f"length must be positive, got {length}")
    place = np.arange(length) - (length - 1) / 2
    bell = np.exp(-0.5 * (place / (length / 6)) ** 2)
    return np.maximum(1, np.round(MOST_WEIGHT * bell)).astype(np.int32)


def stride_overlap(window: int, stride: int) -> int:
    """The overlap of windows whose step is `window // stride` pixels: 4000, 7 gives 3429."""
    if not 1 <= stride <= window:
        raise ValueError(f"stride must be from 1 to the window ({window}), got {stride}")
    return window - window // stride
