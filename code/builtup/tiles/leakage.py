"""What keeps training away from validation: one check on polygons of ground, and its premises.

Cities on neighbouring Sentinel-2 tiles share about 10 km of ground, often in two UTM zones; tile
numbers and folds say nothing about that. So the rectangles that training learns from and those
that validation scores are laid over one another in one CRS. That would pass on a fiction where
the file of folds were of other data than the tiles: `require_same_data` sees to that. A scene
without a CRS is ground of its own: what it has in common with others cannot be seen, and is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from builtup.errors import InputError, LeakageError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.ground_outlines import ground_polygon, in_crs
from builtup.geo.windows import Window
from builtup.logs import warn_once
from builtup.tiles.folds import FOLDS_JSON, Folds
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.table import TILE_STATS_CSV, TrainTile
from builtup.tiles.tile import Tile, open_tile_grid

__all__ = [
    "Area",
    "Leak",
    "areas_of_files",
    "check_folds",
    "leaks",
    "learnt_areas",
    "meet",
    "require_apart",
    "require_same_data",
    "scored_areas",
    "training_tiles",
]

#: Dates whose grids are shifted against each other put a pixel on one side of a block's edge or
#: the other by its centre: a distance is known to within one pixel.
_SHIFT = 1.0
_NAMED = 3
_REMEDY = "run generate_tiles_stats again"


@dataclass(frozen=True)
class Leak:
    """A training tile that comes within the gap of ground that a validation tile scores."""

    training: TrainTile
    validation: TrainTile


def training_tiles(
    folds: Folds,
    tiles: Sequence[TrainTile],
    val_fold: int | None,
    *,
    drop_common: bool = False,
    threshold_fold: int | None = None,
) -> list[TrainTile]:
    """The tiles on which something valid and labelled is left for training.

    `drop_common` leaves out those that touch ground which another city's tiles share with the
    validation ground; `threshold_fold` is another fold that whole tiles keep away from, with its
    gap.
    """
    kept = folds.training_tiles(tiles, val_fold)
    if drop_common and val_fold is not None:
        kept = _clear_of(folds, tiles, kept, val_fold)
    if threshold_fold is not None:
        outside = [t for t in kept if folds.training_allowed(t, threshold_fold) is None]
        kept = _clear_of(folds, tiles, outside, threshold_fold)
    return kept


def _clear_of(
    folds: Folds, tiles: Sequence[TrainTile], training: Sequence[TrainTile], fold: int
) -> list[TrainTile]:
    near = {leak.training.tile.tile_id for leak in leaks(folds, tiles, training, fold)}
    return [t for t in training if t.tile.tile_id not in near]


def check_folds(
    folds: Folds, tiles: Sequence[TrainTile], val_fold: int | None, *, folds_drop: bool = False
) -> None:
    """Raise LeakageError, naming tiles and scenes, where training comes too near to validation.

    It tests the ground that `training_tiles` (with `folds_drop` as its `drop_common`) and
    `Folds.validation_tiles` give, wherever the tiles came from.
    """
    if val_fold is None:
        return
    unplaced = sorted(scene for scene, ground in folds.scenes.items() if not ground.grid.crs)
    if unplaced:
        warn_once(
            f"{len(unplaced)} of {len(folds.scenes)} scenes have no CRS ({_some(unplaced)}): "
            "whether they have ground in common with others cannot be seen; keep scenes of one "
            "place in one site, or in one fold of a file"
        )
    common = leaks(
        folds, tiles, training_tiles(folds, tiles, val_fold, drop_common=folds_drop), val_fold
    )
    if not common:
        return
    train = _some(sorted({leak.training.tile.tile_id for leak in common}))
    train_scenes = _some(sorted({leak.training.tile.scene for leak in common}))
    val = _some(sorted({leak.validation.tile.tile_id for leak in common}))
    val_scenes = _some(sorted({leak.validation.tile.scene for leak in common}))
    raise LeakageError(
        f"fold {folds.names[val_fold]}: training tiles {train} of scenes {train_scenes} come "
        f"within {folds.gap} pixels of the validation ground of tiles {val} of scenes "
        f"{val_scenes}; set folds_drop=True to leave the common ground out of training"
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def leaks(
    folds: Folds, tiles: Sequence[TrainTile], training: Sequence[TrainTile], val_fold: int
) -> list[Leak]:
    """All pairs of a tile of `training` and a validation tile of `tiles` that are too near.

    What counts of a training tile is its ground outside the held-out block and its gap, of a
    validation tile its own core inside the held-out ground.
    """
    validation = folds.validation_tiles(tiles, val_fold)
    cores = exclusive_cores(t.tile for t in tiles)
    pairs = _too_near(
        [_learnt(folds, t.tile, val_fold) for t in training],
        [_scored(folds, t.tile, cores[t.tile.tile_id], val_fold) for t in validation],
        folds.gap - _SHIFT,
    )
    return [Leak(training[i], validation[j]) for i, j, _ in pairs]


def require_apart(
    training: Sequence[Tile], validation: Sequence[Tile], gap: int, *, where: object, remedy: str
) -> None:
    """Raise LeakageError, naming two tiles, where whole tiles come within `gap` pixels.

    Their ground is that of their files; `where` begins the message, `remedy` ends it.
    """
    learnt, scored = ([_whole(tile) for tile in tiles] for tiles in (training, validation))
    pairs = list(_too_near(learnt, scored, gap))
    if pairs:
        first = min(i for i, _, _ in pairs)
        nearest = max((common, -j) for i, j, common in pairs if i == first)
        tile, other = training[first], validation[-nearest[1]]
        raise LeakageError(
            f"{where}: training tile {tile.tile_id} of scene {tile.scene} comes within {gap} "
            f"pixels of validation tile {other.tile_id} of scene {other.scene}; {remedy}"
        )


@dataclass(frozen=True)
class _Ground:
    """A polygon in the CRS of the grid of a scene."""

    grid: Grid
    polygon: BaseGeometry
    scene: str

    @property
    def alone(self) -> str:
        """The scene, where it has no CRS and is ground of its own."""
        return "" if self.grid.crs else self.scene


def _whole(tile: Tile) -> _Ground:
    """The ground of a whole tile, as its file has it."""
    grid = open_tile_grid(tile)
    return _Ground(grid, ground_polygon(grid), tile.scene)


@dataclass(frozen=True)
class Area:
    """Ground as one shape in a CRS; `pixel` is the longest side of a pixel, in its units.

    Ground without a CRS is that of the scene `alone`, in units of its transform.
    """

    crs: CRS | None
    pixel: float
    shape: BaseGeometry
    alone: str = ""


def learnt_areas(folds: Folds, tiles: Sequence[TrainTile], val_fold: int | None) -> list[Area]:
    """The ground that training learns from, of tiles that `training_tiles` gave."""
    return _areas([_learnt(folds, t.tile, val_fold) for t in tiles])


def scored_areas(folds: Folds, tiles: Sequence[TrainTile], fold: int) -> list[Area]:
    """The ground of `tiles` (all there are) that is scored where the fold is held out."""
    cores = exclusive_cores(t.tile for t in tiles)
    held = folds.validation_tiles(tiles, fold)
    return _areas([_scored(folds, t.tile, cores[t.tile.tile_id], fold) for t in held])


def areas_of_files(tiles: Sequence[Tile]) -> list[Area]:
    """The ground of whole tiles, as their files have it."""
    return _areas([_whole(tile) for tile in tiles])


def _areas(grounds: Sequence[_Ground]) -> list[Area]:
    return [
        Area(crs, pixel, shapely.union_all([grounds[i].polygon for i in numbers]), alone)
        for crs, pixel, alone, numbers in _alike(grounds)
    ]


def meet(learnt: Sequence[Area], scored: Sequence[Area], gap: int) -> bool:
    """Whether ground that was learnt comes within `gap` of its pixels of ground that is scored."""
    for area in learnt:
        for other in scored:
            if area.alone != other.alone:
                continue
            (moved,) = in_crs([other.shape], other.crs, area.crs)
            near = shapely.buffer(moved, (gap - _SHIFT) * area.pixel, join_style="mitre")
            if shapely.area(shapely.intersection(area.shape, near)) > (0.1 * area.pixel) ** 2:
                return True
    return False


def _learnt(folds: Folds, tile: Tile, val_fold: int | None) -> _Ground:
    grid = folds.grid_of(tile)
    ground = ground_polygon(grid, tile.window)
    if val_fold is None:
        return _Ground(grid, ground, tile.scene)
    held = folds.held_out(tile, val_fold, with_gap=True)
    part = held.intersection(tile.window) if held is not None else None
    left = ground if part is None else ground.difference(ground_polygon(grid, part))
    return _Ground(grid, left, tile.scene)


def _scored(folds: Folds, tile: Tile, core: Window, val_fold: int) -> _Ground:
    grid = folds.grid_of(tile)
    held = folds.held_out(tile, val_fold)
    part = held.intersection(core) if held is not None else None
    inside = shapely.Polygon() if part is None else ground_polygon(grid, part)
    return _Ground(grid, inside, tile.scene)


def _too_near(
    learnt: Sequence[_Ground], scored: Sequence[_Ground], gap: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs (number of `learnt`, number of `scored`) less than `gap` pixels of the first apart.

    The third number is the area that they have in common when the second is widened by the gap,
    in squared units of the first one's CRS.
    """
    if not scored:
        return
    for crs, pixel, alone, numbers in _alike(learnt):
        others = [other for other in _alike(scored) if other.alone == alone]
        if not others:
            continue
        moved = [in_crs((scored[j].polygon for j in o.numbers), o.crs, crs) for o in others]
        near = shapely.buffer(np.concatenate(moved), gap * pixel, join_style="mitre")
        owners = [j for other in others for j in other.numbers]
        polygons = np.array([learnt[i].polygon for i in numbers], dtype=object)
        which, whose = shapely.STRtree(near).query(polygons, predicate="intersects")
        common = shapely.area(shapely.intersection(polygons[which], near[whose]))
        for k in np.flatnonzero(common > (0.1 * pixel) ** 2):
            yield numbers[which[k]], owners[whose[k]], float(common[k])


