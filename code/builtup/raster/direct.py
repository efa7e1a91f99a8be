"""Windows of uncompressed GeoTIFFs, read from their blocks without GDAL.

Opening a file with GDAL costs more than the patch that training wants from it. Here GDAL tells
once per file where the blocks lie; after that a read opens the file, copies rows and closes it,
so that nothing is shared with forked workers and no memory stays mapped.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.raster.io import gdal_env, open_raster
from builtup.raster.windows import Window

__all__ = ["read_direct"]

#: Layouts kept, in order of use: 8,464 tiles of the UNOSAT data and some scenes.
LAYOUTS = 16_384


@dataclass(frozen=True)
class _Layout:
    """Where the blocks of each band lie in the file: `offsets` is (bands, rows, columns)."""

    dtype: np.dtype[Any]
    width: int
    height: int
    block: tuple[int, int]
    offsets: NDArray[np.int64]


def read_direct(path: Path, window: Window, bands: Sequence[int]) -> NDArray[Any] | None:
    """(bands, height, width) of a window that lies in the raster, or None where GDAL must read.

    That is so for compressed, pixel-interleaved, sparse or big-endian files, formats other than
    GeoTIFF, and a no-data value that is not NaN. A file that was replaced is looked at anew.
    Raises InputError where the file ends too early.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None  # GDAL's reader says what is wrong
    try:
        stat = os.fstat(file)
        layout = _layout(str(path), stat.st_mtime_ns, stat.st_size)
        return None if layout is None else _read(file, path, layout, window, bands)
    finally:
        os.close(file)


def _read(
    file: int, path: Path, layout: _Layout, window: Window, bands: Sequence[int]
) -> NDArray[Any]:
    out = np.empty((len(bands), window.height, window.width), dtype=layout.dtype)
    rows, columns = layout.block
    for row in range(window.y // rows, (window.y + window.height - 1) // rows + 1):
        for column in range(window.x // columns, (window.x + window.width - 1) // columns + 1):
            block = Window(row * rows, column * columns, rows, columns)
            part = window.intersection(block)
            if part is None:  # cannot be: the loops run over blocks that the window meets
                continue
            source, target = part.relative_to(block), part.relative_to(window).slices
            skip, wanted = source.y * columns, source.height * columns
            size = layout.dtype.itemsize
            for i, band in enumerate(bands):
                start = int(layout.offsets[band - 1, row, column]) + skip * size
                raw = os.pread(file, wanted * size, start)
                if len(raw) < wanted * size:
                    raise InputError(path, "ends too early", "run the step that wrote it again")
                values = np.frombuffer(raw, layout.dtype).reshape(source.height, columns)
                out[i][target] = values[:, source.slices[1]]
    return out


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
            and (dataset.nodata is None or np.isnan(dataset.nodata))
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
