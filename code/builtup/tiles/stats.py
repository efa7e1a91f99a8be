"""Measuring the training tiles in one pass: their statistics, their folds, what to normalise by.

Each scene is one job that leaves its figures in `<out>/.stats/`; what covers all scenes
(tile_stats.csv, stats.json, the folds, the histograms) is made of these in a moment.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError, GridError, InputError
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.radar.names import plain_id
from builtup.sensors.sensor import Sensor
from builtup.tiles.block_folds import parse_blocks
from builtup.tiles.folds import FOLDS_JSON, Folds, SceneGround, plan_folds
from builtup.tiles.folds_gpkg import FOLDS_GPKG, write_folds_gpkg
from builtup.tiles.histogram import BINS, draw_histograms, medians, widened
from builtup.tiles.normalisation import STATS_JSON, sensor_entry, statistics
from builtup.tiles.partition import exclusive_cores
from builtup.tiles.scene_stats import SceneMeasures, SceneWork, fold_parts, measure_scene
from builtup.tiles.table import TILE_STATS_CSV, write_tile_stats
from builtup.tiles.tile import TILES_CSV, Tile, by_scene, open_tile_grid, read_list, scene_grid

__all__ = ["generate_tiles_stats"]

log = logging.getLogger(__name__)

STEP = Step("generate_tiles_stats", 2)
HISTOGRAMS_PNG = "histograms.png"
PARTS = ".stats"
KINDS = ("images", "masks")


@dataclass(frozen=True)
class SceneTiles:
    """The tiles of one scene, image and mask side by side, in one order."""

    scene: str
    images: tuple[Tile, ...]
    masks: tuple[Tile, ...]
    ground: SceneGround


def generate_tiles_stats(
    *,
    input_path: Path,
    output_path: Path,
    folds: str = "auto",
    blocks: str = "2x2",
    gap: int = 32,
    num_workers: int = 2,
    on_error: str = "stop",
    sensor: Sensor = DEFAULT,
) -> Summary:
    """Measure the tiles of `<input_path>/images` with their masks, and assign their folds.

    Writes tile_stats.csv, stats.json, folds.json, folds.gpkg and histograms.png into
    `output_path`. `folds` is auto (a city each; blocks where there is one city), city or blocks;
    `blocks` as in `parse_blocks`, `gap` in pixels. The images are those of `sensor`; how many
    classes there are, the masks say. Raises InputError where the lists of images
    and masks differ, or a tile cannot be read.
    """
    started = time.monotonic()
    parse_blocks(blocks)
    scenes, problems = _pair(input_path)
    if not scenes and problems:
        raise problems[0]
    plan = plan_folds(
        {s.scene: s.ground for s in scenes},
        {s.scene: s.images[0].date for s in scenes},
        kind=folds,
        blocks=blocks,
        gap=gap,
    )
    jobs = [_job(s, plan, input_path, output_path, sensor) for s in scenes]
    for job in jobs:
        if not SceneMeasures.readable(job.outputs[0]):
            job.forget()  # not measured, whatever its manifest has
    summary = run_step(
        STEP, jobs, measure_scene, num_workers=num_workers, on_error=on_error, problems=problems
    )
    done = [(s, job) for s, job in zip(scenes, jobs, strict=True) if is_done(STEP, job)]
    collected = run_step(STEP, [_collection(done, plan, output_path, sensor)], collect)
    if collected.done and not summary.done:
        summary.done, summary.noun, summary.counts = 1, "list", collected.counts
    if collected.done:
        _say_level([SceneMeasures.read(job.outputs[0]) for _, job in done], sensor)
    summary.seconds = time.monotonic() - started
    return summary


def _pair(input_path: Path) -> tuple[list[SceneTiles], list[BuiltupError]]:
    """The scenes of the two lists; a problem for each scene whose masks do not match."""
    lists = {kind: input_path / kind / TILES_CSV for kind in KINDS}
    images, masks = (by_scene(read_list(path)) for path in lists.values())
    scenes: list[SceneTiles] = []
    problems: list[BuiltupError] = []
    for scene, tiles in sorted(images.items(), key=lambda item: (item[1][0].city, item[0])):
        try:
            partners = _partners(lists, scene, tiles, masks.get(scene, []))
        except InputError as e:
            problems.append(e)
            continue
        ground = SceneGround(tiles[0].city, scene_grid(tiles))
        scenes.append(SceneTiles(scene, tuple(tiles), partners, ground))
    return scenes, problems


def _partners(
    lists: Mapping[str, Path], scene: str, tiles: Sequence[Tile], masks: Sequence[Tile]
) -> tuple[Tile, ...]:
    """The mask tile of each image tile; InputError or GridError where they do not match.

    Masks of other scenes may stand in their list; of a scene's own tiles, none may lack its image.
    """
    known = {(m.tile_id, m.width, m.height): m for m in masks}
    keys = [(t.tile_id, t.width, t.height) for t in tiles]
    partners = tuple(known[key] for key in keys if key in known)
    if len(partners) < len(tiles):
        raise InputError(
            lists["masks"],
            f"{len(partners)} of the {len(tiles)} tiles of {scene} have a mask",
            "rasterize the scene, and tile images and masks with the same settings",
        )
    if len(partners) < len(masks):
        raise InputError(
            lists["images"],
            f"{len(partners)} of the {len(masks)} tiles of {scene} in {lists['masks']} have an "
            "image",
            "tile images and masks again, with the same settings",
        )
    different = open_tile_grid(tiles[0]).difference(open_tile_grid(partners[0]))
    if different:
        raise GridError(
            partners[0].path,
            f"lies on another grid than {tiles[0].path} ({different})",
            "rasterize the scene again",
        )
    return partners


def _job(
    scene: SceneTiles, folds: Folds, input_path: Path, output_path: Path, sensor: Sensor
) -> Job:
    images, masks = (input_path / kind / TILES_CSV for kind in KINDS)
    cores, parts = exclusive_cores(scene.images), fold_parts(folds, scene.images[0])
    files = dict.fromkeys(t.path for tiles in (scene.images, scene.masks) for t in tiles)
    return Job(
        name=scene.scene,
        inputs=tuple(files),
        outputs=(output_path / PARTS / f"{plain_id(scene.scene)}.npz",),
        settings={
            "cells": [part.to_json() for part in parts],
            "tiles": [[t.x, t.y, t.width, t.height] for t in scene.images],
            **sensor_entry(sensor),
        },
        pixels=scene.ground.grid.pixels,
        context=SceneWork((images, masks), scene.images, scene.masks, cores, parts, sensor),
    )


def _collection(
    done: Sequence[tuple[SceneTiles, Job]], folds: Folds, output_path: Path, sensor: Sensor
) -> Job:
    names = (TILE_STATS_CSV, STATS_JSON, FOLDS_JSON, FOLDS_GPKG, HISTOGRAMS_PNG)
    return Job(
        name="collect",
        inputs=tuple(job.outputs[0] for _, job in done),
        outputs=tuple(output_path / name for name in names),
        settings={
            "folds": folds.to_json(),
            "scenes": [_place(s, output_path.resolve()) for s, _ in done],
            **sensor_entry(sensor),
        },
        context=([s for s, _ in done], folds, sensor),
    )


def _place(scene: SceneTiles, home: Path) -> list[str]:
    """What the list has of a scene: its id, where its first tiles lie, and its year, if any."""
    first = (scene.images[0].path, scene.masks[0].path)
    places = [os.path.relpath(p.parent.resolve() / p.name, home) for p in first]
    return [scene.scene, *places, *filter(None, [scene.images[0].year])]


def collect(job: Job) -> dict[str, int]:
    """Write what covers all scenes from the figures of each: the work of the last job."""
    scenes: list[SceneTiles]
    folds: Folds
    sensor: Sensor
    scenes, folds, sensor = job.context
    if not scenes:
        raise InputError(job.outputs[0], "no scene could be measured", "see the problems above")
    measures = [SceneMeasures.read(path) for path in job.inputs]
    classes = max(m.classes for m in measures)
    table, stats, folds_json, gpkg, picture = job.outputs
    _write_json(stats, statistics(folds, measures, sensor))
    _write_json(folds_json, folds.to_json())
    write_folds_gpkg(gpkg, folds)
    draw_histograms(picture, _by_city(scenes, measures, classes), sensor)
    rows = [
        (image, mask, folds.fold_index(image), measure)
        for scene, figures in zip(scenes, measures, strict=True)
        for image, mask, measure in zip(scene.images, scene.masks, figures.tiles, strict=True)
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
