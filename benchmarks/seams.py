"""Seams: how far windowed prediction is from that of the full frame, in 8-bit units.

    python benchmarks/seams.py

A small convolutional network with random weights over speckle with no-data, once at once and once
in windows of several sizes and overlaps. Its receptive field is computed by gradients. A pixel is
*covered* when its field lies inside every window that looks at it (or is cut by the frame's edge
only): there both must agree but for rounding. Elsewhere a window's edge, where the network sees
zeros instead of ground, is blended in; how little of that is left is what the overlap is for. The
second network halves its resolution twice, as encoders do: windows that do not start at multiples
of 4 pixels then sample another grid than the full frame does, covered or not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from builtup.geo.probability import NODATA
from builtup.geo.windows import even_offsets
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.prediction.network import make_stream, predict_array

WINDOWS = (128, 256, 512)
OVERLAPS = (0, 16, 32, 64, 128)
#: Multiples of what the network's input is padded to: an edge of the frame is the same to a window
#: that ends there as to the whole frame.
HEIGHT, WIDTH = 608, 736


class Plain(nn.Module):
    """Dilated 3×3 convolutions at full resolution: the same function of every pixel's ground."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for dilation in (1, 1, 2, 4):
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation)]
            layers += [nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class Halving(nn.Module):
    """Two steps down and two up, with skips: a pixel's function depends on its place modulo 4."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        skips = []
        for layer in self.down:
            skips.append(x)
            x = torch.relu(layer(x))
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = nn.functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = torch.relu(layer(x)) + skip
        found: Tensor = self.last(x)
        return found


@dataclass(frozen=True)
class Row:
    """Largest differences in 8-bit units, and the share of valid pixels that are covered."""

    window: int
    overlap: int
    everywhere: int
    share: float
    covered: int
    aligned: bool


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=HEIGHT)
    parser.add_argument("--width", type=int, default=WIDTH)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the sums' order, and with it the figures, do not hang on the machine
    torch.manual_seed(0)
    for network, stride in ((Plain(), 1), (Halving(), 4)):
        model = make_model(network)
        radius = receptive_radius(model, stride)
        print(f"{network.__class__.__doc__.splitlines()[0]}")
        print(f"Receptive field: {2 * radius + 1} × {2 * radius + 1} pixels; ", end="")
        print(f"frame: {options.width} × {options.height}.\n")
        power = make_frame(options.height, options.width)
        print("\n".join(render(list(rows(model, radius, stride, power)))) + "\n")


def make_model(network: nn.Module) -> nn.Module:
    """The network behind our channel transform, its random weights spread so that maps vary."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
    return Segmenter(Channels("linear_3b", (0.1,) * 3, (0.1,) * 3), network).eval()


def make_frame(height: int, width: int) -> NDArray[np.float32]:
    """Speckled power (2, H, W) with a wedge of no-data."""
    power = np.random.default_rng(0).gamma(4.4, 0.1 / 4.4, (2, height, width)).astype(np.float32)
    ys, xs = np.ogrid[:height, :width]
    power[:, xs + 2 * ys < width // 3] = np.nan
    return power


def receptive_radius(model: nn.Module, stride: int) -> int:
    """Half the receptive field: how far from a pixel its prediction depends on the input.

    The greatest over the places of a pixel modulo `stride`; from gradients, several inputs, since
    a ReLU that is shut hides what is behind it.
    """
    size, centre = 128, 64
    radius = 0
    for seed in range(8):
        power = torch.from_numpy(
            np.random.default_rng(seed).gamma(4.4, 0.1 / 4.4, (1, 2, size, size))
        ).float()
        power.requires_grad_(True)
        for shift in range(stride):
            at = centre + shift
            logits = model(power)
            (gradient,) = torch.autograd.grad(logits[0, 1, at, at] - logits[0, 0, at, at], power)
            seen = gradient[0].abs().sum(0).nonzero()
            radius = max(radius, int((seen - at).abs().max()))
    return radius


def rows(model: nn.Module, radius: int, stride: int, power: NDArray[np.float32]) -> Iterator[Row]:
    """One row a window and overlap."""
    full = full_frame(model, power)
    valid = full != NODATA
    for window in WINDOWS:
        for overlap in OVERLAPS:
            if overlap >= window:
                continue
            stream = make_stream(model, window=window, overlap=overlap, device="cpu")
            found = predict_array(power, stream)[0]
            if not np.array_equal(found != NODATA, valid):
                raise SystemExit(f"window {window}, overlap {overlap}: other pixels are valid")
            difference = np.abs(found.astype(int) - full.astype(int))
            height, width = full.shape
            covered = valid & (
                _covered(height, window, overlap, radius)[:, None]
                & _covered(width, window, overlap, radius)
            )
            starts = (*even_offsets(height, window, overlap), *even_offsets(width, window, overlap))
            yield Row(
                window,
                overlap,
                int(difference[valid].max()),
                float(covered.sum() / valid.sum()),
                int(difference[covered].max(initial=0)),
                all(start % stride == 0 for start in starts),
            )


def full_frame(model: nn.Module, power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The model over the whole frame at once, by torch alone: round(254 · p), 255 where invalid."""
    with torch.inference_mode():
        probability = torch.softmax(model(torch.from_numpy(power)[None]), 1)[0, 1]
    levels: NDArray[np.uint8] = torch.round(probability * 254).to(torch.uint8).numpy()
    levels[np.isnan(power).any(0)] = NODATA
    return levels


def _covered(length: int, window: int, overlap: int, radius: int) -> NDArray[np.bool_]:
    """Along one axis: farther than `radius` from the inner edges of all windows that look."""
    covered = np.ones(length, bool)
    place = np.arange(length)
    for start in even_offsets(length, window, overlap):
        end = min(start + window, length)
        inside = (place >= start) & (place < end)
        near = (start > 0) & (place < start + radius)
        near |= (end < length) & (place >= end - radius)
        covered &= ~(inside & near)
    return covered


def render(found: list[Row]) -> list[str]:
    """A Markdown table."""
    lines = [
        "| window | overlap | largest difference | covered pixels | largest where covered |",
        "|---|---|---|---|---|",
    ]
    for r in found:
        note = "" if r.aligned else " (windows off the network's grid)"
        lines.append(
            f"| {r.window} | {r.overlap} | {r.everywhere} | {r.share:.1%} | {r.covered}{note} |"
        )
    return lines


if __name__ == "__main__":
    main()
