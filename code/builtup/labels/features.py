"""Polygons with the attributes that they are written with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.raster.grid import Grid

__all__ = ["Features", "on_ground"]


@dataclass(frozen=True)
class Features:
    """Polygons and their attributes, all of one length.

    `area_m2` is in square metres on the ground, `mean_prob` the mean building probability.
    """

    polygons: NDArray[np.object_]
    id: NDArray[np.int32]
    area_m2: NDArray[np.float64]
    mean_prob: NDArray[np.float64]

    @classmethod
    def none(cls) -> Features:
        """No features."""
        return cls(np.zeros(0, object), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.id)

    def taken(self, index: NDArray[Any]) -> Features:
        """Those at `index` (numbers, or a mask of bools)."""
        return Features(
            self.polygons[index], self.id[index], self.area_m2[index], self.mean_prob[index]
        )

    def joined(self, other: Features) -> Features:
        """These, then the others."""
        return Features(
            np.concatenate((self.polygons, other.polygons)),
            np.concatenate((self.id, other.id)),
            np.concatenate((self.area_m2, other.area_m2)),
            np.concatenate((self.mean_prob, other.mean_prob)),
        )

    def reshaped(self, polygons: NDArray[np.object_]) -> Features:
        """The same attributes with other polygons."""
        return Features(polygons, self.id, self.area_m2, self.mean_prob)

    def on_ground(self, grid: Grid) -> Features:
        """The same with polygons from pixel coordinates (column, row) to those of the CRS."""
        return self.reshaped(on_ground(self.polygons, grid))


def on_ground(polygons: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Polygons from pixel coordinates (column, row) to those of the grid's CRS."""
    t = grid.transform
    matrix, origin = np.array([[t.a, t.d], [t.b, t.e]]), np.array((t.c, t.f))
    return np.asarray(shapely.transform(polygons, lambda xy: xy @ matrix + origin))
