"""Polygons of a map matched to those of ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.scoring.counts import f1

__all__ = ["PolygonCounts", "match_polygons"]


@dataclass(frozen=True)
class PolygonCounts:
    """How many predicted polygons match one of the ground truth, of how many on either side."""

    matched: int
    predicted: int
    truth: int

    def __add__(self, other: PolygonCounts) -> PolygonCounts:
        return PolygonCounts(
            self.matched + other.matched,
            self.predicted + other.predicted,
            self.truth + other.truth,
        )

    @property
    def f1(self) -> float:
        """F1 of polygons; NaN where the truth has none."""
        false, missed = self.predicted - self.matched, self.truth - self.matched
        return float(f1([self.matched, false, missed, 0]))


def match_polygons(
    predicted: NDArray[np.object_], truth: NDArray[np.object_], least_iou: float = 0.5
) -> PolygonCounts:
    """Match valid polygons one to one: the pair of highest IoU first, down to `least_iou`.

    Polygons count as they are given: touching ones are not joined. Of equal pairs the one with the
    lower index of the prediction, then of the truth, goes first.
    """
    if not len(predicted) or not len(truth):
        return PolygonCounts(0, len(predicted), len(truth))
    one, other = shapely.STRtree(truth).query(predicted, predicate="intersects")
    mine, theirs = shapely.area(predicted)[one], shapely.area(truth)[other]
    # an IoU cannot exceed the ratio of the areas: most overlays need not be computed
    near = np.minimum(mine, theirs) >= least_iou * np.maximum(mine, theirs)
    one, other, mine, theirs = one[near], other[near], mine[near], theirs[near]
    common = shapely.area(shapely.intersection(predicted[one], truth[other]))
    iou = common / (mine + theirs - common)
    good = np.flatnonzero(iou >= least_iou)
    order = good[np.lexsort((other[good], one[good], -iou[good]))]
    taken: set[int] = set()
    used: set[int] = set()
    for p, t in zip(one[order].tolist(), other[order].tolist(), strict=True):
        if p not in taken and t not in used:
            taken.add(p)
            used.add(t)
    return PolygonCounts(len(taken), len(predicted), len(truth))
