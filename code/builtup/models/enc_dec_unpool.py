"""A VGG16 encoder whose decoder puts each value back to where pooling took it from.

Badrinarayanan, Kendall & Cipolla, SegNet, IEEE TPAMI 2017, with the layers of VGG16-BN (Simonyan &
Zisserman, ICLR 2015) in the order in which their weights were learnt: convolution, batch
normalisation, ReLU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights
from torchvision.models.vgg import cfgs, make_layers

from builtup.errors import ConfigError
from builtup.models.weights import adapt_input, fetch, load_named, read_named

__all__ = ["EncDecUnpool"]

#: Channels of VGG16-BN's first convolutions: those of its weights.
WIDTH = 64
#: Channels of the decoder's convolutions at strides 16, 8, 4, 2 and 1.
_DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


class _Encoder(nn.Module):
    """VGG16-BN's convolutions, by torchvision's names, which keep the places of what is pooled."""

    def __init__(self, in_channels: int, pretrained: bool | str, width: int) -> None:
        super().__init__()
        layers = [of if isinstance(of, str) else of * width // WIDTH for of in cfgs["D"]]
        self.features = make_layers(layers, batch_norm=True)
        first = self.features[0]
        assert isinstance(first, nn.Conv2d)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.return_indices = True
        if pretrained:
            state = (
                read_named(pretrained)
                if isinstance(pretrained, str)
                else fetch(
                    "vgg16_bn",
                    lambda: VGG16_BN_Weights.IMAGENET1K_V1.get_state_dict(progress=False),
                )
            )
            name = pretrained if isinstance(pretrained, str) else "vgg16_bn"
            load_named(self, state, name, leave_out=("classifier.",))
        self.features[0] = adapt_input(first, in_channels, keep_weights=bool(pretrained))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[tuple[int, ...]]]:
        """Features at stride 32, and of each pooling its places and the size before it."""
        places, sizes = [], []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                sizes.append(tuple(x.shape[-2:]))
                x, taken = layer(x)
                places.append(taken)
            else:
                x = layer(x)
        return x, places, sizes


class EncDecUnpool(nn.Module):
    """29.4 M parameters; input (B, in_channels, H, W) of any size from 32, output logits.

    Odd sizes come back as they were. `dropout` is that share of the values of each block of the
    decoder. `width` are the channels of the first convolutions, others in proportion; other ones
    than 64 are learnt from nothing. `pretrained` is True (torchvision's ImageNet weights, fetched)
    or a file of VGG16-BN's weights by torchvision's names; what is missing or not expected is
    listed in a BuiltupError.
    """

    stride = 32

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pretrained: bool | str = False,
        dropout: float = 0.5,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        if width < 1 or (pretrained and width != WIDTH):
            raise ConfigError(
                f"network enc_dec_unpool: width = {width}: expected 1 or more, and with pretrained "
                f"{WIDTH}, that of the weights"
            )
        self.encoder = _Encoder(in_channels, pretrained, width)
        blocks, inputs = [], 512 * width // WIDTH
        for widths in _DECODER:
            layers: list[nn.Module] = []
            for outputs in (max(1, of * width // WIDTH) for of in widths):
                layers += [
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                ]
                inputs = outputs
            blocks.append(nn.Sequential(*layers, nn.Dropout(dropout)))
        self.decoder = nn.ModuleList(blocks)
        self.classify = nn.Conv2d(inputs, num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the input's resolution, see the class."""
        x, places, sizes = self.encoder(x)
        for block in self.decoder:
            size = list(sizes.pop())
            x = block(F.max_unpool2d(x, places.pop(), [2, 2], [2, 2], output_size=size))
        logits: Tensor = self.classify(x)
        return logits
