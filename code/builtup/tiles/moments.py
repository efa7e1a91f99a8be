"""Means and deviations of all channels over many tiles, in one pass and in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.catalogue import channel_sets
from builtup.sensors.sensor import ChannelSet, Sensor

__all__ = ["Moments", "channel_moments", "measured_channels", "moments", "select", "total"]

#: Pixels worked on at a time: their float64 copies stay in the processor's cache.
CHUNK = 1 << 15

Float = NDArray[np.float32]


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
    def of(cls, values: Sequence[Float]) -> Moments:
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


def moments(values: Float) -> Moments:
    """The moments of (channels, pixels) values, all of them finite."""
    chunks = (values[:, i : i + CHUNK] for i in range(0, values.shape[1], CHUNK))
    return total((Moments.of(list(chunk)) for chunk in chunks), values.shape[0])


@cache
def measured_channels(sensor: Sensor) -> tuple[tuple[str, int], ...]:
    """The channels that are measured, (set, channel): the first of each name.

    Sets share channels, and those of one name are one formula: they are measured once. Those of
    layers beside the sensor's bands are measured where the layers are known, see `select`.
    """
    first: dict[str, tuple[str, int]] = {}
    for key, channels in _of_bands(sensor).items():
        for i, name in enumerate(channels.names):
            first.setdefault(name, (key, i))
    return tuple(first.values())


def _of_bands(sensor: Sensor) -> dict[str, ChannelSet]:
    """The channel sets that the sensor's bands alone make."""
    return {key: known for key, known in channel_sets(sensor).items() if not known.layers}


def channel_moments(pixels: Float, sensor: Sensor) -> Moments:
    """The moments of `measured_channels` over valid (bands, pixels) of the bands that are read."""
    channels = len(measured_channels(sensor))
    if channels == 0:
        return Moments(pixels.shape[1], np.empty(0), np.empty(0))
    chunks = (pixels[:, i : i + CHUNK] for i in range(0, pixels.shape[1], CHUNK))
    return total((Moments.of(_channels(chunk, sensor)) for chunk in chunks), channels)


def _channels(pixels: Float, sensor: Sensor) -> list[Float]:
    computed = {key: c.compute(*pixels) for key, c in _of_bands(sensor).items()}
    return [computed[key][i] for key, i in measured_channels(sensor)]


def select(
    moments: Moments,
    channel_set: str,
    sensor: Sensor,
    layers: Mapping[str, Moments] | None = None,
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of one channel set's channels.

    `layers` are the moments of layers, by name, over the pixels where they are known. What else a
    set has is no measurement (whether a height is known), and stays as it is: 0 and 1.
    """
    sets, given = channel_sets(sensor), layers or {}
    measured = [sets[key].names[i] for key, i in measured_channels(sensor)]
    means, deviations = [], []
    for name in sets[channel_set].names:
        mean, std = 0.0, 1.0
        if name in given:
            mean, std = float(given[name].mean[0]), float(given[name].std[0])
        elif name in measured:
            column = measured.index(name)
            mean, std = float(moments.mean[column]), float(moments.std[column])
        means.append(mean)
        deviations.append(std)
    return means, deviations
