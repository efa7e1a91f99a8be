"""Scores of a map against ground truth: pixels, probabilities and polygons.

A score that has no meaning (F1 where the truth has no building, say) is NaN, never 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS

__all__ = ["PixelCounts", "PolygonCounts", "match_polygons"]


@dataclass(frozen=True)
class PixelCounts:
    """Counts of valid labelled pixels, int64, from which all pixel scores come.

    `matrix[truth, prediction]` is the (2, 2) confusion matrix of the mask, `histogram[truth, v]`
    counts the 8-bit probabilities, (2, 255).
    """

    matrix: NDArray[np.int64]
    histogram: NDArray[np.int64]

    @classmethod
    def zero(cls) -> PixelCounts:
        """No pixels."""
        return cls(np.zeros((2, 2), np.int64), np.zeros((2, LEVELS), np.int64))

    @classmethod
    def of(
        cls, truth: NDArray[np.bool_], predicted: NDArray[np.bool_], level: NDArray[np.uint8]
    ) -> PixelCounts:
        """Count the pixels of three arrays of one shape; `level` is below 255 throughout."""
        truth = truth.ravel()
        both = np.bincount(2 * truth.astype(np.uint8) + predicted.ravel(), minlength=4)
        levels = np.stack(
            [np.bincount(level.ravel()[truth == t], minlength=LEVELS) for t in (False, True)]
        )
        return cls(both.reshape(2, 2).astype(np.int64), levels.astype(np.int64))

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.matrix + other.matrix, self.histogram + other.histogram)

    @property
    def pixels(self) -> int:
        """Number of valid labelled pixels."""
        return int(self.matrix.sum())

    @property
    def precision(self) -> float:
        """Share of the pixels mapped as built-up that are built-up."""
        return _ratio(self.matrix[1, 1], self.matrix[:, 1].sum())

    @property
    def recall(self) -> float:
        """Share of the built-up pixels that are mapped as built-up."""
        return _ratio(self.matrix[1, 1], self.matrix[1].sum())

    @property
    def f1(self) -> float:
        """F1 of built-up; NaN where the truth has none."""
        either = self.matrix[:, 1].sum() + self.matrix[1].sum()
        return _ratio(2 * self.matrix[1, 1], either if self.matrix[1].any() else 0)

    @property
    def iou(self) -> float:
        """Intersection over union of built-up; NaN where the truth has none."""
        either = self.matrix.sum() - self.matrix[0, 0]
        return _ratio(self.matrix[1, 1], either if self.matrix[1].any() else 0)

    @property
    def average_precision(self) -> float:
        """Area under the precision–recall curve of the probability, as a sum of steps."""
        positive = self.histogram[1].sum()
        if positive == 0:
            return float("nan")
        hit = np.cumsum(self.histogram[1][::-1])
        mapped = np.cumsum(self.histogram.sum(axis=0)[::-1])
        precision = hit / np.maximum(mapped, 1)
        return float((precision * self.histogram[1][::-1]).sum() / positive)

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and truth (Brier 1950); 0 is perfect."""
        probability = np.arange(LEVELS) / (LEVELS - 1)
        squares = np.stack([probability**2, (1 - probability) ** 2])
        return _ratio((self.histogram * squares).sum(), self.histogram.sum())


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

    @cached_property
    def f1(self) -> float:
        """F1 of polygons; NaN where the truth has none."""
        return _ratio(2 * self.matched, self.predicted + self.truth if self.truth else 0)


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


def _ratio(part: float | np.number, whole: float | np.number) -> float:
    return float(part / whole) if whole else float("nan")
