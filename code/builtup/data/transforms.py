"""Crops and augmentations of image and mask together; no-data neither smears nor disappears.

All randomness comes from torch's generator of the CPU, which the data set seeds for every sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window

__all__ = [
    "Crop",
    "RandomCrop",
    "RandomPixelSize",
    "RandomQuarterTurn",
    "RandomResizedCrop",
    "ResizePower",
    "dihedral",
    "ignore_gaps",
    "pad_sample",
    "resize_power",
]

#: Tile sides per crop side: crops of 480 were made for tiles of 512.
TILE_TO_CROP = 16 / 15
#: Share of the samples that `RandomPixelSize` resizes.
RESIZED = 0.5


class Crop(Protocol):
    """Chooses the part of a tile that becomes a sample of `size` pixels a side."""

    @property
    def size(self) -> int:
        """Pixels of a side of the sample."""

    def window(self, height: int, width: int) -> Window:
        """A random part of a tile; it may reach over the edges, where there is no data."""


@dataclass(frozen=True)
class RandomCrop:
    """A square of `size` pixels anywhere in the tile; a smaller tile lies in its middle."""

    size: int

    def window(self, height: int, width: int) -> Window:
        """See the class."""
        rows, columns = max(height, self.size), max(width, self.size)
        y = int(torch.randint(rows - self.size + 1, ()))
        x = int(torch.randint(columns - self.size + 1, ()))
        return _on_tile(Window(y, x, self.size, self.size), (rows, columns), (height, width))


@dataclass(frozen=True)
class RandomResizedCrop:
    """A rectangle that is resized to `size`: torchvision's, but for where the area comes from.

    `scale` is the share of a square of 16/15 `size`, which is the tile when a crop is 480 and a
    tile 512, so that a pixel stays about 10 m whatever the size of the tiles. `ratio` is width by
    height. A tile smaller than that square is surrounded by no-data.
    """

    size: int
    scale: tuple[float, float] = (0.7, 1.0)
    ratio: tuple[float, float] = (0.9, 1.1)

    def window(self, height: int, width: int) -> Window:
        """See the class."""
        nominal = round(self.size * TILE_TO_CROP)
        rows, columns = max(height, nominal), max(width, nominal)
        share = nominal**2 / (rows * columns)
        transform = v2.RandomResizedCrop(
            self.size, scale=tuple(s * share for s in self.scale), ratio=self.ratio
        )
        # on the meta device: only the shape is looked at
        p = transform.make_params([torch.empty((1, rows, columns), device="meta")])
        window = Window(p["top"], p["left"], p["height"], p["width"])
        return _on_tile(window, (rows, columns), (height, width))


@dataclass(frozen=True)
class RandomPixelSize:
    """A square whose pixels become `factors` (least, most) times as large as the tile's.

    The factor's logarithm is drawn evenly: .7 and 1.4 are equally far from 1. The square has
    `size` times the factor pixels of the tile a side, and is resized to `size`. Half of the
    samples keep the tile's pixels, which are sharper than resized ones.
    """

    size: int
    factors: tuple[float, float]

    def __post_init__(self) -> None:
        least, most = self.factors
        if not 0 < least <= most < math.inf:
            raise ConfigError(
                f"pixel_size = {self.factors}: expected (least, most) above 0, or leave it out"
            )

    def window(self, height: int, width: int) -> Window:
        """See the class."""
        least, most = self.factors
        factor = 1.0
        if float(torch.rand(())) < RESIZED:
            factor = least * (most / least) ** float(torch.rand(()))
        return RandomCrop(max(1, round(self.size * factor))).window(height, width)


def _on_tile(window: Window, canvas: tuple[int, int], tile: tuple[int, int]) -> Window:
    """From pixels of a canvas to pixels of the tile in its middle."""
    y, x = ((c - t) // 2 for c, t in zip(canvas, tile, strict=True))
    return Window(window.y - y, window.x - x, window.height, window.width)


class ResizePower(v2.Transform):
    """Resize images of power (bilinear, no-data aware) and masks (nearest) to a square."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the inputs; what is already of the size stays as it is."""
        if inpt.shape[-2:] == (self.size, self.size):
            return inpt
        if isinstance(inpt, tv_tensors.Mask):
            return F.resize(inpt, [self.size] * 2, InterpolationMode.NEAREST_EXACT)
        return tv_tensors.wrap(resize_power(inpt, (self.size, self.size)), like=inpt)


def resize_power(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased resampling of linear power (C, H, W) with NaN as no-data.

    Valid pixels are averaged among themselves; a pixel of which less than half is valid is NaN
    in every band.
    """
    plain = image.as_subclass(Tensor)
    gaps = torch.isnan(plain).any(dim=0, keepdim=True)
    if not gaps.any():
        return F.resize(plain, list(size), antialias=True)
    weight = F.resize((~gaps).float(), list(size), antialias=True)
    power = F.resize(torch.where(gaps, 0.0, plain), list(size), antialias=True)
    return torch.where(weight < 0.5, torch.nan, power / weight)


class RandomQuarterTurn(v2.Transform):
    """Turn by 0, 90, 180 or 270 degrees, equally likely, without resampling."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The number of quarter turns, one for all inputs."""
        return {"turns": int(torch.randint(4, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the inputs."""
        turned = torch.rot90(inpt.as_subclass(Tensor), params["turns"], (-2, -1))
        return (
            tv_tensors.wrap(turned, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else turned
        )


def dihedral() -> v2.Transform:
    """One of the eight flips and quarter turns of a square, equally likely."""
    return v2.Compose([v2.RandomHorizontalFlip(0.5), RandomQuarterTurn()])


def ignore_gaps(image: Tensor, mask: Tensor) -> Tensor:
    """The mask (H, W) with 255 wherever the image (C, H, W) has no data."""
    if math.isfinite(image.sum().item()):  # mostly so, and told ten times as fast as by isnan
        return mask
    return mask.masked_fill(torch.isnan(image).any(dim=0), IGNORE)


def pad_sample(image: Tensor, mask: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Fill up to the right and below: NaN in the image (C, H, W), 255 in the mask (H, W)."""
    below, right = height - mask.shape[0], width - mask.shape[1]
    if not below and not right:
        return image, mask
    pad = (0, right, 0, below)
    return (
        torch.nn.functional.pad(image, pad, value=torch.nan),
        torch.nn.functional.pad(mask, pad, value=IGNORE),
    )
