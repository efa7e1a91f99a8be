"""Measuring the training tiles in one pass: their statistics, their folds, what to normalise by.

Each scene is one job that leaves its figures in `<out>/.stats/`; what covers all scenes
(tile_stats.csv, stats.json, the folds, the histograms) is made of these in a moment.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, ConfigError, GridError, InputError
from builtup.geo.lengths import METRES_TAG, Length
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.sensors.catalogue import DEFAULT, sensor_named
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.radar.names import plain_id
from builtup.sensors.sensor import Sensor
from builtup.tiles.block_folds import parse_blocks
from builtup.tiles.folds import FOLDS_JSON, Folds, SceneGround, plan_folds
from builtup.tiles.folds_gpkg import FOLDS_GPKG, write_folds_gpkg
from builtup.tiles.histogram import BINS, draw_histograms, medians, widened
from builtup.tiles.normalisation import STATS_JSON, classes_entry, sensor_entry, statistics
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.scene_stats import SceneMeasures, SceneWork, fold_parts, measure_scene
from builtup.tiles.table import TILE_STATS_CSV, write_tile_stats
from builtup.tiles.tile import (
    TILES_CSV,
    Tile,
    by_scene,
    open_tile_grid,
    read_list,
    scene_grid,
    tile_tags,
)

__all__ = ["generate_tiles_stats"]

log = logging.getLogger(__name__)

STEP = Step("generate_tiles_stats", 2)
HISTOGRAMS_PNG = "histograms.png"
PARTS = ".stats"
#: The layers that must be there, and the one that may be.
KINDS, HEIGHTS = ("images", "masks"), "height"


@dataclass(frozen=True)
class SceneTiles:
    """The tiles of one scene, image and mask side by side, in one order.

    `heights` are those of the layer of that name, none where the scene has none. `about` are the
    tags of its first image and mask.
    """

    scene: str
    images: tuple[Tile, ...]
    masks: tuple[Tile, ...]
    ground: SceneGround
    heights: tuple[Tile, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[tuple[Tile, ...], ...]:
        """The tiles of all layers that the scene has."""
        return (self.images, self.masks, *((self.heights,) if self.heights else ()))

    @property
    def sensor(self) -> Sensor:
        """What its images say that they are of; InputError for a sensor that is not known."""
        try:
            return sensor_named(self.about.get("BUILTUP_SENSOR", DEFAULT.name))
        except ConfigError as e:
            raise InputError(
                self.images[0].path, str(e), "use the version that made the images"
            ) from e

    @property
    def classes(self) -> Classes | None:
        """The classes that its masks name; None where they do not. InputError where their tags make
        no sense."""
        try:
            return Classes.of_tags(self.about)
        except (ConfigError, ValueError) as e:
            raise InputError(
                self.masks[0].path, f"its tags of classes make no sense ({e})", "make it anew"
            ) from e

    def pixels_of(self, length: Length) -> int:
        """A length in the scene's pixels; InputError where it is in metres and these are not
        known."""
        if not length.metres:
            return length.pixels(None)
        grid, said = self.ground.grid, self.about.get(METRES_TAG, "")
        try:
            metres = min(grid.metres_per_pixel) if grid.crs else float(said)
        except ValueError:
            metres = math.nan
        known = metres if 0 < metres < math.inf else None
        return length.pixels(known, self.images[0].path)


def generate_tiles_stats(
    *,
    input_path: Path,
    output_path: Path,
    folds: str = "auto",
    blocks: str = "2x2",
    gap: int | str = 32,
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Measure the tiles of `<input_path>/images` with their masks, and assign their folds.

    Writes tile_stats.csv, stats.json, folds.json, folds.gpkg (of scenes with a CRS) and
    histograms.png into `output_path`. `folds` is auto (a city each; blocks where there is one
    city), city, blocks, a number of sets of cities, or a CSV file with the columns scene (or site)
    and fold; `blocks` as in `parse_blocks`, `gap` in pixels, or in metres as "100m". The sensor of
    the images, and which classes there are, their tags say; without tags they are radar's, and the
    masks say how many classes. A layer `<input_path>/height` goes along where it is there. Raises
    InputError where the lists of the layers differ, a tile cannot be read, or two sensors or lists
    of classes are mixed.
    """
    started = time.monotonic()
    parse_blocks(blocks)
    length = Length.parse(gap, "gap")
    scenes, problems = _pair(input_path)
    if not scenes and problems:
        raise problems[0]
    sensor, classes = _one_sensor(scenes), _one_list_of_classes(scenes)
    plan = plan_folds(
        {s.scene: s.ground for s in scenes},
        {s.scene: s.images[0].date for s in scenes},
        kind=folds,
        blocks=blocks,
        gap=max(s.pixels_of(length) for s in scenes),
    )
    measured = Measured(sensor, classes)
    jobs = [_job(s, plan, input_path, output_path, measured) for s in scenes]
    for job in jobs:
        if not SceneMeasures.readable(job.outputs[0]):
            job.forget()  # not measured, whatever its manifest has
    summary = run_step(
        STEP, jobs, measure_scene, num_workers=num_workers, on_error=on_error, problems=problems
    )
    done = [(s, job) for s, job in zip(scenes, jobs, strict=True) if is_done(STEP, job)]
    collected = run_step(STEP, [_collection(done, plan, output_path, measured)], collect)
    if collected.done and not summary.done:
        summary.done, summary.noun, summary.counts = 1, "list", collected.counts
    if collected.done:
        _say_level([SceneMeasures.read(job.outputs[0]) for _, job in done], sensor)
    summary.seconds = time.monotonic() - started
    return summary


