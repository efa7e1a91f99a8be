"""Augmentation that knows radar: of linear power with NaN as no-data, before any channel.

All randomness comes from torch's generator of the CPU, which the data set seeds for every sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from builtup.errors import ConfigError

__all__ = [
    "Radar",
    "copy_polarisation",
    "drop_squares",
    "filter_speckle",
    "multiply_speckle",
    "resample_speckle",
    "scale_contrast",
    "shift_gain",
    "shift_noise_floor",
]

#: Share of the samples that get additional speckle: the others show scenes as they are.
SPECKLED = 0.5
#: Shares of the samples whose contrast is changed, and that are filtered.
CONTRASTED, FILTERED = 0.5, 0.25
#: Looks that a filter believes a scene to have: from a plain mean to hardly any change.
BELIEVED_LOOKS = (1.0, 30.0)

#: Below so many looks, the fast speckle takes a second step to be right in its low powers.
FEW_LOOKS = 4.0


@dataclass(frozen=True)
class Radar:
    """What is changed in a training sample's power; the defaults change nothing.

    - `speckle_looks`: half of the samples are multiplied by speckle of that many looks; of a pair
      (least, most) each sample draws its own, evenly in their logarithm.
    - `gain_db`: each polarisation is scaled by a gain drawn evenly from ± that many decibels, as
      calibration, incidence angle and moisture do.
    - `noise_floor`: to each polarisation a power drawn evenly from ± that much (linear) is added,
      as noise that was subtracted too little or too much. Sentinel-1's own noise is about .003.
    - `mix_dates`: that share of the samples has a patch of another date of its city.
    - `coarse_dropout`: at most so many squares, each of at most that share of a side, become
      no-data. The mask stays: the network must fill them from their surroundings.
    - `common_gain_db`: both polarisations are scaled by one gain, drawn evenly from ± that many
      decibels, as moisture and calibration do: beside `gain_db`, it leaves their ratio alone.
    - `contrast`: of half of the samples, decibels are drawn apart or together about their mean, by
      a factor between 1 / (1 + contrast) and 1 + contrast, drawn evenly in its logarithm.
    - `speckle_filter`: a quarter of the samples pass a Lee filter of 3 to that many pixels a side
      (an odd number; 0: none), as medians of a year and filtered scenes have little speckle.
    - `drop_polarisation`: in that share of the samples one polarisation is replaced by the other
      one times a constant, so that the network does not lean on one of them alone.

    Raises ConfigError for values out of their range.
    """

    speckle_looks: float | tuple[float, float] | None = None
    gain_db: float = 0.0
    noise_floor: float = 0.0
    mix_dates: float = 0.0
    coarse_dropout: tuple[int, float] | None = None
    common_gain_db: float = 0.0
    contrast: float = 0.0
    speckle_filter: int = 0
    drop_polarisation: float = 0.0

    def __post_init__(self) -> None:
        looks = self.speckle_looks
        if isinstance(looks, tuple):
            good = len(looks) == 2 and 0 < looks[0] <= looks[1] < torch.inf
            _require("speckle_looks", looks, good, "(least, most) above 0")
        elif looks is not None:
            _require("speckle_looks", looks, looks > 0, "above 0")
        for name in ("gain_db", "noise_floor", "common_gain_db", "contrast"):
            value = getattr(self, name)
            _require(name, value, 0 <= value < torch.inf, "0 or more")
        for name in ("mix_dates", "drop_polarisation"):
            value = getattr(self, name)
            _require(name, value, 0 <= value <= 1, "a share from 0 to 1")
        side = self.speckle_filter
        _require("speckle_filter", side, side == 0 or (side >= 3 and side % 2 == 1), "3, 5, 7, …")
        holes = self.coarse_dropout
        if holes is not None:
            good = len(holes) == 2 and holes[0] >= 1 and 0 < holes[1] <= 1
            _require("coarse_dropout", holes, good, "(most squares, largest side from 0 to 1)")

    def __call__(self, power: Tensor) -> Tensor:
        """Power (2, H, W) of VH and VV, changed; no-data stays, and dropout adds to it.

        What the ground sends back comes first, then the instrument, then who processed the scene.
        """
        if self.drop_polarisation and float(torch.rand(())) < self.drop_polarisation:
            power = copy_polarisation(power)
        if self.contrast and float(torch.rand(())) < CONTRASTED:
            power = scale_contrast(power, self.contrast)
        if self.common_gain_db:
            power = power * 10 ** (_even(self.common_gain_db, 1) / 10)
        if self.gain_db:
            power = shift_gain(power, self.gain_db)
        if self.noise_floor:
            power = shift_noise_floor(power, self.noise_floor)
        if self.speckle_looks is not None and float(torch.rand(())) < SPECKLED:
            power = self._speckled(power, self.speckle_looks)
        if self.speckle_filter and float(torch.rand(())) < FILTERED:
            side = 3 + 2 * int(torch.randint(self.speckle_filter // 2, ()))
            power = filter_speckle(power, side, _log_even(*BELIEVED_LOOKS))
        if self.coarse_dropout is not None:
            power = drop_squares(power, *self.coarse_dropout)
        return power

    @staticmethod
    def _speckled(power: Tensor, looks: float | tuple[float, float]) -> Tensor:
        # one number keeps the sampler that it always had, and trainings with it their weights
        if isinstance(looks, tuple):
            return multiply_speckle(power, _log_even(*looks))
        return resample_speckle(power, looks)


def resample_speckle(power: Tensor, looks: float) -> Tensor:
    """Multiply VH and VV by independent gamma noise of mean 1 and variance 1 / looks.

    Fully developed speckle of L looks is such a factor (Goodman 1976). Data of L0 looks then
    behave as of L looks with 1/L = 1/L0 + 1/looks + 1/(L0 · looks): their own speckle remains,
    so 4.4 looks at 4.4 become 2.0. The noise has no correlation between pixels; that of
    Sentinel-1 GRD has, over about two.
    """
    gamma = torch.distributions.Gamma(torch.tensor(float(looks)), torch.tensor(float(looks)))
    return power * gamma.sample(power.shape)


def multiply_speckle(power: Tensor, looks: float) -> Tensor:
    """`resample_speckle`, four to eight times as fast: mean and variance are right to .2 %.

    The cube of a normal number is nearly a gamma number (Wilson & Hilferty 1931), the more nearly
    the larger its shape. For few looks one of shape looks + 1 is drawn, and a uniform number to the
    power of 1 / looks takes it down to the shape wanted, exactly (Marsaglia & Tsang 2000).
    """
    few = looks < FEW_LOOKS
    shape = looks + few
    spread = 1 / (9 * shape)
    factor = torch.randn(power.shape).mul_(spread**0.5).add_(1 - spread).pow_(3)
    if few:
        factor.mul_(torch.rand(power.shape).pow_(1 / looks)).mul_(shape / looks)
    # no pixel may become 0, which is no-data, nor negative as few cubes are
    return factor.clamp_(min=1e-4).mul_(power)


def filter_speckle(power: Tensor, side: int, looks: float) -> Tensor:
    """Lee's filter (1980) of VH and VV (2, H, W): `side` pixels a side, an odd number.

    Where a window varies no more than speckle of `looks` looks does, a pixel becomes the mean of
    the window's valid pixels; the more it varies, the more the pixel stays. No-data stays, and
    counts nowhere.
    """
    gaps = ~torch.isfinite(power)
    known = power.masked_fill(gaps, 0.0)
    total, squares, count = _window_sums(torch.cat([known, known * known, ~gaps]), side).chunk(3)
    count.clamp_(min=1)
    mean = total.div_(count)
    of_mean = mean * mean
    variance = squares.div_(count).sub_(of_mean)
    # the ground's own variance, over the pixel's
    keep = variance.sub(of_mean, alpha=1 / looks)
    keep.div_(variance.mul_(1 + 1 / looks).clamp_(min=1e-30)).clamp_(0, 1)
    return torch.where(gaps, power, torch.lerp(mean, known, keep))


def _window_sums(values: Tensor, side: int) -> Tensor:
    """Sums over `side` × `side` pixels about each pixel of (C, H, W); outside there is 0."""
    half, (channels, height, width) = side // 2, values.shape
    down = values.new_zeros(channels, height + 2 * half, width)
    down[:, half : half + height] = values
    rows = values.new_zeros(channels, height, width + 2 * half)
    inner = rows[:, :, half : half + width]
    for y in range(side):
        inner += down[:, y : y + height]
    # sums of slices: for windows this small faster than tables of sums, and as exact as can be
    sums = rows[:, :, :width].clone()
    for x in range(1, side):
        sums += rows[:, :, x : x + width]
    return sums


def scale_contrast(power: Tensor, most: float) -> Tensor:
    """Draw decibels apart or together about each polarisation's mean, by one factor for both.

    The factor lies between 1 / (1 + most) and 1 + most. Power of 0 or less, which has no decibels,
    and no-data stay as they are. Speckle is scaled with the rest.
    """
    factor = _log_even(1 / (1 + most), 1 + most)
    log = power.log()
    mean = log.mean((1, 2), keepdim=True)
    usable = None
    if not torch.isfinite(mean).all():  # mostly it is, and no pixel needs to be looked at
        usable = torch.isfinite(log)
        count = usable.sum((1, 2), keepdim=True).clamp(min=1)
        mean = torch.where(usable, log, 0.0).sum((1, 2), keepdim=True) / count
    # no smaller than float32 can hold: a pixel must not become 0, which is no-data
    scaled = log.mul_(factor).add_(mean * (1 - factor)).clamp_(min=-80.0).exp_()
    return scaled if usable is None else torch.where(usable, scaled, power)


def copy_polarisation(power: Tensor) -> Tensor:
    """Replace VH by VV or VV by VH, scaled to the mean that the replaced one had.

    Pixels that are no-data stay so, and so do those that are 0 in the other polarisation: 0 in
    both is no-data. A sample without a positive mean of both is returned as it is.
    """
    replaced = int(torch.randint(2, ()))
    means = power.nanmean(dim=(1, 2))
    if not bool((means > 0).all() and torch.isfinite(means).all()):
        return power
    one = power[1 - replaced]
    other = one * (means[replaced] / means[1 - replaced])
    other = torch.where(torch.isnan(power[replaced]) | (one == 0), power[replaced], other)
    return torch.stack([other, one] if replaced == 0 else [one, other])


def shift_gain(power: Tensor, decibels: float) -> Tensor:
    """Scale VH and VV by independent gains, drawn evenly from ± `decibels`."""
    gain = 10 ** (_even(decibels) / 10)
    return power * gain[:, None, None]


def shift_noise_floor(power: Tensor, most: float) -> Tensor:
    """Add independent constants to VH and VV, drawn evenly from ± `most`, linear power.

    Power may become negative, as after the subtraction of thermal noise: it stays valid.
    """
    return power + _even(most)[:, None, None]


def drop_squares(power: Tensor, most: int, side: float) -> Tensor:
    """Make 1 to `most` squares no-data, of sides up to `side` of the image's shorter one."""
    power = power.clone()
    height, width = power.shape[1:]
    largest = max(1, round(side * min(height, width)))
    for _ in range(1 + int(torch.randint(most, ()))):
        length = 1 + int(torch.randint(largest, ()))
        y = int(torch.randint(height - length + 1, ()))
        x = int(torch.randint(width - length + 1, ()))
        power[:, y : y + length, x : x + length] = torch.nan
    return power


def _even(most: float, numbers: int = 2) -> Tensor:
    """A number for each polarisation, or one for both, drawn evenly from ± `most`."""
    return (2 * torch.rand(numbers) - 1) * most


def _log_even(least: float, most: float) -> float:
    """A number from `least` to `most`, its logarithm drawn evenly."""
    return float(least * (most / least) ** float(torch.rand(())))


def _require(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"{name} = {value!r}: expected {expected}, or leave it out")
