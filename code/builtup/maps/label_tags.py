"""What tags of cells say of the pixels of a scene: which classes may be where."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.runs.results import PredictionTags, Results
from builtup.sensors.classes import Classes
from builtup.tiles.tags import CellTags, read_tags

__all__ = ["SceneTags", "classes_of_maps", "tags_of_scenes"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneTags:
    """The cells of a scene of which something is known, for classes 0 to K − 1."""

    cells: tuple[CellTags, ...]

    def allowed(self, window: Window) -> NDArray[np.bool_]:
        """Which classes a window's pixels may be of, (K, h, w): none outside of these cells.

        A tag of 0 says that a class is absent; NaN says nothing.
        """
        found = np.zeros((len(self.cells[0].tags), window.height, window.width), np.bool_)
        top, left, below, right = self._bounds.T
        meets = (top < window.y + window.height) & (below > window.y)
        meets &= (left < window.x + window.width) & (right > window.x)
        for i in np.flatnonzero(meets):
            cell = self.cells[i]
            part = cell.window.intersection(window)
            assert part is not None
            rows, columns = part.relative_to(window).slices
            found[:, rows, columns] = (np.array(cell.tags) != 0)[:, None, None]
        return found

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        places = (cell.window for cell in self.cells)
        rows = [(w.y, w.x, w.y + w.height, w.x + w.width) for w in places]
        return np.array(rows, np.int64).reshape(-1, 4)

    def require_on(self, path: Path, scene: str, grid: Grid, classes: Classes) -> None:
        """InputError where cells have no size, reach beyond the scene or over one another, or
        leave no class at all."""
        for cell in self.cells:
            w = cell.window
            where = f"the cell at {w.x}, {w.y} of {scene}"
            if not cell.tile_id:
                remedy = "give tags_path the tags.csv that weaken writes of it"
                raise InputError(path, "its cells have no size", remedy)
            if w.x + w.width > grid.width or w.y + w.height > grid.height:
                problem = f"{where} reaches beyond its {grid.width} x {grid.height} pixels"
                raise InputError(path, problem, "run weaken again on these tiles")
            if all(tag == 0 for tag in cell.tags):
                raise InputError(
                    path,
                    f"{where} has none of the classes {', '.join(classes.names)} by its tags",
                    "correct or empty its tags, or run weaken with a smaller least_share",
                )
        over = _overlapping(self._bounds)
        if over is not None:
            one, other = (self.cells[i].window for i in over)
            raise InputError(
                path,
                f"the cells at {one.x}, {one.y} and {other.x}, {other.y} of {scene} overlap",
                "run weaken again on these tiles",
            )

    def settings(self) -> list[list[float | int | None]]:
        """The cells as JSON values: what labels made by them depend on."""
        return [
            [w.x, w.y, w.width, w.height, *(None if math.isnan(t) else t for t in cell.tags)]
            for cell in self.cells
            for w in (cell.window,)
        ]


def _overlapping(bounds: NDArray[np.int64]) -> tuple[int, int] | None:
    """Two rectangles (top, left, bottom, right) that share a pixel, None where none do.

    Every rectangle is compared with those that begin above its lower edge, in the order of their
    upper edges: of a grid, those of its own row.
    """
    order = np.argsort(bounds[:, 0], kind="stable")
    top, left, below, right = bounds[order].T
    last = np.searchsorted(top, below, side="left")
    for i, end in enumerate(last):
        rest = slice(i + 1, end)
        hit = np.flatnonzero((left[rest] < right[i]) & (right[rest] > left[i]))
        if len(hit):
            return int(order[i]), int(order[i + 1 + hit[0]])
    return None


def tags_of_scenes(
    path: Path, classes: Classes, grids: Mapping[str, Grid]
) -> Mapping[str, SceneTags]:
    """The tags of a list by scene, of `grids` by scene (ids without braces).

    Scenes without a tag are left out, which is said. Raises InputError as `read_tags` does, for a
    scene that is none of these, and where its cells do not fit.
    """
    cells: dict[str, list[CellTags]] = defaultdict(list)
    for cell in read_tags(path, classes.names, classes.unscored):
        if cell.scene not in grids:
            remedy = f"use the scenes' names, such as {next(iter(grids))}"
            raise InputError(path, f"the scene {cell.scene} is not among the tiles", remedy)
        if not all(math.isnan(tag) for tag in cell.tags):
            cells[cell.scene].append(cell)
    if not cells:
        raise InputError(path, "no cell with tags", "give tags_path a list that says something")
    found = {scene: SceneTags(tuple(own)) for scene, own in cells.items()}
    for scene, of in found.items():
        of.require_on(path, scene, grids[scene], classes)
    if len(found) < len(grids):
        left = len(grids) - len(found)
        log.info("%s: %d of %d scenes have no tags", path, left, len(grids))
    return found


def classes_of_maps(results: Results, maps: Sequence[PredictionTags]) -> Classes:
    """The classes that all these maps have; InputError where they differ, or there is no map."""
    if not maps:
        raise InputError(
            results.raw,
            "no probability raster of any scene of the tiles",
            "predict the scenes that the tiles are of, with probabilities=true",
        )
    first, *others = (of.class_set for of in maps)
    if strangers := [other.names for other in others if other.names != first.names]:
        problem = f"maps of {', '.join(first.names)}, and of {', '.join(strangers[0])}"
        raise InputError(results.raw, problem, "give the maps of one network")
    return first
