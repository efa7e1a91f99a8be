"""Augmentation of what cameras see: colours 0 to 255 with NaN as no-data, before any channel.

All randomness comes from torch's generator of the CPU, which the data set seeds for every sample.
Configs import this module, and so torchvision is imported by what uses it (see `loaders`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from builtup.data.radar import drop_squares
from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE

__all__ = ["Optical", "blur_known", "jitter", "warp", "warp_mask"]

#: Shares of the samples that are blurred, and that are moved: the others stay sharp.
BLURRED, MOVED = 0.5, 0.5
#: Below this share of known pixels, what is interpolated between them is unknown.
LEAST_KNOWN = 0.5


@dataclass(frozen=True)
class Optical:
    """What is changed in a training sample of a camera; the defaults change nothing.

    - `brightness`, `contrast`, `saturation`: colours are scaled, drawn apart about the mean grey of
      the sample, or about each pixel's grey, by a factor drawn evenly from 1 ± that much, as light,
      exposure and the camera's own settings do; `hue` turns the colour circle by up to ± that share
      of it (torchvision's ColorJitter).
    - `blur`: half of the samples are blurred by a Gaussian of a deviation drawn evenly from .1 to
      that many pixels, as stitching and relief do.
    - `shift`, `rotate`, `shear`: half of the samples are moved by up to ± that share of a side,
      turned by up to ± so many degrees and sheared by up to ± so many, image, mask and height
      alike. What comes in from outside is no-data. Flips and quarter turns, which lose nothing, are
      the loader's `flips`; other pixel sizes its `pixel_size`.
    - `cutout`: at most so many squares, each of at most that share of a side, become no-data. The
      mask stays: the network must fill them from their surroundings.

    Raises ConfigError for values out of their range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    shift: float = 0.0
    rotate: float = 0.0
    shear: float = 0.0
    cutout: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        for name, most, expected in (
            ("brightness", 1, "0 to 1"),
            ("contrast", 1, "0 to 1"),
            ("saturation", 1, "0 to 1"),
            ("hue", 0.5, "0 to .5, a share of the circle"),
            ("blur", 64, "0 to 64 pixels"),
            ("shift", 1, "0 to 1, a share of a side"),
            ("rotate", 180, "0 to 180 degrees"),
            ("shear", 80, "0 to 80 degrees"),
        ):
            value = getattr(self, name)
            _require(name, value, 0 <= value <= most, expected)
        if (holes := self.cutout) is not None:
            good = len(holes) == 2 and holes[0] >= 1 and 0 < holes[1] <= 1
            _require("cutout", holes, good, "(most squares, largest side from 0 to 1)")

    def move(self, layers: dict[str, Tensor]) -> dict[str, Tensor]:
        """`image` (B, H, W) and `mask` (…, H, W), and where there is one `height` (1, H, W), moved.

        What comes in from outside is NaN, and 255 in the mask; no-data is moved with the rest.
        """
        if not (self.shift or self.rotate or self.shear) or float(torch.rand(())) >= MOVED:
            return layers
        height, width = layers["mask"].shape[-2:]
        angle, down, right = (
            _even(self.rotate),
            _even(self.shift) * height,
            _even(self.shift) * width,
        )
        shear = [_even(self.shear), _even(self.shear)]
        how = (angle, [right, down], shear)
        return {
            name: warp_mask(values, *how) if name == "mask" else warp(values, *how)
            for name, values in layers.items()
        }

    def __call__(self, image: Tensor) -> Tensor:
        """Colours (B, H, W), changed where they lie; no-data stays, and cutout adds to it.

        What the light does comes first, then the optics, then what hides the ground.
        """
        if self.brightness or self.contrast or self.saturation or self.hue:
            brightness, contrast = 1 + _even(self.brightness), 1 + _even(self.contrast)
            saturation = 1 + _even(self.saturation)
            image = jitter(image, brightness, contrast, saturation, _even(self.hue))
        if self.blur and float(torch.rand(())) < BLURRED:
            least = min(0.1, self.blur)
            image = blur_known(image, least + (self.blur - least) * float(torch.rand(())))
        if self.cutout is not None:
            image = drop_squares(image, *self.cutout)
        return image


def jitter(
    image: Tensor, brightness: float, contrast: float, saturation: float, hue: float
) -> Tensor:
    """Scale colours (3, H, W) of 0 to 255 by factors, 1 being none, and turn them by a share `hue`.

    In this order; results are cut to 0 to 255. Unknown pixels stay so, and weigh nowhere.
    """
    from torchvision.transforms.v2 import functional as F

    filled, gaps = _filled(image)
    colours = filled.div(255).clamp_(0, 1)
    if brightness != 1:
        colours = F.adjust_brightness(colours, brightness)
    if contrast != 1:
        colours = F.adjust_contrast(colours, contrast)
    if saturation != 1:
        colours = F.adjust_saturation(colours, saturation)
    if hue != 0:
        colours = F.adjust_hue(colours, hue)
    colours = colours * 255
    return colours if gaps is None else colours.masked_fill(gaps, torch.nan)


def blur_known(image: Tensor, deviation: float) -> Tensor:
    """Blur (B, H, W) by a Gaussian of `deviation` pixels, among the known pixels.

    Beyond the edge the image is its own mirror. Unknown pixels stay so.
    """
    from torchvision.transforms.v2 import functional as F

    reach = min(math.ceil(3 * deviation), min(image.shape[-2:]) - 1)
    side = 2 * max(1, reach) + 1
    if min(image.shape[-2:]) < 2:
        return image
    filled, gaps = _filled(image)
    if gaps is None:
        return F.gaussian_blur(filled, [side, side], [deviation] * 2)
    known = F.gaussian_blur((~gaps).float(), [side, side], [deviation] * 2)
    total = F.gaussian_blur(filled.masked_fill(gaps, 0.0), [side, side], [deviation] * 2)
    return (total / known).masked_fill(gaps, torch.nan)


def warp(values: Tensor, angle: float, translate: list[float], shear: list[float]) -> Tensor:
    """(B, H, W) turned by `angle` degrees clockwise about its middle, sheared and moved, bilinear.

    `translate` are pixels to the right and down, `shear` degrees along x and y (torchvision's
    `affine`). Known pixels are interpolated among themselves; a pixel of which less than half is
    known, as outside, is NaN in every band.
    """
    gaps = torch.isnan(values).any(0, keepdim=True)
    known = torch.cat([values.masked_fill(gaps, 0.0), (~gaps).to(values.dtype)])
    moved = _affine(known, angle, translate, shear, nearest=False, fill=0.0)
    weight = moved[-1:]
    return torch.where(weight < LEAST_KNOWN, torch.nan, moved[:-1] / weight)


def warp_mask(mask: Tensor, angle: float, translate: list[float], shear: list[float]) -> Tensor:
    """A mask (…, H, W) moved as `warp` moves, each pixel that of the nearest; 255 from outside."""
    bands = mask.reshape(-1, *mask.shape[-2:])
    moved = _affine(bands, angle, translate, shear, nearest=True, fill=IGNORE)
    return moved.reshape(mask.shape)


def _affine(
    values: Tensor,
    angle: float,
    translate: list[float],
    shear: list[float],
    *,
    nearest: bool,
    fill: float,
) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    how = InterpolationMode.NEAREST if nearest else InterpolationMode.BILINEAR
    moved: Tensor = F.affine(values, angle, translate, 1.0, shear, interpolation=how, fill=[fill])
    return moved


def _filled(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """The image with the means of its bands in its gaps, and these (1, H, W); None of none."""
    if math.isfinite(image.sum().item()):  # mostly so, and told ten times as fast as by isnan
        return image, None
    gaps = torch.isnan(image).any(0, keepdim=True)
    known = image.masked_fill(gaps, torch.nan)
    means = known.nanmean(dim=(1, 2), keepdim=True).nan_to_num(0.0)
    return torch.where(gaps, means, image), gaps


def _even(most: float) -> float:
    """A number drawn evenly from ± `most`; nothing is drawn for 0."""
    return (2 * float(torch.rand(())) - 1) * most if most else 0.0


def _require(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"{name} = {value!r}: expected {expected}")
