"""The sets of predictions that an ensemble averages: their scenes, and whether they go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builtup.errors import GridError, InputError
from builtup.geo.grid import SAME_GRID_TOLERANCE, Grid
from builtup.geo.probability import NODATA
from builtup.geo.rasters import gdal_env, open_raster
from builtup.maps.ensemble_weights import SharedScene
from builtup.runs.lineage import tuned_ground
from builtup.runs.records import EnsembleRecord, Tuned, prediction_record
from builtup.runs.results import (
    PredictionTags,
    Results,
    kind_of,
    read_tags,
    resolve_results,
    scene_rasters,
)

__all__ = ["Member", "Scene", "check_alike", "named", "read_member", "shared_scenes", "some"]


@dataclass(frozen=True)
class Scene:
    """One run's probability raster of a scene."""

    path: Path
    tags: PredictionTags
    grid: Grid
    bands: int
    descriptions: tuple[str | None, ...]


@dataclass(frozen=True)
class Member:
    """A run: its scenes by scene id, their threshold (None where they have several: those to which
    the network was adapted have their own), the temperature applied, if any, and the ground that it
    has seen."""

    name: str
    results: Results
    scenes: Mapping[str, Scene]
    threshold: float | None
    temperature: float | None
    ground: Tuned

    @property
    def tuned_on(self) -> tuple[str, ...]:
        """That ground by name: a mean knows one mark, the stronger."""
        return (*self.ground.names, *self.ground.transductive)

    @property
    def run_id(self) -> str:
        """The inference run, which a folder's rasters name; several, by commas, of an ensemble.

        The rasters of an ensemble name its members as they were given, which may be folders.
        """
        record = prediction_record(self.results.folder)
        if isinstance(record, EnsembleRecord):
            return ",".join(record.runs)
        return self.results.run_id or next(iter(self.scenes.values())).tags.run_id


def read_member(name: str) -> Member:
    """A set of predictions by folder or run id, with what its rasters say."""
    is_folder = Path(name).is_dir() or "/" in name
    results = resolve_results(name, "") if is_folder else resolve_results("", name)
    scenes: dict[str, Scene] = {}
    with gdal_env():
        for path in scene_rasters(results):
            scene = _read_scene(path)
            scenes[scene.tags.scene or path.stem] = scene
    if not scenes:
        rasters = sorted(results.raw.glob("*.tif"))
        of_images = any(kind_of(path) == "classes" and read_tags(path).sensor for path in rasters)
        remedy = "run merge_tiles first"
        if of_images:
            remedy = "predict the images again with probabilities=true"
        raise InputError(results.raw, "no probability raster of a scene", remedy)
    first, *others = {scene.tags.threshold for scene in scenes.values()}
    record = prediction_record(results.folder)
    temperature = None if record is None else record.temperature
    ground = tuned_ground(results.folder, results.run_id)
    return Member(name, results, scenes, None if others else first, temperature, ground)


def _read_scene(path: Path) -> Scene:
    with open_raster(path) as dataset:
        if dataset.dtypes[0] != "uint8" or dataset.nodata != NODATA:
            raise InputError(path, "not uint8 with 255 as no-data", "run merge_tiles again")
        return Scene(
            path,
            read_tags(dataset),
            Grid.of(dataset),
            dataset.count,
            tuple(dataset.descriptions),
        )


def check_alike(members: Sequence[Member]) -> None:
    """Raise GridError or InputError where two members cannot be averaged."""
    first = members[0]
    for member in members[1:]:
        if (first.temperature is None) != (member.temperature is None):
            raise InputError(
                member.name,
                f"probabilities with temperature {member.temperature or 'none'}, those of "
                f"{first.name} with {first.temperature or 'none'}",
                "predict all with temperature=run, or all without",
            )
    seen: dict[str, tuple[str, Scene]] = {}
    one = next(iter(first.scenes.values()))
    for member in members:
        for scene_id, scene in member.scenes.items():
            if (scene.tags.class_set, scene.bands) != (one.tags.class_set, one.bands):
                raise InputError(
                    scene.path,
                    f"classes {some(scene.tags.classes)} in {scene.bands} bands, those of "
                    f"{one.path} are {some(one.tags.classes)} in {one.bands}",
                    "average runs of the same classes",
                )
            name, other = seen.setdefault(scene_id, (member.name, scene))
            difference = other.grid.difference(scene.grid, SAME_GRID_TOLERANCE)
            if difference or other.tags.base_city != scene.tags.base_city:
                problem = difference or f"city {scene.tags.city}, not {other.tags.city}"
                raise GridError(
                    scene.path,
                    f"not on the grid of {name} ({problem})",
                    "predict the same scenes with all runs",
                )


def shared_scenes(members: Sequence[Member]) -> list[SharedScene]:
    """The scenes that all members hold."""
    common = set.intersection(*(set(m.scenes) for m in members))
    folders = tuple(m.results.folder for m in members)
    return [
        SharedScene(
            named(m.scenes[scene_id].tags for m in members),
            tuple(m.scenes[scene_id].path for m in members),
            folders,
        )
        for scene_id in sorted(common)
    ]


def named(scenes: Iterable[PredictionTags]) -> PredictionTags:
    """The tags of the first, with the year of a run that knew its city to have several."""
    first, *others = scenes
    told = next((tags for tags in (first, *others) if tags.year), first)
    return replace(first, city=told.city, year=told.year)


def some(values: Any) -> str:
    """Values as messages list them."""
    return ", ".join(str(v) for v in values) or "none"
