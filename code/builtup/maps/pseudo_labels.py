"""Pseudo-labels: the maps of a network as labels for another, on the grid of each scene.

The teacher is a set of predictions, of the scenes themselves or, with `source="city"`, of their
cities: the mean over all dates, warped back to each of them, with the ground left out where dates
disagree. What is written is a folder of tiles like any other, with layers instead of masks that
somebody drew, and a record of whose labels they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader, DatasetWriter

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, NODATA, describe_probability
from builtup.geo.rasters import create_raster, gdal_env, open_on, read_window
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.maps.label_counts import LabelCounts, mean_of, quality_of, stages_of
from builtup.maps.label_rules import (
    HARD,
    NEGATIVES,
    SOFT,
    TAGS,
    LabelRule,
    by_tags,
    largest_mapped,
    least_by_class,
)
from builtup.maps.label_tags import SceneTags, classes_of_maps, tags_of_scenes
from builtup.maps.label_truth import Truths, open_truth
from builtup.maps.masked_scenes import require_on
from builtup.maps.teachers import inference_of, teacher_of
from builtup.runs.lineage import tuned_ground
from builtup.runs.results import PredictionTags, Results, read_tags, resolve_results, scene_rasters
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.radar.names import plain_id
from builtup.tiles.cut import write_list
from builtup.tiles.masks import mask_profile
from builtup.tiles.table import TILE_STATS_CSV
from builtup.tiles.tags import TAGS_CSV
from builtup.tiles.tile import TILES_CSV, Tile, by_scene, read_list, scene_grid
from builtup.training.pseudo_record import PseudoRecord

__all__ = ["pseudo_labels"]

log = logging.getLogger(__name__)

STEP = Step("pseudo_labels", 3, spawn_above=40_000_000)
#: Layers of the output: images are those of the tiles, masks hold classes, soft probabilities.
IMAGES, MASKS = "images", "masks"
#: What was counted of each scene, and the scenes that mode negatives looked at.
COUNTS, LISTED = ".counts", "negatives.csv"
#: The labels, and in mode tags what they were before: as the map decides, and as tags allow.
LABELS, RAW, ALLOWED = "kept", "raw", "tags"
#: Rows and columns that are read at once.
WINDOW = (256, 4096)


@dataclass(frozen=True)
class _Work:
    """A scene to label: its grid, the maps that tell it, how, and where truth is known.

    `truth` are polygons, or a mask of the scene; `cells` are its tags, in mode tags.
    """

    grid: Grid
    tags: PredictionTags
    rule: LabelRule
    truth: Path | None
    cells: SceneTags | None = None


def pseudo_labels(
    *,
    input_path: str = "",
    run_id: str = "",
    tiles_path: Path,
    output_path: Path,
    mode: str = SOFT,
    source: str = "scene",
    low: float = 0.2,
    high: float = 0.8,
    max_std: float | None = None,
    presence: float = 0.2,
    keep: float = 0.9,
    per_class: str = "",
    tags_path: str = "",
    gt_path: str = "",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Label the scenes of `<tiles_path>/images` by a set of predictions, or by a mean of several.

    Writes a folder of the same tiles: `images/tiles.csv` points to the images as they are, as does
    `height/` where tiles have heights; the layers `masks` (class numbers, 255) and, in mode soft,
    `soft` (uint8, level v is v/254, 255 unknown; a band a class where there are more than two) are
    a raster a scene on its grid; and pseudo.json (`PseudoRecord`). In mode soft the masks are as
    the maps decide, for samplers and statistics; in mode hard the mapped class where its
    probability is at least `high`, the other where it is at most `low`, 255 between (of more
    classes the one that reaches `high`).
    With `source="city"` the maps are those of all dates of a city, and 255 where their standard
    deviation is above `max_std`. Mode negatives keeps the scenes that are empty by a presence
    head (its largest probability below `presence`) and of which no pixel is above `low`; the others
    are left out, and all are listed in negatives.csv. Mode tags labels the scenes of which
    `tags_path` (tags.csv of `tiles_path`, as `weaken` wrote it) has cells: the class that is the
    most probable of those that a cell's tags allow, where its probability among these is at least
    `keep`, or what `per_class` ("car=0.8;tree=0.7") says of it; 255 elsewhere, and in cells without
    tags. `gt_path` is a split with polygons, or a folder of masks, that the labels are compared
    with. Raises InputError where a scene was not predicted, its map or tags do not lie on it, or
    `gt_path` knows none of the scenes.
    """
    rule = LabelRule(mode, source, low, high, max_std, presence, keep, least_by_class(per_class))
    results = resolve_results(input_path, run_id)
    scenes = by_scene(read_list(tiles_path / IMAGES / TILES_CSV))
    tags = {path: read_tags(path) for path in scene_rasters(results)}
    predicted = {of.scene: (path, of) for path, of in tags.items()}
    cells: Mapping[str, SceneTags] = {}
    if mode == TAGS:
        classes = classes_of_maps(results, [of for s, (_, of) in predicted.items() if s in scenes])
        rule.least(classes)  # names that are none are refused before anything is read
        grids = {plain_id(scene): scene_grid(tiles) for scene, tiles in scenes.items()}
        cells = tags_of_scenes(Path(tags_path or tiles_path / TAGS_CSV), classes, grids)
        scenes = {scene: of for scene, of in scenes.items() if plain_id(scene) in cells}
    truths = Truths(gt_path)
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for scene, tiles in scenes.items():
        try:
            if scene not in predicted:
                raise _not_predicted(results, scene)
            truth = truths.of(scene, tiles[0].city)
            own = cells.get(plain_id(scene))
            jobs.append(_job(tiles, *predicted[scene], results, output_path, rule, truth, own))
        except BuiltupError as e:
            problems.append(e)
    truths.require([job.context.truth for job in jobs])
    summary = run_step(
        STEP, jobs, _label, num_workers=num_workers, on_error=on_error, problems=problems
    )
    done = [job for job in jobs if is_done(STEP, job)]
    if not done:
        raise summary.skipped[0]
    counts = [json.loads(job.outputs[-1].read_text(encoding="utf-8")) for job in done]
    looked_at = len(done)
    if mode == NEGATIVES:
        done, counts = _negatives(results, output_path, done, counts, rule)
    _write_lists(output_path, tiles_path, [t for job in done for t in scenes[job.name]], rule)
    works: list[_Work] = [job.context for job in done]
    record = _record(results, works, counts, rule, looked_at=looked_at)
    record.write(output_path)
    log.info(
        "%s: labels for %.1f %% of the valid pixels, %.1f %% of them %s",
        *(output_path, 100 * record.kept, 100 * record.built_up, works[0].tags.class_set.mapped),
    )
    return summary


