"""Pseudo-labels: the maps of a network as labels for another, on the grid of each scene.

The teacher is a set of predictions, of the scenes themselves or, with `source="city"`, of their
cities: the mean over all dates, warped back to each of them, with the ground left out where dates
disagree. What is written is a folder of tiles like any other, with layers instead of masks that
somebody drew, and a record of whose labels they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE, NODATA, SCALE, describe_probability, level_of
from builtup.geo.rasters import create_raster, gdal_env, open_on, read_window
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import read_polygons
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.runs.lineage import Training, chain_of, tuned_ground
from builtup.runs.records import EnsembleRecord, InferenceRecord, prediction_record
from builtup.runs.results import PredictionTags, Results, read_tags, resolve_results, scene_rasters
from builtup.scoring.counts import confusion, f1, precision, recall
from builtup.scoring.tables import as_json
from builtup.sensors.radar.names import current_key, plain_id
from builtup.tiles.cut import write_list
from builtup.tiles.labels import labelled_area, truths_below
from builtup.tiles.masks import mask_profile
from builtup.tiles.tile import TILES_CSV, Tile, by_scene, read_list, scene_grid
from builtup.training.learnt_ground import LearntGround
from builtup.training.pseudo_record import PseudoRecord

__all__ = ["MODES", "SOURCES", "pseudo_labels"]

log = logging.getLogger(__name__)

STEP = Step("pseudo_labels", 1, spawn_above=40_000_000)
#: Probabilities as they are, or classes where these are sure.
MODES = ("soft", "hard")
#: Each scene's own map, or that of its city.
SOURCES = ("scene", "city")
#: Layers of the output: images are those of the tiles, masks hold classes, soft probabilities.
IMAGES, MASKS, SOFT = "images", "masks", "soft"
#: What was counted of each scene.
COUNTS = ".counts"
#: Rows and columns that are read at once.
WINDOW = (256, 4096)


@dataclass(frozen=True)
class _Settings:
    """How labels are made of probabilities; `max_std` None: dates may disagree."""

    mode: str
    source: str
    low: float
    high: float
    max_std: float | None

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("source", SOURCES)):
            if getattr(self, name) not in known:
                raise BuiltupError(
                    f"{name}={getattr(self, name)}: unknown; use {' or '.join(known)}"
                )
        if not 0 <= self.low < self.high <= 1:
            raise BuiltupError(
                f"low={self.low:g}, high={self.high:g}: expected probabilities, low below high"
            )
        if self.max_std is not None and self.source != "city":
            raise BuiltupError(
                "max_std: is of the dates of a city; give source=city, or no max_std"
            )

    def masks(self, level: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
        """The classes of 8-bit probabilities: by the map's threshold, or where these are sure."""
        if self.mode == SOFT:
            mask = (level >= level_of(threshold)).astype(np.uint8)
        else:
            mask = np.full(level.shape, IGNORE, np.uint8)
            mask[level <= self.low * SCALE] = 0
            mask[level >= level_of(self.high)] = 1
        mask[level == NODATA] = IGNORE
        return mask


