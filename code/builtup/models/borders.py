"""Pixels along the borders of classes, which are left out of a loss.

Where two classes meet, labels are off by a pixel or several: by the hand that drew them, by the
height that leans buildings over, by the mixture that the pixel is. A ring that counts nowhere
keeps a network from learning that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE
from builtup.models.losses import Loss, WeightedSum

__all__ = ["IgnoreBorders", "ignore_borders"]


def ignore_borders(mask: Tensor, width: int) -> Tensor:
    """The mask (B, H, W) of whole numbers, 255 within `width` pixels of another class.

    Both sides of a border are left out, in a square about each pixel. Ignored pixels are of no
    class: beside them nothing is a border.
    """
    values = mask.float()[:, None]
    ignored = mask == IGNORE
    side = 2 * width + 1
    # the largest and the smallest class of a window, ignored pixels being neither
    most = F.max_pool2d(values.masked_fill(ignored[:, None], -1.0), side, 1, width)
    least = -F.max_pool2d(-values, side, 1, width)
    border = (most[:, 0] != least[:, 0]) & (most[:, 0] >= 0)
    return torch.where(border, IGNORE, mask)


class IgnoreBorders(Loss):
    """A loss of masks whose borders between classes are ignored, `width` pixels on both sides."""

    def __init__(self, loss: Loss, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"width of an ignored border = {width}: expected 1 pixel or more")
        self.loss, self.width = loss, width

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of what is left of the target (B, H, W) int64."""
        value: Tensor = self.loss(logits, ignore_borders(target, self.width))
        return value

    def count(self, target: Tensor) -> int:
        """The pixels that are left."""
        return self.loss.count(ignore_borders(target, self.width))

    def __str__(self) -> str:
        what = f"({self.loss})" if isinstance(self.loss, WeightedSum) else str(self.loss)
        return f"{what} without borders of {self.width} px"
