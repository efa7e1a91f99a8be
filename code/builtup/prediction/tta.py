"""Test-time augmentation: the views of ttach, batched, their probabilities averaged.

ttach predicts one view at a time and offers means that fail on logits (`gmean` and `tsharpen` give
NaN there). Its transforms are used, the rest is here: all views of a batch go through the network
together, and probabilities, never logits, are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import ttach
from torch import Tensor

from builtup.errors import ConfigError

__all__ = ["TTA_SETS", "average_views", "views_of"]

Probabilities = Callable[[Tensor], Tensor]


def _rotations() -> Any:
    return ttach.Compose([ttach.Rotate90(angles=[0, 90, 180, 270])])


def _flips() -> Any:
    return ttach.Compose([ttach.HorizontalFlip(), ttach.VerticalFlip()])


class _Transpose:
    """Rows for columns, or nothing where it is not `on`: what ttach lacks."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def augment_image(self, image: Tensor) -> Tensor:
        """(…, H, W) to (…, W, H)."""
        return image.mT if self.on else image

    deaugment_mask = augment_image


#: Named sets of views. `rotations` (quarter turns) is what the UNOSAT solution used, `d4` adds
#: their mirror images: the eight symmetries of a square. `flips` are left and right, up and down,
#: both and none.
TTA_SETS: dict[str, Callable[[], Any]] = {
    "none": lambda: ttach.Compose([]),
    "hflip": ttach.aliases.hflip_transform,
    "vflip": ttach.aliases.vlip_transform,
    "flips": _flips,
    "transpose": lambda: [_Transpose(False), _Transpose(True)],
    "rotations": _rotations,
    "d4": ttach.aliases.d4_transform,
}


def views_of(name: str) -> list[Any]:
    """The transformers (`augment_image`, `deaugment_mask`) of a named set."""
    if name not in TTA_SETS:
        raise ConfigError(f"tta={name!r}: unknown set of views; use one of {', '.join(TTA_SETS)}")
    return list(TTA_SETS[name]())


def average_views(probabilities: Probabilities, power: Tensor, views: list[Any]) -> Tensor:
    """Mean probabilities (B, K, H, W) of (B, C, H, W) under all views, in one batch.

    H and W must be equal where a view turns the image.
    """
    if len(views) == 1:
        return probabilities(power)
    batch = torch.cat([view.augment_image(power) for view in views])
    parts = probabilities(batch).chunk(len(views))
    total = views[0].deaugment_mask(parts[0]).clone()
    for view, part in zip(views[1:], parts[1:], strict=True):
        total += view.deaugment_mask(part)
    return total.div_(len(views))
