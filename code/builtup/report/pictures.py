"""Pictures of a city: painted at the size at which they are shown, and packed as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from builtup.geo.grid import Grid
from builtup.sensors.sensor import Sensor

__all__ = [
    "Drawing",
    "Stretch",
    "encode",
    "paint_image",
    "paint_probability",
    "read_band",
    "shade",
]

#: Lossy quality of photographs, and by how much a side shrinks where the budget is not kept.
QUALITY, SHRINK = 80, 0.8
SMALLEST = 16
RGB = tuple[int, int, int]
RGBA = NDArray[np.uint8]
Array = NDArray[np.float32]


def read_band(dataset: DatasetReader, band: int, grid: Grid) -> Array:
    """One band (H, W) float32 at the size of `grid`, which covers the same ground; NaN: no data.

    GDAL takes the overview that is near, and averages what is valid.
    """
    values = dataset.read(
        band, out_shape=grid.shape, resampling=Resampling.average, masked=True
    ).astype(np.float32)
    filled: Array = values.filled(np.nan)
    return filled


@dataclass(frozen=True)
class Stretch:
    """The lower and upper end of each channel, for pictures of one city that can be compared."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, channels: Array) -> Stretch:
        """From the 1st to the 99th percentile of what is valid."""
        ends = [
            np.percentile(band[known], (1, 99)) if (known := np.isfinite(band)).any() else (0, 1)
            for band in channels
        ]
        return cls(*(tuple(float(end[i]) for end in ends) for i in (0, 1)))

    def apply(self, channels: Array) -> Array:
        """(C, H, W) from 0 to 1."""
        low, high = (np.array(end, np.float32)[:, None, None] for end in (self.low, self.high))
        scaled: Array = np.clip((channels - low) / np.maximum(high - low, 1e-6), 0, 1)
        return scaled


def paint_image(bands: Array, stretch: Stretch, sensor: Sensor) -> RGBA:
    """The false-colour picture (H, W, 4); transparent where there are no data."""
    picture = np.zeros((*bands.shape[1:], 4), np.uint8)
    known = np.isfinite(bands).all(axis=0)
    channels = stretch.apply(sensor.colours(bands))
    for i, channel in enumerate(channels):
        picture[known, i] = np.rint(channel[known] * 255)
    picture[known, 3] = 255
    return picture


def paint_probability(value: Array, top: float = 1.0) -> RGBA:
    """Viridis from 0 to `top` (H, W, 4); transparent where undefined."""
    known = np.isfinite(value)
    picture = np.zeros((*value.shape, 4), np.uint8)
    picture[known] = _viridis()[
        np.rint(np.clip(value[known] / max(top, 1e-6), 0, 1) * 255).astype(int)
    ]
    return picture


def shade(share: Array) -> NDArray[np.uint8]:
    """How opaque a layer is, 0 to 15, where it has that share of a picture's pixel.

    The root lets single pixels of a large raster show at all.
    """
    return np.ceil(np.sqrt(np.clip(share, 0, 1)) * 15).astype(np.uint8)


@cache
def _viridis() -> NDArray[np.uint8]:
    """256 colours, (256, 4)."""
    from matplotlib import colormaps

    return np.asarray(colormaps["viridis"](np.arange(256), bytes=True))


# --- data URIs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """One picture: a photograph (H, W, 4) uint8, or one `colour` with an opacity (H, W) 0 to 15."""

    pixels: NDArray[np.uint8]
    colour: RGB | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


def encode(drawings: Mapping[str, Drawing], budget: int) -> dict[str, str]:
    """Data URIs of all drawings, together at most `budget` bytes long.

    Where they would be longer, all are made smaller, down to 16 pixels a side.
    """
    factor = 1.0
    while True:
        found = {name: _uri(drawing, factor) for name, drawing in drawings.items()}
        largest = max((max(d.size) for d in drawings.values()), default=0)
        if sum(map(len, found.values())) <= budget or factor * largest < SMALLEST:
            return found
        factor *= SHRINK


def _uri(drawing: Drawing, factor: float) -> str:
    width, height = (max(1, round(n * factor)) for n in drawing.size)
    if drawing.colour is None:
        image = Image.fromarray(drawing.pixels, "RGBA")
        return _as_uri("webp", _resized(image, width, height), quality=QUALITY, method=4)
    opacity = _resized(Image.fromarray(drawing.pixels * np.uint8(17), "L"), width, height)
    layer = Image.fromarray((np.asarray(opacity) // 17).astype(np.uint8), "P")
    layer.putpalette(drawing.colour * 16)
    alpha = bytes(range(0, 256, 17))
    return _as_uri("png", layer, transparency=alpha, bits=4, optimize=True)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return (
        image
        if image.size == (width, height)
        else image.resize((width, height), Image.Resampling.BOX)
    )


def _as_uri(kind: str, image: Image.Image, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
