"""Sentinel-1 as a sensor: linear power of VH and VV, and how it is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.radar.bands import BAND_NAMES, DB_FLOOR, SENSOR, invalid, to_db
from builtup.sensors.sensor import UNKNOWN, Axis, Sensor

__all__ = ["METRES", "SENTINEL1", "backscatter_picture"]

#: Side of a pixel that networks are trained on, in metres.
METRES = 10.0

#: Decibels that are black and white.
VH_RANGE = (-28.0, -5.0)
VV_RANGE = (-22.0, 2.0)
RATIO_RANGE = (2.0, 16.0)


def false_colour(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """VV, VH and VV/VH in dB (3, H, W): red, green and blue of a picture of linear VH, VV."""
    vh, vv = to_db(power[0]), to_db(power[1])
    return np.stack([vv, vh, vv - vh])


def backscatter_picture(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 from linear VH, VV: red VV, green VH, blue their difference in dB."""
    colours = false_colour(power)
    ranges = (VV_RANGE, VH_RANGE, RATIO_RANGE)
    bands = (_stretched(c, *ends) for c, ends in zip(colours, ranges, strict=True))
    picture = np.stack(tuple(bands), axis=-1)
    picture[~np.isfinite(colours).all(axis=0)] = UNKNOWN
    return picture


def _stretched(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    share = np.nan_to_num((values - low) / (high - low), nan=0.0)
    return np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _without_measurement(
    power: NDArray[np.float32], nodata: float | None = None
) -> NDArray[np.bool_]:
    return invalid(power[0], power[1], nodata, nodata)


#: Pairs of VV and VH, merged into scenes of three bands of linear power, NaN where invalid.
SENTINEL1 = Sensor(
    name=SENSOR,
    bands=BAND_NAMES,
    unit="linear power",
    typical=(0.02, 0.12, 0.07),
    read=(1, 2),
    dtype="float32",
    metres=METRES,
    invalid=_without_measurement,
    # from the floor of decibels to what corner reflectors return
    axis=Axis(10 * float(np.log10(DB_FLOOR)), 30.0, "dB", to_db, "decibels"),
    colours=false_colour,
    picture=backscatter_picture,
    title="Radar image",
    legend="VV red, VH green, VV/VH blue, in decibels",
    drawn="VV, VH, VV-VH",
)
