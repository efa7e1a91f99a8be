"""A picture of a map for a first look: polygons on the image, probability, and what they mean.

Memory follows the picture, not the map: the whole is read from the overviews of the COG and its
polygons are drawn a batch at a time; the detail is a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject

from builtup.geo.grid import Grid
from builtup.geo.probability import SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster
from builtup.geo.vectors import polygons_near
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.maps.scale_bar import scale_bar
from builtup.maps.styles import viridis
from builtup.runs.results import PredictionTags, read_tags
from builtup.scoring.fonts import label_font
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.text_table import counted

__all__ = ["Caption", "Views", "write_preview"]

#: Longest side of a map in the picture, in pixels, and side of the detail in pixels of the map.
LONGEST, DETAIL = 800, 320
#: Outlines are drawn this many times finer, and averaged.
FINER = 3
#: Polygons in memory at once.
BATCH = 16_384
#: GDAL's working memory of a warp, in MB.
WARP_MB = 64
_OUTLINE = np.array((255, 40, 40), np.float32)
_NOTHING = np.array((228, 228, 228), np.float32)
#: Around and between the maps, above them, a line below, and of the colour bar, in pixels.
_MARGIN, _HEAD, _LINE, _BAR, _BAR_TEXT = 12, 34, 22, 16, 66


@dataclass(frozen=True)
class Caption:
    """What stands around the maps: the dates in words, the polygons of the mapped class and their
    hectares, None where there can be none."""

    dates: str
    polygons: int | None = None
    hectares: float = 0.0


@dataclass(frozen=True)
class Views:
    """What is shown of a map.

    `prob` is its probability (8-bit COG), `polygons` the GeoPackage, if any, both of the mapped
    class; `quicklooks` the scenes' pictures by date; `classes` the map of classes, which is shown
    instead of the probability where there is one.
    """

    prob: Path
    polygons: Path | None
    quicklooks: Sequence[Path] = ()
    classes: Path | None = None


@dataclass(frozen=True)
class _View:
    """A part of a map as it is shown, its pixels square on the ground and those of the picture.

    `probability` (H, W) is NaN where there is no data; `outlines` (H, W) how opaque they are.
    `image` (H, W, 4) is what lies below instead of the probability, where it is not transparent.
    """

    probability: NDArray[np.float32]
    outlines: NDArray[np.float32]
    grid: Grid
    image: NDArray[np.uint8] | None = None

    def painted(self) -> NDArray[np.uint8]:
        """The picture (H, W, 3)."""
        if self.image is None:
            known = np.isfinite(self.probability)[..., None]
            colours = viridis(np.nan_to_num(self.probability))
        else:
            known, colours = self.image[..., 3:] > 0, self.image[..., :3]
        ground = np.where(known, colours, _NOTHING)
        opacity = self.outlines[..., None]
        return np.rint(ground * (1 - opacity) + _OUTLINE * opacity).astype(np.uint8)


def write_preview(of: Views, final: Path, caption: Caption) -> None:
    """Write a PNG of a map: polygons over the image that was mapped, and its probability.

    On the left the whole on the last of the quicklooks, or on the probability without any; on the
    right the probability, in full where it has most of the class, or the map of classes.
    """
    with gdal_env(), open_raster(of.prob) as dataset:
        tags = read_tags(dataset)
        everything = Window(0, 0, dataset.height, dataset.width)
        line = 1 if max(dataset.shape) > LONGEST else 2
        views = [_view(dataset, everything, of.polygons, line)]
        place = None if of.classes is not None else _busiest(views[0], Grid.of(dataset))
        if place is not None:
            views.append(_view(dataset, place, of.polygons, 2))
        image = _image(of.quicklooks, views[0].grid)
        if of.classes is not None:
            grid = views[0].grid
            nothing = np.zeros(grid.shape, np.float32)
            views.append(
                replace(views[0], image=_classes(of.classes, tags, grid), outlines=nothing)
            )
        if image is not None:
            lower = replace(views[0], image=image)
            views = [lower, *(views[1:] or views)]
    with atomic_path(final) as temporary:
        detail = "classes" if of.classes is not None else "part" if place is not None else ""
        _draw(tags, caption, views, detail, temporary)


def _classes(path: Path, tags: PredictionTags, grid: Grid) -> NDArray[np.uint8]:
    """The map of classes (H, W, 4) in their colours, as large as `grid`."""
    with open_raster(path) as dataset:
        values = dataset.read(1, out_shape=grid.shape, resampling=Resampling.mode)
    table = np.zeros((256, 4), np.uint8)
    for number, colour in enumerate(tags.class_set.colours):
        table[number] = (*colour, 255)
    return table[values]


def _image(quicklooks: Sequence[Path], grid: Grid) -> NDArray[np.uint8] | None:
    """The pictures (H, W, 4) on `grid`, later ones above earlier; None without any."""
    image = np.zeros((4, *grid.shape), np.uint8)
    for path in quicklooks:
        with open_raster(path) as source:
            fresh = np.zeros_like(image)
            if not grid.crs:  # an image that lies nowhere, all of it
                bilinear = Resampling.bilinear
                fresh = source.read(out_shape=(4, *grid.shape), resampling=bilinear)
            else:
                reproject(
                    rasterio.band(source, [1, 2, 3, 4]),
                    fresh,
                    dst_transform=grid.transform,
                    dst_crs=grid.crs,
                    resampling=Resampling.bilinear,
                    warp_mem_limit=WARP_MB,
                )
        opaque = fresh[3] > 127
        image[:, opaque] = fresh[:, opaque]
    return np.moveaxis(image, 0, -1) if quicklooks else None


def _view(dataset: DatasetReader, window: Window, polygons: Path | None, line: int) -> _View:
    """`window` at the size at which it is shown, outlines `line` pixels wide."""
    part = Grid.of(dataset).window(window.x, window.y, window.width, window.height)
    across, down = part.metres_per_pixel if part.crs else part.resolution
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
    if polygons is None:
        return _View(shown, np.zeros(grid.shape, np.float32), grid)
    mapped = read_tags(dataset).class_set.mapped
    return _View(shown, _outlines(polygons, grid, line, mapped), grid)


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


def _outlines(polygons: Path, grid: Grid, line: int, mapped: str) -> NDArray[np.float32]:
    """How opaque the outlines of the mapped class's polygons are (H, W); thin, so that dense towns
    stay readable."""
    canvas = Image.new("L", (grid.width * FINER, grid.height * FINER))
    draw = ImageDraw.Draw(canvas)
    for batch in polygons_near(polygons, grid.bounds, BATCH, mapped):
        rings = shapely.get_rings(batch)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        points = grid.to_pixels(xy) * FINER
        for part in np.split(points, np.flatnonzero(np.diff(ring)) + 1):
            draw.line(part.ravel().tolist(), fill=255, width=line * FINER)
    return np.asarray(canvas.reduce(FINER), np.float32) / np.float32(255)


# --- drawing ----------------------------------------------------------------------------------


def _draw(
    tags: PredictionTags, caption: Caption, views: Sequence[_View], last: str, path: Path
) -> None:
    """All views side by side; the last is a "part" of the first, which is marked, or of "classes"
    with their key beside them."""
    by_class = last == "classes"
    height = max(view.grid.height for view in views)
    beside = _key_width(tags.class_set.names) if by_class else _BAR + _BAR_TEXT
    width = sum(view.grid.width + _MARGIN for view in views) + _MARGIN + beside
    doubts = [f"Doubt: {doubt}" for doubt in tags.doubts]
    foot = _MARGIN + _LINE * (1 + len(doubts))
    sheet = Image.new("RGB", (width, height + _HEAD + foot), "white")
    draw = ImageDraw.Draw(sheet)
    mapped = tags.class_set.mapped
    most = "its most built-up part" if mapped == BUILT_UP.mapped else f"its part with most {mapped}"
    left = _MARGIN
    titles = (
        ", ".join(filter(None, (tags.city, caption.dates))),
        {"classes": "classes", "part": most}.get(last, "probability"),
    )
    for view, title in zip(views, titles, strict=False):
        sheet.paste(Image.fromarray(view.painted()), (left, _HEAD))
        box = (left - 1, _HEAD - 1, left + view.grid.width, _HEAD + view.grid.height)
        draw.rectangle(box, outline="black")
        draw.text((left, _HEAD - 7), title, "black", label_font(16), anchor="ls")
        if view.grid.crs:
            _scale_bar(draw, left, view.grid)
        left += view.grid.width + _MARGIN
    if last == "part":
        _mark(draw, views[0].grid, views[-1].grid)
    threshold = tags.threshold if tags.class_set.by_threshold else None
    if by_class:
        _key(draw, left, tags.class_set)
    else:
        _colour_bar(sheet, left, height, f"{mapped} probability", threshold)
    _legend(draw, height + _HEAD + _LINE, mapped, caption, fine=by_class)
    for i, doubt in enumerate(doubts, start=2):
        draw.text(
            (_MARGIN, height + _HEAD + i * _LINE), doubt, (190, 0, 0), label_font(14), anchor="ls"
        )
    sheet.save(path, "PNG")


def _key_width(names: Sequence[str]) -> int:
    return 26 + _MARGIN + max(round(label_font(14).getlength(name)) for name in names)


def _key(draw: ImageDraw.ImageDraw, left: int, classes: Classes) -> None:
    """The colours of the classes and their names, one below the other."""
    for i, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True), start=1):
        y = _HEAD + i * _LINE
        draw.rectangle((left, y - 12, left + 18, y), fill=colour, outline="black")
        draw.text((left + 26, y), name, "black", label_font(14), anchor="ls")


def _legend(
    draw: ImageDraw.ImageDraw, y: int, mapped: str, caption: Caption, *, fine: bool = False
) -> None:
    """What red and grey stand for, and how much is mapped (`fine`: to a hundredth of a hectare), in
    a line whose foot is at `y`."""
    if caption.polygons is None:
        text = f"{mapped}: no polygons, for want of a CRS"
    else:
        number = counted(caption.polygons, "polygons")
        hectares = f"{caption.hectares:,.2f}" if fine else f"{caption.hectares:,.0f}"
        text = f"mapped as {mapped}: {number}, {hectares} ha"
    draw.rectangle((_MARGIN, y - 12, _MARGIN + 18, y), outline=_rgb(_OUTLINE), width=2)
    draw.text((_MARGIN + 26, y), text, "black", label_font(14), anchor="ls")
    after = _MARGIN + 26 + round(label_font(14).getlength(text)) + 24
    draw.rectangle((after, y - 12, after + 18, y), fill=_rgb(_NOTHING), outline="black")
    draw.text((after + 26, y), "no data", "black", label_font(14), anchor="ls")


def _rgb(colour: NDArray[np.float32]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue


def _scale_bar(draw: ImageDraw.ImageDraw, left: int, grid: Grid) -> None:
    bar = scale_bar(grid.width * grid.metres_per_pixel[0])
    start = left + round(0.04 * grid.width)
    end, bottom = start + round(bar.share * grid.width), _HEAD + round(0.95 * grid.height)
    middle = ((start + end) / 2, bottom - 8)
    x0, y0, x1, y1 = draw.textbbox(middle, bar.label, label_font(14), anchor="ms")
    draw.rectangle((x0 - 4, y0 - 4, x1 + 4, y1 + 4), fill="white")
    draw.text(middle, bar.label, "black", label_font(14), anchor="ms")
    draw.rectangle((start - 2, bottom - 4, end + 2, bottom + 4), fill="white")
    draw.rectangle((start, bottom - 2, end, bottom + 2), fill="black")


def _mark(draw: ImageDraw.ImageDraw, whole: Grid, detail: Grid) -> None:
    """Where the detail lies in the picture of the whole, which stands on the left."""
    inside = np.array([~whole.transform @ corner for corner in detail.corners])
    corners = [(float(x) + _MARGIN, float(y) + _HEAD) for x, y in (*inside, inside[0])]
    draw.line(corners, "black", 4)
    draw.line(corners, "white", 2)


def _colour_bar(
    sheet: Image.Image, left: int, height: int, label: str, threshold: float | None
) -> None:
    """Viridis from 0 below to 1 above, labelled, with a mark at the threshold."""
    draw = ImageDraw.Draw(sheet)
    top, long = _HEAD + round(0.15 * height), max(2, round(0.7 * height))
    ramp = np.repeat(viridis(np.linspace(1, 0, long))[:, None], _BAR, axis=1)
    sheet.paste(Image.fromarray(ramp), (left, top))
    draw.rectangle((left - 1, top - 1, left + _BAR, top + long), outline="black")
    for at in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        y = top + (1 - at) * (long - 1)
        draw.line([(left + _BAR, y), (left + _BAR + 4, y)], "black")
        if threshold is None or abs(at - threshold) * long > _LINE - 4:
            draw.text((left + _BAR + 8, y), f"{at:g}", "black", label_font(13), anchor="lm")
    if threshold is not None:
        y = top + (1 - threshold) * (long - 1)
        draw.line([(left - 3, y), (left + _BAR + 6, y)], _rgb(_OUTLINE), 3)
        draw.text(
            (left + _BAR + 9, y), f"{threshold:.2f}", _rgb(_OUTLINE), label_font(13), anchor="lm"
        )
        label += f" (mapped from {threshold:.2f})"
    x0, y0, x1, y1 = draw.textbbox((0, 0), label, label_font(14))
    upright = Image.new("L", (round(x1 - x0) + 4, round(y1 - y0) + 4))
    ImageDraw.Draw(upright).text((2 - x0, 2 - y0), label, 255, label_font(14))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    place = (left + _BAR + 42, max(0, top + (long - turned.height) // 2))
    sheet.paste("black", place, turned)
