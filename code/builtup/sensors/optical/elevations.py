"""Elevation rasters of any grid: whether they meet a picture, read on its grid, and doubted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from builtup.errors import GridError, InputError
from builtup.geo.bilinear import between_known
from builtup.geo.grid import SAME_GRID_TOLERANCE, Grid
from builtup.geo.rasters import as_nan, gdal_message, open_raster, read_window
from builtup.geo.windows import Window, aligned
from builtup.sensors.remarks import Remark

__all__ = ["Elevation", "HeightCounts", "open_elevation", "placed", "stray_values"]

FORMATS = ("GTiff", "PNG")
#: What no elevation in metres is below or above: values beyond are unknown.
LOWEST, HIGHEST = -500.0, 9000.0
#: Rows and columns that are looked at at once.
_SCANNED = (256, 4096)
#: Heights above the ground that buildings and trees seldom have: more says another unit.
TALL = 150.0
#: Fillers that nobody declared are whole numbers from this one to 0: lower ones are no elevations.
_FILLERS = 500
#: So many metres above a filler there is next to nothing, and so large a share of it is doubted.
_ALONE, _FEW, _SHARE = 10, 0.05, 0.005
#: Of this many rows and columns one is looked at for what is doubtful.
LOOKED = 4
#: By how much the ratios of the sides of two rasters may differ that are taken to be of one place.
RATIO = 0.01
#: Pixels of the picture's as wide as this many of the raster's are more than points between them:
#: what lies within them is averaged, by GDAL.
COARSER = 1.2
#: A CRS for rasters that have none, so that one can be warped onto the other: any plane.
_PLANE = CRS.from_string('LOCAL_CS["none",UNIT["metre",1]]')

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Elevation:
    """An open elevation raster, read on the grid of a picture: float32 metres, NaN unknown.

    `affine` leads from the picture's pixels to the raster's, which run along them; None where
    `dataset` is on the picture's grid. Values that are no elevations are unknown; `stray` says that
    some were met.
    """

    def __init__(self, dataset: DatasetReader, nodata: float | None, affine: Affine | None) -> None:
        self.dataset = dataset
        self.nodata = nodata
        self.affine = affine
        self.stray = False

    def read(self, window: Window) -> Floats:
        """(h, w) of a window of the picture."""
        if self.affine is None:
            return self._read(window)
        by, size = self.affine, (self.dataset.height, self.dataset.width)
        # with the centre of the raster's pixel 0 at 0
        y = _places(window.y, window.height, by.e, by.f)
        x = _places(window.x, window.width, by.a, by.c)
        (top, rows), (left, columns) = map(_needed, (y, x), size)
        if rows <= 0 or columns <= 0:
            return np.full((window.height, window.width), np.nan, np.float32)
        values = self._read(Window(top, left, rows, columns))
        out = between_known(values, y - top, x - left)
        out[_beyond(y, size[0])] = np.nan
        out[:, _beyond(x, size[1])] = np.nan
        return out

    def _read(self, window: Window) -> Floats:
        values = as_nan(read_window(self.dataset, window, 1), self.nodata)
        if (unknown := _no_elevations(values)).any():
            self.stray = self.stray or bool(np.isfinite(values[unknown]).any())
            values[unknown] = np.nan
        return values


def stray_values(path: Path) -> list[Remark]:
    """How many values of a raster are no elevations in metres, and which; nothing where none."""
    count, lowest, highest = 0, math.inf, -math.inf
    with open_raster(path, FORMATS) as dataset:
        for window in aligned(dataset.width, dataset.height, _SCANNED):
            values = as_nan(read_window(dataset, window, 1), dataset.nodata)
            stray = values[_no_elevations(values) & np.isfinite(values)]
            if stray.size:
                count += stray.size
                lowest = min(lowest, float(stray.min()))
                highest = max(highest, float(stray.max()))
    if not count:
        return []
    what = f"values below {LOWEST:g} or above {HIGHEST:g} m are no elevations: unknown there"
    between = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
    return [Remark(path.name, what, f"{count:,} px: {between}")]


def _no_elevations(values: Floats) -> NDArray[np.bool_]:
    # NaN is neither above nor below
    fine = values >= LOWEST
    fine &= values <= HIGHEST
    return ~fine


def placed(path: Path, image: Path, grid: Grid) -> tuple[Grid, list[Remark]]:
    """Where an elevation raster lies, in terms of a picture's CRS, and what is said of it.

    One without a CRS is taken to have the picture's where it then meets it, or, beside a picture
    without one, to cover the same ground where its sides have the same ratio. Raises GridError
    where it does not meet the picture, InputError for what is no elevation.
    """
    with open_raster(path, FORMATS) as dataset:
        if dataset.count != 1:
            problem = f"{dataset.count} bands, an elevation has one"
            raise InputError(path, problem, "export the surface model, not its picture")
        own = Grid.of(dataset)
        remarks = _doubts_of_type(path, dataset)
    if not own.crs and not grid.crs:
        return _same_ground(path, own, grid, remarks)
    if not grid.crs:
        problem = f"has a CRS, and its picture {image.name} has none"
        raise GridError(path, problem, "give the picture its place (gdal_edit -a_srs -a_ullr)")
    if not own.crs:
        own = replace(own, crs=grid.crs)
        remarks.append(Remark(path.name, "no CRS: taken to have its picture's"))
    share = _common_share(path, own, grid)
    if share <= 0:
        problem = f"does not meet its picture {image.name}"
        raise GridError(path, problem, "check its CRS and place, or take it away")
    if share < 0.995:
        what = "covers a part of its picture only; heights elsewhere are unknown"
        remarks.append(Remark(path.name, what, f"{share:.0%}"))
    return own, remarks


@contextmanager
def open_elevation(path: Path, own: Grid, grid: Grid) -> Iterator[Elevation]:
    """Open an elevation raster that lies on `own`, to be read on `grid`: bilinear, gaps stay.

    One whose rows and columns run along the picture's is read between its pixels here, at five
    times the rate of GDAL's warping, which does it in all other cases.
    """
    with open_raster(path, FORMATS) as dataset:
        if own.matches(grid, SAME_GRID_TOLERANCE):
            yield Elevation(dataset, dataset.nodata, None)
            return
        affine = ~own.transform @ grid.transform
        along = max(abs(affine.b), abs(affine.d)) * max(grid.shape) < SAME_GRID_TOLERANCE
        if own.crs == grid.crs and along and max(abs(affine.a), abs(affine.e)) <= COARSER:
            yield Elevation(dataset, dataset.nodata, affine)
            return
        filler = _filler(dataset)
        with _warped(dataset, own, grid, filler) as warped:
            elevation = Elevation(warped, np.nan, None)
            elevation.stray = filler is not None
            yield elevation


@contextmanager
def _warped(
    dataset: DatasetReader, own: Grid, grid: Grid, filler: float | None
) -> Iterator[DatasetReader]:
    # what a float raster does not declare it may still hold: NaN
    undeclared = dataset.nodata is None and dataset.dtypes[0].startswith("float")
    nodata = np.nan if undeclared else dataset.nodata
    try:
        warped = WarpedVRT(
            dataset,
            src_crs=own.crs or _PLANE,
            src_transform=own.transform,
            crs=grid.crs or _PLANE,
            transform=grid.transform,
            width=grid.width,
            height=grid.height,
            resampling=Resampling.bilinear,
            src_nodata=nodata if filler is None else filler,
            nodata=np.nan,
            dtype="float32",
            warp_mem_limit=32,
        )
    except RasterioError as e:
        problem = f"cannot be brought onto its picture's grid ({gdal_message(e)})"
        raise InputError(dataset.name, problem, "check its CRS") from e
    with warped:
        yield warped


def _filler(dataset: DatasetReader) -> float | None:
    """The one value of a raster that is no elevation, which GDAL is to leave out of its means; None
    where there is none. Raises InputError where these are several, or besides a declared no-data:
    GDAL leaves out one."""
    found: set[float] = set()
    declared = dataset.nodata
    with_declared = False
    for window in aligned(dataset.width, dataset.height, _SCANNED):
        values = read_window(dataset, window, 1).astype(np.float32)
        if declared is not None and not math.isnan(declared):
            marked = values == np.float32(declared)
            with_declared |= bool(marked.any())
            values[marked] = np.nan
        found.update(np.unique(values[_no_elevations(values) & ~np.isnan(values)])[:2].tolist())
        if len(found) > 1 or (found and with_declared):
            also = [f"{declared:g} (declared)"] if with_declared else []
            shown = ", ".join([*(f"{value:g}" for value in sorted(found)), *also])
            problem = f"several values mean no data ({shown})"
            remedy = "make them one (gdal_calc, gdalwarp -srcnodata), or bring it onto its "
            raise InputError(dataset.name, problem, f"{remedy}picture's CRS")
    return found.pop() if found else None


def _places(start: int, length: int, step: float, offset: float) -> Doubles:
    """Where the centres of a picture's pixels lie along an axis of a raster."""
    centres: Doubles = np.arange(start, start + length, dtype=np.float64) + 0.5
    centres *= step
    centres += offset - 0.5
    return centres


