"""Scores of a segmentation, all of them from one confusion matrix over valid pixels.

Building (class 1) F1 and IoU are the headline; means over classes carry the word macro. A score
that has no meaning (of a class that the truth lacks) is NaN, never 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.metrics import Metric
from numpy.typing import NDArray
from torch import Tensor

from builtup.errors import BuiltupError
from builtup.geo.probability import IGNORE, LEVELS

__all__ = [
    "BUILDING",
    "SCORES",
    "Predicted",
    "SegmentationScores",
    "Threshold",
    "choose_threshold",
    "quantise",
    "rank_tiles",
    "scores",
    "tile_iou",
    "worst_city_f1",
]

#: The class whose probability is mapped.
BUILDING = 1
#: What `scores` gives.
SCORES = ("f1", "iou", "precision", "recall", "macro_f1", "macro_iou", "accuracy")

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Predicted:
    """What the evaluator says of a batch.

    `level` (B, H, W) uint8: building probability, 0 to 254. `label` and `target` (B, H, W) int64,
    the likeliest class and the truth with 255 ignored. `place`: for each image an index into the
    cities. `number`: for each image its tile's, where tiles are known.
    """

    level: Tensor
    label: Tensor
    target: Tensor
    place: Sequence[int]
    number: Sequence[int] = ()


@dataclass(frozen=True)
class Threshold:
    """A threshold of the building probability, and the F1 that it reaches where it was chosen."""

    value: float
    f1: float


def quantise(probability: Tensor) -> Tensor:
    """round(254 p) as uint8, as predictions are stored."""
    return (probability.float() * (LEVELS - 1)).round().clamp(0, LEVELS - 1).to(torch.uint8)


def scores(matrix: Counts) -> dict[str, float]:
    """f1, iou, precision and recall of buildings, macro_f1, macro_iou and accuracy.

    `matrix[truth, prediction]` counts pixels, (C, C) int64. F1 and IoU of a class that the truth
    lacks are undefined: of it nothing can be found. macro_… are means over the classes for which
    the score is defined.
    """
    hit = np.diag(matrix).astype(np.float64)
    predicted, true = matrix.sum(0), matrix.sum(1)
    f1 = _ratio(2 * hit, np.where(true > 0, predicted + true, 0))
    iou = _ratio(hit, np.where(true > 0, predicted + true - np.diag(matrix), 0))
    return {
        "f1": float(f1[BUILDING]),
        "iou": float(iou[BUILDING]),
        "precision": float(_ratio(hit, predicted)[BUILDING]),
        "recall": float(_ratio(hit, true)[BUILDING]),
        "macro_f1": _mean_of_defined(f1),
        "macro_iou": _mean_of_defined(iou),
        "accuracy": float(_ratio(hit.sum(keepdims=True), matrix.sum(keepdims=True).ravel())[0]),
    }


def tile_iou(label: NDArray[Any], target: NDArray[Any]) -> float:
    """IoU of the buildings of one image; NaN where there are none in truth and prediction."""
    valid = target != IGNORE
    both = int(((label == BUILDING) & (target == BUILDING) & valid).sum())
    either = int((((label == BUILDING) | (target == BUILDING)) & valid).sum())
    return both / either if either else float("nan")


def worst_city_f1(matrices: Counts) -> float:
    """The least building F1 of the cities whose truth has buildings; NaN where none has any."""
    found = [scores(m)["f1"] for m in matrices if m[BUILDING].sum() > 0]
    return min(found, default=float("nan"))


def rank_tiles(tiles: Counts, cities: Sequence[int]) -> dict[int, dict[str, int]]:
    """For each city the numbers of its best, median and worst tile by building IoU.

    `tiles` (N, 2) int64 counts the pixels that are built-up in truth and prediction, and in either;
    tiles without any are left out. `cities` are the tiles' cities as indices.
    """
    found: dict[int, dict[str, int]] = {}
    city_of = np.asarray(cities)
    for city in np.unique(city_of):
        numbers = np.flatnonzero((city_of == city) & (tiles[:, 1] > 0))
        if len(numbers) == 0:
            continue
        order = numbers[np.argsort(tiles[numbers, 0] / tiles[numbers, 1], kind="stable")]
        chosen = {"worst": order[0], "median": order[(len(order) - 1) // 2], "best": order[-1]}
        found[int(city)] = {name: int(number) for name, number in chosen.items()}
    return found


def choose_threshold(histogram: Counts) -> Threshold | None:
    """The threshold with the highest F1; None where the truth has no building.

    `histogram` (2, 255) int64: pixels of background and of buildings per level of probability.
    A pixel is built-up where level ≥ ⌈254 · threshold⌉; of equals the one nearest to 0.5 wins.
    """
    background, building = histogram
    if building.sum() == 0:
        return None
    hit = np.cumsum(building[::-1])[::-1]
    false = np.cumsum(background[::-1])[::-1]
    f1 = 2 * hit / (hit + false + building.sum())
    levels = np.arange(1, LEVELS)  # at level 0 everything would be built up
    best = levels[f1[levels] == f1[levels].max()]
    level = int(best[np.argmin(np.abs(best - (LEVELS // 2)))])
    # half a level below: ⌈254 · threshold⌉ is then this level, whatever the rounding
    return Threshold((level - 0.5) / (LEVELS - 1), float(f1[level]))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _mean_of_defined(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


class SegmentationScores(Metric):
    """Collects `Predicted` over an evaluation; computes what `scores` names, also per city.

    Counts are int64 and summed over the processes, so the figures do not depend on how many
    there were. `matrices` (cities, C, C), `histogram` (2, 255) and `tiles` (num_tiles, 2: pixels
    built-up in truth and prediction, and in either) hold the totals after compute.
    """

    def __init__(
        self,
        num_classes: int,
        cities: Sequence[str],
        device: torch.device | str = "cpu",
        num_tiles: int = 0,
    ) -> None:
        self.num_tiles = num_tiles
        self.tiles: Counts
        self.num_classes = num_classes
        self.cities = tuple(cities)
        self.matrices: Counts
        self.histogram: Counts
        super().__init__(device=device)

    def reset(self) -> None:
        """Start an evaluation."""
        c = self.num_classes
        self._matrices = torch.zeros(
            (max(1, len(self.cities)), c, c), dtype=torch.int64, device=self._device
        )
        self._histogram = torch.zeros((2, LEVELS), dtype=torch.int64, device=self._device)
        self._tiles = torch.zeros((self.num_tiles, 2), dtype=torch.int64, device=self._device)
        super().reset()

    def update(self, output: Predicted) -> None:
        """Count the valid pixels of a batch."""
        valid = output.target != IGNORE
        c = self.num_classes
        place = torch.as_tensor(list(output.place), device=output.target.device)
        place = place[:, None, None].expand_as(output.target)[valid]
        target, label = output.target[valid].long(), output.label[valid].long()
        if target.numel() == 0:
            return
        if int(target.max()) >= c:
            raise BuiltupError(
                f"a mask holds class {int(target.max())}, the config has num_classes = {c}; "
                "correct num_classes, or write 255 where nothing is known"
            )
        self._count_tiles(output)
        cell = (place * c + target) * c + label
        matrices = torch.bincount(cell, minlength=self._matrices.numel())
        self._matrices += matrices.view_as(self._matrices).to(self._device)
        level = output.level[valid].long() + LEVELS * (target == BUILDING)
        histogram = torch.bincount(level, minlength=2 * LEVELS)
        self._histogram += histogram.view(2, LEVELS).to(self._device)

    def _count_tiles(self, output: Predicted) -> None:
        if self.num_tiles == 0 or len(output.number) == 0:
            return
        valid = output.target != IGNORE
        true, found = (output.target == BUILDING) & valid, (output.label == BUILDING) & valid
        counts = torch.stack([(true & found).sum((1, 2)), (true | found).sum((1, 2))], dim=1)
        number = torch.as_tensor(list(output.number), device=self._device)
        self._tiles.index_add_(0, number, counts.to(self._device))

    def compute(self) -> Mapping[str, float]:
        """`f1`, …, `worst_city_f1` and `<city>/f1`, … of all processes' pixels."""
        self.matrices = idist.all_reduce(self._matrices.clone()).cpu().numpy()
        self.histogram = idist.all_reduce(self._histogram.clone()).cpu().numpy()
        self.tiles = idist.all_reduce(self._tiles.clone()).cpu().numpy()
        found = scores(self.matrices.sum(0))
        found["worst_city_f1"] = worst_city_f1(self.matrices)
        for city, matrix in zip(self.cities, self.matrices, strict=False):
            found |= {f"{city}/{name}": value for name, value in scores(matrix).items()}
        return found
