"""The command line: a command an entry point of MLproject; `--help` needs no import of theirs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builtup import __version__, logs, option_lists, options
from builtup.jobs.on_cluster import data_step, on_cluster
from builtup.options import PATH, io, results

if TYPE_CHECKING:
    from builtup.jobs.steps import Summary

__all__ = ["cli", "main"]
TRAINING, INFERENCE = "code/scripts/training.py", "code/scripts/inference.py"


def main() -> None:
    """Run a command; bad input ends in one line and exit status 1."""
    works = not {"-h", "--help"} & set(sys.argv)  # help needs neither memory nor log lines
    if works:
        from builtup.jobs import allocator

        allocator.keep_freed_memory()
        allocator.collect_garbage_rarely()
    with logs.ending():
        if works:
            logs.begin()
        cli(standalone_mode=False)


@click.group(cls=options.Group)
@click.version_option(__version__, prog_name="builtup")
def cli() -> None:
    """Maps of buildings and settlements from radar and from the air."""


def _report(*summaries: Summary) -> None:
    """Print the summary lines; log them to MLflow inside an `mlflow run`."""
    from builtup.runs import tracking

    for summary in summaries:
        logs.say(summary.line())
    tracking.log_steps(summaries)


@cli.command()
def setup() -> None:
    """Create output/mlflow.db and the experiments Trainings and Inferences."""
    from builtup.runs import tracking

    for line in tracking.setup(Path.cwd()):
        logs.say(line)


@cli.command()
@click.option("--input_path", type=PATH, default="input", help="folder of splits, or one split")
def inspect(input_path: Path) -> None:
    """Show what a folder of scenes holds and what would be refused."""
    from builtup.tiles.inspect_scenes import inspect as run

    logs.say(run(input_path))


@cli.command()
@option_lists.simulating
def simulate(**options: Any) -> None:
    """Write a data set of simulated towns: Sentinel-1 scenes, or orthomosaics."""
    from builtup.simulate.dataset import simulate as run

    _report(run(**options))


@cli.command()
@io("input", "output", "the splits train and test", "scenes and masks")
@click.option("--tiles_path", type=PATH, default="input", help="folder for tiles and statistics")
@data_step
def prepare(**options: Any) -> None:
    """Run the five data steps for train and test."""
    from builtup.runs import tracking
    from builtup.tiles.prepare import prepare as run

    tracking.log_steps(run(tell=lambda summary: logs.say(summary.line()), **options))


@cli.command("import_scenes")
@io("input/scenes", "output/scenes", "a data set of pictures", "scenes, masks and heights")
@option_lists.importing
@data_step
def import_scenes(**options: Any) -> None:
    """Bring pictures, their labels and elevations into the form of all later steps."""
    from builtup.sensors.optical.import_scenes import import_scenes as run

    _report(run(**options))


@cli.command("generate_3b_images")
@io("input/train", "output/train/images_3b", made="scenes of three bands")
@data_step
def generate_3b_images(**options: Any) -> None:
    """Merge the VV and VH files of each scene into one file of three bands."""
    from builtup.sensors.radar.merge import generate_3b_images as run

    _report(run(**options))


@cli.command()
@io("input/train", "output/train/masks", made="masks")
@option_lists.burning
@data_step
def rasterize(**options: Any) -> None:
    """Rasterise each city's polygons onto the grids of its scenes."""
    from builtup.tiles.masks import rasterize as run

    _report(run(**options))


@cli.command("generate_tiles")
@io("output/train/images_3b", "input/train_tiles/images", "scenes or masks", "tiles")
@options.tiling(512, 32)
@data_step
def generate_tiles(**options: Any) -> None:
    """Cut scenes or masks into training tiles."""
    from builtup.tiles.cut import generate_tiles as run

    _report(run(step_name="generate_tiles", **options))


@cli.command("generate_test_tiles")
@io("output/test/images_3b", "input/test_tiles/images", "scenes", "tiles")
@options.tiling(1024, 256)
@data_step
def generate_test_tiles(**options: Any) -> None:
    """Cut scenes into overlapping tiles for inference."""
    from builtup.tiles.cut import generate_tiles as run

    _report(run(step_name="generate_test_tiles", **options))


@cli.command("generate_tiles_stats")
@io("input/train_tiles", "input/train_tiles", "tiles, images/ and masks/", "statistics and folds")
@option_lists.holding_out
@data_step
def generate_tiles_stats(**options: Any) -> None:
    """Measure the training tiles and assign their folds."""
    from builtup.tiles.stats import generate_tiles_stats as run

    _report(run(**options))


@cli.command()
@io("input/train_tiles", "input/weak_tiles", "tiles, images/ and masks/", "tiles with less labels")
@option_lists.weakening
@data_step
def weaken(**options: Any) -> None:
    """Keep the pixel labels of a few scenes, and of many tags of cells only."""
    from builtup.tiles.weaken import weaken as run

    _report(run(**options))


def _check_overrides(config_path: Path, overrides: str, **_: Any) -> None:
    """Refuse names that no config has at once: what follows takes seconds to import."""
    from builtup.config.load import check_overrides

    check_overrides(config_path, overrides)


def _begin_study(**options: Any) -> None:
    """Let imports of trainings begin beside our own, where the overrides are none to refuse."""
    _check_overrides(**options)
    from builtup.studies import training_process

    training_process.warm_up()


def _launch(script_path: Path, **options: Any) -> None:
    _check_overrides(**options)
    from builtup.config.launch import run_script

    run_script(script_path, **options)


