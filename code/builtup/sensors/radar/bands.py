"""Backscatter of two polarisations: the no-data rule, decibels and the channel sets.

Power is linear (σ⁰ or γ⁰, whatever the scenes hold). The functions work on numpy arrays; what a
network is fed is computed on its device by `builtup.models.channels`, which tests hold to these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.sensor import ChannelSet

__all__ = [
    "BAND_NAMES",
    "CHANNEL_SETS",
    "DB_FLOOR",
    "NODATA_POWER",
    "SENSOR",
    "Gaps",
    "invalid",
    "mean_power",
    "to_db",
    "unmeasured",
]

#: Powers at or below this are no-data, whatever the file declares.
NODATA_POWER = -9999.0
#: Power below which decibels are cut (−50 dB), far under the noise floor of Sentinel-1.
DB_FLOOR = 1e-5
#: The sensor that these are of.
SENSOR = "sentinel1"
#: Bands of a 3-band scene, in order.
BAND_NAMES = ("VH", "VV", "mean")

Float = NDArray[np.float32]


def invalid(
    vh: Float, vv: Float, vh_nodata: float | None = None, vv_nodata: float | None = None
) -> NDArray[np.bool_]:
    """Pixels without a measurement: (H, W) bool from two (H, W) float32 powers.

    Invalid is where either polarisation is not finite, equals its file's declared no-data value,
    or is at or below −9999, or where both are exactly 0. Small negative powers are valid: they
    come from the subtraction of thermal noise.
    """
    bad = (vh == 0) & (vv == 0)
    bad |= unmeasured(vh, vh_nodata)
    bad |= unmeasured(vv, vv_nodata)
    return bad


def unmeasured(
    power: Float, nodata: float | None = None, filler: float = NODATA_POWER
) -> NDArray[np.bool_]:
    """Pixels of one polarisation that are invalid whatever the other holds, see `invalid`.

    Values at or below `filler` are no-data; −∞ where every finite one may be a measurement.
    """
    # one comparison for NaN, −inf and ≤ −9999, one for +inf
    bad = ~((power > filler) & (power < np.inf))
    if nodata is not None and np.isfinite(nodata) and nodata > filler and nodata != 0:
        with np.errstate(over="ignore"):  # 1.8e308 is infinite here, and invalid as that
            bad |= power == np.float32(nodata)
    elif nodata == 0:
        bad |= power == 0
    return bad


#: A bit a pixel; None where none is set.
_Bits = NDArray[np.uint8] | None


@dataclass(frozen=True)
class Gaps:
    """What one polarisation contributes to `invalid`, packed: read ahead, it waits for the other.

    Pixels without a measurement, and those whose power is 0, which are invalid in both alone.
    """

    unmeasured: _Bits
    zero: _Bits

    @classmethod
    def of(cls, unmeasured: NDArray[np.bool_], zero: NDArray[np.bool_]) -> Gaps:
        """Of two (H, W) masks."""
        return cls(*(np.packbits(mask) if mask.any() else None for mask in (unmeasured, zero)))

    def joined(self, other: Gaps, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The invalid pixels of both polarisations, `shape` (H, W) bool."""
        found = [bits for bits in (self.unmeasured, other.unmeasured) if bits is not None]
        if self.zero is not None and other.zero is not None:
            found.append(self.zero & other.zero)
        if not found:
            return np.zeros(shape, np.bool_)
        flat = np.unpackbits(np.bitwise_or.reduce(found), count=shape[0] * shape[1])
        return flat.view(np.bool_).reshape(shape)


#: Decibels of a factor e.
_DB_OF_E = np.float32(10 / np.log(10))


def mean_power(vh: Float, vv: Float, out: Float | None = None) -> Float:
    """(VH + VV) / 2, the third band; put into `out` where that is given."""
    total = np.add(vh, vv, out=out)
    return np.multiply(total, np.float32(0.5), out=total)


def to_db(power: Float) -> Float:
    """Decibels, 10 log₁₀ of the power, floored at −50 dB; NaN stays NaN."""
    # by the natural logarithm: numpy has vector instructions for it, none for log10
    decibels = np.log(np.maximum(power, np.float32(DB_FLOOR)))
    decibels *= _DB_OF_E
    return decibels


def log_square(power: Float) -> Float:
    """log(x²), natural, with the floor of `to_db`."""
    return np.float32(2) * np.log(np.maximum(power, np.float32(DB_FLOOR)))


def _linear_3b(vh: Float, vv: Float) -> Float:
    return np.stack([vh, vv, mean_power(vh, vv)])


def _db_3b(vh: Float, vv: Float) -> Float:
    return to_db(_linear_3b(vh, vv))


def _log_3b(vh: Float, vv: Float) -> Float:
    return log_square(_linear_3b(vh, vv))


def _root(vh: Float, vv: Float) -> Float:
    # ten times the rate of np.hypot, whose care for overflow powers do not need
    return np.sqrt(vh * vh + vv * vv)


def _linear_5b(vh: Float, vv: Float) -> Float:
    return np.stack([vh, vv, mean_power(vh, vv), vh - vv, _root(vh, vv)])


def _db_5b(vh: Float, vv: Float) -> Float:
    vh_db, vv_db, mean_db = _db_3b(vh, vv)
    # in decibels the product is a sum and the ratio a difference: neither explodes near 0
    return np.stack([vh_db, vv_db, mean_db, vv_db + vh_db, vv_db - vh_db])


def _linear_6b(vh: Float, vv: Float) -> Float:
    ratio = vv / np.maximum(vh, np.float32(DB_FLOOR))
    return np.stack([vh, vv, mean_power(vh, vv), vv * vh, ratio, _root(vh, vv)])


#: The channel variants that configs name. Normalisation is the config's: see tile statistics.
CHANNEL_SETS: dict[str, ChannelSet] = {
    "linear_3b": ChannelSet(("VH", "VV", "mean"), _linear_3b, SENSOR),
    "db_3b": ChannelSet(("VH dB", "VV dB", "mean dB"), _db_3b, SENSOR),
    "log_3b": ChannelSet(("log VH²", "log VV²", "log mean²"), _log_3b, SENSOR),
    "linear_5b": ChannelSet(("VH", "VV", "mean", "VH-VV", "root"), _linear_5b, SENSOR),
    "db_5b": ChannelSet(("VH dB", "VV dB", "mean dB", "VV·VH dB", "VV/VH dB"), _db_5b, SENSOR),
    "linear_6b": ChannelSet(("VH", "VV", "mean", "VV·VH", "VV/VH", "root"), _linear_6b, SENSOR),
}
