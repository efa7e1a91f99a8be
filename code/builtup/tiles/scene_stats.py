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

from builtup.errors import InputError
from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.optical.cameras import HEIGHT_RANGE
from builtup.sensors.sensor import Sensor
from builtup.tiles.folds import Folds
from builtup.tiles.histogram import BINS, histogram, widened
from builtup.tiles.moments import Moments, channel_moments, measured_channels, moments
from builtup.tiles.table import TileMeasure
from builtup.tiles.tile import Tile, check_tiles, read_bands, read_tile

__all__ = ["FoldPart", "SceneMeasures", "SceneWork", "fold_parts", "measure_scene", "measure_tile"]

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class FoldPart:
    """A rectangle of a scene that each fold either trains on as a whole or not at all.

    `held_out_by` are the folds that leave it out, for lying in their ground or its gap.
    """

    window: Window
    held_out_by: tuple[int, ...]

    def to_json(self) -> list[Any]:
        """The part as JSON values."""
        w = self.window
        return [[w.y, w.x, w.height, w.width], list(self.held_out_by)]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> FoldPart:
        """The part from what `to_json` gave."""
        return cls(Window(*values[0]), tuple(values[1]))


def fold_parts(folds: Folds, tile: Tile) -> tuple[FoldPart, ...]:
    """The parts of the scene of `tile`: the edges of all folds' ground (with gap) cut it."""
    grid = folds.grid_of(tile)
    held = {
        fold: window
        for fold in range(len(folds.names))
        if (window := folds.held_out(tile, fold, with_gap=True)) is not None
    }
    ys = {0, grid.height} | {e for w in held.values() for e in (w.y, w.y + w.height)}
    xs = {0, grid.width} | {e for w in held.values() for e in (w.x, w.x + w.width)}
    parts = []
    for y0, y1 in pairwise(sorted(ys)):
        for x0, x1 in pairwise(sorted(xs)):
            window = Window(y0, x0, y1 - y0, x1 - x0)
            by = tuple(fold for fold, w in held.items() if w.intersection(window))
            parts.append(FoldPart(window, by))
    return tuple(parts)


@dataclass(frozen=True)
class SceneWork:
    """What one job measures: the tiles of a scene, image and mask side by side, and how.

    `lists` name the images and the masks, `cores` are the tiles' exclusive parts by tile id.
    `heights` are the tiles of that layer, none where the scene has none; `classes` the classes
    that its masks name, those of buildings where they name none.
    """

    lists: tuple[Path, ...]
    images: tuple[Tile, ...]
    masks: tuple[Tile, ...]
    cores: Mapping[str, Window]
    parts: tuple[FoldPart, ...]
    sensor: Sensor
    heights: tuple[Tile, ...] = ()
    classes: Classes = BUILT_UP