def _not_predicted(results: Results, scene: str) -> InputError:
    remedy = "predict the scenes that the tiles are of"
    if (results.raw / f"{plain_id(scene)}.tif").is_file():  # an image's map, without them
        remedy = "predict them again with probabilities=true"
    return InputError(results.raw, f"no probability raster of scene {scene}", remedy)


# --- jobs -----------------------------------------------------------------------------------------


def _job(
    tiles: Sequence[Tile],
    raster: Path,
    tags: PredictionTags,
    results: Results,
    output: Path,
    rule: LabelRule,
    truth: Path | None,
    cells: SceneTags | None,
) -> Job:
    inputs = [raster]
    if rule.source == "city":
        inputs = [results.raw / f"{tags.city}_prob.tif"]
        inputs += [results.raw / f"{tags.city}_std.tif"] if rule.max_std is not None else []
        if missing := [path for path in inputs if not path.is_file()]:
            raise InputError(missing[0], "no such map of the city", "run all_agg_by_city first")
        tags = read_tags(inputs[0])
    rule.require(raster, tags)
    grid = scene_grid(tiles)
    with gdal_env():
        require_on(inputs[0], grid, f"the scene {tiles[0].scene}")
    outputs = [_raster(output, layer, tiles[0]) for layer in _layers(rule)]
    return Job(
        name=tiles[0].scene,
        inputs=(*inputs, *(() if truth is None else (truth,))),
        outputs=(*outputs, output / COUNTS / f"{plain_id(tiles[0].scene)}.json"),
        settings={
            **rule.settings,
            "threshold": tags.threshold,
            "presence_of": tags.presence,
            **({} if cells is None else {"cells": cells.settings()}),
        },
        pixels=grid.pixels,
        context=_Work(grid, tags, rule, truth, cells),
    )


