"""Lessons of cells of which less is known than of pixels: their tags, and shares of coarse layers.

Tags say of a cell that somebody looked at which classes occur in it, or how much of each. They are
right: `TagLoss` trusts them, and knows any number of classes.

Settlement layers (GHSL, WSF) say for cells of 100 to 1,000 m how much of each is built-up. They
tell a network where towns are not, on ground where nobody drew a polygon; and they err, by years
and by what they call built-up. So the loss of a cell is bounded, a band around its share costs
nothing, and cells are left out in which the network's own average says the opposite (`Distrust`):
of a layer beside tiles (`ShareLoss`), or of tags that are shares (`TagLoss` with a distrust).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import avg_pool2d

from builtup.data import loaders
from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE, SCALE
from builtup.models.heads import tagged_cells
from builtup.runs.records import Record
from builtup.training.lessons import Counted, Lesson, Teaching

__all__ = [
    "Distrust",
    "LogSumExp",
    "Mean",
    "Pool",
    "ShareLoss",
    "SharesRecord",
    "TagLoss",
    "shares_lesson",
]

#: The layer of tiles, and least share of a cell's pixels that must be valid.
SHARES, LEAST_VALID = "shares", 0.5
#: Pooled probabilities are kept so far from 0 and 1, where their logarithm has no end.
LEAST = 1e-6


class Pool(Protocol):
    """What the probabilities of a cell's pixels are as one."""

    def __call__(self, probabilities: Tensor, inside: Tensor) -> Tensor:
        """Of (N, K, H, W) over the pixels `inside` (N, H, W): (N, K), 0 where there is none."""


@dataclass(frozen=True)
class LogSumExp:
    """log(mean(exp(r · p))) / r: near the greatest probability for a large r, with a gradient for
    the others too. For tags: one pixel is enough for a class to occur (Pinheiro & Collobert, CVPR
    2015)."""

    r: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.r < math.inf:
            raise ConfigError(f"{self}: expected a number above 0; Mean() is that of 0")

    def __call__(self, probabilities: Tensor, inside: Tensor) -> Tensor:
        """See `Pool`."""
        count = inside.sum((1, 2))[:, None]
        # a cell without a pixel: any number stands in, lest the gradient of −∞ be NaN
        counted = inside | (count == 0)[:, :, None]
        scaled = torch.where(counted[:, None], self.r * probabilities.float(), -torch.inf)
        pooled = (scaled.flatten(2).logsumexp(2) - count.clamp(min=1).log()) / self.r
        return torch.where(count > 0, pooled, 0.0)


@dataclass(frozen=True)
class Mean:
    """The mean probability: for shares."""

    def __call__(self, probabilities: Tensor, inside: Tensor) -> Tensor:
        """See `Pool`."""
        total = torch.where(inside[:, None], probabilities.float(), 0.0).sum((2, 3))
        return total / inside.sum((1, 2)).clamp(min=1)[:, None]


