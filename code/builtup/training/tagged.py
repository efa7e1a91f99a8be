"""A lesson of coarse shares: how much of a cell is built-up, from a layer that is often wrong.

Settlement layers (GHSL, WSF) say for cells of 100 to 1,000 m how much of each is built-up. They
tell a network where towns are not, on ground where nobody drew a polygon; and they err, by years
and by what they call built-up. So the loss of a cell is bounded, a band around its share costs
nothing, and cells are left out in which the network's own average says the opposite.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from builtup.data import loaders
from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE, SCALE
from builtup.runs.records import Record
from builtup.training.lessons import Counted, Lesson, Teaching

__all__ = ["SharesRecord", "TagLoss", "shares_lesson"]

#: The layer of tiles, and least share of a cell's pixels that must be valid.
SHARES, LEAST_VALID = "shares", 0.5


@dataclass(frozen=True, kw_only=True)
class SharesRecord(Record):
    """A layer of shares: the side of its cells in pixels, and the raster it was made from.

    `full` is the value of a cell of that raster that is built-up all over.
    """

    NAME: ClassVar[str] = "shares.json"
    PROBLEM: ClassVar[str] = "no record of shares of cells"
    REMEDY: ClassVar[str] = "make the layer again"

    cell: int = 0
    source: str = ""
    full: float = 1.0


@dataclass(frozen=True)
class TagLoss:
    """The mean probability of a cell against its share, 0 within a band around it.

    Of a cell of share s the band is s ± min(s, `tolerance`), so that a cell without a building has
    none. From its nearest end t the loss is a · KL(t ‖ p) + |p − t|, a = `alpha`: bounded in its
    gradient where p is sure of the opposite, as in Wang et al., Symmetric Cross Entropy for Robust
    Learning with Noisy Labels, ICCV 2019. Cells where the teacher's mean probability and the share
    are more than `apart` from one another are left out (None: none is). `cell` is their side in
    pixels, of a batch whose crops hold whole ones; `mapped` the class.
    """

    cell: int
    tolerance: float = 0.15
    apart: float | None = 0.75
    alpha: float = 0.1
    mapped: int = 1

    def __post_init__(self) -> None:
        apart = 1.0 if self.apart is None else self.apart
        if self.cell < 1 or not 0 <= self.tolerance < 1 or not 0 < apart <= 1 or self.alpha < 0:
            raise ConfigError(
                f"{self}: expected cells of 1 pixel or more, a tolerance of 0 or more below 1, "
                "apart above 0 to 1 or None, alpha of 0 or more"
            )

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The mean over the cells that count, and their number."""
        image, level = teaching.image_and_target(batch)
        valid = level != IGNORE
        probability = teaching.student(image).softmax(1)[:, self.mapped]
        share, known = self._pooled(torch.where(valid, level, 0) / SCALE, valid)
        counted = known >= LEAST_VALID
        if self.apart is not None:
            teacher = teaching.teacher(image)
            if teacher is None:
                raise ConfigError(f"{self}: needs a teacher; set ema_decay, or apart=None")
            believed, _ = self._pooled(teacher[:, self.mapped], valid)
            counted &= (believed - share).abs() <= self.apart
        pooled, _ = self._pooled(probability, valid)
        loss = self.cost(pooled, share)
        number = int(counted.sum())
        return Counted(torch.where(counted, loss, 0.0).sum() / max(number, 1), number)

    def cost(self, pooled: Tensor, share: Tensor) -> Tensor:
        """The loss of each cell of a mean probability and a share, of one shape."""
        band = share.clamp(max=self.tolerance)
        t = torch.minimum(torch.maximum(pooled.detach(), share - band), share + band).clamp(0, 1)
        p = pooled.clamp(1e-6, 1 - 1e-6)
        entropy = torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t)
        divergence = entropy - t * p.log() - (1 - t) * (1 - p).log()
        # within the band p is t but for the clamp: nothing
        inside = (pooled.detach() - t).abs() <= 0
        return torch.where(inside, 0.0, self.alpha * divergence + (pooled - t).abs())

    def _pooled(self, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over the valid pixels of each cell (N, h, w), and the share of these."""
        height, width = values.shape[-2:]
        if height % self.cell or width % self.cell:
            raise ConfigError(
                f"{self}: samples of {width} × {height} pixels hold no whole number of cells; "
                "choose a crop that is a multiple of cell"
            )
        known = avg_pool2d(valid.float()[:, None], self.cell)[:, 0]
        total = avg_pool2d(torch.where(valid, values, 0.0).float()[:, None], self.cell)[:, 0]
        return total / known.clamp(min=1e-6), known


def shares_lesson(
    folder: str | Path,
    *,
    batch_size: int,
    crop: int = 96,
    seed: int = 0,
    weight: float = 1.0,
    every: int = 1,
    tolerance: float = 0.15,
    apart: float | None = 0.75,
    **options: Any,
) -> Lesson:
    """The lesson "shares", of the layer that `builtup.maps.cell_shares` wrote into a tiles' folder.

    Crops hold as many whole cells as fit into `crop` pixels, at least one; `options` are further
    ones of `builtup.data.loaders.train_loader`. Raises InputError where there is no such layer.
    """
    cell = SharesRecord.read(Path(folder)).cell
    loader = loaders.train_loader(
        folder,
        val_fold=None,
        batch_size=batch_size,
        crop=cell * max(1, crop // cell),
        scale=None,
        sampler_weights=None,
        seed=seed,
        layer=SHARES,
        cell=cell,
        **options,
    )
    return Lesson(SHARES, loader, TagLoss(cell, tolerance, apart), weight=weight, every=every)