def _needed(places: Doubles, size: int) -> tuple[int, int]:
    """The first of the pixels that places are between, and how many these are (none: 0 or less)."""
    first = max(0, math.floor(places.min()))
    last = min(size - 1, math.ceil(places.max()))
    return first, last + 1 - first


def _beyond(places: Doubles, size: int) -> NDArray[np.bool_]:
    """Which places are outside a raster's own pixels along an axis."""
    return (places < -0.5) | (places > size - 0.5)


class HeightCounts:
    """What heights a scene has, of every LOOKED-th row and column of its windows."""

    def __init__(self) -> None:
        self.pixels = self.known = 0
        self.levels = np.zeros(4096, np.int64)  # half metres
        self.elevations = np.zeros(int(HIGHEST - LOWEST) + 1, np.int64)  # metres
        self.wholes = np.zeros(_FILLERS + 1, np.int64)  # exactly 0, -1, -2, …

    def add(self, elevation: Floats, height: Floats) -> None:
        """Take a window into account: metres, NaN unknown."""
        elevation, height = elevation[::LOOKED, ::LOOKED], height[::LOOKED, ::LOOKED]
        known = np.isfinite(elevation)
        count = int(np.count_nonzero(known))
        self.pixels += elevation.size
        self.known += count
        if count == 0:
            return
        level = np.clip(height[known] * 2, 0, len(self.levels) - 1).astype(np.int64)
        self.levels += np.bincount(level, minlength=len(self.levels))
        metres = elevation[known]
        index = np.clip(np.floor(metres) - LOWEST, 0, len(self.elevations) - 1).astype(np.int64)
        self.elevations += np.bincount(index, minlength=len(self.elevations))
        low = metres[metres <= 0]
        whole = np.clip(-low[low == np.round(low)], 0, _FILLERS).astype(np.int64)
        self.wholes += np.bincount(whole, minlength=len(self.wholes))

    def remarks(self, path: Path) -> list[Remark]:
        """What is doubtful about them; nothing is converted."""
        found = []
        gaps = 1 - self.known / max(self.pixels, 1)
        if gaps > 0.001:
            what = "gaps: heights are unknown there"
            found.append(Remark(path.name, what, f"{100 * gaps:.1f} %", doubtful=False))
        if (filler := self._filler()) is not None:
            share = 100 * self.wholes[-filler] / self.known
            what = "one low value and nothing near it: a filler that is not declared? It is taken "
            what += "for ground (gdal_edit -a_nodata)"
            found.append(Remark(path.name, what, f"{filler}: {share:.1f} %"))
        top = self._height_of(0.999)
        if top > TALL:
            what = "heights as of no building: feet or decimetres, taken for metres? Nothing is "
            what += "converted"
            found.append(Remark(path.name, what, f"up to {top:g} above the ground"))
        return found

    def _filler(self) -> int | None:
        """The lowest elevation where it is a whole number, not rare, and far below all others."""
        if not self.known:
            return None
        lowest = int(np.flatnonzero(self.elevations)[0])
        value = lowest + int(LOWEST)
        if value > 0:
            return None
        count = int(self.wholes[-value])
        others = self.elevations[lowest:].copy()
        others[0] -= count
        near, rest = int(others[: _ALONE + 1].sum()), int(others.sum())
        alone = rest > 0 and near < _FEW * min(count, rest)
        return value if count > _SHARE * self.known and alone else None

    def _height_of(self, share: float) -> float:
        total = np.cumsum(self.levels)
        return float(np.searchsorted(total, share * total[-1])) / 2 if total[-1] else 0.0


