"""What pseudo-labels are compared with, on a scene's grid: polygons of its city, or its mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import open_on, read_window
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import read_polygons
from builtup.geo.windows import Window
from builtup.maps.masked_scenes import require_on
from builtup.sensors.classes import Classes
from builtup.sensors.radar.names import current_key
from builtup.sensors.scene_files import find_rasters
from builtup.tiles.labels import labelled_area, truths_below

__all__ = ["Truths", "open_truth"]


class Truths:
    """The ground truth below a folder: a split with polygons, or a folder of masks; none: nothing.

    Raises InputError where there is no such folder.
    """

    def __init__(self, gt_path: str) -> None:
        self.folder = Path(gt_path) if gt_path else None
        masks = find_rasters(self.folder, "mask") if self.folder else ()
        self.masks = {mask.scene_id: mask.path for mask in masks}

    def of(self, scene: str, city: str) -> Path | None:
        """A scene's mask, or the polygons of its city; None where neither is known."""
        if self.folder is None or scene in self.masks:
            return self.masks.get(scene)
        return next(iter(truths_below(self.folder, current_key(city))), None)

    def require(self, found: Sequence[Path | None]) -> None:
        """Raise InputError where there is a folder, and in it was `found` nothing for any scene."""
        if self.folder is not None and found and not any(found):
            raise InputError(
                self.folder,
                "no ground truth of any scene that is labelled",
                "give their polygons or masks, or no gt_path",
            )


@contextmanager
def open_truth(
    path: Path, grid: Grid, classes: Classes
) -> Iterator[Callable[[Window], NDArray[np.uint8]]]:
    """Gives the true classes (h, w) of a window of `grid`, 255 where they are not known.

    Polygons are of the mapped class, and of the other one elsewhere in the area in which they are
    complete. Raises InputError where a mask cannot be brought onto the grid, or polygons are to
    tell more than two classes.
    """
    if path.suffix == ".tif":
        require_on(path, grid, "the scene whose labels are compared with it")
        with open_on(path, grid, "nearest") as mask:
            yield lambda window: read_window(mask, window, 1)
        return
    if not classes.by_threshold:
        problem = f"polygons do not tell {len(classes)} classes"
        raise InputError(path, problem, "give gt_path a folder of masks")
    labelled, mapped = labelled_area(path), classes.mapped_index
    area = None if labelled is None else reproject(read_polygons(labelled), grid.crs)
    polygons = Burner.of(reproject(read_polygons(path), grid.crs), grid, all_touched=True)
    within = None if area is None else Burner.of(area, grid, all_touched=False)

    def burn(window: Window) -> NDArray[np.uint8]:
        mask = np.where(polygons.burn(window) == 1, np.uint8(mapped), np.uint8(1 - mapped))
        if within is not None:
            mask[within.burn(window) == 0] = IGNORE
        return mask

    yield burn
