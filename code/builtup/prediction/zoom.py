"""A raster at another scale: its size there, and what reads it, averaged or interpolated.

A raster of W x H pixels has ⌈W·s⌉ x ⌈H·s⌉ at scale s, and pixel i of an axis covers i/s to
(i + 1)/s: one scale for both axes, so that nothing is squashed. The last pixel may reach over the
edge; it is the mean of what lies within, never of zeros.

    s = 0.3     read of the raster by halves (1/2, then 1/4 …) that is just finer, here 1/2, and
                averaged from there: a pixel is the mean of 1/0.6 x 1/0.6 of its pixels
    s = 2       interpolated between the raster's own pixels, valid where the nearest one is

Means are of what is known, band by band, of values as they are in memory: of power, not of
decibels. Halves are means of halves, as GDAL's average overviews are; where a file has overviews
like that, its reader hands them over, and else they are made beside the output, for as long as
they are needed: a third of the scene's size in float32. So a level's reading costs what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.prefetch import running_ahead
from builtup.geo.rasters import create_raster, gdal_env, open_raster, read_window
from builtup.geo.windows import Window, aligned
from builtup.prediction.decoders import Opening

__all__ = [
    "Halves",
    "Zoom",
    "cascade_scales",
    "halved",
    "make_halves",
    "shares",
    "zoomed",
]

Float = NDArray[np.float32]
Read = Callable[[Window], Float]
#: Of a raster, by factors 2, 4, 8 …: what opens it averaged over as many pixels in each direction,
#: ⌈W / factor⌉ x ⌈H / factor⌉ of them.
Halves = Mapping[int, Opening[Window]]

#: Side of the blocks that are halved at a time, and bytes of GDAL's cache meanwhile.
BLOCK, CACHE = 1024, 16_000_000
#: Sizes are not rounded up for what is a rounding of floats.
_HAIR = 1e-6


def cascade_scales(width: int, height: int, window: int, exponent: float = 2.0) -> list[float]:
    """Scales ε^−D … ε^−1, 1: at the coarsest a window holds the longer side.

    D = ⌈log_ε(longer side / window)⌉ and at least 0: of 4,096 and 512, with ε = 2, 3.
    """
    scales = [1.0]
    while max(width, height) * scales[-1] > window * (1 + 1e-9):
        scales.append(exponent ** -len(scales))
    return scales[::-1]


@dataclass(frozen=True)
class Zoom:
    """A raster of `full` at `scale`."""

    full: Grid
    scale: float

    @property
    def grid(self) -> Grid:
        """The same ground in pixels of that scale."""
        size = (math.ceil(n * self.scale - _HAIR) for n in (self.full.width, self.full.height))
        larger = Affine.scale(1 / self.scale)
        width, height = (max(1, n) for n in size)
        return Grid(self.full.crs, self.full.transform @ larger, width, height)

    @property
    def factor(self) -> int:
        """How often the raster is halved first: the largest power of two that is not too much."""
        factor = 1
        while 2 * factor * self.scale <= 1 + _HAIR:
            factor *= 2
        return factor

    def opening(self, halves: Halves) -> Opening[Window]:
        """What opens it, of what opens the raster by halves (the raster itself is factor 1)."""
        ratio = 1 / (self.scale * self.factor)
        opening = halves[self.factor]
        if abs(ratio - 1) < _HAIR:
            return opening
        size = (-(-self.full.width // self.factor), -(-self.full.height // self.factor))
        return partial(zoomed, opening, size, ratio)


# --- halves -------------------------------------------------------------------------------------


def halved(values: Float) -> Float:
    """Means of 2 x 2 pixels that are not NaN, band by band; (bands, ⌈h/2⌉, ⌈w/2⌉) of (…, h, w)."""
    _, height, width = values.shape
    if height % 2 or width % 2:
        more = ((0, 0), (0, height % 2), (0, width % 2))
        values = np.pad(values, more, constant_values=np.nan)
    top, bottom = values[:, 0::2], values[:, 1::2]
    quarters = [top[..., 0::2], top[..., 1::2], bottom[..., 0::2], bottom[..., 1::2]]
    mean = (quarters[0] + quarters[1]) + (quarters[2] + quarters[3])
    mean *= np.float32(0.25)
    gaps = np.isnan(mean)
    if gaps.any():
        some = np.stack([quarter[gaps] for quarter in quarters])
        known = ~np.isnan(some)
        count = known.sum(axis=0).astype(np.float32)
        total = np.where(known, some, np.float32(0)).sum(axis=0, dtype=np.float32)
        with np.errstate(invalid="ignore"):
            mean[gaps] = total / count  # NaN where none is known
    return mean


def make_halves(
    opening: Opening[Window],
    grid: Grid,
    bands: int,
    factor: int,
    folder: Path,
    given: Halves | None = None,
) -> Halves:
    """What opens the raster by halves up to `factor`: those that are `given`, or made in `folder`.

    `bands` is the number of values of a pixel. Raises InputError as reading does.
    """
    halves = {1: opening, **(given or {})}
    step = 2
    while step <= factor:
        if step not in halves:
            finer = grid if step == 2 else Zoom(grid, 2 / step).grid
            path = folder / f"{step}.tif"
            _halve(halves[step // 2], finer, Zoom(grid, 1 / step).grid, bands, path)
            halves[step] = partial(_stored, path)
        step *= 2
    return halves


def _halve(opening: Opening[Window], finer: Grid, coarser: Grid, bands: int, path: Path) -> None:
    profile: dict[str, Any] = {
        **{"width": coarser.width, "height": coarser.height, "crs": coarser.crs},
        **{"transform": coarser.transform, "count": bands, "dtype": "float32", "nodata": np.nan},
        **{"tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "IF_SAFER"},
    }
    windows = list(aligned(finer.width, finer.height, (BLOCK, BLOCK)))
    with (
        gdal_env(GDAL_CACHEMAX=CACHE),
        create_raster(path, **profile) as out,
        opening() as read,
        running_ahead(read, windows) as blocks,
    ):
        for window, values in zip(windows, blocks, strict=True):
            means = halved(values)
            place = Window(window.y // 2, window.x // 2, *means.shape[1:])
            out.write(means, window=place.rasterio)


@contextmanager
def _stored(path: Path) -> Iterator[Read]:
    with gdal_env(GDAL_CACHEMAX=CACHE), open_raster(path) as dataset:
        yield lambda window: read_window(dataset, window)


# --- any scale ----------------------------------------------------------------------------------


@contextmanager
def zoomed(opening: Opening[Window], size: tuple[int, int], ratio: float) -> Iterator[Read]:
    """What reads a raster of `size` (width, height) in pixels of `ratio` of its own.

    Above 1 they are means of what is known of their ground; below 1 interpolated, and NaN where
    the nearest pixel is.
    """
    with opening() as stored:
        yield partial(_resampled, stored, size, ratio)


def _resampled(read: Read, size: tuple[int, int], ratio: float, window: Window) -> Float:
    x, across = shares(window.x, window.width, ratio, size[0])
    y, down = shares(window.y, window.height, ratio, size[1])
    values = read(Window(y, x, down.shape[1], across.shape[1]))
    known = ~np.isnan(values)
    weights = down @ known.astype(np.float32) @ across.T
    total = down @ np.where(known, values, np.float32(0)) @ across.T
    unknown = weights < _HAIR
    if ratio < 1:
        unknown |= ~known[:, down.argmax(axis=1)][..., across.argmax(axis=1)]
    mean = np.asarray(total / np.where(unknown, 1, weights), np.float32)
    mean[unknown] = np.nan
    return mean


def shares(start: int, length: int, ratio: float, source: int) -> tuple[int, Float]:
    """How `length` pixels of an axis, from `start`, are made of `source` pixels of another size.

    Each is `ratio` of those wide. Above 1 it is their mean by length, below 1 interpolated between
    the two whose centres lie beside its own. Returns the first pixel to be read, and of those that
    are read the shares, (length, n), each row with a sum of 1.
    """
    if ratio > 1:
        edges = np.minimum(np.arange(start, start + length + 1) * ratio, source)
        first, last = math.floor(edges[0]), math.ceil(edges[-1] - _HAIR)
        pixels = np.arange(first, last)
        low = np.maximum(edges[:-1, None], pixels)
        high = np.minimum(edges[1:, None], pixels + 1)
        lengths = np.maximum(high - low, 0)
        return first, (lengths / lengths.sum(axis=1, keepdims=True)).astype(np.float32)
    centres = np.clip((np.arange(start, start + length) + 0.5) * ratio - 0.5, 0, source - 1)
    before = np.floor(centres).astype(np.int64)
    after = np.minimum(before + 1, source - 1)
    first, rows, on = int(before[0]), np.arange(length), (centres - before).astype(np.float32)
    matrix = np.zeros((length, int(after[-1]) + 1 - first), np.float32)
    matrix[rows, after - first] = on
    matrix[rows, before - first] += 1 - on
    return first, matrix
