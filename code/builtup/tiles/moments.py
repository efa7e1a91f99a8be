"""Means and deviations of all channels over many tiles, in one pass and in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.radar.bands import CHANNEL_SETS

__all__ = [
    "CHANNELS",
    "Moments",
    "channel_moments",
    "moments",
    "select",
    "total",
    "valid_pixels",
]

#: Every channel of every set: (set, channel).
ALL_CHANNELS = tuple((key, i) for key, c in CHANNEL_SETS.items() for i in range(len(c.names)))
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
    def of(cls, values: Sequence[NDArray[np.float32]]) -> Moments:
        """Of (pixels,) values for each channel, all of them finite."""
        count = values[0].size
        if count == 0:
            return cls.none(len(values))
        mean = np.empty(len(values))
        squares = np.empty_like(mean)
        deviation = np.empty(count)
        for i, channel in enumerate(values):
            mean[i] = np.add.reduce(channel, dtype=np.float64) / count
            np.subtract(channel, mean[i], out=deviation, dtype=np.float64)
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


def total(parts: Iterable[Moments], channels: int) -> Moments:
    """The moments of all parts together, added in their order."""
    result = Moments.none(channels)
    for part in parts:
        result = result + part
    return result


def moments(values: NDArray[np.float32]) -> Moments:
    """The moments of (channels, pixels) values, all of them finite."""
    chunks = (values[:, i : i + CHUNK] for i in range(0, values.shape[1], CHUNK))
    return total((Moments.of(list(chunk)) for chunk in chunks), values.shape[0])


def channel_moments(power: NDArray[np.float32]) -> Moments:
    """The moments of `CHANNELS` over the valid pixels of (2 or 3, H, W) power, VH and VV first."""
    vh, vv = valid_pixels(power[:2])
    chunks = (slice(i, i + CHUNK) for i in range(0, vh.size, CHUNK))
    return total((Moments.of(_channels(vh[c], vv[c])) for c in chunks), len(CHANNELS))


def valid_pixels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(bands, pixels) of the pixels of (bands, H, W) power where VH and VV are finite."""
    valid = np.isfinite(power[0]) & np.isfinite(power[1])
    if valid.all():
        return np.ascontiguousarray(power).reshape(len(power), -1)
    return np.stack([band[valid] for band in power])


def _all_channels(vh: NDArray[np.float32], vv: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [channel for c in CHANNEL_SETS.values() for channel in c.compute(vh, vv)]


def _channels(vh: NDArray[np.float32], vv: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    channels = _all_channels(vh, vv)
    return [channels[i] for i in _FIRST]


def _same_channels() -> tuple[list[int], list[int]]:
    """Which of `ALL_CHANNELS` are first of their kind, and which of these each is.

    Sets share channels (VH stands in three): those that agree on random powers, low and high,
    bit by bit, are measured once.
    """
    probe = np.random.default_rng(0).gamma(0.5, 1, (2, 64)).astype(np.float32) - np.float32(1e-3)
    seen: dict[bytes, int] = {}
    first: list[int] = []
    same: list[int] = []
    for i, channel in enumerate(_all_channels(*probe)):
        key = channel.tobytes()
        if key not in seen:
            seen[key] = len(first)
            first.append(i)
        same.append(seen[key])
    return first, same


_FIRST, _SAME = _same_channels()
#: The channels that are measured: the first of each kind.
CHANNELS = tuple(ALL_CHANNELS[i] for i in _FIRST)


def select(moments: Moments, channel_set: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of one channel set's channels."""
    columns = [_SAME[i] for i, (key, _) in enumerate(ALL_CHANNELS) if key == channel_set]
    return moments.mean[columns].tolist(), moments.std[columns].tolist()