def _one_sensor(scenes: Sequence[SceneTiles]) -> Sensor:
    """The sensor of all scenes; InputError where they are of several."""
    first = scenes[0]
    for scene in scenes[1:]:
        if scene.sensor != first.sensor:
            raise InputError(
                scene.images[0].path,
                f"is of the sensor {scene.sensor.name}, {first.images[0].path} of "
                f"{first.sensor.name}: one network reads one of them",
                "put them into two folders of tiles",
            )
    return first.sensor


def _one_list_of_classes(scenes: Sequence[SceneTiles]) -> Classes | None:
    """The classes that the masks of all scenes name; InputError where these differ."""
    first = scenes[0]
    for scene in scenes[1:]:
        if scene.classes != first.classes:
            named = [", ".join(s.classes.names) if s.classes else "nothing" for s in (scene, first)]
            what = f"its tag BUILTUP_CLASSES names {named[0]}, that of {first.masks[0].path} "
            if named[0] == named[1]:
                what = "its tags give its classes other colours or roles than those of "
                named[1] = str(first.masks[0].path)
            raise InputError(
                scene.masks[0].path, f"{what}{named[1]}", "make the masks of one list of classes"
            )
    return first.classes


def _pair(input_path: Path) -> tuple[list[SceneTiles], list[BuiltupError]]:
    """The scenes of the lists; a problem for each scene whose layers do not match."""
    lists = {kind: input_path / kind / TILES_CSV for kind in KINDS}
    images, masks = (by_scene(read_list(path)) for path in lists.values())
    lists[HEIGHTS] = input_path / HEIGHTS / TILES_CSV
    heights = by_scene(read_list(lists[HEIGHTS])) if lists[HEIGHTS].is_file() else {}
    scenes: list[SceneTiles] = []
    problems: list[BuiltupError] = []
    for scene, tiles in sorted(images.items(), key=lambda item: (item[1][0].city, item[0])):
        try:
            partners = _partners(lists, scene, tiles, masks.get(scene, []))
            above = (
                _partners(lists, scene, tiles, heights[scene], HEIGHTS) if scene in heights else ()
            )
        except InputError as e:
            problems.append(e)
            continue
        ground = SceneGround(tiles[0].city, scene_grid(tiles))
        about = {**tile_tags(partners[0]), **tile_tags(tiles[0])}
        scenes.append(SceneTiles(scene, tuple(tiles), partners, ground, above, about))
    if heights and len(without := [s.scene for s in scenes if not s.heights]) > 0:
        log.warning(
            "%s: no heights of %d of %d scenes (%s, …): they are learnt from as unknown",
            *(lists[HEIGHTS], len(without), len(scenes), without[0]),
        )
    return scenes, problems


def _partners(
    lists: Mapping[str, Path],
    scene: str,
    tiles: Sequence[Tile],
    others: Sequence[Tile],
    layer: str = "masks",
) -> tuple[Tile, ...]:
    """The tile of a layer for each image tile; InputError or GridError where they do not match.

    Masks of other scenes may stand in their list; of a scene's own tiles, none may lack its image.
    """
    what, remedy = (
        ("mask", "rasterize the scene")
        if layer == "masks"
        else (layer, "write that layer of the scene again")
    )
    known = {(m.tile_id, m.width, m.height): m for m in others}
    keys = [(t.tile_id, t.width, t.height) for t in tiles]
    partners = tuple(known[key] for key in keys if key in known)
    if len(partners) < len(tiles):
        raise InputError(
            lists[layer],
            f"{len(partners)} of the {len(tiles)} tiles of {scene} have a {what}",
            f"{remedy}, and tile images and {layer} with the same settings",
        )
    if len(partners) < len(others):
        raise InputError(
            lists["images"],
            f"{len(partners)} of the {len(others)} tiles of {scene} in {lists[layer]} have an "
            "image",
            f"tile images and {layer} again, with the same settings",
        )
    different = open_tile_grid(tiles[0]).difference(open_tile_grid(partners[0]))
    if different:
        raise GridError(
            partners[0].path,
            f"lies on another grid than {tiles[0].path} ({different})",
            f"{remedy} again" if layer == "masks" else remedy,
        )
    return partners


