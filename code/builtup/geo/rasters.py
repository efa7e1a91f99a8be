"""Reading rasters block by block, and writing them with every failure noticed."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT

from builtup.errors import InputError, one_line
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.windows import Window
from builtup.geo.write_errors import failed_writes
from builtup.jobs.files import atomic_path, output_error, write_error

__all__ = [
    "add_overviews",
    "create_cog",
    "create_raster",
    "gdal_env",
    "gdal_message",
    "open_on",
    "open_raster",
    "read_window",
    "translate_to_cog",
    "update_raster",
]

log = logging.getLogger(__name__)

#: GDAL's own default is 5 % of the machine's memory, which breaks the promise of flat memory.
GDAL_CACHE_MB = 64
#: For overviews and compression, which begin when nothing else of the raster is left to do: half
#: the time, the same bytes.
THREADS = 2
_FORMAT_NAMES = {"GTiff": "GeoTIFF", "PNG": "PNG", "JPEG": "JPEG"}
_BEGINS = {"PNG": (b"\x89PNG",), "JPEG": (b"\xff\xd8\xff",)}


def gdal_env(**options: Any) -> rasterio.Env:
    """A GDAL environment with a small block cache and dates in files that never change."""
    settings: dict[str, Any] = {
        # in bytes: GDAL would take megabytes too, but rasterio.features.rasterize takes them for
        # bytes, works in chunks of one row and is 30 times slower
        "GDAL_CACHEMAX": GDAL_CACHE_MB * 2**20,
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no look for side files in huge folders
        "GDAL_PAM_ENABLED": "NO",  # never write .aux.xml beside somebody's data
        "OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z",
        **options,
    }
    return rasterio.Env(**settings)


@contextmanager
def open_raster(path: Path | str, formats: tuple[str, ...] = ("GTiff",)) -> Iterator[DatasetReader]:
    """Open a GeoTIFF (or one of GDAL's `formats`) for reading; raise InputError where it is
    missing, empty or another file.

    Whatever its name, a file of another format is refused: a VRT would be read from wherever it
    points to. A missing georeference is for the caller to refuse, in a line of its own.
    """
    p = Path(path)
    if not p.exists():
        raise InputError(p, "no such file", "check the path")
    if p.is_file() and p.stat().st_size == 0:
        raise InputError(p, "empty file (0 bytes)", "copy or download it again")
    driver = _format_of(p, formats)
    if driver == "PNG" and not _has_end(p):
        # GDAL fills the rest, and says nothing
        raise InputError(p, "cannot be read to its end (cut off)", "copy or download it again")
    try:
        dataset = _opened(p, "r", driver=driver)
    except RasterioIOError as e:
        known = " or ".join(_FORMAT_NAMES[name] for name in formats)
        raise InputError(
            p, f"not a readable raster ({gdal_message(e)})", f"copy or export it again as {known}"
        ) from e
    with dataset:
        yield dataset


def _opened(path: Path, mode: str, **options: Any) -> Any:
    """`rasterio.open`, which says nothing of rasters without a place: pictures may have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **options)


def _format_of(path: Path, formats: tuple[str, ...]) -> str:
    """Which of the formats a file begins as; the first where it is none of them."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return formats[0]  # GDAL says what is wrong
    return next((f for f in formats if start.startswith(_BEGINS.get(f, ()))), formats[0])


def _has_end(path: Path) -> bool:
    """Whether the last chunk of a PNG is there (ISO 15948: a length, a type, data, a checksum)."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"IEND":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def read_window(
    dataset: DatasetReader, window: Window | None = None, indexes: int | list[int] | None = None
) -> NDArray[Any]:
    """Read a window (the whole by default); raise InputError where the file is truncated."""
    try:
        return dataset.read(indexes, window=None if window is None else window.rasterio)
    except RasterioError as e:
        raise InputError(
            dataset.name,
            f"cannot be read to its end ({gdal_message(e)})",
            "copy or download it again",
        ) from e