@dataclass(frozen=True)
class _Work:
    """A scene to label: its grid, the maps that tell it, how, and where truth is known."""

    grid: Grid
    tags: PredictionTags
    settings: _Settings
    truth: Path | None


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
    gt_path: str = "",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Label the scenes of `<tiles_path>/images` by a set of predictions.

    Writes a folder of the same tiles: `images/tiles.csv`, which points to the images as they are,
    and the layers `masks` (0, 1, 255) and, in mode soft, `soft` (uint8, level v is v/254, 255
    unknown), each a raster a scene on its grid; and pseudo.json (`PseudoRecord`). In mode soft the
    masks are by the threshold of the maps, for samplers and statistics; in mode hard 1 where the
    probability is at least `high`, 0 where it is at most `low`, 255 between. With `source="city"`
    the maps are those of all dates of a city, and 255 where their standard deviation is above
    `max_std`. `gt_path` is a split with polygons that the labels are compared with. Raises
    InputError where a scene was not predicted, or maps have more than two classes.
    """
    settings = _Settings(mode, source, low, high, max_std)
    results = resolve_results(input_path, run_id)
    listed = tiles_path / IMAGES / TILES_CSV
    scenes = by_scene(read_list(listed))
    tags = {path: read_tags(path) for path in scene_rasters(results)}
    predicted = {of.scene: (path, of) for path, of in tags.items()}
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for scene, tiles in scenes.items():
        try:
            if scene not in predicted:
                remedy = "predict the scenes that the tiles are of"
                raise InputError(results.raw, f"no probability raster of scene {scene}", remedy)
            jobs.append(_job(tiles, *predicted[scene], results, output_path, settings, gt_path))
        except BuiltupError as e:
            problems.append(e)
    summary = run_step(
        STEP, jobs, _label, num_workers=num_workers, on_error=on_error, problems=problems
    )
    done = [job for job in jobs if is_done(STEP, job)]
    if not done:
        raise summary.skipped[0]
    _write_lists(output_path, {job.name: scenes[job.name] for job in done}, done, settings)
    record = _record(results, done, settings)
    record.write(output_path)
    log.info(
        "%s: labels for %.1f %% of the valid pixels, %.1f %% of them built-up",
        *(output_path, 100 * record.kept, 100 * record.built_up),
    )
    return summary


# --- jobs -----------------------------------------------------------------------------------------


def _job(
    tiles: Sequence[Tile],
    raster: Path,
    tags: PredictionTags,
    results: Results,
    output: Path,
    settings: _Settings,
    gt_path: str,
) -> Job:
    if not tags.class_set.by_threshold:
        raise InputError(
            raster,
            f"of {len(tags.class_set)} classes",
            "pseudo-labels are of two classes; give maps of two",
        )
    inputs = [raster]
    if settings.source == "city":
        inputs = [results.raw / f"{tags.city}_prob.tif"]
        inputs += [results.raw / f"{tags.city}_std.tif"] if settings.max_std is not None else []
        if missing := [path for path in inputs if not path.is_file()]:
            raise InputError(missing[0], "no such map of the city", "run all_agg_by_city first")
        tags = read_tags(inputs[0])
    truth = _truth(tiles[0].city, gt_path)
    outputs = [_raster(output, layer, tiles[0]) for layer in _layers(settings)]
    return Job(
        name=tiles[0].scene,
        inputs=(*inputs, *(() if truth is None else (truth,))),
        outputs=(*outputs, output / COUNTS / f"{plain_id(tiles[0].scene)}.json"),
        settings={**vars(settings), "threshold": tags.threshold},
        pixels=scene_grid(tiles).pixels,
        context=_Work(scene_grid(tiles), tags, settings, truth),
    )


def _layers(settings: _Settings) -> tuple[str, ...]:
    return (MASKS, SOFT) if settings.mode == SOFT else (MASKS,)


def _raster(output: Path, layer: str, tile: Tile) -> Path:
    """Where a layer of a tile's scene stands."""
    kind = {MASKS: "mask"}.get(layer, layer)
    return output / layer / tile.city / f"{tile.scene.replace('{}', kind)}.tif"


def _truth(city: str, gt_path: str) -> Path | None:
    found = truths_below(Path(gt_path), current_key(city)) if gt_path else []
    return found[0] if found else None


def _label(job: Job) -> dict[str, int]:
    """Write the layers of one scene, window by window, and what was counted."""
    work: _Work = job.context
    *rasters, counts_path = job.outputs
    valid = kept = mapped = 0
    matrix = np.zeros((2, 2), np.int64)
    with gdal_env(), ExitStack() as stack:
        maps = [stack.enter_context(open_on(path, work.grid)) for path in _maps(job)]
        truth = None if work.truth is None else _Truth.of(work.truth, work.grid)
        outs = []
        for path in rasters:
            beside = stack.enter_context(atomic_path(path))
            outs.append(stack.enter_context(create_raster(beside, **mask_profile(work.grid))))
        if len(outs) > 1:
            describe_probability(outs[1])
        for window in aligned(work.grid.width, work.grid.height, WINDOW):
            known, level = _levels(maps, window, work.settings)
            mask = work.settings.masks(level, work.tags.threshold)
            for out, values in zip(outs, (mask, level), strict=False):
                out.write(values, 1, window=window.rasterio)
            valid += int(known.sum())
            kept += int(np.count_nonzero(mask != IGNORE))
            mapped += int(np.count_nonzero(mask == 1))
            if truth is not None:
                matrix += confusion(truth.burn(window), mask, 2)
    if valid == 0:
        raise InputError(job.inputs[0], f"no valid pixel on scene {job.name}", "check its place")
    counts = {"valid": valid, "kept": kept, "mapped": mapped}
    told = {**counts, **({} if truth is None else {"confusion": matrix.tolist()})}
    write_text_atomically(counts_path, json.dumps(told) + "\n")
    return {}


def _maps(job: Job) -> tuple[Path, ...]:
    return tuple(path for path in job.inputs if path.suffix == ".tif")


