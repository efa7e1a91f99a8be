"""One scene of a weakened data set: its cells, what shows them, and the classes counted in each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import create_raster, gdal_env, open_raster
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_directory, atomic_path, write_text_atomically
from builtup.jobs.steps import Job
from builtup.sensors.classes import Classes
from builtup.sensors.radar.names import plain_id
from builtup.tiles.cut import write_tile
from builtup.tiles.masks import mask_profile
from builtup.tiles.tags import cells_of
from builtup.tiles.tile import Tile, read_tile, scene_grid, tile_name

__all__ = [
    "HEIGHT",
    "IMAGES",
    "MASKS",
    "Counts",
    "Layers",
    "WeakScene",
    "count_job",
    "count_scene",
    "hide_job",
    "hide_scene",
    "read_counts",
    "shown_tiles",
    "weak_scene",
]

COUNTS = ".cells"
#: The layers that go along.
IMAGES, MASKS, HEIGHT = "images", "masks", "height"
#: Rows and columns of a window that is written at once.
_WINDOW = (256, 4096)

Counts = NDArray[np.int64]
Layers = Mapping[str, tuple[Tile, ...]]


@dataclass(frozen=True)
class WeakScene:
    """A scene: its grid, the tiles of its layers, its cells, blocks of these and what shows each;
    without `shown` it keeps its tiles. `side` is that of a block in pixels, `tags` are those that
    the masks made for it bear."""

    grid: Grid
    layers: Mapping[str, tuple[Tile, ...]]
    cells: tuple[Window, ...]
    side: int
    blocks: tuple[Window, ...]
    shown: tuple[Window, ...]
    classes: Classes
    tags: Mapping[str, str]

    def tile_id(self, scene: str, of: Window) -> str:
        """The id of the tile that shows a cell or a block; empty where the scene keeps its tiles.

        It is of the block: near an edge several are shown from the same pixel.
        """
        return f"{scene}_{of.x - of.x % self.side}_{of.y - of.y % self.side}" if self.shown else ""


def weak_scene(
    layers: Mapping[str, tuple[Tile, ...]],
    *,
    weak: bool,
    cell: int,
    block: int,
    context: int,
    classes: Classes,
    tags: Mapping[str, str],
) -> WeakScene:
    """A scene and its cells; of a `weak` one blocks of `block` by `block` of them are shown, with
    `context` pixels around them, in tiles that are as large near an edge."""
    grid = scene_grid(layers[IMAGES])
    cells = tuple(cells_of(grid.width, grid.height, cell))
    blocks = tuple(cells_of(grid.width, grid.height, cell * block)) if weak else ()
    shown = tuple(_shown(window, cell * block + 2 * context, context, grid) for window in blocks)
    return WeakScene(grid, layers, cells, cell * block, blocks, shown, classes, tags)


def count_job(scene: str, of: WeakScene, output: Path, cell: int) -> Job:
    """The job that counts the pixel labels of a scene's cells."""
    return Job(
        name=scene,
        inputs=tuple(dict.fromkeys(tile.path for tile in of.layers[MASKS] or of.layers[IMAGES])),
        outputs=(output / COUNTS / f"{plain_id(scene)}.json",),
        settings={"cell": cell, "classes": list(of.classes.names)},
        pixels=of.grid.pixels,
        context=of,
    )


def hide_job(scene: str, of: WeakScene, output: Path) -> Job:
    """The job that hides the pixel labels of a weak scene, and cuts its blocks out where tiles are
    files of their own."""
    layers = [layer for layer in (IMAGES, HEIGHT) if of.layers[layer]]
    cut = [layer for layer in layers if of.layers[layer][0].materialized]
    first = of.layers[IMAGES][0]
    mask = output / MASKS / first.city / f"{plain_id(scene)}_mask.tif"
    return Job(
        name=scene,
        inputs=tuple(dict.fromkeys(t.path for layer in layers for t in of.layers[layer])),
        outputs=(mask, *(output / layer / f"{plain_id(scene)}_tiles" for layer in cut)),
        settings={
            "blocks": [[w.x, w.y, w.width, w.height] for w in of.blocks],
            "shown": [[w.x, w.y, w.width, w.height] for w in of.shown],
            "tags": dict(of.tags),
        },
        pixels=of.grid.pixels,
        context=of,
    )


def _shown(block: Window, side: int, context: int, grid: Grid) -> Window:
    """The `side` pixels that show a block, all of them of its scene where this is as large: at an
    edge more of what lies inside, as no-data there would be what networks take statistics of."""
    height, width = min(side, grid.height), min(side, grid.width)
    y = min(max(0, block.y - context), grid.height - height)
    x = min(max(0, block.x - context), grid.width - width)
    return Window(y, x, height, width)


