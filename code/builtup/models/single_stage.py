"""Masks from tags in one stage of training.

Araslanov & Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020. A network gives
a map of scores a class; scores of the whole image are means of it, weighted by the masks that the
scores make themselves (`normalised_score`), plus a penalty for masks that cover little
(`mask_penalty`). Shallow features, told by the deep ones what is there (`GlobalCues`), sharpen the
masks, and a gate keeps the deep ones from doing what only the shallow ones do (`StochasticGate`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.resnet38 import ResNet38

__all__ = [
    "GlobalCues",
    "SingleStage",
    "StochasticGate",
    "mask_penalty",
    "normalised_score",
]

#: Channels of deep and shallow features where they meet, and the share of the shallow ones.
_WIDTH, PSI = 256, 0.3
#: Dilations of the convolutions that look about the deep features.
_ATROUS = (6, 12, 18)


def normalised_score(
    logits: Tensor, inside: Tensor, background: int | None = None
) -> tuple[Tensor, Tensor]:
    """The scores of each sample's classes (N, K), and their mean masks.

    Of logits y (N, K, H, W) the masks are m = softmax(y), and over the pixels `inside` (N, H, W)
    the score of a class is Σ m·y / (1 + Σ m) where one of the channels is of the `background`, a
    constant (`SingleStage`), which then wins where masks are small; Σ m·y / Σ m where every pixel
    has a class. 0 where no pixel is inside.
    """
    y = logits.float()
    m = torch.where(inside[:, None], y.softmax(1), 0.0)
    total = m.sum((2, 3))
    below = 1 + total if background is not None else total.clamp(min=1e-6)
    return (m * y).sum((2, 3)) / below, total / inside.sum((1, 2)).clamp(min=1)[:, None]


def mask_penalty(mean: Tensor, power: float = 3.0, least: float = 0.01) -> Tensor:
    """(1 − m̄)³ · log(.01 + m̄): below 0 for a mean mask m̄ that covers little, 0 for a whole one."""
    return (1 - mean) ** power * torch.log(least + mean)


class StochasticGate(nn.Module):
    """Deep features x₁ and shallow ones x₂ of one shape as one, share `psi` of the shallow ones.

    In training each element is (x₁ − ψ x₂) / (1 − ψ) with a probability of 1 − ψ, and else x₂, so
    that its mean is x₁. Where the network predicts it is (1 − ψ) x₁ + ψ x₂: another value, as in
    the authors' code.
    """

    def __init__(self, psi: float = PSI) -> None:
        super().__init__()
        if not 0 <= psi < 1:
            raise ConfigError(f"psi = {psi}: expected 0 or more, below 1")
        self.psi = psi

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """See the class."""
        if not self.training:
            return (1 - self.psi) * deep + self.psi * shallow
        kept = torch.rand_like(deep) >= self.psi
        return torch.where(kept, (deep - self.psi * shallow) / (1 - self.psi), shallow)


class GlobalCues(nn.Module):
    """Shallow features scaled and shifted by what the deep ones find anywhere in the image.

    Deep features go through a 1×1 convolution to twice `width` channels, whose greatest values are
    γ and β; shallow ones through one to `width`, and become x · (1 + γ) + β.
    """

    def __init__(self, shallow: int, deep: int, width: int) -> None:
        super().__init__()
        self.cues = _convolved(deep, 2 * width, 1)
        self.reduce = nn.Sequential(
            nn.Conv2d(shallow, width, 1, bias=False), nn.BatchNorm2d(width, affine=False)
        )
        self.fuse = _convolved(width, width, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """(N, width, h, w) of the shallow features' size."""
        gamma, beta = self.cues(deep).amax((2, 3), keepdim=True).chunk(2, 1)
        fused: Tensor = self.fuse(F.relu(self.reduce(shallow) * (1 + gamma) + beta))
        return fused


class SingleStage(nn.Module):
    """ResNet-38d with atrous convolutions, global cues and the gate; logits at full resolution.

    Input (B, in_channels, H, W), sides multiples of 8. `width` is that of `ResNet38`, 64 as
    published, and of what follows it 4 times as much. `background`, a class's number, is the
    channel that is the constant 1: for data in which most of an image is of no class. With
    `plain`, the deep features go to the classes directly: the network of class activation maps,
    the baseline. `pretrained` is a file of ResNet-38d's weights.
    """

    stride = 8

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 64,
        background: int | None = None,
        plain: bool = False,
        psi: float = PSI,
        pretrained: bool | str = "",
    ) -> None:
        super().__init__()
        if pretrained is True:
            raise ConfigError(
                "single_stage: pretrained = True: weights of ResNet-38d are not to be had by name; "
                "fetch them and give their file, or set pretrained = False"
            )
        if background is not None and not 0 <= background < num_classes:
            raise ConfigError(f"background = {background}: no number of {num_classes} classes")
        self.background = background
        self.encoder = ResNet38(in_channels, width, pretrained or "")
        shallow, deep = self.encoder.channels
        learnt, own = num_classes - (background is not None), _WIDTH * width // 64
        self.decoder: nn.Module | None = None
        if plain:
            self.classify = nn.Conv2d(deep, learnt, 1, bias=False)
            return
        self.decoder = nn.ModuleDict(
            {
                "around": _Around(deep, own),
                "cues": GlobalCues(shallow, own, own),
                "gate": StochasticGate(psi),
                "last": nn.Sequential(_convolved(own, own, 3), nn.Dropout2d(0.5)),
            }
        )
        self.classify = nn.Conv2d(own, learnt, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the input's resolution, see the class."""
        size = x.shape[-2:]
        shallow, deep = self.encoder(x)
        if isinstance(self.decoder, nn.ModuleDict):
            part: Any = self.decoder
            deep = part["around"](deep)
            sharp = part["cues"](shallow, deep)
            deep = part["last"](part["gate"](_resized(deep, sharp.shape[-2:]), sharp))
        logits = _resized(self.classify(deep), size)
        if self.background is None:
            return logits
        one = torch.ones_like(logits[:, :1])
        return torch.cat([logits[:, : self.background], one, logits[:, self.background :]], 1)


class _Around(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., DeepLabv3, 2017), with the image's mean."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [_convolved(inputs, width, 1), *(_convolved(inputs, width, 3, d) for d in _ATROUS)]
        )
        # one number an image: a batch of one has no deviation to normalise it by
        self.mean = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.ReLU())
        self.join = _convolved(5 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        joined: Tensor = self.join(torch.cat([*(part(x) for part in self.parts), mean], 1))
        return joined


def _convolved(inputs: int, outputs: int, side: int, dilation: int = 1) -> nn.Sequential:
    around = dilation * (side // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=around, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _resized(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
