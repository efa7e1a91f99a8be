"""A small network for a CPU: a U-Net whose finest features are at half resolution.

Speckle makes single pixels say little, so the full resolution is not worth its price: the image
comes in as 2×2 blocks of pixels (pixel unshuffle) and leaves as such (pixel shuffle, Shi et al.,
CVPR 2016), with a U-Net (Ronneberger et al., MICCAI 2015) between at strides 2, 4, 8 and 16.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SmallUNet"]


class SmallUNet(nn.Module):
    """0.46 M parameters; a pixel sees about 200 px around it.

    Input (B, in_channels, H, W), sides multiples of 16; output (B, num_classes, H, W) logits.
    `widths` are the channels at strides 2, 4, 8 and 16.
    """

    stride = 16

    def __init__(
        self, in_channels: int, num_classes: int, widths: Sequence[int] = (24, 48, 96, 128)
    ) -> None:
        super().__init__()
        self.stem = _block(4 * in_channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _block(a, b), _block(b, b))
            for a, b in itertools.pairwise(widths)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(b, a, 1, bias=False) for a, b in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(_block(a, a) for a in widths[:-1])
        self.classify = nn.Conv2d(widths[0], 4 * num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the input's resolution, see the class."""
        x = self.stem(F.pixel_unshuffle(x, 2))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for skip, reduce, up in reversed(list(zip(skips, self.reduce, self.up, strict=True))):
            x = F.interpolate(reduce(x), scale_factor=2.0, mode="nearest")
            x = up(x + skip)
        return F.pixel_shuffle(self.classify(x), 2)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