def _layers(rule: LabelRule) -> tuple[str, ...]:
    return (MASKS, SOFT) if rule.mode == SOFT else (MASKS,)


def _raster(output: Path, layer: str, tile: Tile) -> Path:
    """Where a layer of a tile's scene stands."""
    kind = {MASKS: "mask"}.get(layer, layer)
    return output / layer / tile.city / f"{tile.scene.replace('{}', kind)}.tif"


def _label(job: Job) -> dict[str, int]:
    """Write the layers of one scene, window by window, and what was counted."""
    work: _Work = job.context
    rule, classes = work.rule, work.tags.class_set
    *rasters, counts_path = job.outputs
    empty = rule.mode != NEGATIVES or _is_empty(job)
    counts = LabelCounts(classes)
    with gdal_env(), ExitStack() as stack:
        paths = job.inputs[: 1 if rule.max_std is None else 2]  # and the dates' deviation
        maps = [stack.enter_context(open_on(path, work.grid)) for path in paths]
        truth = (
            None
            if work.truth is None
            else stack.enter_context(open_truth(work.truth, work.grid, classes))
        )
        outs = [stack.enter_context(_new_layer(path, work)) for path in rasters]
        for window in aligned(work.grid.width, work.grid.height, WINDOW):
            known, levels = _levels(maps, window, rule)
            stages = _labels(work, levels, window)
            mask = stages[LABELS]
            if not empty:
                mask[:] = IGNORE
            outs[0].write(mask, 1, window=window.rasterio)
            for out in outs[1:]:
                out.write(levels, window=window.rasterio)
            counts.add(known, levels, mask)
            if truth is not None:
                counts.compare(truth(window), stages)
    if counts.valid == 0:
        raise InputError(job.inputs[0], f"no valid pixel on scene {job.name}", "check its place")
    write_text_atomically(counts_path, json.dumps(counts.as_json()) + "\n")
    return {}


def _labels(work: _Work, levels: NDArray[np.uint8], window: Window) -> dict[str, NDArray[np.uint8]]:
    """The labels (h, w) of a window's probabilities; in mode tags also what they were before, where
    tags say anything."""
    rule, classes, threshold = work.rule, work.tags.class_set, work.tags.threshold
    if work.cells is None:
        return {LABELS: rule.masks(levels, classes, threshold)}
    allowed = work.cells.allowed(window)
    raw = np.where(allowed.any(axis=0), classes.decide(levels, threshold), np.uint8(IGNORE))
    label, share = by_tags(levels, classes, allowed)
    sure = share >= np.append(rule.least(classes), np.inf)[np.minimum(label, len(classes))]
    return {RAW: raw, ALLOWED: label, LABELS: np.where(sure, label, np.uint8(IGNORE))}


@contextmanager
def _new_layer(path: Path, work: _Work) -> Iterator[DatasetWriter]:
    """A layer to write to: `soft` of a band a class (of two the mapped one), or masks."""
    classes = work.tags.class_set
    of_soft = path.parent.parent.name == SOFT
    profile = mask_profile(work.grid)
    if of_soft:
        profile |= {"count": len(classes.bands), "interleave": "band"}
    with atomic_path(path) as beside, create_raster(beside, **profile) as out:
        if of_soft:
            describe_probability(out)
        if work.tags.sensor or len(classes) > 2:
            out.update_tags(**classes.tags())
        yield out


def _is_empty(job: Job) -> bool:
    """Whether a scene is a negative, by its whole map."""
    work: _Work = job.context
    largest = -1
    with gdal_env(), open_on(job.inputs[0], work.grid) as dataset:
        for window in aligned(work.grid.width, work.grid.height, WINDOW):
            levels = read_window(dataset, window)
            largest = max(largest, largest_mapped(levels, work.tags.class_set))
    assert work.tags.presence is not None
    return work.rule.is_empty(largest, work.tags.presence)


