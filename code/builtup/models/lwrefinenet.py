"""Light-Weight RefineNet with a MobileNetV2 encoder.

Nekrasov, Shen, Reid: Light-Weight RefineNet for Real-Time Semantic Segmentation, BMVC 2018
(arXiv:1810.03272); encoder: Sandler et al., MobileNetV2, CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from builtup.models.heads import (
    Heads,
    Outputs,
    each,
    head_convolutions,
    require_heads,
    sample_heads,
    with_samples,
)
from builtup.models.weights import adapt_input, fetch

__all__ = ["ChainedResidualPooling", "LightWeightRefineNet"]

#: Blocks of torchvision's MobileNetV2 that end each feature level: (first, past the last).
_LEVELS = ((0, 4), (4, 7), (7, 11), (11, 14), (14, 17), (17, 18))
#: Channels of these levels; their strides are 4, 8, 16, 16, 32, 32.
_CHANNELS = (24, 32, 64, 96, 160, 320)
_WIDTH = 256


class ChainedResidualPooling(nn.Module):
    """Context from a chain of 5×5 max pools, each followed by a 1×1 convolution, all summed."""

    def __init__(self, channels: int, stages: int = 4) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.convs = nn.ModuleList(_conv1x1(channels, channels) for _ in range(stages))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, (B, channels, H, W)."""
        path = x
        for conv in self.convs:
            path = conv(self.pool(path))
            x = x + path
        return x


class LightWeightRefineNet(nn.Module):
    """Light-Weight RefineNet-MobileNetV2: 3.24 M parameters for 3 channels and 2 classes.

    Input (B, in_channels, H, W), sides multiples of 32; output (B, num_classes, H, W) logits,
    computed at stride 4 and upsampled. Differs from the authors' code in one thing: bilinear
    upsampling with corners not aligned, whose weights do not depend on the size of the image.
    The decoder begins at N(0, .01), which the authors' code defines: it has no normalisation, and
    from torch's own start the rates of the baselines (SGD .05) diverge within three steps.
    `pretrained` takes the encoder's ImageNet weights; raises BuiltupError where they cannot be had.
    With `heads` (see `builtup.models.heads`) the output is a dict of these and the logits.
    """

    stride = 32

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pretrained: bool = False,
        heads: Sequence[str] = (),
    ) -> None:
        super().__init__()
        require_heads(heads)
        blocks = mobilenet_v2()
        if pretrained:
            weights = MobileNet_V2_Weights.IMAGENET1K_V1
            blocks.load_state_dict(
                fetch("mobilenet_v2", lambda: weights.get_state_dict(progress=False))
            )
        features = blocks.features
        features[0][0] = adapt_input(features[0][0], in_channels, keep_weights=pretrained)
        self.levels = nn.ModuleList(nn.Sequential(*features[a:b]) for a, b in _LEVELS)
        self.reduce = nn.ModuleList(_conv1x1(c, _WIDTH) for c in _CHANNELS)
        # from the deepest to the finest resolution: strides 32, 16, 8, 4
        self.crp = nn.ModuleList(ChainedResidualPooling(_WIDTH) for _ in range(4))
        self.adapt = nn.ModuleList(_conv1x1(_WIDTH, _WIDTH) for _ in range(3))
        self.classify: nn.Module = nn.Conv2d(_WIDTH, num_classes, 3, padding=1)
        for part in (self.reduce, self.crp, self.adapt, self.classify):
            part.apply(_begin_small)
        if further := head_convolutions(heads, _WIDTH):
            self.classify = Heads(self.classify, further)
        self.of_sample = sample_heads(heads, _CHANNELS[-1])

    def forward(self, x: Tensor) -> Outputs:
        """Logits at the input's resolution, see the class."""
        size = x.shape[-2:]
        reduced = []
        for level, reduce in zip(self.levels, self.reduce, strict=True):
            x = level(x)
            reduced.append(reduce(x))
        s4, s8, s16, s16b, s32, s32b = reduced
        y = self.crp[0](F.relu6(s32 + s32b))
        finer = (s16 + s16b, s8, s4)
        for features, adapt, crp in zip(finer, self.adapt, self.crp[1:], strict=True):
            y = crp(F.relu6(features + _upsample(adapt(y), features.shape[-2:])))
        maps = each(self.classify(y), lambda values: _upsample(values, size))
        return with_samples(maps, self.of_sample, x)


def _begin_small(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def _upsample(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
