"""Writing what is known of a scene, window by window: its classes, and their probability.

Labels are of any kind (`builtup.sensors.optical.raw_scenes`): pictures of classes, polygons burnt
onto the picture's grid, 8-bit probabilities, or the knowledge that nothing is there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from builtup.errors import GridError, InputError
from builtup.geo.burn import BlockBurner, Burner, placed_burner
from builtup.geo.grid import Grid
from builtup.geo.prefetch import running_ahead
from builtup.geo.probability import IGNORE, NODATA, SCALE, describe_probability, level_of
from builtup.geo.rasters import create_raster, open_raster, read_window
from builtup.geo.vectors import PolygonSet, stream_polygons
from builtup.geo.windows import Window
from builtup.sensors.optical.label_colours import Counts, from_colours, from_numbers
from builtup.sensors.optical.raw_scenes import EMPTY, PICTURE, PIXELS, POLYGONS, SOFT
from builtup.sensors.optical.scene_work import (
    SceneWork,
    layer_profile,
    remarks_tag,
    windows_of,
)
from builtup.sensors.remarks import Remark

__all__ = ["LABEL_FORMATS", "UNLABELLED", "with_soft", "write_label_layers"]

#: What labels may be that are rasters: no JPEG, whose values are others than were written.
LABEL_FORMATS = ("GTiff", "PNG")
#: What is said of labels without a class.
UNLABELLED = "ignored everywhere: no pixel has a class, and nothing is learnt or scored there"
#: Probability from which on a pixel is of the mapped class.
HALF = 0.5

Bytes = NDArray[np.uint8]


@dataclass
class _Seen:
    """What was met in the labels of a scene."""

    counts: Counts = field(default_factory=Counts)
    remarks: list[Remark] = field(default_factory=list)
    polygons: int | None = None


#: A window, its classes, and the levels of its probability where labels are these.
Layers = tuple[Window, Bytes, Bytes | None]
Source = Callable[[SceneWork, _Seen], Generator[Layers, None, None]]


def with_soft(labels_are: str) -> bool:
    """Whether labels of that kind give a layer of probabilities besides the classes."""
    return labels_are in {SOFT, EMPTY}


def write_label_layers(
    mask_path: Path, soft_path: Path | None, image: Path, work: SceneWork
) -> dict[str, int]:
    """Write a scene's classes and, with `soft_path`, their probability; 255 where the picture
    `image` has no data. Returns what is counted.

    Raises InputError where the labels cannot be read to their end, or lie elsewhere.
    """
    seen, labelled = _Seen(), False
    grid = work.grid
    with ExitStack() as stack:
        picture = stack.enter_context(open_raster(image))
        layers = stack.enter_context(closing(_SOURCES[work.scene.labels_are](work, seen)))
        first = next(layers)  # what cannot be read is refused before a file is begun
        mask_out = stack.enter_context(
            create_raster(mask_path, **layer_profile(grid, 1, "uint8"), nodata=IGNORE)
        )
        palette = {number: (*colour, 255) for number, colour in enumerate(work.classes.colours)}
        mask_out.write_colormap(1, {**palette, IGNORE: (0, 0, 0, 0)})
        soft_out = None
        if soft_path is not None:
            profile = layer_profile(grid, 1, "uint8")
            soft_out = stack.enter_context(create_raster(soft_path, **profile, nodata=NODATA))
            describe_probability(soft_out)
        for window, mask, level in _chained(first, layers):
            unknown = read_window(picture, window, 4) == 0
            mask[unknown] = IGNORE
            labelled = labelled or bool((mask != IGNORE).any())
            mask_out.write(mask, 1, window=window.rasterio)
            if soft_out is not None and level is not None:
                level[unknown] = NODATA
                soft_out.write(level, 1, window=window.rasterio)
        remarks = _remarks(work, seen, labelled)
        mask_out.update_tags(**work.tags(), **work.classes.tags(), **remarks_tag(remarks))
        if soft_out is not None:
            soft_out.update_tags(**work.tags(), **work.classes.tags())
    return _counted(seen)


def _chained(first: Layers, others: Iterator[Layers]) -> Iterator[Layers]:
    yield first
    yield from others


def _remarks(work: SceneWork, seen: _Seen, labelled: bool) -> list[Remark]:
    name = work.scene.image.name if work.scene.labels is None else work.scene.labels.name
    remarks = list(seen.remarks)
    if seen.counts.mixed:
        what = "mixed colours (scaled, or compressed) are of the nearest class"
        remarks.append(Remark(name, what, f"{seen.counts.mixed:,} px"))
    if seen.counts.unknown:
        what = "what is no class's is ignored"
        remarks.append(Remark(name, what, seen.counts.most()))
    if not labelled:
        remarks.append(Remark(name, UNLABELLED))
    return remarks


def _counted(seen: _Seen) -> dict[str, int]:
    unknown, ignored = sum(seen.counts.unknown.values()), seen.counts.ignored
    return {
        **({"label pixels of mixed colours": seen.counts.mixed} if seen.counts.mixed else {}),
        **({"label pixels of ignored colours": ignored} if ignored else {}),
        **({"label pixels of no class": unknown} if unknown else {}),
        **({"polygons": seen.polygons} if seen.polygons is not None else {}),
    }


# --- pictures of classes --------------------------------------------------------------------------


def _pictured(work: SceneWork, seen: _Seen) -> Generator[Layers, None, None]:
    classes, counts = work.classes, seen.counts
    with (
        open_raster(_labels(work), LABEL_FORMATS) as dataset,
        running_ahead(partial(_read_classes, dataset), windows_of(work.grid)) as read,
    ):
        for window, values in read:
            if len(values) == 1:
                yield window, from_numbers(values[0], classes, work.first, counts), None
            else:
                yield window, from_colours(values, classes, counts), None


def _read_classes(dataset: DatasetReader, window: Window) -> tuple[Window, Bytes]:
    """(3, h, w) colours, or (1, h, w) numbers."""
    if dataset.count >= 3:
        return window, read_window(dataset, window, [1, 2, 3])
    values = read_window(dataset, window, 1)
    if dataset.colorinterp[0] != ColorInterp.palette:
        return window, values[None]
    colours = np.zeros((256, 3), np.uint8)
    for value, colour in dataset.colormap(1).items():
        colours[value] = colour[:3]
    return window, np.ascontiguousarray(np.moveaxis(colours[values], -1, 0))


# --- probabilities --------------------------------------------------------------------------------


def _probable(work: SceneWork, seen: _Seen) -> Generator[Layers, None, None]:
    """0 to 255 is 0 to 1: 254 levels, rounded, and classes by half of these, as pseudo_labels has
    them."""
    path, top = _labels(work), 0
    levels_of = np.round(np.arange(256) * (SCALE / 255)).astype(np.uint8)
    mapped = work.classes.mapped_index
    with (
        open_raster(path, LABEL_FORMATS) as dataset,
        running_ahead(partial(_read_one, dataset), windows_of(work.grid)) as read,
    ):
        for window, values in read:
            top = max(top, int(values.max()))
            level = levels_of[values]
            is_mapped = level >= level_of(HALF)
            mask = np.where(is_mapped, np.uint8(mapped), np.uint8(1 - mapped))
            yield window, mask, level
    if top == 1:
        what = "no value above 1: 255 is certainty, and 1 is read as 0.4 % (classes are 0 and 255)"
        seen.remarks.append(Remark(path.name, what))


def _read_one(dataset: DatasetReader, window: Window) -> tuple[Window, Bytes]:
    return window, read_window(dataset, window, 1)


# --- polygons -------------------------------------------------------------------------------------


def _burnt(work: SceneWork, seen: _Seen) -> Generator[Layers, None, None]:
    """The mapped class on every pixel that a polygon touches; elsewhere the other one or, where
    labels are not complete, nothing known."""
    path, grid, mapped = _labels(work), work.grid, work.classes.mapped_index
    elsewhere = 1 - mapped if work.scene.complete else IGNORE
    burner = _burner(work, seen)
    if burner is None:
        seen.remarks.append(Remark(path.name, "no polygon in it: no building", doubtful=False))
        for window in windows_of(grid):
            shape = (window.height, window.width)
            yield window, np.full(shape, elsewhere, np.uint8), None
        return
    blocks = BlockBurner(burner)
    for window in windows_of(grid):
        inside = blocks.burn(window) > 0
        yield window, np.where(inside, np.uint8(mapped), np.uint8(elsewhere)), None


class _Counted:
    """The polygons of a file, some at a time, and how many these were and were mended; those in a
    picture's pixels are brought to its CRS."""

    def __init__(self, path: Path, grid: Grid, *, of_pixels: bool) -> None:
        self.path, self.grid, self.of_pixels = path, grid, of_pixels
        self.count = self.repaired = 0

    def parts(self) -> Generator[PolygonSet, None, None]:
        self.count = self.repaired = 0
        with closing(stream_polygons(self.path)) as parts:
            for part in parts:
                self.count += len(part)
                self.repaired += part.repaired
                yield self._placed(part) if self.of_pixels else part

    def _placed(self, part: PolygonSet) -> PolygonSet:
        moved = shapely.transform(part.geometries, self.grid.to_ground)
        crs = pyproj.CRS.from_wkt(self.grid.crs.to_wkt()) if self.grid.crs else part.crs
        return replace(part, geometries=moved, crs=crs)


