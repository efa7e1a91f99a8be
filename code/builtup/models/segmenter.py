"""A network together with the channels it was trained on."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from builtup.models.channels import Channels
from builtup.models.heads import Outputs, each

__all__ = ["Segmenter"]

#: Stride of the deepest features where a network does not say.
DEFAULT_STRIDE = 32


class Segmenter(nn.Module):
    """Logits from the bands of a sensor: `channels`, then `network`, for images of any size.

    Input (B, bands, H, W) as `channels` reads it, with NaN as no-data; output (B, num_classes,
    H, W) logits, or a dict of heads where the network gives one (`builtup.models.heads`). Sides
    that are no multiple of the network's stride (its attribute `stride`, else 32) are filled up to
    the right and below like no-data, and the output cropped back.
    """

    def __init__(self, channels: Channels, network: nn.Module) -> None:
        super().__init__()
        self.channels = channels
        self.network = network
        stride = getattr(network, "stride", DEFAULT_STRIDE)
        self.stride = stride if isinstance(stride, int) else DEFAULT_STRIDE

    def forward(self, bands: Tensor) -> Outputs:
        """Logits of a batch, see the class."""
        height, width = bands.shape[-2:]
        x = self.channels(bands)
        below, right = -height % self.stride, -width % self.stride
        if below or right:
            x = F.pad(x, (0, right, 0, below))  # 0 is the training mean, as for no-data
        outputs: Outputs = self.network(x)
        return each(outputs, lambda values: values[..., :height, :width])
