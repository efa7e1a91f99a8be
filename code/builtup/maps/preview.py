"""A picture of a map for a first look: probability, polygons, a scale bar, and a detail.

Memory follows the picture, not the map: the whole is read from the overviews of the COG and its
polygons are drawn a batch at a time; the detail is a window.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from builtup.geo.grid import Grid
from builtup.geo.probability import SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster
from builtup.geo.vectors import polygons_near
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.maps.scale_bar import scale_bar
from builtup.runs.results import PredictionTags, read_tags
from builtup.sensors.classes import BUILT_UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["write_preview"]

#: Longest side of a map in the picture, in pixels, and side of the detail in pixels of the map.
LONGEST, DETAIL = 800, 320
#: Outlines are drawn this many times finer, and averaged.
FINER = 3
#: Polygons in memory at once.
BATCH = 16_384
DPI = 100
_OUTLINE = np.array((255, 40, 40), np.float32)
_NOTHING = np.array((228, 228, 228), np.float32)
#: Around and between the maps, and of the colour bar, in pixels.
_MARGIN, _HEAD, _BAR = 12, 34, 16


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
        from matplotlib import colormaps

        known = np.isfinite(self.probability)[..., None]
        colours = colormaps["viridis"](np.nan_to_num(self.probability), bytes=True)[..., :3]
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    views = [whole] if detail is None else [whole, detail]
    height = max(view.grid.height for view in views)
    width = sum(view.grid.width + _MARGIN for view in views) + _MARGIN + _BAR + 70
    size = np.array((width, height + _HEAD + _MARGIN))
    figure = Figure(figsize=tuple(size / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    mapped = tags.class_set.mapped
    built_up = mapped == BUILT_UP.mapped
    most = "its most built-up part" if built_up else f"the part with most {mapped}"
    left, axes = _MARGIN, []
    for view, title in zip(views, (tags.city, most), strict=False):
        shape = np.array((view.grid.width, view.grid.height))
        place = (left, size[1] - _HEAD - shape[1]) / size
        axes.append(figure.add_axes((*place, *(shape / size))))
        left += view.grid.width + _MARGIN
        _show(axes[-1], view, title)
    if detail is not None:
        _mark(axes[0], whole.grid, detail.grid)
    place = (left, _MARGIN + 0.15 * height) / size
    bar = figure.add_axes((*place, *((_BAR, 0.7 * height) / size)))
    figure.colorbar(ScalarMappable(cmap="viridis"), cax=bar).set_label(f"{mapped} probability")
    with warnings.catch_warnings():
        # signs that no font of this machine has are boxes; the file's name tells the city as well
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        # no version of a library: the same bytes again
        figure.savefig(path, format="png", metadata={"Software": None})


def _show(axis: Axes, view: _View, title: str) -> None:
    axis.imshow(view.painted(), interpolation="nearest", aspect="auto")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=12, loc="left")
    _scale_bar(axis, view.grid)


def _scale_bar(axis: Axes, grid: Grid) -> None:
    bar = scale_bar(grid.width * grid.metres_per_pixel[0])
    left, width, bottom = 0.04 * grid.width, bar.share * grid.width, 0.95 * grid.height
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "boxstyle": "square,pad=0.3"}
    middle = left + width / 2
    axis.text(middle, bottom, bar.label, ha="center", va="bottom", fontsize=10, bbox=box, zorder=3)
    axis.plot([left, left + width], [bottom, bottom], color="white", linewidth=6, zorder=4)
    axis.plot([left, left + width], [bottom, bottom], color="black", linewidth=3, zorder=5)


def _mark(axis: Axes, whole: Grid, detail: Grid) -> None:
    """Where the detail lies."""
    corners = np.array([~whole.transform @ corner for corner in detail.corners])
    closed = np.concatenate((corners, corners[:1])) - 0.5
    axis.plot(closed[:, 0], closed[:, 1], color="black", linewidth=3)
    axis.plot(closed[:, 0], closed[:, 1], color="white", linewidth=1.2)
