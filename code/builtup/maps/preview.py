"""A picture of a map for a first look: probability, polygons, a scale bar, and a detail.

Memory follows the picture, not the map: the whole is read from the overviews of the COG and its
polygons are drawn a batch at a time; the detail is a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from builtup.geo.grid import Grid
from builtup.geo.probability import SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster
from builtup.geo.vectors import polygons_near
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.maps.scale_bar import scale_bar
from builtup.maps.styles import viridis
from builtup.runs.results import PredictionTags, read_tags
from builtup.sensors.classes import BUILT_UP

__all__ = ["write_preview"]

#: Longest side of a map in the picture, in pixels, and side of the detail in pixels of the map.
LONGEST, DETAIL = 800, 320
#: Outlines are drawn this many times finer, and averaged.
FINER = 3
#: Polygons in memory at once.
BATCH = 16_384
_OUTLINE = np.array((255, 40, 40), np.float32)
_NOTHING = np.array((228, 228, 228), np.float32)
#: Around and between the maps, and of the colour bar, in pixels.
_MARGIN, _HEAD, _BAR, _BAR_TEXT = 12, 34, 16, 60


@dataclass(frozen=True)
class _View:
    """A part of a map as it is shown, its pixels square on the ground and those of the picture.

    `probability` (H, W) is NaN where there is no data; `outlines` (H, W) how opaque they are.
    """

    probability: NDArray[np.float32]
    outlines: NDArray[np.float32]
    grid: Grid

    def painted(self) -> NDArray[np.uint8]:
        """The picture (H, W, 3)."""
        known = np.isfinite(self.probability)[..., None]
        colours = viridis(np.nan_to_num(self.probability))
        ground = np.where(known, colours, _NOTHING)
        opacity = self.outlines[..., None]
        return np.rint(ground * (1 - opacity) + _OUTLINE * opacity).astype(np.uint8)


def write_preview(prob: Path, polygons: Path, final: Path) -> None:
    """Write a PNG of a city's probability (8-bit COG) with the polygons of its GeoPackage.

    Both are of the mapped class. On the right, where the map is larger than it is shown, its part
    with most of it in full.
    """
    with gdal_env(), open_raster(prob) as dataset:
        tags = read_tags(dataset)
        everything = Window(0, 0, dataset.height, dataset.width)
        larger = max(dataset.shape) > LONGEST
        whole = _view(dataset, everything, polygons, 1 if larger else 2)
        place = _busiest(whole, Grid.of(dataset))
        detail = None if place is None else _view(dataset, place, polygons, 2)
    with atomic_path(final) as temporary:
        _draw(tags, whole, detail, temporary)


def _view(dataset: DatasetReader, window: Window, polygons: Path, line: int) -> _View:
    """`window` at the size at which it is shown, outlines `line` pixels wide."""
    part = Grid.of(dataset).window(window.x, window.y, window.width, window.height)
    across, down = part.metres_per_pixel
    ground = np.array((part.width * across, part.height * down))
    width, height = (max(1, round(side)) for side in ground * LONGEST / ground.max())
    values = dataset.read(
        mapped_band(dataset.count, read_tags(dataset).class_set.mapped_index),
        window=window.rasterio,
        out_shape=(height, width),
        resampling=Resampling.average if width < window.width else Resampling.nearest,
        masked=True,
    )
    shown = (values.astype(np.float32) / SCALE).filled(np.nan)
    transform = part.transform @ part.transform.scale(part.width / width, part.height / height)
    grid = Grid(part.crs, transform, width, height)
    return _View(shown, _outlines(polygons, grid, line), grid)


def _busiest(whole: _View, full: Grid) -> Window | None:
    """The window of the map with the largest sum of probability; None where all is shown."""
    if full.width <= LONGEST and full.height <= LONGEST:
        return None
    height, width = whole.probability.shape
    right, down = full.width / width, full.height / height  # pixels of the map to one shown
    rows = min(max(1, round(DETAIL / down)), height)
    columns = min(max(1, round(DETAIL / right)), width)
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = np.nan_to_num(whole.probability).cumsum(axis=0).cumsum(axis=1)
    sums = total[rows:, columns:] - total[:-rows, columns:]
    sums = sums - (total[rows:, :-columns] - total[:-rows, :-columns])
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    left = min(round(int(x) * right), max(0, full.width - DETAIL))
    top = min(round(int(y) * down), max(0, full.height - DETAIL))
    return Window(top, left, min(DETAIL, full.height), min(DETAIL, full.width))


def _outlines(polygons: Path, grid: Grid, line: int) -> NDArray[np.float32]:
    """How opaque the outlines of polygons are (H, W); thin, so that dense towns stay readable."""
    canvas = Image.new("L", (grid.width * FINER, grid.height * FINER))
    draw = ImageDraw.Draw(canvas)
    for batch in polygons_near(polygons, grid.bounds, BATCH):
        rings = shapely.get_rings(batch)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        points = grid.to_pixels(xy) * FINER
        for part in np.split(points, np.flatnonzero(np.diff(ring)) + 1):
            draw.line(part.ravel().tolist(), fill=255, width=line * FINER)
    return np.asarray(canvas.reduce(FINER), np.float32) / np.float32(255)


# --- drawing ----------------------------------------------------------------------------------


def _draw(tags: PredictionTags, whole: _View, detail: _View | None, path: Path) -> None:
    views = [whole] if detail is None else [whole, detail]
    height = max(view.grid.height for view in views)
    width = sum(view.grid.width + _MARGIN for view in views) + _MARGIN + _BAR + _BAR_TEXT
    sheet = Image.new("RGB", (width, height + _HEAD + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    mapped = tags.class_set.mapped
    built_up = mapped == BUILT_UP.mapped
    most = "its most built-up part" if built_up else f"the part with most {mapped}"
    left = _MARGIN
    for view, title in zip(views, (tags.city, most), strict=False):
        sheet.paste(Image.fromarray(view.painted()), (left, _HEAD))
        _frame(draw, left, view.grid)
        draw.text((left, _HEAD - 6), title, "black", _font(16), anchor="ls")
        _scale_bar(draw, left, view.grid)
        left += view.grid.width + _MARGIN
    if detail is not None:
        _mark(draw, whole.grid, detail.grid)
    _colour_bar(sheet, left, height, f"{mapped} probability")
    sheet.save(path, "PNG")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with the signs of many scripts, from a package that is there anyway.

    Found without importing it, which takes longer than all the drawing. Signs that it lacks are
    boxes: the file's name tells the city as well.
    """
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    return ImageFont.truetype(Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)


