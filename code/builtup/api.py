"""What a notebook or a script needs: `from builtup import predict, …` (docs/api.md).

Each does what the command of its name does, with the same defaults, and returns paths and figures
instead of printing them. Imports stand in the functions: a notebook pays for what it uses.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from builtup.jobs import executors
from builtup.options import PolygonOptions

if TYPE_CHECKING:
    from builtup.jobs.steps import Summary
    from builtup.prediction.predict import PredictOptions
    from builtup.prediction.recipe import Recipe
    from builtup.runs.results import Results

__all__ = [
    "CityMap",
    "Maps",
    "Run",
    "Scores",
    "infer",
    "inspect",
    "polygonize",
    "predict",
    "prepare",
    "to_submission",
    "train",
    "validate",
    "write_report",
]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Run:
    """A training or an inference: its id in MLflow, and the folder of its artifacts."""

    run_id: str
    folder: Path


@dataclass(frozen=True)
class CityMap:
    """The files of one city: classes (0/1/255), 8-bit probabilities (v/254), polygons for work."""

    city: str
    classes: Path
    probability: Path
    polygons: Path


@dataclass(frozen=True)
class Maps:
    """The maps of a set of predictions, and what the steps did that made them."""

    folder: Path
    cities: tuple[CityMap, ...]
    summaries: tuple[Summary, ...]


@dataclass(frozen=True)
class Scores:
    """Scores of maps: `table` to print, `figures[city]["f1"]` to reckon with.

    `figures` has a row for each city, "pooled" and "macro"; of maps that were scored by masks for
    each scene, "over_scenes" (mean and deviation), "pooled", and "class/<name>", and the same below
    "eroded/" where that was asked for. What is undefined is None. They stand in `path`.
    """

    table: str
    figures: Mapping[str, Mapping[str, float | None]]
    path: Path


def _guarded(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a call that the worker processes would repeat, before anything is done."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        executors.require_guard()
        return function(*args, **kwargs)

    return call


def inspect(input_path: Path | str = "input") -> str:
    """A table of what a folder of scenes holds and what would be refused."""
    from builtup.tiles.inspect_scenes import inspect as run

    return run(Path(input_path))


@_guarded
def prepare(
    input_path: Path | str = "input",
    output_path: Path | str = "output",
    tiles_path: Path | str = "input",
    *,
    num_workers: int = 2,
    on_error: str = "stop",
) -> list[Summary]:
    """Run the data steps for the splits train and test; a summary of each step.

    Tiles, statistics and folds are then in `<tiles_path>/train_tiles` and `…/test_tiles`.
    """
    from builtup.tiles.prepare import prepare as run

    return run(
        input_path=Path(input_path),
        output_path=Path(output_path),
        tiles_path=Path(tiles_path),
        num_workers=num_workers,
        on_error=on_error,
    )


def train(config_path: Path | str, overrides: str = "") -> Run:
    """Train what a config describes, in this process: a file, or one of builtup's own."""
    return _run_script("training", config_path, overrides)


def infer(config_path: Path | str, overrides: str = "") -> Run:
    """Predict tiles as an inference config says, in this process; `to_submission` maps them."""
    return _run_script("inference", config_path, overrides)


def _run_script(script: str, config_path: Path | str, overrides: str) -> Run:
    from builtup.config.launch import run_script
    from builtup.runs import tracking

    run_script(Path(f"code/scripts/{script}.py"), Path(config_path), overrides=overrides)
    run_id = tracking.last_run_id()
    return Run(run_id, tracking.run_artifacts(run_id))


@_guarded
def predict(recipe: Recipe, options: PredictOptions) -> Maps:
    """Map new scenes with a trained model: `predict(Recipe(model=…), PredictOptions(scenes))`."""
    from builtup.prediction.predict import predict as run
    from builtup.runs.results import Results

    summaries = run(recipe, options)
    return _maps(Results(Path(options.output_path)), summaries)


@_guarded
def to_submission(
    input_path: Path | str = "",
    *,
    run_id: str = "",
    threshold: str = "",
    years: str = "apart",
    polygons: PolygonOptions = PolygonOptions(),
    num_workers: int = 2,
    on_error: str = "stop",
) -> Maps:
    """Turn predicted tiles into maps and polygons; the newest inference's by default."""
    from builtup.maps.submission import to_submission as run

    results = _results(input_path, run_id)
    summaries = run(
        input_path=str(results.folder),
        threshold=threshold,
        years=years,
        polygons=polygons,
        num_workers=num_workers,
        on_error=on_error,
    )
    return _maps(results, summaries)


@_guarded
def polygonize(
    input_path: Path | str = "",
    *,
    run_id: str = "",
    polygons: PolygonOptions = PolygonOptions(),
    num_workers: int = 2,
    on_error: str = "stop",
) -> Maps:
    """Draw the polygons of maps anew, with other options; the newest inference's by default."""
    from builtup.maps.polygonize import polygonize as run

    results = _results(input_path, run_id)
    summary = run(
        input_path=str(results.folder),
        polygons=polygons,
        num_workers=num_workers,
        on_error=on_error,
    )
    return _maps(results, [summary])


def validate(
    preds_path: Path | str = "",
    *,
    gt_path: Path | str = "input/train",
    run_id: str = "",
    gt_layer: str = "",
    per_scene: bool = False,
    block: str = "",
    erode: int = 0,
) -> Scores:
    """Score maps against the polygons of a split, or against the masks of its layer `gt_layer`;
    the newest inference's by default."""
    from builtup.maps.validate import validate as run
    from builtup.maps.validate_layer import SCENE_SCORES

    results = _results(preds_path, run_id)
    table = run(
        preds_path=str(results.folder),
        gt_path=Path(gt_path),
        run_id=results.run_id or "",
        gt_layer=gt_layer,
        per_scene=per_scene,
        block=block,
        erode=erode,
    )
    path = results.folder / (SCENE_SCORES if gt_layer else "validation.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    return Scores(table, _layer_figures(found) if gt_layer else found["scores"], path)


def _layer_figures(found: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    figures: dict[str, Mapping[str, float | None]] = {}
    for part, start in (("full", ""), ("eroded", "eroded/")):
        own = found.get(part)
        if own is None:
            continue
        rows = {**own["scenes"], "over_scenes": own["over_scenes"], "pooled": own["together"]}
        rows |= {f"class/{name}": row for name, row in own["classes"].items()}
        figures |= {f"{start}{name}": row for name, row in rows.items()}
    return figures


def write_report(
    input_path: Path | str = "",
    *,
    run_id: str = "",
    gt_path: Path | str = "",
    images_path: Path | str = "",
    labels_path: Path | str = "",
) -> Path:
    """Write one HTML page on maps, of the newest inference by default; its path."""
    from builtup.report.write import report as run

    return run(
        input_path=str(input_path),
        run_id=run_id,
        gt_path=str(gt_path),
        images_path=str(images_path),
        labels_path=str(labels_path),
    )


def _results(input_path: Path | str, run_id: str) -> Results:
    from builtup.runs.results import resolve_results

    return resolve_results(str(input_path), run_id)


def _maps(results: Results, summaries: list[Summary]) -> Maps:
    from builtup.runs.results import city_rasters

    cities = tuple(
        CityMap(of.city, of.mask, of.prob, of.mask.with_suffix(".gpkg"))
        for of in city_rasters(results)
    )
    return Maps(results.folder, cities, tuple(summaries))
