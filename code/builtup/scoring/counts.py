"""What is counted of a map and its truth, pixels and polygons, and every score made of such counts.

A score that has no meaning (F1 of a class that the truth lacks, say) is NaN, never 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from builtup.errors import BuiltupError
from builtup.geo.probability import IGNORE, LEVELS
from builtup.sensors.classes import Classes

__all__ = [
    "CELLS",
    "SCORES",
    "Counts",
    "PixelCounts",
    "PolygonCounts",
    "Values",
    "confusion",
    "f1",
    "iou",
    "level_histogram",
    "match_polygons",
    "one_against_rest",
    "overlap",
    "precision",
    "rank_tiles",
    "recall",
    "require_known_classes",
    "scores",
    "tile_iou",
    "weighted",
    "worst_city_f1",
]

#: The cells of a class against the rest, in the order of the last axis of counts (…, 4).
CELLS = ("tp", "fp", "fn", "tn")
#: What `scores` gives.
SCORES = ("f1", "iou", "precision", "recall", "macro_f1", "macro_iou", "accuracy")

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


# --- scores of cells (…, 4) ---------------------------------------------------------------------


def f1(cells: ArrayLike) -> Values:
    """2·tp / (2·tp + fp + fn) of counts (…, 4); NaN where the truth has no pixel of the class."""
    tp, fp, fn, _ = _split(cells)
    return _ratio(2 * tp, 2 * tp + fp + fn, tp + fn > 0)


def iou(cells: ArrayLike) -> Values:
    """tp / (tp + fp + fn) of counts (…, 4); NaN where the truth has no pixel of the class."""
    tp, fp, fn, _ = _split(cells)
    return _ratio(tp, tp + fp + fn, tp + fn > 0)


def precision(cells: ArrayLike) -> Values:
    """tp / (tp + fp) of counts (…, 4); NaN where nothing is predicted."""
    tp, fp, _, _ = _split(cells)
    return _ratio(tp, tp + fp, tp + fp > 0)


def recall(cells: ArrayLike) -> Values:
    """tp / (tp + fn) of counts (…, 4); NaN where the truth has no pixel of the class."""
    tp, _, fn, _ = _split(cells)
    return _ratio(tp, tp + fn, tp + fn > 0)


def overlap(cells: ArrayLike) -> Values:
    """The IoU of small pieces: 0 where only the prediction has the class, NaN where neither has."""
    tp, fp, fn, _ = _split(cells)
    return _ratio(tp, tp + fp + fn, tp + fp + fn > 0)


def _split(cells: ArrayLike) -> tuple[Values, ...]:
    return tuple(np.moveaxis(np.asarray(cells, np.float64), -1, 0))


def _ratio(part: Values, whole: Values, defined: NDArray[np.bool_]) -> Values:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=defined)


# --- confusion matrices -------------------------------------------------------------------------


def confusion(truth: NDArray[Any], label: NDArray[Any], number: int) -> Counts:
    """Pixels by truth and prediction, (number, number), of two arrays of one shape.

    Pixels that are 255 in either do not count. BuiltupError where the truth holds another class.
    """
    valid = (truth != IGNORE) & (label != IGNORE)
    known = truth[valid].astype(np.int64)
    require_known_classes(int(known.max(initial=0)), number)
    cell = number * known + label[valid]
    return np.bincount(cell, minlength=number * number).reshape(number, number)


def require_known_classes(largest: int, number: int) -> None:
    """BuiltupError where a mask holds a class beyond `number` classes."""
    if largest >= number:
        raise BuiltupError(
            f"a mask holds class {largest}, the config has num_classes = {number}; correct "
            "num_classes, or write 255 where nothing is known"
        )


def one_against_rest(matrix: NDArray[Any]) -> NDArray[Any]:
    """The cells (…, C, 4) of each class of matrices [truth, prediction] (…, C, C)."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    predicted, true = matrix.sum(axis=-2), matrix.sum(axis=-1)
    rest = matrix.sum(axis=(-2, -1))[..., None] - predicted - true + hit
    return np.stack([hit, predicted - hit, true - hit, rest], axis=-1)


