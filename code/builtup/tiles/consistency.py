"""Whether a list of tiles and a file of folds speak of the same data.

A fold file that was edited, or comes from elsewhere, could hold out ground that the tiles are not
on; the leakage check would then pass on a fiction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.windows import Window
from builtup.tiles.folds import FOLDS_JSON, Folds
from builtup.tiles.table import TILE_STATS_CSV, TrainTile
from builtup.tiles.tile import Tile, open_tile_grid

__all__ = ["require_same_data"]

_REMEDY = "run generate_tiles_stats again"


def require_same_data(folder: Path, tiles: Sequence[TrainTile], folds: Folds) -> None:
    """Hold folds.json to tile_stats.csv, and both to the tiles' own georeference.

    Scenes, cities, windows and fold numbers are compared for every tile, the georeference for the
    first and last image and mask of each scene. Raises InputError, in one line.
    """
    path = folder / FOLDS_JSON
    listed = {t.tile.scene for t in tiles}
    for scene in sorted(set(folds.scenes) ^ listed):
        where = TILE_STATS_CSV if scene in listed else FOLDS_JSON
        raise InputError(path, f"from other data: scene {scene} is in {where} only", _REMEDY)
    strange = {folds.scenes[scene].city for scene in listed}
    strange -= {folds.city_of(i) for i in range(len(folds.names))}
    if strange:
        raise InputError(path, f"no fold holds out {', '.join(sorted(strange))}", _REMEDY)
    ends: dict[str, tuple[TrainTile, TrainTile]] = {}
    for t in tiles:
        _require_fold(path, t, folds)
        ends[t.tile.scene] = (ends.get(t.tile.scene, (t, t))[0], t)
    for first, last in ends.values():
        for tile in dict.fromkeys((first.tile, first.mask, last.tile, last.mask)):
            _require_place(path, tile, folds.grid_of(tile))


def _require_fold(path: Path, t: TrainTile, folds: Folds) -> None:
    tile, ground = t.tile, folds.scenes[t.tile.scene]
    if tile.city != ground.city:
        raise InputError(
            path,
            f"from other data: it has scene {tile.scene} in {ground.city}, {TILE_STATS_CSV} in "
            f"{tile.city}",
            _REMEDY,
        )
    whole = Window(0, 0, ground.grid.height, ground.grid.width)
    if tile.window.intersection(whole) != tile.window:
        raise InputError(
            path,
            f"from other data: tile {tile.tile_id} reaches over its scene of "
            f"{ground.grid.width}x{ground.grid.height} pixels",
            _REMEDY,
        )
    if t.fold_index != folds.fold_index(tile):
        raise InputError(
            path,
            f"from other data: tile {tile.tile_id} lies in fold {folds.fold_index(tile)}, "
            f"{TILE_STATS_CSV} says {t.fold_index}",
            _REMEDY,
        )


def _require_place(path: Path, tile: Tile, scene: Grid) -> None:
    expected = scene.window(tile.x, tile.y, tile.width, tile.height)
    difference = expected.difference(open_tile_grid(tile), SAME_CITY_TOLERANCE)
    if difference:
        raise InputError(
            path, f"from other data: {tile.path} lies elsewhere ({difference})", _REMEDY
        )
