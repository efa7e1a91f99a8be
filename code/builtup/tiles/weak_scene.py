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
    "read_counts",
    "scene_job",
    "shown_tiles",
    "weaken_scene",
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
    """A scene: its grid, the tiles of its layers, its cells and what shows them; empty `shown`:
    it keeps its tiles. `tags` are those that the masks made for it bear."""

    grid: Grid
    layers: Mapping[str, tuple[Tile, ...]]
    cells: tuple[Window, ...]
    shown: tuple[Window, ...]
    classes: Classes
    tags: Mapping[str, str]


def scene_job(
    scene: str,
    layers: Mapping[str, tuple[Tile, ...]],
    output: Path,
    *,
    weak: bool,
    cell: int,
    context: int,
    classes: Classes,
    tags: Mapping[str, str],
) -> Job:
    """The job of a scene; of a `weak` one its pixel labels are hidden and its cells are shown."""
    grid = scene_grid(layers[IMAGES])
    cells = tuple(cells_of(grid.width, grid.height, cell))
    shown = tuple(_with_context(window, context, grid) for window in cells) if weak else ()
    first = layers[IMAGES][0]
    made = [output / MASKS / first.city / f"{plain_id(scene)}_mask.tif"] if weak else []
    made += [
        output / layer / f"{plain_id(scene)}_tiles"
        for layer in (IMAGES, HEIGHT)
        if weak and layers[layer] and layers[layer][0].materialized
    ]
    files = dict.fromkeys(tile.path for tiles in layers.values() for tile in tiles)
    return Job(
        name=scene,
        inputs=tuple(files),
        outputs=(*made, output / COUNTS / f"{plain_id(scene)}.json"),
        settings={
            "cell": cell,
            "context": context if weak else None,
            "classes": list(classes.names),
        },
        pixels=grid.pixels,
        context=WeakScene(grid, layers, cells, shown, classes, tags),
    )


def _with_context(cell: Window, context: int, grid: Grid) -> Window:
    y, x = max(0, cell.y - context), max(0, cell.x - context)
    below = min(grid.height, cell.y + cell.height + context)
    right = min(grid.width, cell.x + cell.width + context)
    return Window(y, x, below - y, right - x)


def weaken_scene(job: Job) -> dict[str, int]:
    """Count the classes of a scene's cells; of N2 write the mask of nothing and the tiles."""
    work: WeakScene = job.context
    *made, counts = job.outputs
    with gdal_env():
        for path in made:
            if path.suffix == ".tif":
                _write_unknown(path, work)
            else:
                _cut_cells(path, work.layers[path.parent.name], work.shown)
        rows = [_counted(work, window) for window in work.cells] if work.layers[MASKS] else []
    write_text_atomically(counts, json.dumps(rows) + "\n")
    return {"cells": len(work.cells)} if work.shown else {}


def _write_unknown(path: Path, work: WeakScene) -> None:
    profile = {**mask_profile(work.grid), "compress": "ZSTD"}
    if work.grid.transform.is_identity:
        profile = {key: of for key, of in profile.items() if key not in {"crs", "transform"}}
    with atomic_path(path) as beside, create_raster(beside, **profile) as out:
        out.update_tags(**work.tags)
        for window in aligned(work.grid.width, work.grid.height, _WINDOW):
            nothing = np.full((window.height, window.width), IGNORE, np.uint8)
            out.write(nothing, 1, window=window.rasterio)


def _cut_cells(folder: Path, tiles: Sequence[Tile], shown: Sequence[Window]) -> None:
    first = tiles[0]
    with open_raster(first.path) as source, atomic_directory(folder) as out:
        for window in shown:
            own = Window(window.y - first.y, window.x - first.x, window.height, window.width)
            values = _across(tiles, window)
            write_tile(source, own, values, out / tile_name(window.x, window.y))


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
    rows = json.loads(job.outputs[-1].read_text(encoding="utf-8"))
    return np.array(rows, np.int64).reshape(len(rows), len(job.context.classes))


def shown_tiles(job: Job, output: Path, layer: str) -> list[Tile]:
    """The tiles of a layer of a scene of N2: its cells with what surrounds them."""
    work: WeakScene = job.context
    if layer == HEIGHT and not work.layers[HEIGHT]:
        return []
    first, made = work.layers[IMAGES][0], {path.parent.name: path for path in job.outputs[1:-1]}
    tiles = []
    for w in work.shown:
        path = job.outputs[0] if layer == MASKS else work.layers[layer][0].path
        if layer in made:
            path = made[layer] / tile_name(w.x, w.y)
        tile_id = f"{plain_id(job.name)}_{w.x}_{w.y}"
        own = replace(first, tile_id=tile_id, path=path, x=w.x, y=w.y)
        tiles.append(replace(own, width=w.width, height=w.height))
    return tiles
