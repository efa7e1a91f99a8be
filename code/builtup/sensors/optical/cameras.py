"""Cameras as sensors: 8-bit colours with an alpha band, how they are drawn, their channel sets.

On disk the alpha band says where there is data (0 is none), so that black roofs and shadows stay
what they are; in memory colours are float32, 0 to 255, NaN where there is no data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.sensor import UNKNOWN, Axis, ChannelSet, Sensor

__all__ = ["HEIGHT", "HEIGHT_RANGE", "IRRG", "OPTICAL_SETS", "RGB", "TYPICAL_HEIGHT"]

#: The layer of height above local ground, in metres, and the input of networks that it gives.
HEIGHT = "height"
#: Metres beyond which a height is cut: matching errors of photogrammetry reach hundreds.
HEIGHT_RANGE = (-10.0, 100.0)
#: That of a house.
TYPICAL_HEIGHT = 6.0

Float = NDArray[np.float32]


def _unseen(bands: Float, nodata: float | None = None) -> NDArray[np.bool_]:
    """Pixels without data: NaN in any of the colours, or the declared value in all."""
    unseen = np.isnan(bands[:3]).any(axis=0)
    if nodata is not None and not np.isnan(nodata):
        unseen = unseen | (bands[:3] == np.float32(nodata)).all(axis=0)
    return np.asarray(unseen)


def _as_it_is(values: Float) -> Float:
    return values


def _three(bands: Float) -> Float:
    return bands[:3]


def _picture(bands: Float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the three bands as red, green and blue."""
    colours = np.moveaxis(bands[:3], 0, -1)
    unknown = np.isnan(colours).any(axis=-1)
    picture = np.clip(np.nan_to_num(colours, nan=0.0), 0, 255).astype(np.uint8)
    picture[unknown] = UNKNOWN
    return picture


def _camera(name: str, bands: tuple[str, str, str], legend: str, drawn: str) -> Sensor:
    return Sensor(
        name=name,
        bands=bands,
        unit="8-bit value",
        typical=(110.0, 110.0, 100.0),
        read=(1, 2, 3),
        dtype="uint8",
        metres=None,
        invalid=_unseen,
        # 0 to 255, drawn out to where each of the histograms' bins holds one value
        axis=Axis(0.0, 320.0, "value", _as_it_is),
        colours=_three,
        picture=_picture,
        title="Aerial image",
        legend=legend,
        drawn=drawn,
        alpha=4,
        kind="image",
    )


#: What a camera sees, in natural colours.
RGB = _camera("rgb", ("red", "green", "blue"), "natural colours", "image")
#: The same with near infrared: vegetation is red where it is drawn.
IRRG = _camera(
    "irrg", ("nir", "red", "green"), "near infrared red, red green, green blue", "IR, R, G"
)


def _colours(*bands: Float) -> Float:
    return np.stack(bands)


def _with_height(red: Float, green: Float, blue: Float, height: Float) -> Float:
    known = np.isfinite(height)
    metres = np.clip(np.where(known, height, 0), *HEIGHT_RANGE)
    return np.stack([red, green, blue, metres, known]).astype(np.float32)


#: By name. A height that is not known is 0 m here; the network gets 0 after normalisation.
OPTICAL_SETS: dict[str, ChannelSet] = {
    "rgb": ChannelSet(RGB.bands, _colours, RGB.name),
    "rgb_height": ChannelSet(
        (*RGB.bands, HEIGHT, "height known"), _with_height, RGB.name, layers=(HEIGHT,)
    ),
    "irrg": ChannelSet(IRRG.bands, _colours, IRRG.name),
}
