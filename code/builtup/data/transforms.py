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
from builtup.geo.probability import IGNORE, SCALE
from builtup.geo.windows import Window

__all__ = [
    "Crop",
    "RandomCrop",
    "RandomPixelSize",
    "RandomQuarterTurn",
    "RandomResizedCrop",
    "ResizePower",
    "chosen_crop",
    "dihedral",
    "ignore_gaps",
    "pad_sample",
    "resize_classes",
    "resize_levels",
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


def chosen_crop(
    size: int,
    scale: tuple[float, float] | None,
    ratio: tuple[float, float],
    pixel_size: tuple[float, float] | None,
) -> Crop:
    """The crop that settings of these names ask for; ConfigError where two of them resize."""
    if pixel_size is None:
        return RandomCrop(size) if scale is None else RandomResizedCrop(size, scale, ratio)
    if scale is not None:
        raise ConfigError(
            f"pixel_size = {pixel_size} beside scale = {scale}: both resize; set scale = None"
        )
    return RandomPixelSize(size, pixel_size)


def _on_tile(window: Window, canvas: tuple[int, int], tile: tuple[int, int]) -> Window:
    """From pixels of a canvas to pixels of the tile in its middle."""
    y, x = ((c - t) // 2 for c, t in zip(canvas, tile, strict=True))
    return Window(window.y - y, window.x - x, window.height, window.width)


class ResizePower(v2.Transform):
    """Resize images of power (bilinear, no-data aware) and masks to a square.

    Masks of classes by the nearest pixel, which neither widens nor erodes them; with `soft` masks
    of levels of a probability by area.
    """

    def __init__(self, size: int, *, soft: bool = False) -> None:
        super().__init__()
        self.size, self.soft = size, soft

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the inputs; what is already of the size stays as it is."""
        size = (self.size, self.size)
        if inpt.shape[-2:] == size:
            return inpt
        if isinstance(inpt, tv_tensors.Mask):
            resize = resize_levels if self.soft else resize_classes
            return tv_tensors.wrap(resize(inpt.as_subclass(Tensor), size), like=inpt)
        return tv_tensors.wrap(resize_power(inpt, size), like=inpt)


def resize_classes(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Classes or levels (…, H, W) by the nearest pixel."""
    layers = mask.reshape(-1, *mask.shape[-2:])
    resized = F.resize(layers, list(size), InterpolationMode.NEAREST_EXACT)
    return resized.reshape(*mask.shape[:-2], *size)


def resize_levels(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """Levels of a probability (H, W) uint8, 255 unknown, by area: their sum stays, times the areas.

    Known pixels are averaged among themselves; a pixel of which less than half is known is 255.
    Of several classes (K, H, W) each is resized so.
    """
    if levels.ndim == 3:
        return torch.stack([resize_levels(level, size) for level in levels])
    known = levels != IGNORE
    share = _by_area(known.double(), size)
    total = _by_area(torch.where(known, levels, 0).double(), size)
    mean = (total / share.clamp(min=1e-9)).round().clamp(0, SCALE)
    return torch.where(share < 0.5 - 1e-9, IGNORE, mean).to(torch.uint8)


def _by_area(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Means of (H, W) over the parts that new pixels cover: differences of the running sum, which
    is linear within a pixel."""
    for axis, length in ((0, size[0]), (1, size[1])):
        own = values.shape[axis]
        running = torch.nn.functional.pad(
            values.cumsum(axis), (0, 0, 1, 0) if axis == 0 else (1, 0)
        )
        edges = torch.arange(length + 1, dtype=torch.float64) * (own / length)
        before = edges.floor().long().clamp(max=own - 1)
        within = edges - before
        within = within[:, None] if axis == 0 else within
        low, high = running.index_select(axis, before), running.index_select(axis, before + 1)
        values = (low + (high - low) * within).diff(dim=axis) * (length / own)
    return values


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
    """The mask (…, H, W) with 255 wherever the image (C, H, W) has no data."""
    if math.isfinite(image.sum().item()):  # mostly so, and told ten times as fast as by isnan
        return mask
    return mask.masked_fill(torch.isnan(image).any(dim=0), IGNORE)


def pad_sample(image: Tensor, mask: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Fill up to the right and below: NaN in the image (C, H, W), 255 in the mask (…, H, W)."""
    below, right = height - mask.shape[-2], width - mask.shape[-1]
    if not below and not right:
        return image, mask
    pad = (0, right, 0, below)
    return (
        torch.nn.functional.pad(image, pad, value=torch.nan),
        torch.nn.functional.pad(mask, pad, value=IGNORE),
    )
