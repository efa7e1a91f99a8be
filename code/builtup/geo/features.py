"""Polygons with the attributes that they are written with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.columns import Columns
from builtup.geo.grid import Grid

__all__ = ["Features"]


@dataclass(frozen=True)
class Features(Columns):
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

    def reshaped(self, polygons: NDArray[np.object_]) -> Features:
        """The same attributes with other polygons."""
        return Features(polygons, self.id, self.area_m2, self.mean_prob)

    def on_ground(self, grid: Grid) -> Features:
        """The same with polygons from pixel coordinates (column, row) to those of the CRS."""
        return self.reshaped(np.asarray(shapely.transform(self.polygons, grid.to_ground)))
