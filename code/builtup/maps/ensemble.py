"""The mean of the probabilities of several runs: folds, models, dates.

Scenes are read block by block, sums and weights are integers: the result depends neither on the
order of the runs nor on how the work is cut, and where all agree it is what they agree on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader, DatasetWriter

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.grid import SAME_GRID_TOLERANCE, Grid
from builtup.geo.probability import NODATA, parse_threshold
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import aligned
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.maps.ensemble_weights import SharedScene, fit_weights, parse_weights
from builtup.runs.lineage import tuned_ground
from builtup.runs.records import EnsembleMember, EnsembleRecord, prediction_record
from builtup.runs.results import (
    PredictionTags,
    Results,
    read_tags,
    resolve_results,
    scene_rasters,
    write_tags,
)

__all__ = ["Member", "ensemble", "weighted_mean"]

log = logging.getLogger(__name__)

STEP = Step("ensemble", 1)
#: Side of the blocks that are worked on, and of those of the COGs.
BLOCK = 512


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
    """A run: its scenes by scene id, its threshold, and the temperature applied, if any."""

    name: str
    results: Results
    scenes: Mapping[str, Scene]
    threshold: float
    temperature: float | None
    tuned_on: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """The inference run, which a folder's rasters name; several, by commas, of an ensemble."""
        return self.results.run_id or next(iter(self.scenes.values())).tags.run_id