@contextmanager
def open_on(path: Path, grid: Grid, resampling: str = "bilinear") -> Iterator[DatasetReader]:
    """As `open_raster`, read on `grid`: warped, no-data aware, where the file has another."""
    with open_raster(path) as dataset:
        if Grid.of(dataset).matches(grid, SAME_CITY_TOLERANCE):
            yield dataset
            return
        with WarpedVRT(
            dataset,
            crs=grid.crs,
            transform=grid.transform,
            width=grid.width,
            height=grid.height,
            resampling=Resampling[resampling],
            src_nodata=dataset.nodata,
            nodata=dataset.nodata,
            warp_mem_limit=32,
        ) as warped:
            yield warped


@contextmanager
def create_raster(path: Path, **profile: Any) -> Iterator[DatasetWriter]:
    """Create a GeoTIFF; raise OutputError where a write fails, also at closing (disk full)."""
    with _write_errors(path), _opened(path, "w", driver="GTiff", **profile) as dataset:
        yield dataset


def translate_to_cog(source: Path, target: Path, **options: Any) -> None:
    """Copy a tiled GeoTIFF into a Cloud Optimized GeoTIFF, in flat memory.

    rasterio holds the whole raster when the COG driver is written to directly; the copy does not.
    """
    # level 1: on probabilities as small as level 9, and eight times as fast
    settings: dict[str, Any] = {"compress": "ZSTD", "level": 1, "blocksize": 512}
    settings |= {"num_threads": THREADS, "bigtiff": "IF_SAFER"}
    with _write_errors(target):
        rasterio.shutil.copy(source, target, driver="COG", **{**settings, **options})


@contextmanager
def create_cog(
    final: Path,
    grid: Grid,
    *,
    resampling: str = "average",
    overviews: bool = True,
    **profile: Any,
) -> Iterator[DatasetWriter]:
    """A raster on `grid` to write to in any order, which becomes the COG `final`, whole.

    `profile` holds count, dtype and nodata; `resampling` makes the `overviews`, if any. The draft
    is not compressed: a compressed block that is written twice would leave a hole in the file.
    """
    with atomic_path(final) as temporary:
        draft = temporary.with_name(f"{temporary.stem}.draft{temporary.suffix}")
        layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "band"}
        place = {"crs": grid.crs, "transform": grid.transform}
        size = {"width": grid.width, "height": grid.height, "bigtiff": "IF_SAFER"}
        try:
            with create_raster(draft, **layout, **place, **size, **profile) as out:
                yield out
            if overviews:
                add_overviews(draft, resampling)
            translate_to_cog(draft, temporary, **({} if overviews else {"overviews": "NONE"}))
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def update_raster(path: Path) -> Iterator[DatasetWriter]:
    """Open a GeoTIFF of ours to read and write; raise OutputError where a write fails.

    Blocks that are not compressed are written in their places: the file is the same whatever order
    they are written in.
    """
    with _write_errors(path), _opened(path, "r+", driver="GTiff") as dataset:
        yield dataset


def add_overviews(path: Path, resampling: str, smallest: int = 512) -> None:
    """Halve a raster until its longer side fits into a block, as the COG driver would.

    That driver compresses its overviews twice; taking them from the draft costs a third.
    """
    with (
        rasterio.Env(GDAL_NUM_THREADS=THREADS, ZSTD_LEVEL_OVERVIEW=1),
        _write_errors(path),
        _opened(path, "r+") as dataset,
    ):
        longer, factors = max(dataset.width, dataset.height), [1]
        while longer // factors[-1] > smallest:
            factors.append(2 * factors[-1])
        if factors[1:]:
            dataset.build_overviews(factors[1:], Resampling[resampling])


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    with failed_writes() as failures:
        try:
            yield
        except RasterioError as e:
            raise write_error(path, gdal_message(e)) from e
        except OSError as e:
            raise output_error(path, e) from e
    if failures:
        raise write_error(path, failures[0][:120])


def gdal_message(e: BaseException, most: int | None = 160) -> str:
    """The innermost message of GDAL's chain of errors, on one line of `most` characters."""
    while isinstance(e.__cause__, Exception):
        e = e.__cause__
    return one_line(e, most)


def as_nan(values: NDArray[Any], nodata: float | None) -> NDArray[np.float32]:
    """float32 copy in which the declared no-data value is NaN."""
    out = values.astype(np.float32)
    if nodata is not None and not np.isnan(nodata):
        out[values == nodata] = np.nan
    return out
