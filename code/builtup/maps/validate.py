"""Scoring the maps of cities against polygons of ground truth, or against masks (validate_layer).

Which pixels count is decided in `builtup.scoring.scored_area`. Polygon F1 compares the exact
outlines of the map's regions with the polygons as they were given, touching ones not joined; both
are cut at the border of the pixels that count.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.errors import ConfigError
from builtup.geo.rasters import read_window
from builtup.geo.regions import trace
from builtup.geo.vectors import PolygonSet
from builtup.geo.windows import Window
from builtup.jobs.files import write_text_atomically
from builtup.maps.validate_layer import SCENE_SCORES, LayerOptions, score_layer
from builtup.runs.lineage import tuned_ground
from builtup.runs.records import MARK, TRANSDUCTIVE
from builtup.runs.results import CityRasters, Results, city_rasters, resolve_results
from builtup.scoring.calibration import brier
from builtup.scoring.counts import (
    PixelCounts,
    PolygonCounts,
    f1,
    iou,
    match_polygons,
    precision,
    recall,
)
from builtup.scoring.curves import average_precision
from builtup.scoring.scored_area import ScoredCity, find_truths, open_scored_city, read_scored_area
from builtup.scoring.tables import as_json, three_decimals
from builtup.sensors.scene_files import require_folder
from builtup.text_table import text_table

__all__ = ["MACRO", "POOLED", "CityScore", "validate"]

log = logging.getLogger(__name__)

_COLUMNS = (
    "f1",
    "iou",
    "precision",
    "recall",
    "average_precision",
    "brier",
    "polygon_f1",
)
#: Rows of all cities: their pixels together, and the mean of their scores.
POOLED, MACRO = "pooled", "macro mean over cities"


@dataclass(frozen=True)
class CityScore:
    """What was counted for one city (or for several, pooled)."""

    name: str
    pixels: PixelCounts
    polygons: PolygonCounts
    threshold: float = math.nan
    adapted: bool = False  # the network was, to this very ground

    def scores(self) -> dict[str, float]:
        """The scores by their names; NaN where undefined."""
        cells, histogram = self.pixels.cells, self.pixels.histogram
        return {
            "f1": float(f1(cells)),
            "iou": float(iou(cells)),
            "precision": float(precision(cells)),
            "recall": float(recall(cells)),
            "average_precision": average_precision(histogram),
            "brier": brier(histogram),
            "polygon_f1": self.polygons.f1,
        }


def validate(
    *,
    preds_path: str = "",
    gt_path: Path,
    run_id: str = "",
    gt_layer: str = "",
    per_scene: bool = False,
    block: str = "",
    erode: int = 0,
) -> str:
    """Score the maps of a set of predictions; return a table to print.

    `gt_path` is a split: `<City>_<year>/<TILE>_<City>.shp` and `…_labelled_area.shp`. Writes
    validation.csv and validation.json into the predictions' folder and logs the scores to the run.
    Cities without ground truth are listed; InputError where none has any. With `gt_layer`, a folder
    of masks below `gt_path`, maps of any number of classes are scored by these instead, as
    `LayerOptions` says; this is in scene_scores.json. ConfigError where the options of layers are
    given without one.
    """
    results = resolve_results(preds_path, run_id)
    if gt_layer:
        options = LayerOptions(gt_layer, per_scene, block, erode)
        return _validate_layer(results, gt_path, options)
    if per_scene or block or erode:
        raise ConfigError("per_scene, block and erode score masks; say which by gt_layer")
    truths, unknown = find_truths(city_rasters(results), require_folder(gt_path))
    scored_area = read_scored_area(results)
    scores = [_score_city(rasters, truth, scored_area) for rasters, truth in truths]
    rows = _rows(scores)
    tuned = tuned_ground(results.folder, results.run_id)
    marks = {score.name: TRANSDUCTIVE for score in scores if score.adapted}
    marks |= {score.name: mark for score in scores if (mark := tuned.mark(score.name))}
    notes = _notes(scores, unknown, scored_area, marks)
    _write(results, gt_path, scores, rows, notes, marks)
    _log_metrics(results, rows, marks)
    return "\n".join([_table(scores, rows, marks), *notes])


def _validate_layer(results: Results, gt_path: Path, options: LayerOptions) -> str:
    scores = score_layer(results, gt_path, options)
    tuned = tuned_ground(results.folder, results.run_id)
    marks = {name: m for name, site in scores.sites.items() if (m := tuned.mark(site))}
    metrics = {f"validation/{name}": value for name, value in scores.metrics().items()}
    _log(results, metrics, marks, (SCENE_SCORES,))
    return "\n".join([*scores.lines(), *_seen_notes(marks)])


def _marked(marks: Mapping[str, str], mark: str) -> list[str]:
    return [name for name, own in marks.items() if own == mark]


# --- counts --------------------------------------------------------------------------------------


def _score_city(rasters: CityRasters, truth: Path, scored_area: PolygonSet | None) -> CityScore:
    with open_scored_city(rasters, truth, scored_area) as city:
        return CityScore(
            rasters.city,
            _count_pixels(city),
            _count_polygons(city),
            city.tags.threshold,
            bool(city.tags.adapted),
        )


def _count_pixels(city: ScoredCity) -> PixelCounts:
    counts = PixelCounts.zero()
    for window in city.windows():
        mask = read_window(city.mask, window, 1)
        counted = city.counted(window, mask)
        if not counted.any():
            continue
        truth = city.truth.burn(window)[counted] == 1
        level = city.levels(window, counted)
        counts += PixelCounts.of(truth, city.mapped(mask)[counted], level)
    return counts


def _count_polygons(city: ScoredCity) -> PolygonCounts:
    truth = city.polygons.geometries
    mapped = _outlines(city, lambda mask, counted: counted & city.mapped(mask))
    ground = shapely.multipolygons(_outlines(city, lambda mask, counted: counted))
    shapely.prepare(ground)
    truth = truth[shapely.intersects(ground, truth)]
    beyond = ~shapely.covers(ground, truth)
    truth[beyond] = shapely.intersection(truth[beyond], ground)
    return match_polygons(mapped, truth[shapely.area(truth) > 0])


def _outlines(
    city: ScoredCity, chosen: Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.bool_]]
) -> NDArray[np.object_]:
    """Outlines of the regions of pixels chosen from the mask's values and from what counts."""

    def read(window: Window) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        mask = read_window(city.mask, window, 1)
        return chosen(mask, city.counted(window, mask)), mask

    regions = [r.outlines for r in trace(city.grid.width, city.grid.height, read)]
    outlines = np.concatenate([np.zeros(0, object), *regions])
    return np.asarray(shapely.transform(outlines, city.grid.to_ground))


