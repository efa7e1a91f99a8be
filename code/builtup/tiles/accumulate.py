"""Means and deviations of all channels over many tiles, in one pass and in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.sar.bands import CHANNEL_SETS

__all__ = ["CHANNELS", "Moments", "channel_moments", "select", "total"]

#: Every channel of every set, once: (set, channel) of each column of the moments.
CHANNELS = tuple((key, i) for key, c in CHANNEL_SETS.items() for i in range(len(c.names)))
#: Pixels worked on at a time: their float64 copies stay in the processor's cache.
CHUNK = 1 << 15


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of each of some channels.

    Sums are merged pairwise (Chan, Golub and LeVeque 1983), which loses no digits where the
    deviation is small against the mean.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def none(cls, channels: int) -> Moments:
        """Of no pixel."""
        return cls(0, np.zeros(channels), np.zeros(channels))

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Moments:
        """Of the (channels, pixels) values, all of them finite."""
        count = values.shape[1]
        if count == 0:
            return cls.none(values.shape[0])
        mean = values.mean(axis=1, dtype=np.float64)
        squares = np.empty_like(mean)
        for i, channel in enumerate(values):
            deviation = channel - mean[i]  # float64, one channel at a time
            squares[i] = deviation @ deviation
        return cls(count, mean, squares)

    def __add__(self, other: Moments) -> Moments:
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        count = self.count + other.count
        shift = other.mean - self.mean
        return Moments(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + shift**2 * (self.count * other.count / count),
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of each channel over the pixels (not of a sample)."""
        return np.sqrt(self.squares / max(self.count, 1))


def total(parts: Iterable[Moments]) -> Moments:
    """The moments of all parts together, added in their order."""
    result = Moments.none(len(CHANNELS))
    for part in parts:
        result = result + part
    return result


def channel_moments(power: NDArray[np.float32]) -> Moments:
    """The moments of `CHANNELS` over the valid pixels of (2 or 3, H, W) power, VH and VV first."""
    vh, vv = power[0].ravel(), power[1].ravel()
    valid = np.isfinite(vh) & np.isfinite(vv)
    vh, vv = vh[valid], vv[valid]
    result = Moments.none(len(CHANNELS))
    for start in range(0, vh.size, CHUNK):
        chunk = slice(start, start + CHUNK)
        channels = [c.compute(vh[chunk], vv[chunk]) for c in CHANNEL_SETS.values()]
        result = result + Moments.of(np.concatenate(channels))
    return result


def select(moments: Moments, channel_set: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of one channel set's channels."""
    columns = [i for i, (key, _) in enumerate(CHANNELS) if key == channel_set]
    return moments.mean[columns].tolist(), moments.std[columns].tolist()