def _levels(
    maps: Sequence[DatasetReader], window: Window, settings: _Settings
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Where the map is valid, and its 8-bit probabilities with 255 where dates disagree."""
    level: NDArray[np.uint8] = read_window(maps[0], window, 1)
    known = level != NODATA
    if settings.max_std is not None:
        deviation = read_window(maps[1], window, 1)
        level = np.where(deviation > settings.max_std, np.uint8(NODATA), level)  # NaN: one date
    return known, level


@dataclass(frozen=True)
class _Truth:
    """Ground truth on a scene's grid: polygons, and the areas within which they are complete."""

    polygons: Burner
    area: Burner | None

    @classmethod
    def of(cls, path: Path, grid: Grid) -> _Truth:
        labelled = labelled_area(path)
        area = None if labelled is None else reproject(read_polygons(labelled), grid.crs)
        return cls(
            Burner.of(reproject(read_polygons(path), grid.crs), grid, all_touched=True),
            None if area is None else Burner.of(area, grid, all_touched=False),
        )

    def burn(self, window: Window) -> NDArray[np.uint8]:
        """1 built-up, 0 not, 255 unknown."""
        mask = self.polygons.burn(window)
        if self.area is not None:
            mask[self.area.burn(window) == 0] = IGNORE
        return mask


# --- what covers all scenes -----------------------------------------------------------------------


def _write_lists(
    output: Path, scenes: Mapping[str, Sequence[Tile]], done: Sequence[Job], settings: _Settings
) -> None:
    """The list of each layer: of images as they are, of the others their whole rasters."""
    tiles = [tile for job in done for tile in scenes[job.name]]
    write_list(output / IMAGES / TILES_CSV, tiles)
    for layer in _layers(settings):
        own = [replace(tile, path=_raster(output, layer, tile)) for tile in tiles]
        write_list(output / layer / TILES_CSV, own)


def _record(results: Results, done: Sequence[Job], settings: _Settings) -> PseudoRecord:
    counts = [json.loads(job.outputs[-1].read_text(encoding="utf-8")) for job in done]
    valid, kept, mapped = (sum(c[name] for c in counts) for name in ("valid", "kept", "mapped"))
    teacher, learnt = _teacher(results)
    hard = settings.mode != SOFT
    return PseudoRecord(
        teacher=teacher,
        inference=results.run_id or _inference(results),
        learnt=learnt,
        mode=settings.mode,
        source=settings.source,
        low=settings.low if hard else None,
        high=settings.high if hard else None,
        max_std=settings.max_std,
        threshold=fmean(job.settings["threshold"] for job in done) if done else None,
        tuned_on=tuned_ground(results.folder, results.run_id).names,
        scenes=len(done),
        kept=kept / max(valid, 1),
        built_up=mapped / max(kept, 1),
        quality=_quality([job.context.tags.base_city for job in done], counts),
    )


def _quality(
    names: Sequence[str], counts: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float | None]] | None:
    """F1, precision and recall of the labels by city and pooled; None where no truth is known."""
    cities: dict[str, NDArray[np.int64]] = {}
    for city, counted in zip(names, counts, strict=True):
        if "confusion" in counted:
            cities[city] = cities.get(city, 0) + np.array(counted["confusion"], np.int64)
    if not cities:
        return None
    cities["pooled"] = np.sum(list(cities.values()), axis=0)
    quality = {}
    for city, ((tn, fp), (fn, tp)) in cities.items():
        cells = (tp, fp, fn, tn)
        scores = {"f1": f1(cells), "precision": precision(cells), "recall": recall(cells)}
        quality[city] = as_json({name: float(value) for name, value in scores.items()})
        log.info("%s: F1 of the labels against the truth %.3f", city, scores["f1"])
    return quality


def _inference(results: Results) -> str:
    record = prediction_record(results.folder)
    if isinstance(record, EnsembleRecord):
        return ",".join(record.runs)
    return "" if record is None else record.run_id or ""


def _teacher(results: Results) -> tuple[str, LearntGround | None]:
    """The training run behind a set of predictions (of a mean: those), and what it learnt from.

    None where that cannot be known, of one of them or at all.
    """
    record = prediction_record(results.folder)
    trainings: list[Training | None] = []
    if isinstance(record, InferenceRecord):
        trainings = [Training.named(record.training_run)] if record.training_run else []
    elif record is not None:
        trainings = [chain_of(run).training for run in record.runs]
    learnt = [None if one is None else _learnt(one) for one in trainings]
    names = ",".join(one.name for one in trainings if one is not None)
    if not learnt or None in learnt:
        log.warning(
            "%s: what its network (%s) has learnt from is not known: no training can be kept from "
            "holding out that ground",
            *(results.folder, names or "unknown"),
        )
        return names, None
    first, *others = (ground for ground in learnt if ground is not None)
    for ground in others:
        first = first.and_of(ground)
    return names, first


def _learnt(training: Training) -> LearntGround | None:
    if training.description is not None:  # one file: of simulated ground, which nobody holds out
        return LearntGround()
    return None if training.folder is None else LearntGround.behind(training.folder)
