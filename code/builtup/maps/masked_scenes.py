"""Which map of a set of predictions belongs to which mask of a folder, by the tags of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import gdal_env, open_on, open_raster, read_window
from builtup.geo.windows import Window
from builtup.runs.results import PredictionTags, Results, kind_of, read_tags
from builtup.sensors.classes import Classes
from builtup.sensors.optical.label_colours import read_classes
from builtup.sensors.radar.names import plain_id
from builtup.sensors.scene_files import SceneFile, find_rasters

__all__ = ["MaskedScene", "classes_of", "open_map", "pair_scenes", "require_on"]


@dataclass(frozen=True)
class MaskedScene:
    """A scene's mask and the raster that is scored by it, with its tags."""

    truth: SceneFile
    map: Path
    tags: PredictionTags

    @property
    def name(self) -> str:
        """The scene's name, without its kind."""
        return self.truth.scene_id.replace("_{}", "").replace("{}_", "")


def pair_scenes(
    results: Results, folder: Path, per_scene: bool
) -> tuple[list[MaskedScene], list[str]]:
    """A pair for each mask that has a map, and notes on what has none."""
    truths = find_rasters(folder, "mask")
    if not truths:
        raise InputError(folder, "no masks of scenes in it", "give the folder above the layer")
    scenes, sites = _predictions(results, "scene"), _predictions(results, "classes")
    own = {tags.scene: (path, tags) for path, tags in scenes}
    pairs, missing, by_site = [], [], []
    for truth in truths:
        found = own.get(truth.scene_id) if per_scene else None
        if found is None:
            found = next((m for m in sites if _maps(m[1], truth)), None)
            if found is not None and per_scene:
                by_site.append(truth.scene_id)
        if found is None:
            missing.append(truth.scene_id)
        else:
            pairs.append(MaskedScene(truth, *found))
    if not pairs:
        raise InputError(
            folder,
            f"no mask of any map in {results.raw}: masks of {_listed(missing)}, maps of "
            f"{_listed([t.scene or t.city for _, t in (scenes if per_scene else sites)])}",
            "give the masks of the scenes that were predicted",
        )
    pairs, twice = _once(pairs)
    used = {pair.map for pair in pairs}
    left = [path.stem for path, _ in (scenes if per_scene else sites) if path not in used]
    said = {
        "no map of": missing,
        "scored by their site's map, without probabilities of their own": by_site,
        "another date of ground that is scored once": twice,
        "no mask for": left,
    }
    return pairs, [f"{what}: {_listed(names)}" for what, names in said.items() if names]


def _predictions(results: Results, kind: str) -> list[tuple[Path, PredictionTags]]:
    paths = sorted(results.raw.glob("*.tif"))
    return [(path, read_tags(path)) for path in paths if kind_of(path) == kind]


def _maps(tags: PredictionTags, truth: SceneFile) -> bool:
    """Whether a map is of a mask's scene or site (and year, where maps of years are apart); that of
    an image has the scene's name."""
    if tags.scene:
        return tags.scene == truth.scene_id
    if tags.sensor and tags.city == plain_id(truth.scene_id):
        return True
    same_year = not (tags.year and truth.year) or tags.year == truth.year
    return tags.base_city == truth.city and same_year


def _once(pairs: Sequence[MaskedScene]) -> tuple[list[MaskedScene], list[str]]:
    """The pairs without those of a map whose ground is scored by an earlier mask already."""
    kept, twice = [], []
    grids: dict[Path, list[Grid]] = defaultdict(list)
    for pair in pairs:
        with gdal_env(), open_raster(pair.truth.path) as mask:
            grid = Grid.of(mask)
        if any(grid.matches(other, SAME_CITY_TOLERANCE) for other in grids[pair.map]):
            twice.append(pair.truth.scene_id)
        else:
            grids[pair.map].append(grid)
            kept.append(pair)
    return kept, twice


def classes_of(pairs: Sequence[MaskedScene], gt_path: Path) -> Classes:
    """The classes of all maps and masks; InputError where they differ."""
    first = pairs[0]
    names = first.tags.class_set.names
    for pair in pairs:
        if pair.tags.class_set.names != names:
            raise _differ(pair.map, pair.tags.class_set.names, first.map, names)
        with open_raster(pair.truth.path) as mask:
            own = tuple(filter(None, mask.tags().get("BUILTUP_CLASSES", "").split(",")))
        if own and own != names:
            raise _differ(pair.truth.path, own, first.map, names)
    table = gt_path / "classes.csv"
    if not table.is_file():
        return first.tags.class_set
    known = read_classes(table)
    if known.names != names:
        raise _differ(table, known.names, first.map, names)
    return replace(first.tags.class_set, unscored=known.unscored)


def _differ(path: Path, own: Sequence[str], other: Path, names: Sequence[str]) -> InputError:
    return InputError(
        path,
        f"has the classes {', '.join(own)}; {other.name} has {', '.join(names)}",
        "score maps by masks of the same classes in the same order",
    )


def require_on(raster: Path, grid: Grid, name: str) -> None:
    """InputError where a map or mask has other pixels than `grid`, that of `name`, and no place by
    which it could be brought there."""
    with open_raster(raster) as dataset:
        own = Grid.of(dataset)
    difference = grid.difference(own, SAME_CITY_TOLERANCE)
    if difference is not None and not (grid.crs and own.crs):
        raise InputError(
            raster,
            f"does not lie on {name}: {difference}",
            "without a CRS a map needs the pixels of its scene: predict it with pixel=own",
        )


@contextmanager
def open_map(
    pair: MaskedScene, mask: DatasetReader
) -> Iterator[Callable[[Window], NDArray[np.uint8]]]:
    """Gives the map's classes (H, W) of a window of the mask, 255 where nothing is mapped."""
    grid, classes = Grid.of(mask), pair.tags.class_set
    require_on(pair.map, grid, str(pair.truth.path))
    levels = kind_of(pair.map) == "scene"
    with open_on(pair.map, grid, "nearest") as dataset:

        def read(window: Window) -> NDArray[np.uint8]:
            values = read_window(dataset, window)
            if levels:
                return classes.decide(values, pair.tags.threshold)
            label: NDArray[np.uint8] = values[0]
            strangers = label[(label != IGNORE) & (label >= len(classes))]
            if len(strangers):
                problem = f"holds class {strangers[0]}, but its tags name {len(classes)} classes"
                raise InputError(pair.map, problem, "predict again")
            return label

        yield read


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
