"""The folded raster of a scene, made block by block from levels of several scales.

A block needs the part of each level that lies below it and around (`Parts`), in 8 bits; what the
coarser ones gave is brought to the pixels of the next (`builtup.prediction.fold`). All of this is
done when all levels are there: while the network computes both would wait for the same cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.geo.grid import Grid
from builtup.geo.prefetch import running_ahead
from builtup.geo.probability import NODATA, SCALE
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import Window, aligned
from builtup.prediction.fold import Enlarge, Folding, Level
from builtup.prediction.raster import Source
from builtup.prediction.zoom import Zoom, shares
from builtup.runs.results import PredictionTags, write_tags

__all__ = ["BLOCK", "CACHE", "Parts", "blocks_of", "fold_levels", "folded_bytes"]

#: Rows and columns of the blocks that are folded: a quarter of one of the COG's.
BLOCK = (128, 512)
#: Bytes of GDAL's cache meanwhile: coarse blocks are part of many blocks of the scene.
CACHE = 48_000_000
#: Blocks that are folded at a time, at most: each takes memory, and they are read one by one.
THREADS = 4
#: Means of 8 bits often lie half-way between two numbers, and where they are taken from decides to
#: which side they are rounded off; a pixel must not depend on the block that it is folded in.
_UP = 1.7e-4


def fold_levels(
    source: Source,
    zooms: Sequence[Zoom],
    paths: Sequence[Path],
    folding: Folding,
    final: Path,
    tags: PredictionTags,
    bands: int,
) -> bool:
    """Write the folded raster of levels in files, a COG; whether any of its pixels is valid.

    Several blocks at a time; a pixel is the same to the bit, whatever block it is folded in.
    """
    grid = source.grid
    area = None if source.area is None else source.area.on(grid)
    profile: dict[str, Any] = {"count": bands, "dtype": "uint8", "nodata": NODATA}
    blocks = list(blocks_of(grid.width, grid.height))
    reading, threads, any_valid = Lock(), min(torch.get_num_threads(), THREADS), False
    with (
        gdal_env(GDAL_CACHEMAX=max(source.cache, CACHE)),
        create_cog(final, grid, **profile) as out,
        ExitStack() as stack,
    ):
        write_tags(out, tags)
        out.descriptions = tags.class_set.bands
        rasters = [stack.enter_context(open_raster(path)) for path in paths]
        at_full = zooms[-1].scale == 1
        read = None if at_full else stack.enter_context(source.opening())

        def folded(window: Window) -> NDArray[np.uint8]:
            with reading:
                parts = Parts.read(rasters, zooms, window)
                power = None if read is None else read(window)
            valid = None if power is None else np.logical_and.reduce(~np.isnan(power), axis=0)
            values = folded_bytes(folding, parts, valid)
            if area is not None:
                values = np.where(area.holds(window), values, np.uint8(NODATA))
            return values

        ahead = {"depth": threads, "threads": threads}
        with one_thread_each(), running_ahead(folded, blocks, **ahead) as results:
            for window, values in zip(blocks, results, strict=True):
                any_valid = any_valid or bool((values != NODATA).any())
                out.write(values, window=window.rasterio)
    return any_valid


def blocks_of(width: int, height: int) -> Iterator[Window]:
    """Blocks of a raster, at most BLOCK; those of a block of the COG after each other, so that what
    lies in it is decoded once."""
    _, side = BLOCK
    for whole in aligned(width, height, (side, side)):
        for part in aligned(whole.width, whole.height, BLOCK):
            yield Window(whole.y + part.y, whole.x + part.x, part.height, part.width)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """PyTorch's work in the thread that calls it: many short calls only wait for other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def folded_bytes(
    folding: Folding, parts: Parts, valid: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """round(254 · P), 255 where the scene is not valid (the finest level knows), or none knows."""
    levels = list(parts.levels())
    folded = folding.fold(levels, parts.last)
    known = levels[-1].known if valid is None else torch.from_numpy(valid)
    if folded.known is not None:
        known = folded.known if known is None else known & folded.known
    scaled = folded.p.mul_(SCALE).add_(_UP).round_()
    if known is not None:
        scaled.masked_fill_(~known, float(NODATA))
    values: NDArray[np.uint8] = scaled.to(torch.uint8).numpy()
    return values


@dataclass(frozen=True)
class Parts:
    """What a window of the scene is made from: of each level, from the coarsest, `values`
    (bands, h, w) in 8 bits; how each is `enlarged` to the pixels of the next, None where it has
    them; and how the `last` is to those of the scene.

    Levels finer than the scene are brought to its pixels at once, by the shares in `reduced`.
    """

    values: Sequence[NDArray[np.uint8]]
    enlarged: Sequence[Enlarge | None]
    reduced: Sequence[Enlarge | None]

    @property
    def last(self) -> Enlarge | None:
        """What brings the finest level to the scene's pixels."""
        return self.enlarged[-1]

    @classmethod
    def read(cls, rasters: Sequence[DatasetReader], zooms: Sequence[Zoom], window: Window) -> Parts:
        """Read what a window of the scene needs."""
        values: list[NDArray[np.uint8]] = []
        enlarged: list[Enlarge | None] = []
        reduced: list[Enlarge | None] = []
        scale, part = 1.0, window  # of the next finer level, and of it
        for raster, zoom in zip(reversed(rasters), reversed(zooms), strict=True):
            ratio, needed, shared = zoom.scale / scale, part, None
            if ratio != 1:
                needed, shared = _needed(part, ratio, zoom.grid)
            values.append(read_window(raster, needed))
            enlarged.append(shared if ratio < 1 else None)
            reduced.append(shared if ratio > 1 else None)
            if ratio < 1:
                scale, part = zoom.scale, needed
        return cls(values[::-1], enlarged[::-1], reduced[::-1])

    def levels(self) -> Iterator[Level]:
        """Probabilities of each level."""
        before: Enlarge | None = None
        for values, enlarged, reduced in zip(self.values, self.enlarged, self.reduced, strict=True):
            p = torch.true_divide(torch.from_numpy(values), SCALE)
            valid = values[0] != NODATA
            known = None if valid.all() else torch.from_numpy(valid)
            if reduced is not None:
                p, known = (reduced(p), None) if known is None else reduced.known(p, known)
            yield Level(p, known, before)
            before = enlarged


def _needed(window: Window, ratio: float, grid: Grid) -> tuple[Window, Enlarge]:
    """The pixels of a grid that a window is made of, whose pixels are `ratio` of them wide."""
    x, columns = shares(window.x, window.width, ratio, grid.width)
    y, rows = shares(window.y, window.height, ratio, grid.height)
    needed = Window(y, x, rows.shape[1], columns.shape[1])
    return needed, Enlarge(torch.from_numpy(rows), torch.from_numpy(columns.T))