def ensemble(
    *,
    input_paths: str,
    output_path: Path,
    weights: str = "",
    threshold: str = "mean",
    gt_path: str = "",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Average the scenes of several sets of predictions into a new one at `output_path`.

    `input_paths`, separated by `;`, are folders or ids of runs of which merge_tiles was run.
    `weights` are numbers separated by `;`, nothing (all alike), or `fit`: the weights of least
    Brier score on the cities whose polygons stand below `gt_path`, which are then said to be tuned
    on. `threshold` is a number, `mean` (of the runs', by weight), or nothing: that of all runs. A
    scene that some runs lack is averaged over the others. Raises BuiltupError, in one line, where
    grids, classes, thresholds or temperatures do not agree.
    """
    names = [name.strip() for name in input_paths.split(";") if name.strip()]
    if len(names) < 2:
        raise BuiltupError(
            f"input_paths={input_paths}: an ensemble needs two or more; separate them by ;"
        )
    members = [read_member(name) for name in names]
    check_alike(members)
    fitted: tuple[str, ...] = ()
    if weights == "fit":
        shares, fitted = fit_weights(names, _shared(members), gt_path)
    else:
        shares = parse_weights(weights, len(members))
    level = _threshold(threshold, members, shares)
    _require_weight(members, shares, weights)
    jobs = _jobs(members, shares, level, output_path)
    summary = run_step(STEP, jobs, _average, num_workers=num_workers, on_error=on_error)
    _record(output_path, members, shares, level, fitted)
    return summary


# --- what is averaged ---------------------------------------------------------------------------


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
        raise InputError(results.raw, "no probability raster of a scene", "run merge_tiles first")
    thresholds = {scene.tags.threshold for scene in scenes.values()}
    if len(thresholds) > 1:
        raise InputError(
            results.raw, f"scenes of several thresholds ({_some(thresholds)})", "use one run's"
        )
    record = prediction_record(results.folder)
    temperature = None if record is None else record.temperature
    ground = tuned_ground(results.folder, results.run_id)
    tuned = (*ground.names, *ground.transductive)  # a mean knows one mark, the stronger
    return Member(name, results, scenes, thresholds.pop(), temperature, tuned)


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
                    f"classes {_some(scene.tags.classes)} in {scene.bands} bands, those of "
                    f"{one.path} are {_some(one.tags.classes)} in {one.bands}",
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


def _shared(members: Sequence[Member]) -> list[SharedScene]:
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


def _some(values: Any) -> str:
    return ", ".join(str(v) for v in values) or "none"


def _require_weight(members: Sequence[Member], weights: Sequence[int], given: str) -> None:
    """Raise BuiltupError where only runs of weight 0, which `given` gives them, hold a scene."""
    held = {s for m, weight in zip(members, weights, strict=True) if weight > 0 for s in m.scenes}
    for m, weight in zip(members, weights, strict=True):
        alone = sorted(m.scenes.keys() - held)
        if weight == 0 and alone:
            raise BuiltupError(
                f"weights={given}: {m.name} has weight 0, and its scene {alone[0]} is in no run "
                "with weight; drop that run, or give weights above 0"
            )


def _threshold(text: str, members: Sequence[Member], weights: Sequence[int]) -> float:
    own = [member.threshold for member in members]
    if text == "mean":
        mean = float(np.average(own, weights=weights))
        if len(set(own)) > 1:
            named = _some(f"{m.threshold:.3f} ({m.name})" for m in members)
            log.info("threshold %.3f: the mean, by weight, of %s", mean, named)
        return mean
    given = parse_threshold(text, "mean, or ")
    if given is not None:
        return given
    if len(set(own)) > 1:
        raise BuiltupError(
            f"input_paths: thresholds {_some(f'{value:.3f}' for value in own)} differ; "
            "give threshold=mean, or a number"
        )
    return own[0]


# --- averaging ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """The rasters of one scene, and the weight of each."""

    scenes: tuple[Scene, ...]
    weights: tuple[int, ...]
    tags: PredictionTags


def _jobs(
    members: Sequence[Member], weights: Sequence[int], threshold: float, output_path: Path
) -> list[Job]:
    runs = ",".join(m.results.run_id or m.name for m in members)
    jobs = []
    for scene_id in sorted({scene_id for m in members for scene_id in m.scenes}):
        pairs = [
            (m.scenes[scene_id], weight)
            for m, weight in zip(members, weights, strict=True)
            if scene_id in m.scenes and weight > 0
        ]
        if len(pairs) < sum(weight > 0 for weight in weights):
            log.info("%s: in %d of %d runs", scene_id, len(pairs), len(members))
        scenes, shares = zip(*pairs, strict=True)
        first: Scene = scenes[0]
        tags = replace(named(of.tags for of in scenes), run_id=runs, threshold=threshold)
        jobs.append(
            Job(
                name=scene_id,
                inputs=tuple(scene.path for scene in scenes),
                outputs=(output_path / "raw" / first.path.name,),
                settings={"weights": list(shares), "tags": tags.as_gdal()},
                pixels=first.grid.pixels,
                context=_Work(scenes, shares, tags),
            )
        )
    return jobs


def _average(job: Job) -> dict[str, int]:
    work: _Work = job.context
    first = work.scenes[0]
    profile: dict[str, Any] = {"count": first.bands, "dtype": "uint8", "nodata": NODATA}
    with gdal_env(), ExitStack() as stack:
        sources = [stack.enter_context(open_raster(scene.path)) for scene in work.scenes]
        out: DatasetWriter = stack.enter_context(create_cog(job.outputs[0], first.grid, **profile))
        write_tags(out, work.tags)
        out.descriptions = first.descriptions
        _average_blocks(sources, work.weights, out)
    return {"predictions": len(work.scenes)}


def _average_blocks(
    sources: Sequence[DatasetReader], weights: Sequence[int], out: DatasetWriter
) -> None:
    for window in aligned(out.width, out.height, (BLOCK, BLOCK)):
        mean = weighted_mean([read_window(source, window) for source in sources], weights)
        out.write(mean, window=window.rasterio)


def weighted_mean(values: Sequence[NDArray[np.uint8]], weights: Sequence[int]) -> NDArray[np.uint8]:
    """The mean of 8-bit probabilities (bands, H, W), rounded half up, 255 where none is valid.

    A value counts where it is valid in every band.
    """
    total = np.zeros(values[0].shape, np.int64)
    sum_of_weights = np.zeros(values[0].shape[1:], np.int64)
    for array, weight in zip(values, weights, strict=True):
        valid = (array != NODATA).all(axis=0)
        total += np.where(valid, array, 0).astype(np.int64) * weight
        sum_of_weights += valid * weight
    divisor = np.maximum(sum_of_weights, 1)
    mean = ((2 * total + divisor) // (2 * divisor)).astype(np.uint8)
    mean[:, sum_of_weights == 0] = NODATA
    return mean


def _record(
    output_path: Path,
    members: Sequence[Member],
    weights: Sequence[int],
    threshold: float,
    fitted: Sequence[str],
) -> None:
    """Write ensemble.json: what was averaged, and the cities that it was tuned on."""
    EnsembleRecord(
        members=tuple(
            EnsembleMember(
                name=m.name,
                run_id=m.run_id,
                weight=weight / sum(weights),
                threshold=m.threshold,
                temperature=m.temperature,
            )
            for m, weight in zip(members, weights, strict=True)
        ),
        threshold=threshold,
        temperature=members[0].temperature,
        weights_tuned_on=tuple(fitted),
        tuned_on=tuple(sorted({city for m in members for city in m.tuned_on} | set(fitted))),
    ).write(output_path)
