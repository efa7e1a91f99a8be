"""Windows of uncompressed GeoTIFFs, read from their blocks without GDAL.

Opening a file with GDAL costs more than the patch that training wants from it. Here GDAL tells
once per file where the blocks lie; after that a read opens the file, copies rows and closes it,
so that nothing is shared with forked workers and no memory stays mapped.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.rasters import gdal_env, open_raster
from builtup.geo.windows import Window

__all__ = ["read_direct"]

#: Layouts kept, in order of use: 8,464 tiles of the UNOSAT data and some scenes.
LAYOUTS = 16_384
#: A block of 256 x 256 float64.
SCRATCH_BYTES = 2**19


@dataclass(frozen=True)
class _Layout:
    """Where the blocks of each band lie in the file: `offsets` is (bands, rows, columns)."""

    dtype: np.dtype[Any]
    width: int
    height: int
    block: tuple[int, int]
    offsets: NDArray[np.int64]


def read_direct(
    path: Path, window: Window, bands: Sequence[int], out: NDArray[Any] | None = None
) -> NDArray[Any] | None:
    """(bands, height, width) of a window that lies in the raster, or None where GDAL must read.

    That is so for compressed, pixel-interleaved, sparse or big-endian files, formats other than
    GeoTIFF, and floats whose no-data value is not NaN. A file that was replaced is looked at anew.
    What is read is put into `out` where that is given. Raises InputError where the file ends too
    early.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None  # GDAL's reader says what is wrong
    try:
        stat = os.fstat(file)
        layout = _layout(str(path), stat.st_mtime_ns, stat.st_size)
        if layout is None:
            return None
        if out is None:
            out = np.empty((len(bands), window.height, window.width), dtype=layout.dtype)
        _read(file, path, layout, window, bands, out)
    finally:
        os.close(file)
    return out


def _read(
    file: int,
    path: Path,
    layout: _Layout,
    window: Window,
    bands: Sequence[int],
    out: NDArray[Any],
) -> None:
    """Copy the window out of its blocks: of each, the rows that are wanted are read whole."""
    rows, columns = layout.block
    bottom, right = window.y + window.height, window.x + window.width
    size = layout.dtype.itemsize
    for row in range(window.y // rows, (bottom - 1) // rows + 1):
        top = row * rows
        y, end = max(window.y, top), min(bottom, top + rows)
        wanted = (end - y) * columns
        raw = _scratch.of(wanted * size)
        values = np.frombuffer(raw, layout.dtype).reshape(end - y, columns)
        for column in range(window.x // columns, (right - 1) // columns + 1):
            left = column * columns
            x, stop = max(window.x, left), min(right, left + columns)
            part = values[:, x - left : stop - left]
            for i, band in enumerate(bands):
                start = int(layout.offsets[band - 1, row, column]) + (y - top) * columns * size
                if os.preadv(file, [raw], start) < len(raw):
                    raise InputError(path, "ends too early", "run the step that wrote it again")
                out[i, y - window.y : end - window.y, x - window.x : stop - window.x] = part


class _Scratch(threading.local):
    """Memory that a thread reads into again and again: fresh memory costs as much as the read."""

    def __init__(self) -> None:
        self.kept = memoryview(bytearray(SCRATCH_BYTES))

    def of(self, size: int) -> memoryview:
        """So many bytes; more than is kept are let go after use."""
        return self.kept[:size] if size <= SCRATCH_BYTES else memoryview(bytearray(size))


_scratch = _Scratch()


@functools.lru_cache(maxsize=LAYOUTS)
def _layout(path: str, mtime_ns: int, size: int) -> _Layout | None:
    """The layout of a file, None where it cannot be read directly; time and size are the key."""
    with open(path, "rb") as f:  # noqa: PTH123 (a str is the cache's key)
        little = f.read(2) == b"II"
    if not little or sys.byteorder != "little":
        return None
    with gdal_env(), open_raster(path) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        plain = (
            dataset.driver == "GTiff"
            and "COMPRESSION" not in structure
            and "NBITS" not in structure
            and (dataset.count == 1 or structure.get("INTERLEAVE") == "BAND")
            and len(set(dataset.dtypes)) == 1
            and (
                dataset.nodata is None
                or np.isnan(dataset.nodata)
                or np.dtype(dataset.dtypes[0]).kind != "f"
            )
        )
        if not plain:
            return None
        rows, columns = dataset.block_shapes[0]
        shape = (dataset.count, -(-dataset.height // rows), -(-dataset.width // columns))
        found = [
            dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band + 1)
            for band, y, x in np.ndindex(*shape)
        ]
        if not all(found):  # a block never written has no place in the file
            return None
        offsets = np.array(found, dtype=np.int64).reshape(shape)
        kind = np.dtype(dataset.dtypes[0])
        return _Layout(kind, dataset.width, dataset.height, (rows, columns), offsets)