class _Alike(NamedTuple):
    """The numbers of the grounds of one CRS, or of one scene without, and of one pixel size."""

    crs: CRS | None
    pixel: float
    alone: str
    numbers: list[int]


def _alike(grounds: Sequence[_Ground]) -> Iterator[_Alike]:
    kinds: dict[int, tuple[str, float, str]] = {}
    groups: dict[tuple[str, float, str], list[int]] = defaultdict(list)
    for number, ground in enumerate(grounds):
        grid = ground.grid
        if id(grid) not in kinds:  # a scene's tiles have one grid, and WKT takes time
            wkt = grid.crs.to_wkt() if grid.crs else ""
            kinds[id(grid)] = (wkt, max(grid.resolution), ground.alone)
        groups[kinds[id(grid)]].append(number)
    for (_, pixel, alone), numbers in groups.items():
        yield _Alike(grounds[numbers[0]].grid.crs, pixel, alone, numbers)


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
    numbers = range(len(folds.names))
    unassigned = {
        folds.scenes[scene].city
        for scene in listed
        if not any(folds.reaches(scene, fold) for fold in numbers)
    }
    if unassigned:
        raise InputError(path, f"no fold holds out {', '.join(sorted(unassigned))}", _REMEDY)
    ends: dict[str, tuple[TrainTile, TrainTile]] = {}
    for t in tiles:
        _require_fold(path, t, folds)
        ends[t.tile.scene] = (ends.get(t.tile.scene, (t, t))[0], t)
    for first, last in ends.values():
        for tile in dict.fromkeys((*first.parts, *last.parts)):
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
