"""Whether training comes within the gap of validation ground: tested on the ground itself.

Cities on neighbouring Sentinel-2 tiles share about 10 km of ground, often in two UTM zones; tile
numbers and folds say nothing about that. So the rectangles that training learns from and those
that validation scores are laid over one another in one CRS.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from builtup.errors import LeakageError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.table import TrainTile

if TYPE_CHECKING:
    from builtup.tiles.folds import Folds

__all__ = ["Leak", "ground_polygon", "leaks", "reproject", "require_no_leaks"]

#: Dates whose grids are shifted against each other put a pixel on one side of a block's edge or
#: the other by its centre: a distance is known to within one pixel.
_SHIFT = 1.0
#: Straight edges of one UTM zone are curves in the next: points every so many CRS units.
_SEGMENT = 1_000.0
_NAMED = 3

Polygons = NDArray[Any]


@dataclass(frozen=True)
class Leak:
    """A training tile that comes within the gap of ground that a validation tile scores."""

    training: TrainTile
    validation: TrainTile


def require_no_leaks(
    folds: Folds, tiles: Sequence[TrainTile], training: Sequence[TrainTile], val_fold: int
) -> None:
    """Raise LeakageError, naming tiles and scenes, where `leaks` finds any."""
    found = leaks(folds, tiles, training, val_fold)
    if not found:
        return
    train = _some(sorted({leak.training.tile.tile_id for leak in found}))
    train_scenes = _some(sorted({leak.training.tile.scene for leak in found}))
    val = _some(sorted({leak.validation.tile.tile_id for leak in found}))
    val_scenes = _some(sorted({leak.validation.tile.scene for leak in found}))
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
    scored = _scored_ground(folds, tiles, validation, val_fold)
    by_crs: dict[str, list[TrainTile]] = defaultdict(list)
    for t in training:
        by_crs[folds.grid_of(t.tile).crs.to_wkt()].append(t)
    found = []
    for wkt, of_crs in by_crs.items():
        crs = CRS.from_wkt(wkt)
        pixel = max(folds.grid_of(of_crs[0].tile).resolution)
        near = shapely.buffer(
            np.concatenate([reproject(p, own, crs) for own, p in scored]),
            (folds.gap - _SHIFT) * pixel,
            join_style="mitre",
        )
        owners = [t for own, _ in scored for t in validation if folds.grid_of(t.tile).crs == own]
        learnt = np.array([_learnt_ground(folds, t, val_fold) for t in of_crs], dtype=object)
        which, whose = shapely.STRtree(near).query(learnt, predicate="intersects")
        common = shapely.area(shapely.intersection(learnt[which], near[whose]))
        for i in np.flatnonzero(common > (0.1 * pixel) ** 2):
            found.append(Leak(of_crs[which[i]], owners[whose[i]]))
    return found


def _scored_ground(
    folds: Folds, tiles: Sequence[TrainTile], validation: Sequence[TrainTile], val_fold: int
) -> list[tuple[CRS, Polygons]]:
    """The rectangles that each of `validation` scores, by CRS, in the order of the tiles."""
    cores = exclusive_cores(t.tile for t in tiles)
    by_crs: list[tuple[CRS, list[BaseGeometry]]] = []
    for t in validation:
        grid = folds.grid_of(t.tile)
        held = folds.held_out(t.tile, val_fold)
        part = held.intersection(cores[t.tile.tile_id]) if held is not None else None
        polygon = ground_polygon(grid, part) if part is not None else shapely.Polygon()
        for crs, polygons in by_crs:
            if crs == grid.crs:
                polygons.append(polygon)
                break
        else:
            by_crs.append((grid.crs, [polygon]))
    return [(crs, np.array(polygons, dtype=object)) for crs, polygons in by_crs]


def _learnt_ground(folds: Folds, tile: TrainTile, val_fold: int) -> BaseGeometry:
    grid = folds.grid_of(tile.tile)
    ground = ground_polygon(grid, tile.tile.window)
    held = folds.held_out(tile.tile, val_fold, with_gap=True)
    part = held.intersection(tile.tile.window) if held is not None else None
    return ground if part is None else ground.difference(ground_polygon(grid, part))


def ground_polygon(grid: Grid, window: Window) -> BaseGeometry:
    """The outline of a window of a grid, in CRS units."""
    return shapely.Polygon(grid.window(window.x, window.y, window.width, window.height).corners)


def reproject(polygons: Iterable[BaseGeometry], source: CRS, target: CRS) -> Polygons:
    """Polygons in another CRS, their edges followed at every kilometre."""
    shapes = np.array(list(polygons), dtype=object)
    if source == target:
        return shapes
    transformer = Transformer.from_crs(source.to_wkt(), target.to_wkt(), always_xy=True)
    segment = _SEGMENT if source.is_projected else 0.01
    dense = shapely.segmentize(shapes, segment)
    return np.asarray(
        shapely.transform(
            dense, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
        )
    )