@dataclass(frozen=True)
class Distrust:
    """What the share of a cell costs where it may be wrong: 0 within a band around it.

    Of a cell of share s the band is s ± min(s, `tolerance`), so that a cell without a building has
    none. From its nearest end t the loss is a · KL(t ‖ p) + |p − t|, a = `alpha`: bounded in its
    gradient where p is sure of the opposite, as in Wang et al., Symmetric Cross Entropy for Robust
    Learning with Noisy Labels, ICCV 2019. Cells where the teacher's mean probability and the share
    are more than `apart` from one another are left out (None: none is).
    """

    tolerance: float = 0.15
    apart: float | None = 0.75
    alpha: float = 0.1

    def __post_init__(self) -> None:
        apart = 1.0 if self.apart is None else self.apart
        if not 0 <= self.tolerance < 1 or not 0 < apart <= 1 or self.alpha < 0:
            raise ConfigError(
                f"{self}: expected a tolerance of 0 or more below 1, apart above 0 to 1 or None, "
                "alpha of 0 or more"
            )

    def cost(self, pooled: Tensor, share: Tensor) -> Tensor:
        """The loss of each cell of a mean probability and a share, of one shape."""
        band = share.clamp(max=self.tolerance)
        t = torch.minimum(torch.maximum(pooled.detach(), share - band), share + band).clamp(0, 1)
        p = pooled.clamp(LEAST, 1 - LEAST)
        entropy = torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t)
        divergence = entropy - t * p.log() - (1 - t) * (1 - p).log()
        # within the band p is t but for the clamp: nothing
        inside = (pooled.detach() - t).abs() <= 0
        return torch.where(inside, 0.0, self.alpha * divergence + (pooled - t).abs())

    def believed(
        self, teaching: Teaching, image: Tensor, share: Tensor, pool: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Which shares the moving average of the weights does not contradict.

        `pool` gives of its probabilities (N, K, H, W) what stands beside `share`.
        """
        if self.apart is None:
            return torch.ones_like(share, dtype=torch.bool)
        teacher = teaching.teacher(image)
        if teacher is None:
            raise ConfigError(f"{self}: needs a teacher; set ema_decay, or apart=None")
        return (pool(teacher) - share).abs() <= self.apart


@dataclass(frozen=True)
class TagLoss:
    """Binary cross-entropy of pooled probabilities against the tags of cells, or shares.

    A sample is a cell, or n of them, with their surroundings: the network sees all of it, and the
    pixels that count are those whose mask is the number of a cell. The batch has `tags` (N, K) or
    (N, n, K), 1 where a class occurs in a cell, 0 where not, or its share; NaN is not known and
    costs nothing. `pool` is LogSumExp() for tags, Mean() for shares; of shares that may be wrong
    `distrust` says what they cost instead. Raises ConfigError where there are no tags, or as many
    as other classes.
    """

    pool: Pool = field(default_factory=LogSumExp)
    distrust: Distrust | None = None

    @property
    def needs_average(self) -> bool:
        """Whether it asks the moving average of the weights."""
        return self.distrust is not None and self.distrust.apart is not None

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The mean over the tags that are known, and their number."""
        image, targets = teaching.image_and_targets(batch)
        tags, cells = tagged_cells(targets)
        probabilities = teaching.student(image).softmax(1)
        if probabilities.shape[1] != tags.shape[2]:
            raise ConfigError(
                f"tags: of {tags.shape[2]} classes, and the network has {probabilities.shape[1]}; "
                "set num_classes to that of the data"
            )
        known = ~tags.isnan() & cells.flatten(2).any(2)[..., None]
        wanted = torch.where(known, tags, 0.0)
        pooled = self._pooled(probabilities, cells).clamp(LEAST, 1 - LEAST)
        if self.distrust is None:
            cost = F.binary_cross_entropy(pooled, wanted, reduction="none")
        else:
            cost = self.distrust.cost(pooled, wanted)
            known &= self.distrust.believed(
                teaching, image, wanted, lambda teacher: self._pooled(teacher, cells)
            )
        number = int(known.sum())
        return Counted(torch.where(known, cost, 0.0).sum() / max(number, 1), number)

    def _pooled(self, probabilities: Tensor, cells: Tensor) -> Tensor:
        """What the probabilities are as one of each cell: (N, n, K)."""
        # a sample at a time: each cell has a copy of it
        pairs = zip(probabilities, cells, strict=True)
        return torch.stack([self.pool(p.expand(len(own), -1, -1, -1), own) for p, own in pairs])


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
class ShareLoss:
    """The mean probability of a layer's cells against their shares, as `distrust` has it.

    `cell` is their side in pixels, of a batch whose crops hold whole ones; `mapped` the class.
    """

    cell: int
    distrust: Distrust = field(default_factory=Distrust)
    mapped: int = 1

    def __post_init__(self) -> None:
        if self.cell < 1:
            raise ConfigError(f"{self}: expected cells of 1 pixel or more")

    @property
    def needs_average(self) -> bool:
        """Whether it asks the moving average of the weights."""
        return self.distrust.apart is not None

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The mean over the cells that count, and their number."""
        image, level = teaching.image_and_target(batch)
        valid = level != IGNORE
        probability = teaching.student(image).softmax(1)[:, self.mapped]
        share, known = self._pooled(torch.where(valid, level, 0) / SCALE, valid)
        counted = (known >= LEAST_VALID) & self.distrust.believed(
            teaching, image, share, lambda teacher: self._pooled(teacher[:, self.mapped], valid)[0]
        )
        pooled, _ = self._pooled(probability, valid)
        loss = self.distrust.cost(pooled, share)
        number = int(counted.sum())
        return Counted(torch.where(counted, loss, 0.0).sum() / max(number, 1), number)

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
    return Lesson(SHARES, loader, ShareLoss(cell, Distrust(tolerance, apart)), weight, every)
