"""The one pass over the pixels of a scene's tiles: the work of generate_tiles_stats."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job
from builtup.sensors.radar.bands import BAND_NAMES
from builtup.tiles.folds import Folds
from builtup.tiles.histogram import CLASSES, EDGES, histogram
from builtup.tiles.moments import CHANNELS, Moments, channel_moments, moments, valid_pixels
from builtup.tiles.table import TileMeasure
from builtup.tiles.tile import Tile, check_tiles, read_tile

__all__ = ["Cell", "SceneMeasures", "measure_scene", "measure_tile", "scene_cells"]


_EMPTY = (np.nan,) * len(BAND_NAMES)


@dataclass(frozen=True)
class Cell:
    """A rectangle of a scene that each fold either trains on as a whole or not at all.

    `held_out_by` are the folds that leave it out, for lying in their ground or its gap.
    """

    window: Window
    held_out_by: tuple[int, ...]

    def to_json(self) -> list[Any]:
        """The cell as JSON values."""
        w = self.window
        return [[w.y, w.x, w.height, w.width], list(self.held_out_by)]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Cell:
        """The cell from what `to_json` gave."""
        return cls(Window(*values[0]), tuple(values[1]))


def scene_cells(folds: Folds, tile: Tile) -> tuple[Cell, ...]:
    """The cells of the scene of `tile`: the edges of all folds' ground (with gap) cut it."""
    grid = folds.grid_of(tile)
    held = {
        fold: window
        for fold in range(len(folds.names))
        if (window := folds.held_out(tile, fold, with_gap=True)) is not None
    }
    ys = {0, grid.height} | {e for w in held.values() for e in (w.y, w.y + w.height)}
    xs = {0, grid.width} | {e for w in held.values() for e in (w.x, w.x + w.width)}
    cells = []
    for y0, y1 in pairwise(sorted(ys)):
        for x0, x1 in pairwise(sorted(xs)):
            window = Window(y0, x0, y1 - y0, x1 - x0)
            by = tuple(fold for fold, w in held.items() if w.intersection(window))
            cells.append(Cell(window, by))
    return tuple(cells)


@dataclass(frozen=True)
class SceneMeasures:
    """The figures of one scene: of each tile, the moments of all channels over each cell, and
    the (classes, bands, bins) histograms.
    """

    tiles: tuple[TileMeasure, ...]
    cells: tuple[Cell, ...]
    moments: tuple[Moments, ...]
    histogram: NDArray[np.int64]

    def write(self, path: Path) -> None:
        """Write them so that they appear whole."""
        meta = {"cells": [cell.to_json() for cell in self.cells], "channels": CHANNELS}
        arrays = {
            "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
            "tiles": np.array([_as_row(t) for t in self.tiles]),
            "count": np.array([m.count for m in self.moments]),
            "mean": np.array([m.mean for m in self.moments]),
            "squares": np.array([m.squares for m in self.moments]),
            "histogram": self.histogram,
        }
        with atomic_path(path) as temporary, temporary.open("wb") as f:
            np.savez(f, **arrays)  # type: ignore[arg-type]

    @classmethod
    def readable(cls, path: Path) -> bool:
        """Whether `path` still holds what `write` wrote: a damaged disk keeps sizes and dates."""
        try:
            cls.read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False
        return True

    @classmethod
    def read(cls, path: Path) -> SceneMeasures:
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            meta: Mapping[str, Any] = json.loads(arrays["meta"].tobytes())
            moments = zip(arrays["count"], arrays["mean"], arrays["squares"], strict=True)
            return cls(
                tuple(_from_row(row) for row in arrays["tiles"]),
                tuple(Cell.from_json(c) for c in meta["cells"]),
                tuple(Moments(int(n), mean, squares) for n, mean, squares in moments),
                arrays["histogram"],
            )


def _as_row(t: TileMeasure) -> list[float]:
    figures = [v for band in (t.minimum, t.maximum, t.mean, t.std) for v in band or _EMPTY]
    return [t.valid_fraction, t.target_ratio, float(t.skip), *figures]


def _from_row(row: NDArray[np.float64]) -> TileMeasure:
    valid_fraction, target_ratio, skip, *figures = row.tolist()
    bands = [tuple(part) for part in np.reshape(figures, (4, -1)).tolist()]
    if valid_fraction == 0:
        bands = [()] * 4
    return TileMeasure(valid_fraction, target_ratio, bool(skip), *bands)


def measure_scene(job: Job) -> dict[str, int]:
    """Read each tile of a scene once, and write its figures: the work of one job."""
    images: Sequence[Tile]
    masks: Sequence[Tile]
    cores: Mapping[str, Window]
    cells: Sequence[Cell]
    lists, images, masks, cores, cells = job.context
    for path, tiles in zip(lists, (images, masks), strict=True):
        check_tiles(path, tiles)
    measures = []
    sums = [Moments.none(len(CHANNELS)) for _ in cells]
    counts = np.zeros((len(CLASSES), len(BAND_NAMES), len(EDGES) - 1), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        power = read_tile(image)
        labels = read_tile(mask, 1)
        measures.append(measure_tile(power, labels))
        core = cores[image.tile_id]
        own = core.relative_to(image.window).slices
        counts += histogram(power[(slice(None), *own)], labels[own])
        for i, cell in enumerate(cells):
            part = core.intersection(cell.window)
            if part is not None:
                inside = power[(slice(None), *part.relative_to(image.window).slices)]
                sums[i] = sums[i] + channel_moments(inside)
    SceneMeasures(tuple(measures), tuple(cells), tuple(sums), counts).write(job.outputs[0])
    return {"tiles": len(images)}


def measure_tile(power: NDArray[np.float32], mask: NDArray[np.uint8]) -> TileMeasure:
    """The figures of one tile from its (3, H, W) power and its (H, W) mask."""
    valid = np.isfinite(power[0]) & np.isfinite(power[1])
    labelled = valid & (mask != IGNORE)
    count = int(labelled.sum())
    built = int((labelled & (mask == 1)).sum())
    figures: list[tuple[float, ...]] = [()] * 4
    if valid.any():
        values = valid_pixels(power)
        of_bands = moments(values)
        figures = [
            tuple(values.min(axis=1).tolist()),
            tuple(values.max(axis=1).tolist()),
            tuple(of_bands.mean.tolist()),
            tuple(of_bands.std.tolist()),
        ]
    return TileMeasure(
        valid_fraction=float(valid.mean()),
        target_ratio=built / count if count else 0.0,
        skip=count == 0,
        minimum=figures[0],
        maximum=figures[1],
        mean=figures[2],
        std=figures[3],
    )