# --- text, files and metrics ---------------------------------------------------------------------


def _rows(scores: list[CityScore]) -> dict[str, dict[str, float]]:
    """Scores by row: each city, all pixels pooled, and the mean of the cities' scores."""
    rows = {score.name: score.scores() for score in scores}
    pooled = CityScore(POOLED, PixelCounts.zero(), PolygonCounts(0, 0, 0))
    for score in scores:
        pooled = CityScore(POOLED, pooled.pixels + score.pixels, pooled.polygons + score.polygons)
    macro = {}
    for key in _COLUMNS:
        defined = [row[key] for row in rows.values() if math.isfinite(row[key])]
        macro[key] = sum(defined) / len(defined) if defined else math.nan
    return {**rows, POOLED: pooled.scores(), MACRO: macro}


def _notes(
    scores: list[CityScore],
    unknown: list[str],
    scored_area: PolygonSet | None,
    marks: Mapping[str, str],
) -> list[str]:
    notes = _seen_notes(marks)
    missing = [s.name for s in scores if s.pixels.pixels and not s.pixels.matrix[1].any()]
    if missing:
        notes.append(
            f"no building in the ground truth, F1 and IoU undefined and left out of the macro "
            f"mean: {', '.join(missing)}"
        )
    if scored_area is not None:
        notes.append(f"scored inside {scored_area.path} only")
    empty = [score.name for score in scores if score.pixels.pixels == 0]
    if empty:
        notes.append(f"no valid labelled pixel to score: {', '.join(empty)}")
    if unknown:
        notes.append(f"no ground truth: {', '.join(unknown)}")
    return notes


