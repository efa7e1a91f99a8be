"""Pictures of a city: painted at the size at which they are shown, and packed as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from builtup.geo.grid import Grid
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import PolygonSet, stream_polygons
from builtup.maps.styles import viridis
from builtup.sensors.sensor import Sensor

__all__ = [
    "Drawing",
    "OutlinePath",
    "Stretch",
    "encode",
    "outline_path",
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
    picture[known, :3] = viridis(value[known] / max(top, 1e-6))
    picture[known, 3] = 255
    return picture


def shade(share: Array) -> NDArray[np.uint8]:
    """How opaque a layer is, 0 to 15, where it has that share of a picture's pixel.

    The root lets single pixels of a large raster show at all.
    """
    return np.ceil(np.sqrt(np.clip(share, 0, 1)) * 15).astype(np.uint8)


# --- data URIs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """One picture: a photograph (H, W, 4) uint8, or one `colour` with an opacity (H, W) 0 to 15.

    `exact`: its colours mean something each, and none between them does.
    """

    pixels: NDArray[np.uint8]
    colour: RGB | None = None
    exact: bool = False

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
        if drawing.exact:
            own = image.resize((width, height), Image.Resampling.NEAREST)
            return _as_uri("webp", own, lossless=True, method=4)
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


# --- outlines as an SVG path ---------------------------------------------------------------------


#: Coordinates are whole numbers of this part of a pixel.
FRACTION = 10
#: Outlines may leave their place by this many pixels.
TOLERANCE = 0.3


@dataclass(frozen=True)
class OutlinePath:
    """The path (`d` of an SVG path, in tenths of a pixel), and what stands in it.

    Polygons below `least` pixels are left out, so that the path keeps its budget.
    """

    d: str
    drawn: int
    left_out: int
    least: float


def outline_path(path: Path, grid: Grid, budget: int) -> OutlinePath:
    """The outlines of a vector file on `grid`, simplified to what its pixels can show."""
    return _path((reproject(batch, grid.crs) for batch in stream_polygons(path)), grid, budget)


def _path(batches: Iterable[PolygonSet], grid: Grid, budget: int) -> OutlinePath:
    kept: list[tuple[float, str]] = []
    length, least, left_out = 0, 0.25, 0
    inverse = ~grid.transform
    for batch in batches:
        pixels = shapely.transform(
            batch.geometries, lambda xy: np.column_stack(inverse @ (xy[:, 0], xy[:, 1]))
        )
        areas = shapely.area(pixels)
        large = areas >= least
        left_out += int((~large).sum())
        simple = shapely.simplify(pixels[large], TOLERANCE)
        made = [(area, _rings(polygon)) for area, polygon in zip(areas[large], simple, strict=True)]
        kept += made
        length += sum(len(text) for _, text in made)
        while length > budget:
            kept.sort()
            least = kept[len(kept) // 2][0] if len(kept) > 1 else np.inf
            gone = kept[: max(1, len(kept) // 2)]
            kept = kept[len(gone) :]
            left_out += len(gone)
            length -= sum(len(text) for _, text in gone)
    return OutlinePath("".join(text for _, text in kept), len(kept), left_out, least)


def _rings(polygon: shapely.Polygon) -> str:
    rings = [polygon.exterior, *polygon.interiors]
    return "".join(_ring(shapely.get_coordinates(ring)) for ring in rings)


def _ring(xy: NDArray[np.float64]) -> str:
    """`M` to the first vertex, then relative steps, closed."""
    points = np.rint(xy[:-1] * FRACTION).astype(int)
    if len(points) < 3:
        return ""
    steps = np.diff(points, axis=0)
    steps = steps[(steps != 0).any(axis=1)]
    moves = " ".join(f"{x} {y}" for x, y in steps)
    return f"M{points[0][0]} {points[0][1]}l{moves}z" if moves else ""