def _burner(work: SceneWork, seen: _Seen) -> Burner | None:
    """None where there is no polygon; GridError where none lies on the picture."""
    path, grid = _labels(work), work.grid
    polygons = _Counted(path, grid, of_pixels=work.scene.labels_are == PIXELS)
    if polygons.of_pixels:
        burner, far = Burner.of_parts(polygons.parts(), grid, all_touched=True), "elsewhere"
    else:
        burner, far = placed_burner(polygons, grid, all_touched=True)
    if polygons.count == 0:
        seen.polygons = 0
        return None
    if len(burner) == 0:
        problem = f"its polygons do not meet the picture {work.scene.image.name} ({far})"
        raise GridError(path, problem, "check their CRS, and that they are of this picture")
    seen.polygons = len(burner)
    if off := polygons.count - len(burner):
        what = "some of its polygons lie off the picture, and are left out"
        detail = f"{off} of {polygons.count}"
        seen.remarks.append(Remark(path.name, what, detail, doubtful=2 * off > polygons.count))
    if polygons.repaired:
        what = "polygons that cross themselves are mended"
        seen.remarks.append(Remark(path.name, what, str(polygons.repaired), doubtful=False))
    return burner


# --- nothing --------------------------------------------------------------------------------------


def _nothing(work: SceneWork, _: _Seen) -> Generator[Layers, None, None]:
    for window in windows_of(work.grid):
        shape = (window.height, window.width)
        other = np.full(shape, 1 - work.classes.mapped_index, np.uint8)
        yield window, other, np.zeros(shape, np.uint8)


def _labels(work: SceneWork) -> Path:
    if work.scene.labels is None:
        raise InputError(work.scene.image, "no labels", "give some")
    return work.scene.labels


_SOURCES: dict[str, Source] = {
    PICTURE: _pictured,
    SOFT: _probable,
    POLYGONS: _burnt,
    PIXELS: _burnt,
    EMPTY: _nothing,
}
