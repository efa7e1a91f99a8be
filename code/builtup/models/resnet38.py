"""ResNet-38d: wide, shallow, at stride 8, the encoder of many networks that learn from tags.

Wu, Shen & van den Hengel, Wider or Deeper, Pattern Recognition 2019; its dilated form is that of
Ahn & Kwak, AffinityNet, CVPR 2018, whose names of layers are kept: weights are read by them.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from builtup.models.weights import load_named, read_named

__all__ = ["ResNet38"]


def _conv(inputs: int, outputs: int, side: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    around = dilation * (side // 2)
    return nn.Conv2d(inputs, outputs, side, stride, around, dilation, bias=False)


class _Skipping(nn.Conv2d):
    """A 1×1 convolution with a stride: what it skips is left out first.

    It computes the same; oneDNN's gradient of a narrow one with a stride ends the process
    (PyTorch 2.15, channels last, AVX-512).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features at every `stride`-th row and column."""
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight)


class _Block(nn.Module):
    """Normalisation and ReLU come first; both branches begin with their result."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, stride: int = 1, first: int = 1, then: int = 1
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, middle, 3, stride, first)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = _conv(middle, outputs, 3, 1, then)
        if inputs != outputs or stride != 1:
            self.conv_branch1 = _Skipping(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features, at half the size where the block has a stride."""
        begun = F.relu(self.bn_branch2a(x))
        branch = self.conv_branch2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(begun))))
        kept = self.conv_branch1(begun) if hasattr(self, "conv_branch1") else x
        out: Tensor = kept + branch
        return out


class _Narrowed(nn.Module):
    """A block whose convolution with a view is between two that narrow and widen, with dropout."""

    def __init__(self, inputs: int, outputs: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, outputs // 4, 1)
        self.bn_branch2b1 = nn.BatchNorm2d(outputs // 4)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = _conv(outputs // 4, outputs // 2, 3, 1, dilation)
        self.bn_branch2b2 = nn.BatchNorm2d(outputs // 2)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = _conv(outputs // 2, outputs, 1)
        self.conv_branch1 = _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        begun = F.relu(self.bn_branch2a(x))
        branch = self.dropout_2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(begun))))
        branch = self.dropout_2b2(F.relu(self.bn_branch2b2(self.conv_branch2b1(branch))))
        out: Tensor = self.conv_branch1(begun) + self.conv_branch2b2(branch)
        return out


class ResNet38(nn.Module):
    """Features at strides 4 and 8: input (B, in_channels, H, W), sides multiples of 8.

    `width` channels of the first convolution, 64 as published; the others are
    multiples of it: the features have 4 and 64 times as many (`channels`). `pretrained` is a file
    of weights by these names; nothing is fetched, since they lie at an address only. A
    first convolution of other than three channels begins at random. Raises BuiltupError where
    weights do not fit, each name listed.
    """

    def __init__(self, in_channels: int, width: int = 64, pretrained: str = "") -> None:
        super().__init__()
        w = width
        self.channels = (4 * w, 64 * w)
        self.conv1a = _conv(in_channels, w, 3)
        self.b2 = _Block(w, 2 * w, 2 * w, 2)
        self.b2_1, self.b2_2 = (_Block(2 * w, 2 * w, 2 * w) for _ in range(2))
        self.b3 = _Block(2 * w, 4 * w, 4 * w, 2)
        self.b3_1, self.b3_2 = (_Block(4 * w, 4 * w, 4 * w) for _ in range(2))
        self.b4 = _Block(4 * w, 8 * w, 8 * w, 2)
        for number in range(1, 6):
            self.add_module(f"b4_{number}", _Block(8 * w, 8 * w, 8 * w))
        self.b5 = _Block(8 * w, 8 * w, 16 * w, 1, 1, 2)
        self.b5_1, self.b5_2 = (_Block(16 * w, 8 * w, 16 * w, 1, 2, 2) for _ in range(2))
        self.b6 = _Narrowed(16 * w, 32 * w, 4, 0.3)
        self.b7 = _Narrowed(32 * w, 64 * w, 4, 0.5)
        self.bn7 = nn.BatchNorm2d(64 * w)
        if pretrained:
            load_named(self, self._fitting(read_named(pretrained), in_channels), pretrained)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shallow features at stride 4, and deep ones at stride 8."""
        x = self.conv1a(x)
        for part in (self.b2, self.b2_1, self.b2_2, self.b3, self.b3_1, self.b3_2):
            x = part(x)
        shallow = x
        for name in ("b4", *(f"b4_{i}" for i in range(1, 6)), "b5", "b5_1", "b5_2", "b6", "b7"):
            x = self.get_submodule(name)(x)
        return shallow, F.relu(self.bn7(x))

    def _fitting(self, state: dict[str, Tensor], in_channels: int) -> dict[str, Any]:
        """The file's tensors without its classifier; its first layer where that is of as many."""
        body = {k: v for k, v in state.items() if not k.startswith(("fc", "linear"))}
        first = body.get("conv1a.weight")
        if first is not None and first.ndim == 4 and first.shape[1] != in_channels:
            body["conv1a.weight"] = self.conv1a.weight.detach().clone()
        return body