def _levels(
    maps: Sequence[DatasetReader], window: Window, rule: LabelRule
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Where the map is valid, and its 8-bit probabilities (bands, h, w), 255 in every band where
    one has none or dates disagree."""
    levels: NDArray[np.uint8] = read_window(maps[0], window)
    known = (levels != NODATA).all(axis=0)
    told = known
    if rule.max_std is not None:
        deviation = read_window(maps[1], window, 1)
        told = known & ~(deviation > rule.max_std)  # NaN: one date
    return known, np.where(told, levels, np.uint8(NODATA))


# --- what covers all scenes -----------------------------------------------------------------------


def _negatives(
    results: Results,
    output: Path,
    done: Sequence[Job],
    counts: Sequence[Mapping[str, Any]],
    rule: LabelRule,
) -> tuple[list[Job], list[Mapping[str, Any]]]:
    """The scenes that are kept as empty; all that were looked at are listed and counted.

    Raises InputError where none is.
    """
    rows = ["scene,presence,kept\n"]
    for job, of in zip(done, counts, strict=True):
        kept = "yes" if of["kept"] else "no"
        rows.append(f"{plain_id(job.name)},{job.context.tags.presence:.4g},{kept}\n")
    write_text_atomically(output / LISTED, "".join(rows))
    chosen = [pair for pair in zip(done, counts, strict=True) if pair[1]["kept"]]
    log.info(
        "%d of %d scenes are kept as empty: presence below %g and no pixel above %g (%s)",
        *(len(chosen), len(done), rule.presence, rule.low, output / LISTED),
    )
    if not chosen:  # lists of an earlier call would offer labels that its scenes no longer have
        lists = (f"{of}/{TILES_CSV}" for of in (IMAGES, HEIGHT, MASKS))
        for name in (*lists, TILE_STATS_CSV, PseudoRecord.NAME):
            (output / name).unlink(missing_ok=True)
        raise InputError(
            results.raw,
            f"none of {len(done)} scenes is empty: presence below {rule.presence:g} and no pixel "
            f"above {rule.low:g}",
            "raise presence or low, or do without negatives",
        )
    return [job for job, _ in chosen], [of for _, of in chosen]


def _write_lists(output: Path, source: Path, tiles: Sequence[Tile], rule: LabelRule) -> None:
    """The list of each layer: of images and heights as they are, of the others whole rasters."""
    shown, beside = {tile.tile_id for tile in tiles}, source / HEIGHT / TILES_CSV
    heights = [t for t in read_list(beside) if t.tile_id in shown] if beside.is_file() else []
    (output / HEIGHT / TILES_CSV).unlink(missing_ok=True)
    if heights:
        write_list(output / HEIGHT / TILES_CSV, heights)
    write_list(output / IMAGES / TILES_CSV, tiles)
    for layer in _layers(rule):
        rasters = [replace(tile, path=_raster(output, layer, tile)) for tile in tiles]
        write_list(output / layer / TILES_CSV, rasters)


def _record(
    results: Results,
    works: Sequence[_Work],
    counts: Sequence[Mapping[str, Any]],
    rule: LabelRule,
    looked_at: int,
) -> PseudoRecord:
    valid, kept, mapped = (sum(c[name] for c in counts) for name in ("valid", "kept", "mapped"))
    teacher, learnt = teacher_of(results)
    classes = works[0].tags.class_set
    of_low, of_tags = (HARD, NEGATIVES), rule.mode == TAGS
    return PseudoRecord(
        teacher=teacher,
        inference=inference_of(results),
        learnt=learnt,
        mode=rule.mode,
        source=rule.source,
        low=rule.low if rule.mode in of_low else None,
        high=rule.high if rule.mode == HARD else None,
        max_std=rule.max_std,
        presence=rule.presence if rule.mode == NEGATIVES else None,
        keep=rule.keep if of_tags else None,
        per_class=rule.per_class if of_tags else None,
        threshold=fmean(work.tags.threshold for work in works),
        tuned_on=tuned_ground(results.folder, results.run_id).names,
        scenes=len(works),
        left_out=looked_at - len(works),
        kept=kept / max(valid, 1),
        built_up=mapped / max(kept, 1),
        mean=mean_of(counts),
        quality=quality_of([w.tags.base_city for w in works], counts, classes, LABELS),
        stages=stages_of(counts, classes) if of_tags else None,
    )