def count_scene(job: Job) -> None:
    """Count the classes of a scene's cells; without masks there is nothing to count."""
    work: WeakScene = job.context
    with gdal_env():
        rows = [_counted(work, window) for window in work.cells] if work.layers[MASKS] else []
    write_text_atomically(job.outputs[0], json.dumps(rows) + "\n")


def hide_scene(job: Job) -> dict[str, int]:
    """Write the mask of nothing, and the tiles that show blocks of cells."""
    work: WeakScene = job.context
    with gdal_env():
        _write_unknown(job.outputs[0], work)
        for path in job.outputs[1:]:
            _cut_blocks(path, work)
    return {"cells": len(work.cells)}


def _write_unknown(path: Path, work: WeakScene) -> None:
    profile = {**mask_profile(work.grid), "compress": "ZSTD"}
    if work.grid.transform.is_identity:
        profile = {key: of for key, of in profile.items() if key not in {"crs", "transform"}}
    with atomic_path(path) as beside, create_raster(beside, **profile) as out:
        out.update_tags(**work.tags)
        for window in aligned(work.grid.width, work.grid.height, _WINDOW):
            nothing = np.full((window.height, window.width), IGNORE, np.uint8)
            out.write(nothing, 1, window=window.rasterio)


def _cut_blocks(folder: Path, work: WeakScene) -> None:
    tiles = work.layers[folder.parent.name]
    first = tiles[0]
    with open_raster(first.path) as source, atomic_directory(folder) as out:
        for block, window in zip(work.blocks, work.shown, strict=True):
            own = Window(window.y - first.y, window.x - first.x, window.height, window.width)
            values = _across(tiles, window)
            path = out / _file_of(block, window)
            path.parent.mkdir()
            write_tile(source, own, values, path)


def _file_of(block: Window, shown: Window) -> Path:
    """Where the tile that shows a block lies; near an edge several may show from one pixel."""
    return Path(f"cell_{block.x}_{block.y}", tile_name(shown.x, shown.y))


def _across(tiles: Sequence[Tile], window: Window) -> NDArray[np.generic]:
    """The stored pixels (bands, h, w) of a window of the scene that these are all tiles of."""
    out: NDArray[np.generic] | None = None
    for tile in tiles:
        part = tile.window.intersection(window)
        if part is None:
            continue
        values = read_tile(tile, None, part.relative_to(tile.window))
        if out is None:
            out = np.empty((len(values), window.height, window.width), values.dtype)
        out[:, *part.relative_to(window).slices] = values
    if out is None:
        raise InputError(tiles[0].path, f"no tile of its scene holds {window}", "tile it again")
    return out


def _counted(work: WeakScene, window: Window) -> list[int]:
    """Pixels of each class of a cell."""
    mask = _across(work.layers[MASKS], window)[0]
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
    classes = len(work.classes)
    if counts[classes:IGNORE].any():
        number = classes + int(counts[classes:IGNORE].nonzero()[0][0])
        first = work.layers[MASKS][0].path
        problem = f"holds class {number}, and its scene's classes are {classes}"
        raise InputError(first, problem, "write the masks, or their tags, again")
    return [int(count) for count in counts[:classes]]


def read_counts(job: Job) -> Counts:
    """Pixels of each class (cells, classes) that a job counted; no rows without masks."""
    rows = json.loads(job.outputs[0].read_text(encoding="utf-8"))
    return np.array(rows, np.int64).reshape(len(rows), len(job.context.classes))


def shown_tiles(job: Job, layer: str) -> list[Tile]:
    """The tiles of a layer of a weak scene: blocks of its cells with what surrounds them.

    `job` is that of `hide_job`.
    """
    work: WeakScene = job.context
    if layer == HEIGHT and not work.layers[HEIGHT]:
        return []
    first, made = work.layers[IMAGES][0], {path.parent.name: path for path in job.outputs[1:]}
    tiles = []
    for block, w in zip(work.blocks, work.shown, strict=True):
        path = job.outputs[0] if layer == MASKS else work.layers[layer][0].path
        if layer in made:
            path = made[layer] / _file_of(block, w)
        tile_id = work.tile_id(plain_id(job.name), block)
        own = replace(first, tile_id=tile_id, path=path, x=w.x, y=w.y)
        tiles.append(replace(own, width=w.width, height=w.height))
    return tiles
