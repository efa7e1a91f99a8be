"""Augmentation that knows radar: of linear power with NaN as no-data, before any channel.

All randomness comes from torch's generator of the CPU, which the data set seeds for every sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from builtup.errors import ConfigError

__all__ = ["Radar", "drop_squares", "resample_speckle", "shift_gain", "shift_noise_floor"]

#: Share of the samples that get additional speckle: the others show scenes as they are.
SPECKLED = 0.5


@dataclass(frozen=True)
class Radar:
    """What is changed in a training sample's power; the defaults change nothing.

    - `speckle_looks`: half of the samples are multiplied by speckle of that many looks.
    - `gain_db`: each polarisation is scaled by a gain drawn evenly from ± that many decibels, as
      calibration, incidence angle and moisture do.
    - `noise_floor`: to each polarisation a power drawn evenly from ± that much (linear) is added,
      as noise that was subtracted too little or too much. Sentinel-1's own noise is about .003.
    - `mix_dates`: that share of the samples has a patch of another date of its city.
    - `coarse_dropout`: at most so many squares, each of at most that share of a side, become
      no-data. The mask stays: the network must fill them from their surroundings.

    Raises ConfigError for values out of their range.
    """

    speckle_looks: float | None = None
    gain_db: float = 0.0
    noise_floor: float = 0.0
    mix_dates: float = 0.0
    coarse_dropout: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        if self.speckle_looks is not None:
            _require("speckle_looks", self.speckle_looks, self.speckle_looks > 0, "above 0")
        for name in ("gain_db", "noise_floor"):
            value = getattr(self, name)
            _require(name, value, 0 <= value < torch.inf, "0 or more")
        _require("mix_dates", self.mix_dates, 0 <= self.mix_dates <= 1, "a share from 0 to 1")
        holes = self.coarse_dropout
        if holes is not None:
            good = len(holes) == 2 and holes[0] >= 1 and 0 < holes[1] <= 1
            _require("coarse_dropout", holes, good, "(most squares, largest side from 0 to 1)")

    def __call__(self, power: Tensor) -> Tensor:
        """Power (2, H, W) of VH and VV, changed; no-data stays, and dropout adds to it."""
        if self.gain_db:
            power = shift_gain(power, self.gain_db)
        if self.noise_floor:
            power = shift_noise_floor(power, self.noise_floor)
        if self.speckle_looks is not None and float(torch.rand(())) < SPECKLED:
            power = resample_speckle(power, self.speckle_looks)
        if self.coarse_dropout is not None:
            power = drop_squares(power, *self.coarse_dropout)
        return power


def resample_speckle(power: Tensor, looks: float) -> Tensor:
    """Multiply VH and VV by independent gamma noise of mean 1 and variance 1 / looks.

    Fully developed speckle of L looks is such a factor (Goodman 1976). Data of L0 looks then
    behave as of L looks with 1/L = 1/L0 + 1/looks + 1/(L0 · looks): their own speckle remains,
    so 4.4 looks at 4.4 become 2.0. The noise has no correlation between pixels; that of
    Sentinel-1 GRD has, over about two.
    """
    gamma = torch.distributions.Gamma(torch.tensor(float(looks)), torch.tensor(float(looks)))
    return power * gamma.sample(power.shape)


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


def _even(most: float) -> Tensor:
    """A number for each polarisation, drawn evenly from ± `most`."""
    return (2 * torch.rand(2) - 1) * most


def _require(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"{name} = {value!r}: expected {expected}, or leave it out")