@dataclass(frozen=True)
class SceneMeasures:
    """The figures of one scene: of each tile, the moments of all channels over each part, and
    the (classes + 1, bands, bins) histograms.

    `heights` are those of the layer of heights over each part, where it is known; none where the
    scene has no such layer.
    """

    tiles: tuple[TileMeasure, ...]
    parts: tuple[FoldPart, ...]
    moments: tuple[Moments, ...]
    histogram: NDArray[np.int64]
    heights: tuple[Moments, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes the scene's masks have, at least two."""
        return len(self.histogram) - 1

    def write(self, path: Path, sensor: Sensor) -> None:
        """Write them so that they appear whole."""
        channels = measured_channels(sensor)
        meta = {"cells": [part.to_json() for part in self.parts], "channels": channels}
        arrays = {
            "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
            "tiles": np.array([_as_row(t, len(sensor.bands)) for t in self.tiles]),
            **_as_arrays(self.moments),
            "histogram": self.histogram,
        }
        if self.heights:
            arrays |= _as_arrays(self.heights, "height_")
        if self.classes > len(BUILT_UP):  # of two, a tile's target_ratio says all
            arrays["shares"] = np.array([t.shares_of(self.classes) for t in self.tiles])
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
            rows = arrays["tiles"]
            shares = arrays["shares"] if "shares" in arrays else [()] * len(rows)
            return cls(
                tuple(_from_row(row, tuple(s)) for row, s in zip(rows, shares, strict=True)),
                tuple(FoldPart.from_json(part) for part in meta["cells"]),
                _from_arrays(arrays),
                arrays["histogram"],
                _from_arrays(arrays, "height_") if "height_count" in arrays else (),
            )


def _as_arrays(moments: Sequence[Moments], prefix: str = "") -> dict[str, NDArray[Any]]:
    return {
        f"{prefix}count": np.array([m.count for m in moments]),
        f"{prefix}mean": np.array([m.mean for m in moments]),
        f"{prefix}squares": np.array([m.squares for m in moments]),
    }


def _from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> tuple[Moments, ...]:
    of = (arrays[f"{prefix}{name}"] for name in ("count", "mean", "squares"))
    return tuple(Moments(int(n), mean, squares) for n, mean, squares in zip(*of, strict=True))


def _as_row(t: TileMeasure, bands: int) -> list[float]:
    none = (np.nan,) * bands
    figures = [v for band in (t.minimum, t.maximum, t.mean, t.std) for v in band or none]
    return [t.valid_fraction, t.target_ratio, float(t.skip), *figures]


def _from_row(row: NDArray[np.float64], shares: tuple[float, ...]) -> TileMeasure:
    valid_fraction, target_ratio, skip, *figures = row.tolist()
    bands: list[tuple[float, ...]]
    bands = [tuple(part) for part in np.reshape(figures, (4, -1)).tolist()]
    if valid_fraction == 0:
        bands = [()] * 4
    least, most, mean, std = bands
    return TileMeasure(valid_fraction, target_ratio, bool(skip), least, most, mean, std, shares)


def measure_scene(job: Job) -> dict[str, int]:
    """Read each tile of a scene once, and write its figures: the work of one job.

    Raises InputError where a mask holds a class that it does not name.
    """
    work: SceneWork = job.context
    sensor = work.sensor
    for path, tiles in zip(work.lists, (work.images, work.masks, work.heights), strict=False):
        check_tiles(path, tiles)
    measures = []
    sums = [Moments.none(len(measured_channels(sensor))) for _ in work.parts]
    heights = [Moments.none(1) for _ in work.parts if work.heights]
    counts = np.zeros((len(work.classes) + 1, len(sensor.bands), BINS), dtype=np.int64)
    for number, (image, mask) in enumerate(zip(work.images, work.masks, strict=True)):
        bands = read_bands(image, sensor, stored=True)
        labels = read_tile(mask, 1)
        read = bands[[i - 1 for i in sensor.read]]
        valid = ~sensor.invalid(read, None)
        measures.append(measure_tile(bands, valid, labels, work.classes))
        core = work.cores[image.tile_id]
        own = core.relative_to(image.window).slices
        known = labels[own][valid[own]]
        classes = max(len(counts) - 1, 1 + int(known[known != IGNORE].max(initial=0)))
        _require_named(classes, mask, work.classes)
        pixels = _pixels(bands, valid, own)
        counts = widened(counts, classes) + histogram(pixels, known, classes, sensor.axis)
        height = read_tile(work.heights[number], 1) if work.heights else None
        for i, part in enumerate(work.parts):
            common = core.intersection(part.window)
            if common is not None:
                inside = common.relative_to(image.window).slices
                sums[i] = sums[i] + channel_moments(_pixels(read, valid, inside), sensor)
                if height is not None:
                    metres = height[inside][valid[inside] & np.isfinite(height[inside])]
                    heights[i] = heights[i] + moments(np.clip(metres, *HEIGHT_RANGE)[None])
    measured = SceneMeasures(tuple(measures), work.parts, tuple(sums), counts, tuple(heights))
    measured.write(job.outputs[0], sensor)
    return {"tiles": len(work.images)}


def _require_named(classes: int, mask: Tile, named: Classes) -> None:
    """InputError where a mask of named classes holds more of them."""
    if named != BUILT_UP and classes > len(named):
        raise InputError(
            mask.path,
            f"holds class {classes - 1}, and its tag BUILTUP_CLASSES names {len(named)} "
            f"({', '.join(named.names)})",
            "write the mask, or the tag, again",
        )


def _pixels(
    bands: NDArray[np.float32], valid: Bits, part: tuple[slice, slice]
) -> NDArray[np.float32]:
    """(bands, pixels) of the valid pixels of a part of (bands, H, W)."""
    inside = valid[part]
    if inside.all():
        return np.ascontiguousarray(bands[:, *part]).reshape(len(bands), -1)
    return np.stack([band[part][inside] for band in bands])


def measure_tile(
    bands: NDArray[np.float32], valid: Bits, mask: NDArray[np.uint8], named: Classes = BUILT_UP
) -> TileMeasure:
    """The figures of one tile from its (B, H, W) bands, what of them is valid, and its mask, whose
    classes are `named`."""
    counts = np.bincount(mask[valid], minlength=IGNORE + 1)[:IGNORE]
    labelled = int(counts.sum())
    classes = max(len(named), 1 + int(counts.nonzero()[0].max(initial=0)))
    figures: list[tuple[float, ...]] = [()] * 4
    if valid.any():
        values = _pixels(bands, valid, (slice(None), slice(None)))
        of_bands = moments(values)
        figures = [
            tuple(values.min(axis=1).tolist()),
            tuple(values.max(axis=1).tolist()),
            tuple(of_bands.mean.tolist()),
            tuple(of_bands.std.tolist()),
        ]
    return TileMeasure(
        valid_fraction=float(valid.mean()),
        target_ratio=int(counts[named.mapped_index]) / labelled if labelled else 0.0,
        skip=labelled == 0,
        minimum=figures[0],
        maximum=figures[1],
        mean=figures[2],
        std=figures[3],
        shares=tuple((counts[:classes] / labelled).tolist()) if labelled else (),
    )
