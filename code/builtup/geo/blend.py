"""Blending overlapping windows: exact integer sums for 8-bit tiles, running means along an axis.

Both give a pixel seen only by windows that agree exactly the value they agree on: no seam, no
drift, at edges and beside no-data alike. The weight of a pixel is the product of those of its row
and its column (`builtup.geo.windows.blend_weights`), so one-dimensional weights are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import NODATA
from builtup.geo.windows import Window, blend_weights, even_offsets, gaussian_weights

__all__ = ["BLENDS", "MAX_RAMP", "AxisBlend", "IntegerBlend", "ramp_of"]

#: Longest ramp of integer weights: 128² · 254 leaves room for 500 tiles in a sum of 32 bits.
MAX_RAMP = 128
#: Weights along a window of so many pixels, by the way of blending: rising over the overlap from
#: its ends, all the same, or a Gaussian about its centre.
BLENDS: Mapping[str, Callable[[int, int], NDArray[np.int32]]] = {
    "ramp": lambda size, overlap: blend_weights(size, max(1, overlap)),
    "mean": lambda size, overlap: blend_weights(size, 1),
    "gaussian": lambda size, overlap: gaussian_weights(size),
}


def ramp_of(overlap: int) -> int:
    """Length of the weights' ramp for windows that overlap by `overlap` pixels."""
    return int(np.clip(overlap, 1, MAX_RAMP))


class IntegerBlend:
    """Sums weighted 8-bit values of overlapping tiles inside one block.

    Sums and weights are integers, so the order in which tiles come does not matter. Values 0 to
    254 count; 255 (no-data, in any band) has weight 0.
    """

    def __init__(self, bands: int, block: Window) -> None:
        self.block = block
        self._total = np.zeros((bands, block.height, block.width), np.int32)
        self._weight = np.zeros((block.height, block.width), np.int32)

    def add(self, values: NDArray[np.uint8], part: Window, tile: Window, ramp: int) -> None:
        """Add `values` (bands, height, width): the `part` of `tile`, both in scene pixels."""
        weight = _weights_of(part, tile, ramp)
        weight = np.where((values == NODATA).any(axis=0), np.int32(0), weight)
        rows, columns = part.relative_to(self.block).slices
        self._total[:, rows, columns] += values * weight
        self._weight[rows, columns] += weight

    def result(self) -> NDArray[np.uint8]:
        """The weighted mean, rounded half up, 255 where nothing valid was added."""
        weight = np.maximum(self._weight, 1)
        mean = ((2 * self._total.astype(np.int64) + weight) // (2 * weight)).astype(np.uint8)
        mean[:, self._weight == 0] = NODATA
        return mean


def _weights_of(part: Window, tile: Window, ramp: int) -> NDArray[np.int32]:
    """The weights (height, width) of the pixels of `part` in `tile`."""
    rows, columns = part.relative_to(tile).slices
    down = blend_weights(tile.height, ramp)[rows]
    across = blend_weights(tile.width, ramp)[columns]
    return down[:, None] * across[None, :]


@dataclass(frozen=True)
class AxisBlend:
    """Windows along one axis, and how each is mixed into the mean of those before it.

    `offsets` are their starts, `size` their common length (at most the axis). `shares[i][j]` is
    what the pixel j of window i contributes to the running mean, mean += share · (value − mean),
    for the `overlaps[i]` leading pixels that earlier windows have seen; float32, in (0, 1). The
    running mean of equal values is that very value, and where all windows are in, it is the mean
    by weight.
    """

    length: int
    size: int
    offsets: tuple[int, ...]
    shares: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, length: int, window: int, overlap: int, blend: str = "ramp") -> AxisBlend:
        """The even tiling of an axis of `length` pixels by windows of `window`.

        `blend` names the weights of their pixels, see `BLENDS`.
        """
        size = min(window, length)
        offsets = tuple(even_offsets(length, window, overlap))
        weights = BLENDS[blend](size, overlap)
        return cls(length, size, offsets, _running_shares(length, offsets, weights))

    def __len__(self) -> int:
        return len(self.offsets)

    def overlap(self, index: int) -> int:
        """Leading pixels of window `index` that earlier windows have seen."""
        return len(self.shares[index])

    def finished(self, index: int) -> int:
        """Leading pixels of window `index` that no later window will see."""
        last = index + 1 == len(self.offsets)
        return self.size if last else self.offsets[index + 1] - self.offsets[index]

    @property
    def most_carried(self) -> int:
        """The most pixels that a window leaves unfinished."""
        return max(self.size - self.finished(i) for i in range(len(self)))


def _running_shares(
    length: int, offsets: Sequence[int], of_window: NDArray[np.int32]
) -> tuple[NDArray[np.float32], ...]:
    weights, size = of_window.astype(np.int64), len(of_window)
    seen = np.zeros(length, np.int64)
    shares = []
    end = 0
    for offset in offsets:
        seen[offset : offset + size] += weights
        covered = max(0, end - offset)
        share = weights[:covered] / seen[offset : offset + covered]
        shares.append(share.astype(np.float32))
        end = offset + size
    return tuple(shares)
