"""Writing the layers of a scene, window by window: its picture, what is known, its heights."""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from builtup.errors import InputError
from builtup.geo.height import Ground, GroundCells
from builtup.geo.prefetch import running_ahead
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
from builtup.sensors.optical.borders import BorderBlack
from builtup.sensors.optical.elevations import (
    Elevation,
    HeightCounts,
    open_elevation,
    stray_values,
)
from builtup.sensors.optical.label_layers import with_soft, write_label_layers
from builtup.sensors.optical.pictures import WINDOW, Picture, open_picture
from builtup.sensors.optical.scene_work import (
    BLOCK,
    SceneWork,
    layer_profile,
    remarks_tag,
    windows_of,
)
from builtup.sensors.remarks import Remark

__all__ = ["write_layers"]

#: Heights are kept to a fraction of a metre: the rest is noise, and would not compress.
_STEP = 1024

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


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
        if work.scene.labelled:
            mask = others.pop(0)
            soft = others.pop(0) if with_soft(work.scene.labels_are) else None
            counts = write_label_layers(mask, soft, image, work)
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
        create_raster(path, **layer_profile(work.grid, 4, "uint8"), photometric="RGB") as out,
    ):
        out.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        out.descriptions = (*work.scene.sensor.bands, "alpha")
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
        out.update_tags(**work.tags(), **remarks_tag(remarks))
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
        running_ahead(partial(_read_elevation, elevation), windows_of(grid)) as read,
        create_raster(path, **layer_profile(grid, 1, "float32"), nodata=math.nan) as out,
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
        running_ahead(partial(_above, elevations, ground), windows_of(work.grid)) as read,
        update_raster(path) as out,
    ):
        for window, elevation, height in read:
            counts.add(elevation, height)
            out.write(height, 1, window=window.rasterio)
        out.update_tags(**work.tags(), **remarks_tag([*remarks, *counts.remarks(source)]))


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
