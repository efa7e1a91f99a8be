"""The mean of the probabilities of several runs: folds, models, dates.

Scenes are read block by block, sums and weights are integers: the result depends neither on the
order of the runs nor on how the work is cut, and where all agree it is what they agree on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.io import DatasetReader, DatasetWriter

from builtup.errors import BuiltupError
from builtup.geo.probability import NODATA, SCALE, parse_threshold
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import aligned
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.maps.class_map import write_class_map
from builtup.maps.ensemble_members import (
    Member,
    Scene,
    check_alike,
    named,
    read_member,
    shared_scenes,
    some,
)
from builtup.maps.ensemble_weights import (
    fit_threshold,
    fit_weights,
    parse_weights,
    weighted_mean,
)
from builtup.maps.label_rules import largest_mapped
from builtup.runs.records import EnsembleMember, EnsembleRecord
from builtup.runs.results import (
    CONFIDENCE,
    PredictionTags,
    read_tags,
    write_tags,
)
from builtup.sensors.radar.names import plain_id

__all__ = ["Member", "ensemble"]

log = logging.getLogger(__name__)

STEP = Step("ensemble", 2)
#: Side of the blocks that are worked on, and of those of the COGs.
BLOCK = 512


def ensemble(
    *,
    input_paths: str,
    output_path: Path,
    weights: str = "",
    threshold: str = "mean",
    gt_path: str = "",
    drop_blank: bool = False,
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Average the scenes of several sets of predictions into a new one at `output_path`.

    `input_paths`, separated by `;`, are folders or ids of runs of which merge_tiles was run.
    `weights` are numbers separated by `;`, nothing (all alike), or `fit`: the weights of least
    Brier score on the cities whose polygons, or the scenes whose masks, stand below `gt_path`,
    which are then said to be tuned on. `threshold` is a number, `mean` (of the runs', by weight;
    of each scene's own where these differ), `fit` (that of the best F1 on the same ground), or
    nothing: that of all runs. A scene that some runs lack is averaged over the others. With
    `drop_blank` a run that is nowhere confident of the mapped class in a scene, where all others
    are somewhere, has no part in it. Images from the air get their maps, as `predict` makes them.
    Raises BuiltupError, in one line, where grids, classes, thresholds or temperatures do not
    agree, or `output_path` is the folder of a member.
    """
    names = [name.strip() for name in input_paths.split(";") if name.strip()]
    if len(names) < 2:
        raise BuiltupError(
            f"input_paths={input_paths}: an ensemble needs two or more; separate them by ;"
        )
    members = [read_member(name) for name in names]
    check_alike(members)
    _require_apart(members, output_path)
    fitted: tuple[str, ...] = ()
    if weights == "fit":
        shares, fitted = fit_weights(names, shared_scenes(members), gt_path)
        _warn_of_seen("weights", members, fitted)
    else:
        shares = parse_weights(weights, len(members))
    level: float | None
    if threshold == "fit":
        level, chosen = fit_threshold(shared_scenes(members), shares, gt_path)
        _warn_of_seen("threshold", members, chosen)
    else:
        level, chosen = _threshold(threshold, members, shares), ()
    _require_weight(members, shares, weights)
    jobs = _jobs(members, shares, level, output_path, drop_blank)
    summary = run_step(STEP, jobs, _average, num_workers=num_workers, on_error=on_error)
    left_out = _left_out([job for job in jobs if is_done(STEP, job)])
    _record(output_path, members, shares, level, fitted, chosen, left_out)
    return summary


def _warn_of_seen(what: str, members: Sequence[Member], fitted: Sequence[str]) -> None:
    """Name the runs whose networks have seen the truth that weights or threshold were fitted on."""
    for m in members:
        if seen := [city for city in fitted if m.ground.on(city)]:
            log.warning(
                "%s=fit: %s was tuned on %s, and looks better there than it is; fit the %s on "
                "ground that no run has seen",
                *(what, m.name, ", ".join(seen), what),
            )


