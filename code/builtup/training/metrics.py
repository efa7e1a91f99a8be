"""What a network predicts for validation tiles, counted on the device and over all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from torch import Tensor

from builtup.geo.probability import IGNORE, LEVELS, SCALE
from builtup.scoring.counts import CELLS, Counts, require_known_classes, scores, worst_city_f1
from builtup.sensors.classes import Classes

__all__ = ["Predicted", "SegmentationScores", "quantise"]


@dataclass(frozen=True)
class Predicted:
    """What the evaluator gives for a batch.

    `level` (B, H, W) uint8: probability of the mapped class, 0 to 254. `label` and `target`
    (B, H, W) int64, the likeliest class and the truth with 255 ignored. `place`: for each image an
    index into the cities. `number`: for each image its tile's, where tiles are known.
    """

    level: Tensor
    label: Tensor
    target: Tensor
    place: Sequence[int]
    number: Sequence[int] = ()


def quantise(probability: Tensor) -> Tensor:
    """round(254 p) as uint8, as predictions are stored."""
    return (probability.float() * SCALE).round().clamp(0, SCALE).to(torch.uint8)


class SegmentationScores(Metric):
    """Collects `Predicted` over an evaluation; computes what `scores` names, also per city.

    Counts are int64 and summed over the processes, so the figures do not depend on how many
    there were. `matrices` (cities, C, C), `histogram` (2, 255) and `tiles` (num_tiles, 4: the
    mapped class's cells) hold the totals after compute.
    """

    def __init__(
        self,
        classes: Classes,
        cities: Sequence[str],
        device: torch.device | str = "cpu",
        num_tiles: int = 0,
    ) -> None:
        self.classes = classes
        self.cities = tuple(cities)
        self.num_tiles = num_tiles
        self.matrices: Counts
        self.histogram: Counts
        self.tiles: Counts
        super().__init__(device=device)

    def reset(self) -> None:
        """Start an evaluation."""
        c = len(self.classes)
        self._matrices = self._zeros(max(1, len(self.cities)), c, c)
        self._histogram = self._zeros(2, LEVELS)
        self._tiles = self._zeros(self.num_tiles, len(CELLS))
        super().reset()

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self._device)

    def update(self, output: Predicted) -> None:
        """Count the valid pixels of a batch."""
        valid = output.target != IGNORE
        c, mapped = len(self.classes), self.classes.mapped_index
        place = torch.as_tensor(list(output.place), device=output.target.device)
        place = place[:, None, None].expand_as(output.target)[valid]
        target, label = output.target[valid].long(), output.label[valid].long()
        if target.numel() == 0:
            return
        require_known_classes(int(target.max()), c)
        self._count_tiles(output)
        cell = (place * c + target) * c + label
        matrices = torch.bincount(cell, minlength=self._matrices.numel())
        self._matrices += matrices.view_as(self._matrices).to(self._device)
        level = output.level[valid].long() + LEVELS * (target == mapped)
        histogram = torch.bincount(level, minlength=2 * LEVELS)
        self._histogram += histogram.view(2, LEVELS).to(self._device)

    def _count_tiles(self, output: Predicted) -> None:
        if self.num_tiles == 0 or len(output.number) == 0:
            return
        valid, mapped = output.target != IGNORE, self.classes.mapped_index
        true, predicted = (output.target == mapped) & valid, (output.label == mapped) & valid
        cells = (
            true & predicted,
            ~true & predicted,
            true & ~predicted,
            valid & ~true & ~predicted,
        )
        counts = torch.stack([cell.sum((1, 2)) for cell in cells], dim=1)
        number = torch.as_tensor(list(output.number), device=self._device)
        self._tiles.index_add_(0, number, counts.to(self._device))

    def compute(self) -> Mapping[str, float]:
        """`f1`, …, `worst_city_f1` and `<city>/f1`, … of all processes' pixels."""
        self.matrices = idist.all_reduce(self._matrices.clone()).cpu().numpy()
        self.histogram = idist.all_reduce(self._histogram.clone()).cpu().numpy()
        self.tiles = idist.all_reduce(self._tiles.clone()).cpu().numpy()
        computed = scores(self.matrices.sum(0), self.classes)
        computed["worst_city_f1"] = worst_city_f1(self.matrices, self.classes.mapped_index)
        for city, matrix in zip(self.cities, self.matrices, strict=False):
            own = scores(matrix, self.classes)
            computed |= {f"{city}/{name}": value for name, value in own.items()}
        return computed