def _frame(draw: ImageDraw.ImageDraw, left: int, grid: Grid) -> None:
    box = (left - 1, _HEAD - 1, left + grid.width, _HEAD + grid.height)
    draw.rectangle(box, outline="black")


def _scale_bar(draw: ImageDraw.ImageDraw, left: int, grid: Grid) -> None:
    bar = scale_bar(grid.width * grid.metres_per_pixel[0])
    start = left + round(0.04 * grid.width)
    end, bottom = start + round(bar.share * grid.width), _HEAD + round(0.95 * grid.height)
    middle = ((start + end) / 2, bottom - 8)
    x0, y0, x1, y1 = draw.textbbox(middle, bar.label, _font(14), anchor="ms")
    draw.rectangle((x0 - 4, y0 - 4, x1 + 4, y1 + 4), fill="white")
    draw.text(middle, bar.label, "black", _font(14), anchor="ms")
    draw.rectangle((start - 2, bottom - 4, end + 2, bottom + 4), fill="white")
    draw.rectangle((start, bottom - 2, end, bottom + 2), fill="black")


def _mark(draw: ImageDraw.ImageDraw, whole: Grid, detail: Grid) -> None:
    """Where the detail lies in the picture of the whole, which stands on the left."""
    inside = np.array([~whole.transform @ corner for corner in detail.corners])
    corners = [(x + _MARGIN, y + _HEAD) for x, y in (*inside, inside[0])]
    draw.line(corners, "black", 4)
    draw.line(corners, "white", 2)


def _colour_bar(sheet: Image.Image, left: int, height: int, label: str) -> None:
    """Viridis from 0 below to 1 above, labelled."""
    draw = ImageDraw.Draw(sheet)
    top, long = _HEAD + round(0.15 * height), max(2, round(0.7 * height))
    ramp = np.repeat(viridis(np.linspace(1, 0, long))[:, None], _BAR, axis=1)
    sheet.paste(Image.fromarray(ramp), (left, top))
    draw.rectangle((left - 1, top - 1, left + _BAR, top + long), outline="black")
    for tenths in range(0, 11, 2):
        y = top + (1 - tenths / 10) * (long - 1)
        draw.line([(left + _BAR, y), (left + _BAR + 4, y)], "black")
        draw.text((left + _BAR + 8, y), f"{tenths / 10:g}", "black", _font(13), anchor="lm")
    x0, y0, x1, y1 = draw.textbbox((0, 0), label, _font(14))
    upright = Image.new("L", (round(x1 - x0) + 4, round(y1 - y0) + 4))
    ImageDraw.Draw(upright).text((2 - x0, 2 - y0), label, 255, _font(14))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    place = (left + _BAR + 36, top + (long - turned.height) // 2)
    sheet.paste("black", place, turned)
