"""The mean and the disagreement of the dates of a place, in whole numbers: no order matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.geo.probability import NODATA, SCALE
from builtup.geo.rasters import read_window
from builtup.geo.windows import Window

__all__ = ["DateAverage", "averaged"]


def averaged(
    layers: Sequence[Sequence[int]], sources: Sequence[DatasetReader], block: Window
) -> DateAverage:
    """The dates of a block of a grid that all `sources` are on; of each date `layers` has the
    numbers of its parts, which are averaged where they overlap."""
    values = [read_window(source, block) for source in sources]
    return DateAverage.of([_one([values[i] for i in layer]) for layer in layers])


@dataclass(frozen=True)
class DateAverage:
    """Integer sums over the dates: values and squares (bands, H, W), valid dates (H, W)."""

    total: NDArray[np.int32]
    squares: NDArray[np.int32]
    count: NDArray[np.int32]

    @classmethod
    def of(cls, dates: Sequence[NDArray[np.uint8]]) -> DateAverage:
        """The sums over dates (bands, H, W), valid where no band is no-data."""
        total = np.zeros(dates[0].shape, np.int32)
        squares = np.zeros_like(total)
        count = np.zeros(total.shape[1:], np.int32)
        for values in dates:
            valid = (values != NODATA).all(axis=0)
            counted = np.where(valid, values, 0).astype(np.int32)
            total += counted
            squares += counted * counted
            count += valid
        return cls(total, squares, count)

    def mean(self) -> NDArray[np.uint8]:
        """The dates' mean, rounded half up; 255 where no date is valid."""
        n = np.maximum(self.count, 1)
        mean = ((2 * self.total + n) // (2 * n)).astype(np.uint8)
        mean[:, self.count == 0] = NODATA
        return mean

    def deviation(self, band: int) -> NDArray[np.float32]:
        """Standard deviation of the dates' probabilities, NaN below two dates."""
        n = self.count.astype(np.int64)
        total, squares = self.total[band].astype(np.int64), self.squares[band].astype(np.int64)
        deviation = np.sqrt(n * squares - total * total) / (np.maximum(n, 1) * SCALE)
        return np.where(n >= 2, deviation, np.nan).astype(np.float32)


def _one(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return parts[0] if len(parts) == 1 else DateAverage.of(parts).mean()