@dataclass(frozen=True)
class Measured:
    """What all scenes have in common: their sensor, and the classes that masks name, if any."""

    sensor: Sensor
    classes: Classes | None

    def to_json(self) -> dict[str, Any]:
        """What the manifests say of it: nothing of radar and unnamed classes."""
        return {**sensor_entry(self.sensor), **classes_entry(self.classes)}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; none where masks name none."""
        return self.classes.names if self.classes else ()


def _job(
    scene: SceneTiles, folds: Folds, input_path: Path, output_path: Path, how: Measured
) -> Job:
    lists = tuple(input_path / kind / TILES_CSV for kind in (*KINDS, HEIGHTS))
    cores, parts = exclusive_cores(scene.images), fold_parts(folds, scene.images[0])
    files = dict.fromkeys(t.path for tiles in scene.parts for t in tiles)
    return Job(
        name=scene.scene,
        inputs=tuple(files),
        outputs=(output_path / PARTS / f"{plain_id(scene.scene)}.npz",),
        settings={
            "cells": [part.to_json() for part in parts],
            "tiles": [[t.x, t.y, t.width, t.height] for t in scene.images],
            **how.to_json(),
        },
        pixels=scene.ground.grid.pixels,
        context=SceneWork(
            *(lists, scene.images, scene.masks, cores, parts, how.sensor),
            heights=scene.heights,
            classes=how.classes or BUILT_UP,
        ),
    )


def _collection(
    done: Sequence[tuple[SceneTiles, Job]], folds: Folds, output_path: Path, how: Measured
) -> Job:
    drawn = (FOLDS_GPKG,) if any(s.ground.grid.crs for s, _ in done) else ()
    names = (TILE_STATS_CSV, STATS_JSON, FOLDS_JSON, *drawn, HISTOGRAMS_PNG)
    return Job(
        name="collect",
        inputs=tuple(job.outputs[0] for _, job in done),
        outputs=tuple(output_path / name for name in names),
        settings={
            "folds": folds.to_json(),
            "scenes": [_place(s, output_path.resolve()) for s, _ in done],
            **how.to_json(),
        },
        context=([s for s, _ in done], folds, how),
    )


def _place(scene: SceneTiles, home: Path) -> list[str]:
    """What the list has of a scene: its id, where its first tiles lie, and its year, if any."""
    first = tuple(tiles[0].path for tiles in scene.parts)
    places = [os.path.relpath(p.parent.resolve() / p.name, home) for p in first]
    return [scene.scene, *places, *filter(None, [scene.images[0].year])]


def collect(job: Job) -> dict[str, int]:
    """Write what covers all scenes from the figures of each: the work of the last job."""
    scenes: list[SceneTiles]
    folds: Folds
    how: Measured
    scenes, folds, how = job.context
    if not scenes:
        raise InputError(job.outputs[0], "no scene could be measured", "see the problems above")
    measures = [SceneMeasures.read(path) for path in job.inputs]
    sensor, classes = how.sensor, max(m.classes for m in measures)
    table, stats, folds_json, *gpkg, picture = job.outputs
    _write_json(stats, statistics(folds, measures, sensor, how.classes))
    _write_json(folds_json, folds.to_json())
    for path in gpkg:
        write_folds_gpkg(path, folds)
    draw_histograms(picture, _by_city(scenes, measures, classes), sensor, how.class_names)
    rows = [
        (image, mask, height, folds.fold_index(image), measure)
        for scene, figures in zip(scenes, measures, strict=True)
        for image, mask, height, measure in zip(
            scene.images,
            scene.masks,
            scene.heights or (None,) * len(scene.images),
            figures.tiles,
            strict=True,
        )
    ]
    write_tile_stats(table, rows, bands=len(sensor.bands), classes=classes)
    return {"tiles": len(rows)}


def _say_level(measures: Sequence[SceneMeasures], sensor: Sensor) -> None:
    """Log what was measured in one figure a band, by which wrong units show."""
    classes, axis = max(m.classes for m in measures), sensor.axis
    counts = np.sum([widened(m.histogram, classes) for m in measures], axis=0)
    found, unit = medians(counts, axis), axis.spelled or axis.unit
    listed = ", ".join(f"{n} {m:.1f}" for n, m in zip(sensor.bands, found, strict=True))
    log.info("medians of the tiles, in %s: %s", unit, listed)
    if any(m < axis.low + 1.5 * (axis.high - axis.low) / BINS for m in found):
        log.warning(
            "half of the values lie at or below %g %s, which %s does not: were the images made of "
            "other units? make them anew from the scenes",
            axis.low, unit, sensor.unit,
        )  # fmt: skip


def _by_city(
    scenes: Sequence[SceneTiles], measures: Sequence[SceneMeasures], classes: int
) -> dict[str, NDArray[np.int64]]:
    counts: dict[str, NDArray[np.int64]] = {}
    for scene, figures in zip(scenes, measures, strict=True):
        city = scene.ground.city
        counts[city] = counts.get(city, 0) + widened(figures.histogram, classes)
    return counts


def _write_json(path: Path, values: object) -> None:
    write_text_atomically(path, json.dumps(values, indent=1) + "\n")
