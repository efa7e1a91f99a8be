"""A network together with the channels it was trained on."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from builtup.models.channels import Channels

__all__ = ["Segmenter"]

#: Stride of the deepest features where a network does not say.
DEFAULT_STRIDE = 32


class Segmenter(nn.Module):
    """Logits from power: `channels`, then `network`, for images of any size.

    Input (B, 2 or 3, H, W) linear power with NaN as no-data; output (B, num_classes, H, W) logits.
    Sides that are no multiple of the network's stride (its attribute `stride`, else 32) are filled
    up to the right and below like no-data, and the logits cropped back.
    """

    def __init__(self, channels: Channels, network: nn.Module) -> None:
        super().__init__()
        self.channels = channels
        self.network = network
        stride = getattr(network, "stride", DEFAULT_STRIDE)
        self.stride = stride if isinstance(stride, int) else DEFAULT_STRIDE

    def forward(self, power: Tensor) -> Tensor:
        """Logits of a batch of power, see the class."""
        height, width = power.shape[-2:]
        x = self.channels(power)
        below, right = -height % self.stride, -width % self.stride
        if below or right:
            x = F.pad(x, (0, right, 0, below))  # 0 is the training mean, as for no-data
        logits: Tensor = self.network(x)
        return logits[..., :height, :width]