def _doubts_of_type(path: Path, dataset: DatasetReader) -> list[Remark]:
    """What the type and the declared unit of an elevation raster say against it."""
    kind, unit = dataset.dtypes[0], (dataset.units[0] or "").strip().lower()
    remarks = []
    if kind in {"uint8", "int8"}:
        what = "8-bit elevations: 256 steps at most, of which nothing says how high they are"
        remarks.append(Remark(path.name, what))
    elif not kind.startswith("float"):
        remarks.append(Remark(path.name, "elevations in whole numbers: metres, or decimetres?"))
    if unit and not re.fullmatch(r"m|metres?|meters?|\[m\]", unit):
        what = "its unit is not metres: heights are as they stand there, nothing is converted"
        remarks.append(Remark(path.name, what, unit))
    if (dataset.scales[0], dataset.offsets[0]) != (1.0, 0.0):
        what = "declares a scale and an offset, which are not applied"
        remarks.append(Remark(path.name, what, f"{dataset.scales[0]:g}, {dataset.offsets[0]:g}"))
    return remarks


def _same_ground(
    path: Path, own: Grid, grid: Grid, remarks: list[Remark]
) -> tuple[Grid, list[Remark]]:
    """Two rasters without a CRS: on one grid, at their places, or spread over the same ground."""
    if own.shape == grid.shape:
        return replace(own, transform=grid.transform), remarks
    if not own.transform.is_identity and not grid.transform.is_identity:
        if _overlap(own.bounds, grid.bounds) <= 0:
            problem = "does not meet its picture; neither has a CRS"
            raise GridError(path, problem, "check its place, or take it away")
        return own, remarks
    ratio = (own.width / own.height) / (grid.width / grid.height)
    # whole pixels: a side may be one off
    allowed = RATIO + 1 / own.width + 1 / own.height
    if abs(ratio - 1) > allowed:
        problem = (
            f"no CRS, and {own.width}x{own.height} pixels have another ratio than the picture's "
            f"{grid.width}x{grid.height}"
        )
        raise GridError(path, problem, "give both their places, or take it away")
    scale = Affine.scale(grid.width / own.width, grid.height / own.height)
    remarks.append(Remark(path.name, "no CRS: taken to cover the same ground as its picture"))
    return Grid(None, grid.transform @ scale, own.width, own.height), remarks


def _common_share(path: Path, own: Grid, grid: Grid) -> float:
    """The share of a picture's rectangle that an elevation's, in its CRS, covers."""
    bounds = own.bounds
    try:
        if own.crs != grid.crs:
            bounds = transform_bounds(own.crs, grid.crs, *bounds)
    except RasterioError as e:
        problem = f"its CRS does not lead to its picture's ({gdal_message(e)})"
        raise GridError(path, problem, "check its CRS, or take it away") from e
    return _overlap(bounds, grid.bounds)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The share of the second rectangle that the first covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    area = (other[2] - other[0]) * (other[3] - other[1])
    return max(0.0, width) * max(0.0, height) / area