def _seen_notes(marks: Mapping[str, str]) -> list[str]:
    """What is to be known of scores of ground that the network has seen."""
    notes = []
    if seen := _marked(marks, TRANSDUCTIVE):
        notes.append(
            f"{TRANSDUCTIVE}: the network has learnt from or was adapted to the scenes of "
            f"{', '.join(seen)}, without their labels; these scores say how these scenes are "
            "mapped, not others"
        )
    if marked := _marked(marks, MARK):
        notes.append(
            f"{MARK}: pixels of {', '.join(marked)} were learnt from, or chose the weights, the "
            "threshold or the temperature; these scores, and means with them, are no test"
        )
    return notes


def _table(
    scores: list[CityScore], rows: dict[str, dict[str, float]], marks: Mapping[str, str]
) -> str:
    head = ["", *(key.replace("_", " ") for key in _COLUMNS), "pixels", "polygons"]
    sizes = {
        s.name: [f"{s.pixels.pixels:,}", f"{s.polygons.predicted:,} / {s.polygons.truth:,}"]
        for s in scores
    }
    lines = [head]
    for name, row in rows.items():
        first = f"{name} ({marks[name]})" if name in marks else name
        if marks and name in (POOLED, MACRO):
            first = f"{name} (some {' or '.join(sorted(set(marks.values())))})"
        lines.append(
            [first, *(three_decimals(row[key]) for key in _COLUMNS), *sizes.get(name, ["", ""])]
        )
    return text_table(lines)


def _write(
    results: Results,
    gt_path: Path,
    scores: list[CityScore],
    rows: dict[str, dict[str, float]],
    notes: list[str],
    marks: Mapping[str, str],
) -> None:
    lines = [",".join(["name", *_COLUMNS, "tuned_on", "transductive"])]
    for name, row in rows.items():
        own = set(marks.values()) if name in (POOLED, MACRO) else {marks.get(name, "")}
        told = [str(int(mark in own)) for mark in (MARK, TRANSDUCTIVE)]
        lines.append(",".join([name, *(_number(row[key]) for key in _COLUMNS), *told]))
    write_text_atomically(results.folder / "validation.csv", "\n".join(lines) + "\n")
    values = {
        "scores": as_json(rows),
        "cities": {
            score.name: {
                "threshold": score.threshold,
                "tuned_on": marks.get(score.name) == MARK,
                **({TRANSDUCTIVE: True} if marks.get(score.name) == TRANSDUCTIVE else {}),
                "confusion_matrix": score.pixels.matrix.tolist(),
                "polygons_predicted": score.polygons.predicted,
                "polygons_truth": score.polygons.truth,
                "polygons_matched": score.polygons.matched,
            }
            for score in scores
        },
        "notes": notes,
        "gt_path": str(gt_path),
    }
    write_text_atomically(results.folder / "validation.json", json.dumps(values, indent=1) + "\n")


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


def _log_metrics(
    results: Results, rows: dict[str, dict[str, float]], marks: Mapping[str, str]
) -> None:
    """A city that was seen has its mark in the names; pooled figures have it in a tag."""
    metrics: dict[str, float] = {}
    for name, row in rows.items():
        city = f"{name} {marks[name]}" if name in marks else name
        place = {POOLED: "", MACRO: "macro_"}.get(name, f"{city}/")
        metrics |= {f"validation/{place}{key}": value for key, value in row.items()}
    _log(results, metrics, marks, ("validation.csv", "validation.json"))


def _log(
    results: Results,
    metrics: Mapping[str, float],
    marks: Mapping[str, str],
    files: Sequence[str],
) -> None:
    """Log to the run of the predictions and to the one that `mlflow run` opened for this step."""
    if not (results.run_id or os.environ.get("MLFLOW_RUN_ID")):
        return
    from builtup.runs import tracking

    opened = tracking.opened_run()
    runs = {run for run in (results.run_id, opened and str(opened.info.run_id)) if run}
    own = tracking.client()
    for run_id in sorted(runs):
        tracking.find_run(run_id)
        for name, value in metrics.items():
            if math.isfinite(value):
                own.log_metric(run_id, tracking.metric_name(name), value)
        for tag, mark in (("tuned_on", MARK), ("transductive", TRANSDUCTIVE)):
            if seen := _marked(marks, mark):
                own.set_tag(run_id, f"validation/{tag}", ", ".join(seen))
        if results.remote and run_id == results.run_id:
            for file in files:
                own.log_artifact(run_id, str(results.folder / file))
