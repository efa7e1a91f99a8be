"""Writing the layers of a scene, window by window: its picture, its classes, its heights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.height import Ground, GroundCells
from builtup.geo.prefetch import running_ahead
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import (
    add_overviews,
    create_raster,
    gdal_env,
    open_raster,
    read_window,
    update_raster,
)
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job
from builtup.sensors.classes import Classes
from builtup.sensors.optical.borders import BorderBlack
from builtup.sensors.optical.elevations import (
    Elevation,
    HeightCounts,
    open_elevation,
    stray_values,
)
from builtup.sensors.optical.label_colours import Counts, from_colours, from_numbers
from builtup.sensors.optical.pictures import WINDOW, Picture, open_picture
from builtup.sensors.optical.raw_scenes import RawScene
from builtup.sensors.remarks import Remark

__all__ = ["KINDS", "LABEL_FORMATS", "REMARKS", "UNLABELLED", "SceneWork", "write_layers"]

#: The kinds of rasters, as their names end, and the folders they stand in.
KINDS = {"image": "images", "mask": "masks", "height": "height"}
#: What labels may be: no JPEG, whose colours are others than were written.
LABEL_FORMATS = ("GTiff", "PNG")
#: The tag of a layer for what was chosen when it was made, a list of remarks as JSON.
REMARKS = "BUILTUP_REMARKS"
#: What is said of labels without a class.
UNLABELLED = "ignored everywhere: no pixel has a class, and nothing is learnt or scored there"
BLOCK = 256
#: Heights are kept to a fraction of a metre: the rest is noise, and would not compress.
_STEP = 1024

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SceneWork:
    """What is to be done for a scene.

    `grid` is its picture's, `first` the number of class 0 in labels of numbers, `metres` the side
    of a pixel (None: not known), `elevation_grid` where its elevation lies; `remarks` were made of
    it already.
    """

    scene: RawScene
    grid: Grid
    classes: Classes
    first: int
    metres: float | None
    elevation_grid: Grid | None
    remarks: tuple[Remark, ...]

    def tags(self) -> dict[str, str]:
        """What each layer says of the scene."""
        known = self.metres is not None and not self.grid.crs
        return {
            "BUILTUP_SENSOR": "rgb",
            "BUILTUP_SCENE": f"{self.scene.name}_{{}}",
            "BUILTUP_CITY": self.scene.site,
            **({"BUILTUP_METRES": f"{self.metres:g}"} if known else {}),
        }


def write_layers(job: Job) -> dict[str, int]:
    """Write the layers of a scene; all appear when the last is done. Returns counts of labels.

    Raises InputError where a file cannot be read to its end, or holds no valid pixel.
    """
    work: SceneWork = job.context
    counts: dict[str, int] = {}
    with gdal_env(), ExitStack() as stack:
        # the picture is entered first and so takes its place last: it stands for the scene
        image, *others = (stack.enter_context(atomic_path(path)) for path in job.outputs)
        _write_image(image, work)
        if work.scene.labels is not None:
            counts = _write_mask(others.pop(0), image, work)
        if work.scene.elevation is not None:
            _write_height(others.pop(0), work)
    return counts


# --- picture --------------------------------------------------------------------------------------


def _write_image(path: Path, work: SceneWork) -> None:
    windows = list(aligned(work.grid.width, work.grid.height, WINDOW))
    black = BorderBlack(work.grid.width, work.grid.height)
    valid = 0
    with (
        open_picture(work.scene.image) as picture,
        running_ahead(partial(_read_with, picture), windows) as read,
        create_raster(path, **_profile(work.grid, 4, "uint8"), photometric="RGB") as out,
    ):
        out.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        out.descriptions = ("red", "green", "blue", "alpha")
        for window, pixels in read:
            out.write(pixels, window=window.rasterio)
            valid += int(np.count_nonzero(pixels[3]))
            if picture.alpha_from == "black":
                black.add(window, pixels[3] == 0)
    with update_raster(path) as out:
        remarks = [*work.remarks, *picture.remarks]
        if black.windows:
            inside = _uncover(out, black)
            valid += inside
            remarks += _of_black(work, work.grid.pixels - valid, inside)
        if valid == 0:
            problem = "no valid pixel: transparent or black all over"
            raise InputError(work.scene.image, problem, "remove the scene, or export it again")
        out.update_tags(**work.tags(), **_as_tag(remarks))
    add_overviews(path, "average", BLOCK)


def _read_with(picture: Picture, window: Window) -> tuple[Window, Bytes]:
    return window, picture.read(window)


def _uncover(out: Any, black: BorderBlack) -> int:
    """Give alpha back to black that is not connected to the border; how many pixels that are."""
    inside = 0
    for window in black.windows:
        alpha = out.read(4, window=window.rasterio)
        dark = alpha == 0
        dark &= ~black.outside(window, dark)
        if count := int(np.count_nonzero(dark)):
            inside += count
            alpha[dark] = 255
            out.write(alpha, 4, window=window.rasterio)
    return inside


def _of_black(work: SceneWork, outside: int, inside: int) -> list[Remark]:
    if not outside:
        return []
    what = "no alpha: black connected to the border is no data"
    shares = [f"{100 * count / work.grid.pixels:.1f} %" for count in (outside, inside)]
    detail = f"{shares[0]} of the picture"
    if inside:
        detail += f"; {shares[1]} is black inside it, and stays"
    return [Remark(work.scene.image.name, what, detail, doubtful=False)]


# --- classes --------------------------------------------------------------------------------------


def _write_mask(path: Path, image: Path, work: SceneWork) -> dict[str, int]:
    """Write the classes, 255 where the picture has no data; count strange pixels."""
    labels, classes, counts = work.scene.labels, work.classes, Counts()
    labelled = False
    assert labels is not None
    tags = classes.tags()
    with (
        open_raster(labels, LABEL_FORMATS) as dataset,
        open_raster(image) as picture,
        running_ahead(partial(_read_labels, dataset), _windows(work.grid)) as read,
        create_raster(path, **_profile(work.grid, 1, "uint8"), nodata=IGNORE) as out,
    ):
        palette = {number: (*colour, 255) for number, colour in enumerate(classes.colours)}
        out.write_colormap(1, {**palette, IGNORE: (0, 0, 0, 0)})
        for window, values in read:
            if len(values) == 1:
                mask = from_numbers(values[0], classes, work.first, counts)
            else:
                mask = from_colours(values, classes, counts)
            mask[read_window(picture, window, 4) == 0] = IGNORE
            labelled = labelled or bool((mask != IGNORE).any())
            out.write(mask, 1, window=window.rasterio)
        remarks = _of_labels(labels, counts)
        if not labelled:
            remarks.append(Remark(labels.name, UNLABELLED))
        out.update_tags(**work.tags(), **tags, **_as_tag(remarks))
    unknown = sum(counts.unknown.values())
    return {
        **({"label pixels of mixed colours": counts.mixed} if counts.mixed else {}),
        **({"label pixels of no class": unknown} if unknown else {}),
    }


def _read_labels(dataset: DatasetReader, window: Window) -> tuple[Window, Bytes]:
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


def _of_labels(labels: Path, counts: Counts) -> list[Remark]:
    remarks = []
    if counts.mixed:
        what = "mixed colours (scaled, or compressed) are of the nearest class"
        remarks.append(Remark(labels.name, what, f"{counts.mixed:,} px"))
    if counts.unknown:
        what = "what is no class's is ignored"
        remarks.append(Remark(labels.name, what, counts.most()))
    return remarks


# --- heights --------------------------------------------------------------------------------------


def _write_height(path: Path, work: SceneWork) -> None:
    """Write heights above the ground: first the elevation on the picture's grid, and in its place
    what stands above the ground."""
    source = work.scene.elevation
    assert source is not None
    ground, remarks = _write_elevation(path, source, work)
    _lower(path, source, ground, remarks, work)
    add_overviews(path, "average", BLOCK)


def _write_elevation(path: Path, source: Path, work: SceneWork) -> tuple[Ground, list[Remark]]:
    """Write a scene's elevation on its picture's grid; returns its ground, and what is said of
    values that are none."""
    own, grid = work.elevation_grid, work.grid
    assert own is not None and work.metres is not None
    cells = GroundCells(grid.width, grid.height, work.metres)
    with (
        open_elevation(source, own, grid) as elevation,
        running_ahead(partial(_read_elevation, elevation), _windows(grid)) as read,
        create_raster(path, **_profile(grid, 1, "float32"), nodata=math.nan) as out,
    ):
        out.descriptions = ("metres above ground",)
        for window, values in read:
            cells.add(window, values)
            out.write(values, 1, window=window.rasterio)
    remarks = stray_values(source) if elevation.stray else []
    ground = cells.ground()
    if ground is None:
        stray = f" ({remarks[0].what}: {remarks[0].detail})" if remarks else ""
        problem = f"no elevation on its picture {work.scene.image.name}{stray}"
        raise InputError(source, problem, "check its place, unit and no-data, or take it away")
    return ground, remarks


def _lower(
    path: Path, source: Path, ground: Ground, remarks: list[Remark], work: SceneWork
) -> None:
    """Turn a raster of elevations into what stands above the ground; say what is doubtful.

    Windows are whole blocks: each is read before it is written, and only once.
    """
    counts = HeightCounts()
    with (
        open_raster(path) as elevations,
        running_ahead(partial(_above, elevations, ground), _windows(work.grid)) as read,
        update_raster(path) as out,
    ):
        for window, elevation, height in read:
            counts.add(elevation, height)
            out.write(height, 1, window=window.rasterio)
        out.update_tags(**work.tags(), **_as_tag([*remarks, *counts.remarks(source)]))


def _read_elevation(elevation: Elevation, window: Window) -> tuple[Window, Floats]:
    return window, elevation.read(window)


def _above(
    elevations: DatasetReader, ground: Ground, window: Window
) -> tuple[Window, Floats, Floats]:
    """A window, its elevation, and its height above the ground."""
    elevation = read_window(elevations, window, 1)
    height = elevation - ground.under(window)
    height *= _STEP
    np.round(height, out=height)
    height /= _STEP
    return window, elevation, height


# --- all ------------------------------------------------------------------------------------------


def _windows(grid: Grid) -> Iterator[Window]:
    return aligned(grid.width, grid.height, WINDOW)


def _profile(grid: Grid, count: int, dtype: str) -> dict[str, Any]:
    """How layers are stored, as settings of rasterio; not compressed, so that training reads
    patches anywhere."""
    place = {"crs": grid.crs} if grid.crs else {}
    if not grid.transform.is_identity:
        place["transform"] = grid.transform
    return {
        "width": grid.width,
        "height": grid.height,
        "count": count,
        "dtype": dtype,
        **place,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "bigtiff": "IF_SAFER",
    }


def _as_tag(remarks: list[Remark]) -> dict[str, str]:
    return {REMARKS: json.dumps([astuple(remark) for remark in remarks])} if remarks else {}
