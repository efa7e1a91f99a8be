"""The demo: the whole chain on simulated towns, one city of which training never sees.

simulate → prepare → train → infer → merge, aggregate, polygonise → validate → report, beside a
per-pixel random forest trained on the same cities, and the model that comes with the project, which
has seen neither. Writes under its output folder and into the project's MLflow database only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builtup.demo.steps import Clock, overrides_of, run_logged, use_own_database
from builtup.errors import BuiltupError
from builtup.jobs.files import write_text_atomically
from builtup.maps.cities import all_agg_by_city
from builtup.maps.forest import fit_on_scenes, map_scenes
from builtup.maps.polygonize import polygonize
from builtup.maps.submission import to_submission
from builtup.maps.validate import validate
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.report.write import Extras
from builtup.report.write import report as write_report
from builtup.runs.model_file import SHIPPED
from builtup.runs.results import resolve_results
from builtup.sensors.scene_files import find_rasters
from builtup.simulate.dataset import simulate
from builtup.tiles.prepare import prepare

__all__ = ["demo_radar"]

#: Training cities (one of them chooses the threshold and the best weights), and the unseen one.
CITIES, TEST_CITIES = 5, 1
DATES, SIZE = 2, 1024
#: What the demo must reach on the unseen city with its own settings.
LEAST_F1 = 0.80


@dataclass(frozen=True)
class Outcome:
    """What a demo leaves: scores of `validate` for each of the three, and the paths."""

    network: Mapping[str, float]
    shipped: Mapping[str, float]
    forest: Mapping[str, float]
    report: Path
    results: Path
    training: str

    def lines(self) -> list[str]:
        """What to print at the end."""
        return [
            "",
            f"unseen city, building F1: network trained here {self.network['f1']:.3f}, "
            f"model that comes along {self.shipped['f1']:.3f}, "
            f"random forest {self.forest['f1']:.3f}",
            f"report:   {self.report}",
            f"model:    training run {self.training}, in the registry as demo; map scenes with it:",
            f"          builtup predict --model {self.training} --input_path <scenes>",
            "          or with the one that comes along: builtup predict --input_path <scenes>",
            f"polygons: {self.results / 'raw'}",
            f"runs:     mlflow server --backend-store-uri {os.environ['MLFLOW_TRACKING_URI']} "
            "--host 127.0.0.1 --port 6026",
        ]

    def check(self) -> None:
        """Raise BuiltupError where the network is not worth its training."""
        if self.network["f1"] < LEAST_F1:
            raise BuiltupError(
                f"demo: building F1 {self.network['f1']:.3f} is below {LEAST_F1}; "
                "give it more training (--max_minutes) or report it"
            )
        if self.network["f1"] <= self.forest["f1"]:
            raise BuiltupError(
                "demo: the network does not beat the random forest; "
                "give it more training (--max_minutes) or report it"
            )


def demo_radar(output_path: Path, seed: int = 0, max_minutes: float = 3.0) -> Outcome:
    """Run the chain on simulated towns under `output_path`, training for `max_minutes`."""
    os.environ.pop("MLFLOW_RUN_ID", None)  # training and inference are runs of their own
    use_own_database()
    clock = Clock()
    data = output_path / "data"
    with clock.step("simulate"):
        simulate(
            output_path=data,
            cities=CITIES,
            test_cities=TEST_CITIES,
            dates=DATES,
            size=SIZE,
            seed=seed,
        )
    with clock.step("prepare"):
        prepare(input_path=data, output_path=output_path, tiles_path=output_path)
    with clock.step("train"):
        training = run_logged(
            "training",
            "configs/train/demo.py",
            overrides_of(seed=seed, max_minutes=max_minutes, data_path=output_path / "train_tiles"),
        )
    shipped_folder = output_path / SHIPPED
    with clock.step("model that comes along"):  # first: the newest inference is the demo's own
        _shipped(shipped_folder, data / "test")
    with clock.step("infer"):
        inference = run_logged(
            "inference",
            "configs/inference/demo.py",
            overrides_of(run_id=training, data_path=output_path / "test_tiles" / "images"),
        )
    with clock.step("merge, aggregate, polygonise"):
        to_submission(run_id=inference)
    with clock.step("validate"):
        validate(gt_path=data / "test", run_id=inference)
    forest_folder = output_path / "forest"
    with clock.step("random forest"):
        _forest(output_path, forest_folder, data / "test", seed)
    results = resolve_results(run_id=inference).folder
    network, shipped = _scores(results), _scores(shipped_folder)
    forest = _scores(forest_folder)
    with clock.step("report"):
        page = write_report(
            run_id=inference,
            gt_path=str(data / "test"),
            extras=_extras(clock, shipped_folder, forest_folder),
        )
        report = output_path / page.name
        # its links lead to the files of the run from here too
        place = results.resolve().as_uri()
        text = page.read_text(encoding="utf-8").replace('href="raw/', f'href="{place}/raw/')
        write_text_atomically(report, text)
    return Outcome(network, shipped, forest, report, results, training)


def _shipped(folder: Path, cities: Path) -> None:
    """Map the test cities with the model that comes with the project, score the maps."""
    shutil.rmtree(folder, ignore_errors=True)  # ours alone; it may hold towns of another seed
    predict(Recipe(SHIPPED), PredictOptions(str(cities), str(folder)))
    validate(preds_path=str(folder), gt_path=cities)


def _forest(output_path: Path, folder: Path, truth: Path, seed: int) -> None:
    """Train the forest on the training cities, map the test cities, score the maps."""
    shutil.rmtree(folder, ignore_errors=True)  # ours alone, and made anew from other pixels
    train = output_path / "train"
    images, masks = find_rasters(train / "images_3b", "3b"), find_rasters(train / "masks", "mask")
    forest = fit_on_scenes(images, masks, seed=seed)
    map_scenes(forest, find_rasters(output_path / "test" / "images_3b", "3b"), folder)
    all_agg_by_city(input_path=str(folder))
    polygonize(input_path=str(folder))
    validate(preds_path=str(folder), gt_path=truth)


def _scores(results: Path) -> Mapping[str, float]:
    """The pooled scores that `validate` wrote."""
    scores = json.loads((results / "validation.json").read_text(encoding="utf-8"))["scores"]
    return {
        key: float("nan") if value is None else value for key, value in scores["pooled"].items()
    }


def _extras(clock: Clock, shipped: Path, forest: Path) -> Extras:
    """What only the demo's report says."""
    return Extras(
        summary=f"{CITIES} simulated training cities and {TEST_CITIES} unseen, {DATES} dates "
        f"each, {SIZE} × {SIZE} pixels of 10 m. The map shows the unseen city. One of the training "
        "cities chose the network's weights and threshold; the random forest's threshold is 0.5. "
        "The model that comes with the project has learnt from other simulated towns.",
        seconds=clock.seconds,
        others={"model that comes along": shipped, "random forest": forest},
    )