def _left_out(jobs: Sequence[Job]) -> dict[str, tuple[str, ...]]:
    """The scenes in which runs had no part, with these runs: what rasters do not name was blank."""
    found: dict[str, tuple[str, ...]] = {}
    for job in jobs:
        work: _Work = job.context
        part = set(read_tags(job.outputs[0]).run_id.split(","))
        if work.drop_blank and (blank := [r for r in work.runs if not part >= {*r.split(",")}]):
            found[job.name] = tuple(blank)
    for scene, runs in found.items():
        blank_ones = ", ".join(runs)
        log.info("%s: left out, blank where the others are not: %s", plain_id(scene), blank_ones)
    if found:
        log.info("runs were left out of %d of %d scenes as blank", len(found), len(jobs))
    return found


# --- what is averaged ---------------------------------------------------------------------------


def _require_apart(members: Sequence[Member], output_path: Path) -> None:
    """Raise BuiltupError where the mean would take the place of what it is made of."""
    for m in members:
        if m.results.folder.resolve() == output_path.resolve():
            raise BuiltupError(
                f"output_path={output_path}: holds the predictions of {m.name}, which the mean "
                "would replace; give another folder"
            )


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


def _threshold(text: str, members: Sequence[Member], weights: Sequence[int]) -> float | None:
    """One threshold for all scenes; None where each has the mean of its runs' own."""
    given = None if text == "mean" else parse_threshold(text, "mean, fit, or ")
    if given is not None:
        return given
    by_scene = [m.name for m in members if m.threshold is None]
    own = [member.threshold for member in members if member.threshold is not None]
    if text == "mean" and by_scene:
        log.info(
            "each scene has the mean, by weight, of its runs' thresholds: scenes of %s have "
            "several, those to which the network was adapted their own",
            some(by_scene),
        )
        return None
    if text == "mean":
        mean = float(np.average(own, weights=weights))
        if len(set(own)) > 1:
            named = some(f"{m.threshold:.3f} ({m.name})" for m in members)
            log.info("threshold %.3f: the mean, by weight, of %s", mean, named)
        return mean
    values = dict.fromkeys(of.tags.threshold for m in members for of in m.scenes.values())
    if len(values) > 1:
        raise BuiltupError(
            f"input_paths: thresholds {some(f'{value:.3f}' for value in values)} differ; "
            "give threshold=mean, or a number"
        )
    return own[0]


# --- averaging ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """The rasters of one scene, the weight and run of each; whether blank ones are left out."""

    scenes: tuple[Scene, ...]
    weights: tuple[int, ...]
    runs: tuple[str, ...]
    tags: PredictionTags
    drop_blank: bool = False

    def without(self, blank: Sequence[int]) -> _Work:
        """The same without the rasters of these numbers."""
        kept = [i for i in range(len(self.scenes)) if i not in blank]
        runs = tuple(self.runs[i] for i in kept)
        scenes = tuple(self.scenes[i] for i in kept)
        weights = tuple(self.weights[i] for i in kept)
        left = _Work(scenes, weights, runs, replace(self.tags, run_id=",".join(runs)))
        return replace(left, tags=replace(left.tags, presence=left.presence))

    @property
    def presence(self) -> float | None:
        """The mean, by weight, of what presence heads say; None where one says nothing."""
        said = [scene.tags.presence for scene in self.scenes]
        if any(one is None for one in said):
            return None
        return float(np.average(np.array(said, float), weights=self.weights))

    @property
    def is_image(self) -> bool:
        """Whether the scene is an image that is a map of its own, as `predict` has them."""
        return bool(self.tags.sensor) and self.tags.city == plain_id(self.tags.scene)


