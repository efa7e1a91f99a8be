"""What a network was taught of mapped ground: tags of cells and pseudo-labels, beside its map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import gdal_env, open_on, open_raster, read_window
from builtup.geo.windows import aligned
from builtup.maps.label_tags import tags_of_scenes
from builtup.report.city_counts import WINDOW, CityMeasure, shrunk
from builtup.report.pictures import Drawing
from builtup.runs.results import base_city
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.radar.names import plain_id
from builtup.sensors.scene_files import require_folder
from builtup.tiles.tags import TAGS_CSV, CellTags
from builtup.tiles.tile import TILES_CSV, Tile, by_scene, read_list, scene_grid
from builtup.training.pseudo_record import PseudoRecord

__all__ = ["UNKNOWN", "TaughtScene", "draw_taught", "find_taught", "taught_of"]

#: Longest side of a picture, in pixels, and the least side of a cell that gets an edge.
SIDE, EDGED = 480, 8
#: Where tags name no class, and where labels are ignored.
UNKNOWN = (18, 20, 24)
EDGE = (90, 95, 102)


@dataclass(frozen=True)
class TaughtScene:
    """A scene's grid, its cells of which something is known, and the raster of its labels.

    `city` is the key of its site, `year` as tiles have it.
    """

    scene: str
    city: str
    date: str
    year: str
    grid: Grid
    cells: tuple[CellTags, ...] = ()
    labels: Path | None = None


def find_taught(labels_path: str, classes: Classes) -> Mapping[str, TaughtScene]:
    """The scenes of folders, separated by `;`, that have tags or labels, by their ids.

    A folder is one of `pseudo_labels` (pseudo.json) or of `weaken` (tags.csv). Raises InputError
    for any other, for tags or labels of other classes than the maps', for those of a scene that
    stand twice or lie on another grid, and where none is found.
    """
    found: dict[str, TaughtScene] = {}
    for part in filter(None, (p.strip() for p in labels_path.split(";"))):
        folder = require_folder(Path(part))
        if (folder / PseudoRecord.NAME).is_file():
            own = _of_labels(folder, classes)
        elif (folder / TAGS_CSV).is_file():
            own = _of_tags(folder, classes)
        else:
            problem = f"neither {PseudoRecord.NAME} nor {TAGS_CSV} in it"
            raise InputError(folder, problem, "give a folder of pseudo_labels or of weaken")
        for one in own:
            known = found.get(one.scene)
            found[one.scene] = one if known is None else _joined(folder, known, one)
    if labels_path and not found:
        raise InputError(Path(labels_path), "no scene with tags or labels", "give other folders")
    return found


def _joined(folder: Path, known: TaughtScene, more: TaughtScene) -> TaughtScene:
    """What is known of a scene by two folders, of which `folder` is the second."""
    if (known.cells and more.cells) or (known.labels and more.labels):
        what = "tags" if more.cells else "labels"
        problem = f"{what} of {more.scene}, of which another folder has them, too"
        raise InputError(folder, problem, "give one of them")
    if not known.grid.matches(more.grid, SAME_CITY_TOLERANCE):
        problem = f"{more.scene} has other pixels in it than in the folder before"
        raise InputError(folder, problem, "give tags and labels of the same tiles")
    return replace(known, cells=known.cells or more.cells, labels=known.labels or more.labels)


def _of_labels(folder: Path, classes: Classes) -> list[TaughtScene]:
    scenes = by_scene(read_list(folder / "masks" / TILES_CSV))
    made = []
    for scene, tiles in scenes.items():
        with gdal_env(), open_raster(tiles[0].path) as labels:
            own, grid = Classes.of_tags(labels.tags()) or BUILT_UP, Grid.of(labels)
        if own.names != classes.names:
            problem = f"labels of {', '.join(own.names)}, and maps of {', '.join(classes.names)}"
            raise InputError(folder, problem, "give the labels of these maps' classes")
        made.append(replace(_scene(scene, tiles[0], grid), labels=tiles[0].path))
    return made


def _of_tags(folder: Path, classes: Classes) -> list[TaughtScene]:
    scenes = by_scene(read_list(folder / "images" / TILES_CSV))
    grids = {plain_id(scene): scene_grid(tiles) for scene, tiles in scenes.items()}
    tags = tags_of_scenes(folder / TAGS_CSV, classes, grids)
    return [
        replace(_scene(scene, tiles[0], grids[plain_id(scene)]), cells=tags[plain_id(scene)].cells)
        for scene, tiles in scenes.items()
        if plain_id(scene) in tags
    ]


def _scene(scene: str, tile: Tile, grid: Grid) -> TaughtScene:
    return TaughtScene(plain_id(scene), tile.city, tile.date, tile.year, grid)


def taught_of(scenes: Mapping[str, TaughtScene], key: str, year: str) -> TaughtScene | None:
    """The scene of a map: the one that it shows, else that of its city of which most is known.

    Among equals the earliest; None where nothing is known of any.
    """
    if key in scenes:
        return scenes[key]
    city = base_city(key, year)
    own = [of for of in scenes.values() if of.city == city and (not year or of.year in ("", year))]
    known = sorted(own, key=lambda of: (-(bool(of.cells) + bool(of.labels)), of.date, of.scene))
    return known[0] if known else None


def draw_taught(
    taught: TaughtScene, measure: CityMeasure
) -> tuple[Grid, dict[str, Drawing], tuple[tuple[str, tuple[int, int, int]], ...]]:
    """The ground that is drawn, pictures by what they show, and what their colours mean.

    Tags, pseudo-labels and the map, each where there is one, pixel for pixel of the same ground.
    """
    classes = measure.tags.class_set
    picture = shrunk(taught.grid, SIDE)
    drawings: dict[str, Drawing] = {}
    if taught.cells:
        name = f"tags of {len(taught.cells):,} cells"
        drawings[name] = Drawing(_paint_tags(taught, picture, classes), exact=True)
    if taught.labels is not None:
        share = _labelled(taught.labels)
        name = f"pseudo-labels of {100 * share:.0f} % of all pixels, the others ignored"
        drawings[name] = Drawing(_paint_classes(taught.labels, picture, classes), exact=True)
    drawings["map"] = Drawing(_paint_classes(measure.rasters.mask, picture, classes), exact=True)
    key = (*zip(classes.names, classes.colours, strict=True), ("no class said, ignored", UNKNOWN))
    return picture, drawings, key


def _colours(classes: Classes) -> NDArray[np.uint8]:
    """(256, 4): a colour a class, for all else that of what is not known."""
    colours = np.full((256, 4), (*UNKNOWN, 255), np.uint8)
    colours[: len(classes), :3] = classes.colours
    return colours


def _paint_tags(taught: TaughtScene, picture: Grid, classes: Classes) -> NDArray[np.uint8]:
    """Each cell in stripes (H, W, 4): one a class that occurs, as wide as its share, or as the
    others where tags say no shares; transparent where nothing is known."""
    painted = np.zeros((*picture.shape, 4), np.uint8)
    colours = _colours(classes)
    down, across = (n / of for n, of in zip(picture.shape, taught.grid.shape, strict=True))
    for cell in taught.cells:
        w = cell.window
        top, bottom = round(w.y * down), round((w.y + w.height) * down)
        left, right = round(w.x * across), round((w.x + w.width) * across)
        painted[top:bottom, left:right] = colours[_stripes(cell.tags, right - left)]
        if min(bottom - top, right - left) >= EDGED:
            painted[bottom - 1, left:right] = painted[top:bottom, right - 1] = (*EDGE, 255)
    return painted


def _stripes(tags: Sequence[float], width: int) -> NDArray[np.intp]:
    """The class of each column of a cell, IGNORE beyond the last."""
    weights = np.nan_to_num(np.array(tags))
    ends = np.cumsum(weights) / max(1.0, weights.sum())
    columns = np.searchsorted(ends, (np.arange(width) + 0.5) / max(1, width), side="right")
    return np.where(columns < len(weights), columns, IGNORE)


def _paint_classes(path: Path, picture: Grid, classes: Classes) -> NDArray[np.uint8]:
    """The class of each pixel in its colour (H, W, 4)."""
    with gdal_env(), open_on(path, picture, "nearest") as raster:
        label: NDArray[np.uint8] = raster.read(1)
    painted: NDArray[np.uint8] = _colours(classes)[label]
    return painted


def _labelled(path: Path) -> float:
    """The share of a raster's pixels that have a label."""
    count = 0
    with gdal_env(), open_raster(path) as raster:
        for window in aligned(raster.width, raster.height, WINDOW):
            count += int((read_window(raster, window, 1) != IGNORE).sum())
        return count / (raster.width * raster.height)
