"""The VV and VH files of one scene, opened together and read by windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import gdal_env, open_raster
from builtup.geo.windows import Window
from builtup.sensors.radar import bands
from builtup.sensors.radar.names import ScenePair

__all__ = ["OpenPair", "all_invalid", "check_pairs", "open_pair", "read_power"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class OpenPair:
    """Both polarisations, open, on one grid."""

    vv: DatasetReader
    vh: DatasetReader
    grid: Grid

    def read(self, window: Window, power: Float) -> NDArray[np.bool_]:
        """Read a window into `power` (2, h, w): VH, VV as they stand; return what is invalid."""
        for out, dataset in zip(power, (self.vh, self.vv), strict=True):
            read_power(dataset, window, out)
        return bands.invalid(power[0], power[1], self.vh.nodata, self.vv.nodata)

    @property
    def block_shape(self) -> tuple[int, int]:
        """(rows, columns) of the larger blocks of the two files."""
        shapes = [self.vv.block_shapes[0], self.vh.block_shapes[0]]
        return max(s[0] for s in shapes), max(s[1] for s in shapes)


@contextmanager
def open_pair(pair: ScenePair) -> Iterator[OpenPair]:
    """Open VV and VH; raise InputError or GridError where they are no scene together."""
    with open_raster(pair.vv) as vv, open_raster(pair.vh) as vh:
        for path, dataset in ((pair.vv, vv), (pair.vh, vh)):
            _check_file(path, dataset)
        grid = Grid.of(vv)
        difference = grid.difference(Grid.of(vh))
        if difference is not None:
            raise GridError(
                pair.vv,
                f"not on the grid of {pair.vh}: {difference}",
                "export both polarisations on one grid (gdalwarp -tr -te -t_srs)",
            )
        yield OpenPair(vv, vh, grid)


def check_pairs(
    pairs: Sequence[ScenePair],
) -> tuple[list[tuple[ScenePair, Grid]], list[BuiltupError]]:
    """Open the header of each pair: usable pairs with their grids, and a problem for each other."""
    usable, problems = [], []
    with gdal_env():
        for pair in pairs:
            try:
                with open_pair(pair) as opened:
                    usable.append((pair, opened.grid))
            except BuiltupError as e:
                problems.append(e)
    return usable, problems


def all_invalid(pair: ScenePair) -> InputError:
    """The problem of a scene without one valid pixel."""
    return InputError(
        pair.vv,
        f"no valid pixel together with {pair.vh.name}: all no-data",
        "remove the scene or download it again",
    )


def _check_file(path: Path, dataset: DatasetReader) -> None:
    if dataset.count != 1:
        raise InputError(
            path,
            f"holds {dataset.count} bands, one polarisation a file is read",
            "split it (gdal_translate -b 1, -b 2)",
        )
    if not np.issubdtype(np.dtype(dataset.dtypes[0]), np.floating):
        raise InputError(
            path,
            f"holds {dataset.dtypes[0]} values, not linear power as float32",
            "calibrate the product first (docs/data.md)",
        )
    if not dataset.crs:
        raise InputError(path, "no CRS", "give it one (gdal_edit.py -a_srs)")
    if not _has_place(dataset.crs.to_wkt()):
        raise InputError(
            path, "its CRS has no place on Earth", "give it the right one (gdal_edit.py -a_srs)"
        )
    if dataset.transform.is_identity:
        raise InputError(path, "no georeference", "ortho-rectify it first (docs/data.md)")


@lru_cache
def _has_place(crs: str) -> bool:
    """Whether the coordinates of a CRS can be brought to degrees: polygons must meet them."""
    try:
        pyproj.Transformer.from_crs(crs, "EPSG:4326")
    except pyproj.exceptions.ProjError:
        return False
    return True


def read_power(dataset: DatasetReader, window: Window, out: Float) -> None:
    """Read a window of one polarisation into `out` (h, w); InputError where the file is cut off."""
    from rasterio.errors import RasterioError

    try:
        dataset.read(1, window=window.rasterio, out=out)
    except RasterioError as e:
        raise InputError(
            dataset.name, "cannot be read to its end (truncated?)", "copy or download it again"
        ) from e