def _jobs(
    members: Sequence[Member],
    weights: Sequence[int],
    threshold: float | None,
    output_path: Path,
    drop_blank: bool,
) -> list[Job]:
    names = [m.results.run_id or m.name for m in members]
    runs = ",".join(names)
    jobs = []
    for scene_id in sorted({scene_id for m in members for scene_id in m.scenes}):
        parts = [
            (m.scenes[scene_id], weight, name)
            for m, weight, name in zip(members, weights, names, strict=True)
            if scene_id in m.scenes and weight > 0
        ]
        if len(parts) < sum(weight > 0 for weight in weights):
            log.info("%s: in %d of %d runs", plain_id(scene_id), len(parts), len(members))
        scenes, shares, own = zip(*parts, strict=True)
        # a mean is no member's probability: its threshold follows no share of theirs
        tags = named(of.tags for of in scenes)
        level = threshold
        if level is None:
            level = float(np.average([of.tags.threshold for of in scenes], weights=shares))
        tags = replace(tags, run_id=runs, threshold=level, share=None)
        work = _Work(scenes, shares, own, tags, drop_blank)
        work = replace(work, tags=replace(tags, presence=work.presence))
        raw, path = output_path / "raw", scenes[0].path
        of_map = [f"{plain_id(scene_id)}.tif", f"{plain_id(scene_id)}_{CONFIDENCE}.tif"]
        blank = {"drop_blank": True, "runs": list(own)} if drop_blank else {}
        jobs.append(
            Job(
                name=scene_id,
                inputs=tuple(scene.path for scene in scenes),
                outputs=tuple(raw / n for n in (path.name, *(of_map if work.is_image else ()))),
                settings={"weights": list(shares), "tags": work.tags.as_gdal(), **blank},
                pixels=scenes[0].grid.pixels,
                context=work,
            )
        )
    return jobs


def _average(job: Job) -> dict[str, int]:
    work: _Work = job.context
    first = work.scenes[0]
    profile: dict[str, Any] = {"count": first.bands, "dtype": "uint8", "nodata": NODATA}
    with gdal_env(), ExitStack() as stack:
        sources = [stack.enter_context(open_raster(scene.path)) for scene in work.scenes]
        if work.drop_blank and (blank := _blank(sources, work.tags)):
            work = work.without(blank)
            sources = [source for i, source in enumerate(sources) if i not in blank]
        out: DatasetWriter = stack.enter_context(create_cog(job.outputs[0], first.grid, **profile))
        write_tags(out, work.tags)
        out.descriptions = first.descriptions
        _average_blocks(sources, work.weights, out)
    if work.is_image:
        prob, classes, confidence = job.outputs
        write_class_map(prob, classes, confidence, work.tags)
    return {"predictions": len(work.scenes)}


def _blank(sources: Sequence[DatasetReader], tags: PredictionTags) -> list[int]:
    """The number of the one member that is blank in a scene where all others are not, or nothing.

    Confident is a pixel that is of the mapped class: at the threshold, or by the largest of more.
    """
    classes = tags.class_set
    confident = [False] * len(sources)
    for window in aligned(sources[0].width, sources[0].height, (BLOCK, BLOCK)):
        for i in (i for i, one in enumerate(confident) if not one):
            levels = read_window(sources[i], window)
            if largest_mapped(levels, classes) >= SCALE * classes.least(tags.threshold) - 1e-9:
                label = classes.decide(levels, tags.threshold)
                confident[i] = bool((label == classes.mapped_index).any())
    blank = [i for i, one in enumerate(confident) if not one]
    return blank if len(blank) == 1 and len(sources) > 1 else []


def _average_blocks(
    sources: Sequence[DatasetReader], weights: Sequence[int], out: DatasetWriter
) -> None:
    for window in aligned(out.width, out.height, (BLOCK, BLOCK)):
        mean = weighted_mean([read_window(source, window) for source in sources], weights)
        out.write(mean, window=window.rasterio)


def _record(
    output_path: Path,
    members: Sequence[Member],
    weights: Sequence[int],
    threshold: float | None,
    fitted: Sequence[str],
    chosen: Sequence[str],
    left_out: Mapping[str, tuple[str, ...]],
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
        threshold_tuned_on=tuple(chosen) or None,
        left_out=left_out or None,
        tuned_on=tuple(sorted({c for m in members for c in m.tuned_on} | {*fitted, *chosen})),
    ).write(output_path)