def scores(matrix: Counts, classes: Classes) -> dict[str, float]:
    """f1, iou, precision and recall of the mapped class, macro_f1, macro_iou and accuracy.

    `matrix[truth, prediction]` counts pixels, (C, C) int64. macro_… are means over the scored
    classes for which the score is defined; F1 and IoU of a class that the truth lacks are not.
    """
    cells = one_against_rest(matrix)
    of_class, of_iou = f1(cells), iou(cells)
    mapped, scored = classes.mapped_index, list(classes.scored)
    total = matrix.sum()
    return {
        "f1": float(of_class[mapped]),
        "iou": float(of_iou[mapped]),
        "precision": float(precision(cells[mapped])),
        "recall": float(recall(cells[mapped])),
        "macro_f1": _mean_of_defined(of_class[scored]),
        "macro_iou": _mean_of_defined(of_iou[scored]),
        "accuracy": float(np.trace(matrix) / total) if total else float("nan"),
    }


def weighted(matrix: Counts) -> dict[str, float]:
    """precision, recall and f1 of `matrix[truth, prediction]`, means weighted by true pixels.

    As scikit-learn's average="weighted": a class that is not predicted has the precision 0. NaN
    where no pixel counts.
    """
    cells, pixels = one_against_rest(matrix), matrix.sum(axis=1)
    total = pixels.sum()
    of_class = {"precision": precision(cells), "recall": recall(cells), "f1": f1(cells)}
    return {
        name: float((np.nan_to_num(values) * pixels).sum() / total) if total else float("nan")
        for name, values in of_class.items()
    }


def _mean_of_defined(values: Values) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def worst_city_f1(matrices: Counts, mapped: int) -> float:
    """The least F1 of the mapped class over cities whose truth has it; NaN where none has.

    `matrices` (cities, C, C).
    """
    of_city = f1([one_against_rest(matrix)[mapped] for matrix in matrices])
    defined = of_city[~np.isnan(of_city)]
    return float(defined.min()) if len(defined) else float("nan")


# --- tiles --------------------------------------------------------------------------------------


def tile_iou(label: NDArray[Any], target: NDArray[Any], mapped: int) -> float:
    """IoU of the mapped class in one image; NaN where neither truth nor prediction has any."""
    valid = target != IGNORE
    cells = one_against_rest(confusion(target[valid] == mapped, label[valid] == mapped, 2))[1]
    return float(overlap(cells))


def rank_tiles(tiles: Counts, cities: Sequence[int]) -> dict[int, dict[str, int]]:
    """For each city the numbers of its best, median and worst tile by the mapped class's IoU.

    `tiles` (N, 4) are cells; tiles without the class are left out. `cities` are the tiles' cities
    as indices.
    """
    ranked: dict[int, dict[str, int]] = {}
    city_of, of_tile = np.asarray(cities), overlap(tiles)
    for city in np.unique(city_of):
        numbers = np.flatnonzero((city_of == city) & ~np.isnan(of_tile))
        if len(numbers) == 0:
            continue
        order = numbers[np.argsort(of_tile[numbers], kind="stable")]
        chosen = {"worst": order[0], "median": order[(len(order) - 1) // 2], "best": order[-1]}
        ranked[int(city)] = {name: int(number) for name, number in chosen.items()}
    return ranked


# --- a map against polygons ---------------------------------------------------------------------


def level_histogram(level: NDArray[np.uint8], true: NDArray[np.bool_]) -> Counts:
    """Pixels by truth and 8-bit probability, (2, 255); `level` is below 255 throughout."""
    cell = true.ravel() * LEVELS + level.ravel().astype(np.int64)
    return np.bincount(cell, minlength=2 * LEVELS).reshape(2, LEVELS)


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of a map's one class against the rest, int64, from which all pixel scores come.

    `matrix[truth, prediction]` is the (2, 2) confusion matrix of the map, `histogram[truth, v]`
    counts the class's 8-bit probabilities, (2, 255).
    """

    matrix: Counts
    histogram: Counts

    @classmethod
    def zero(cls) -> PixelCounts:
        """No pixels."""
        return cls(np.zeros((2, 2), np.int64), np.zeros((2, LEVELS), np.int64))

    @classmethod
    def of(
        cls, true: NDArray[np.bool_], mapped: NDArray[np.bool_], level: NDArray[np.uint8]
    ) -> PixelCounts:
        """Count the pixels of three arrays of one shape; `level` is below 255 throughout."""
        return cls(confusion(true, mapped, 2), level_histogram(level, true))

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.matrix + other.matrix, self.histogram + other.histogram)

    @property
    def pixels(self) -> int:
        """Number of pixels that count."""
        return int(self.matrix.sum())

    @property
    def cells(self) -> Counts:
        """The cells (4,) of the class."""
        return one_against_rest(self.matrix)[1]


# --- polygons -------------------------------------------------------------------------------------


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