@cli.command("main")
@click.option("--script_path", type=PATH, default=TRAINING, help="a file with run(config)")
@options.launching
def main_command(**options: Any) -> None:
    """Run a script (training, inference) with a config."""
    _launch(**options)


@cli.command()
@options.launching
def train(**options: Any) -> None:
    """Train a network: `main` with the script of trainings."""
    _launch(Path(TRAINING), **options)


@cli.command()
@options.launching
def infer(**options: Any) -> None:
    """Predict with a trained network: `main` with the script of inferences."""
    _launch(Path(INFERENCE), **options)


@cli.command("merge_tiles")
@results
@data_step
def merge_tiles(**options: Any) -> None:
    """Blend predicted tiles into one probability raster a scene."""
    from builtup.maps.mosaic import merge_tiles as run

    _report(run(**options))


@cli.command("all_agg_by_city")
@results
@options.averaging
@data_step
def all_agg_by_city(**options: Any) -> None:
    """Average the dates of each city and threshold the mean."""
    from builtup.maps.cities import all_agg_by_city as run

    _report(run(**options))


@cli.command()
@results
@options.polygon_options
@data_step
def polygonize(**options: Any) -> None:
    """Turn city masks into polygons."""
    from builtup.maps.polygonize import polygonize as run

    _report(run(**options))


@cli.command("to_submission")
@results
@option_lists.handing_in
@options.averaging
@options.polygon_options
@data_step
def to_submission(**options: Any) -> None:
    """Merge tiles, aggregate by city and polygonise; or the classes of each scene in a tar."""
    from builtup.maps.submission import to_submission as run

    _report(*run(**options))


@cli.command()
@option_lists.validating
def validate(**options: Any) -> None:
    """Score maps against ground truth: polygons, and the report page; or masks."""
    from builtup.maps.validate import validate as run
    from builtup.report.write import report as write

    logs.say(run(**options))
    if options["gt_layer"]:
        return
    where = {"input_path": options["preds_path"], "run_id": options["run_id"]}
    logs.say(f"report: {write(**where, gt_path=str(options['gt_path']))}")


@cli.command()
@results
@option_lists.reporting
def report(**options: Any) -> None:
    """Write one HTML page on a set of predictions: maps, errors, scores."""
    from builtup.report.write import report as run

    logs.say(f"report: {run(**options)}")


@cli.command("cascade_fit")
@results
@option_lists.fitting
def cascade_fit(**options: Any) -> None:
    """Fit how much each scale of a prediction says of each class, for fold=logits."""
    from builtup.prediction.cascade_fit import cascade_fit as run

    logs.say(run(**options))


@cli.command("pseudo_labels")
@results
@option_lists.pseudo_labelling
@data_step
def pseudo_labels(**options: Any) -> None:
    """Label scenes by the maps of a network, for another one to learn from."""
    from builtup.maps.pseudo_labels import pseudo_labels as run

    _report(run(**options))


@cli.command("self_train")
@option_lists.self_training
def self_train(**options: Any) -> None:
    """Let a network learn from its own maps of scenes that nobody labelled."""
    from builtup.studies.self_train import self_train as run

    logs.say("\n".join(run(tell=_report, **options)))


@cli.command("cross_validate")
@option_lists.leaving_out
def cross_validate(**options: Any) -> None:
    """Leave every city (or block of ground) out in turn, and say how sure the mean is."""
    _begin_study(**options)
    from builtup.studies.cross_validate import cross_validate as run

    logs.say(run(**options))


@cli.command()
@option_lists.searching
def search(**options: Any) -> None:
    """Try settings that a config names, end trials that promise little, and say which are best."""
    _begin_study(**options)
    from builtup.report.search_page import search_page
    from builtup.runs import tracking
    from builtup.studies.search import search as run

    logs.say(run(**options))
    logs.say(f"report: {search_page(tracking.last_run_id())}")


@cli.command()
@option_lists.auditing
def audit(**options: Any) -> None:
    """Rank held-out ground by where network and labels differ, worst first."""
    from builtup.report.audit import audit as run

    logs.say(run(**options))


@cli.command()
@option_lists.comparing
def compare(**options: Any) -> None:
    """Put cross-validations side by side, and say which can be told apart."""
    from builtup.studies.compare import compare as run

    logs.say(run(**options))


@cli.command()
@option_lists.ensembling
@data_step
def ensemble(**options: Any) -> None:
    """Average the probabilities of several runs: folds, models, dates."""
    from builtup.maps.ensemble import ensemble as run

    _report(run(**options))


@cli.command()
@option_lists.tracing
def trace(**options: Any) -> None:
    """Show what a map was made from: inference, training, weights, tiles, scenes with sha256."""
    from builtup.report.lineage import trace as run

    logs.say(run(**options))


@cli.command()
@option_lists.demonstrating
def demo(**options: Any) -> None:
    """Run the whole chain on simulated towns and write a report."""
    from builtup.demo import demo as run

    outcome = run(**options)
    logs.say("\n".join(outcome.lines()))
    outcome.check()


@cli.command()
@option_lists.predicting
@options.work
@on_cluster("output_path")  # reads scenes from URLs itself, window by window
def predict(**options: Any) -> None:
    """Map new scenes with a trained model: probabilities, masks, polygons."""
    from dataclasses import fields

    from builtup.maps.products import map_lines
    from builtup.prediction.predict import PredictOptions
    from builtup.prediction.predict import predict as run
    from builtup.prediction.recipe import Recipe

    parts = {of.name: options.pop(of.name) for of in fields(Recipe) if of.name in options}
    _report(*run(Recipe(**parts), PredictOptions(**options)))
    logs.say("\n".join(map_lines(Path(options["output_path"]))))
