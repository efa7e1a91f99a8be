"""Options of single commands, in the order of their help: of folds, labels, scores, predictions."""

from __future__ import annotations

import click

from builtup.options import (
    COUNT,
    FROM_0,
    PATH,
    PROBABILITY,
    Numbers,
    OrNothing,
    listed,
    polygon_options,
    threshold,
    years,
)

__all__ = [
    "auditing",
    "burning",
    "comparing",
    "demonstrating",
    "ensembling",
    "fitting",
    "handing_in",
    "holding_out",
    "importing",
    "leaving_out",
    "predicting",
    "pseudo_labelling",
    "reporting",
    "searching",
    "self_training",
    "simulating",
    "tracing",
    "validating",
    "weakening",
]


_LAYOUTS = ["dronedeploy", "chips", "open_cities", "spacenet", "vaihingen", "potsdam", "loveda"]
_SOURCE = click.Choice(["scene", "city"])

simulating = listed(
    ("output_path", PATH, "output/simulated", "folder for the splits"),
    (
        *("sensor", click.Choice(["sentinel1", "aerial"]), "sentinel1"),
        "radar in the UNOSAT layout, or orthomosaics in DroneDeploy's",
    ),
    ("cities", FROM_0, 6, "cities of the training split"),
    ("test_cities", FROM_0, 3, "cities of the test split"),
    ("dates", COUNT, 2, "dates of each city; from the air: scenes, each above other ground"),
    ("size", click.IntRange(64), 1024, "pixels along a side"),
    ("pixel", str, "", "metres of a pixel from the air, 0.05 to 1; 0.25 by default (radar: 10)"),
    (
        *("georeference", click.Choice(["utm", "none"]), "utm"),
        "of orthomosaics: a CRS, or none as some have it",
    ),
    ("seed", int, 0, "any whole number: other towns"),
    ("footprints", str, "", "a file of building polygons; a plan by default"),
    (
        *("labels", click.Choice(["builtup", "footprints"]), "builtup"),
        "what the polygons show: built-up ground, or each building",
    ),
    (
        *("variety", click.Choice(["plain", "wide", "mixed"]), "plain"),
        "how far towns, land, seasons and sensors differ",
    ),
    (
        *("shift", click.Choice(["", "style", "climate", "season", "sensor"]), ""),
        "cities of another kind; none by default",
    ),
    ("num_workers", COUNT, 2, "processes on this machine"),
)

importing = listed(
    (
        *("layout", click.Choice(_LAYOUTS), "dronedeploy"),
        "how the data set lies in its folder: docs/imagery.md",
    ),
    ("classes", str, "", "a CSV file: name, colour, role; the layout's own by default"),
    ("pixel", str, "", "metres, where pictures do not say; the layout's by default"),
    ("split", str, "", "those to import, separated by ; (train;valid;test); all by default"),
    ("allow", str, "", "open_cities: folders that links may lead to besides; none by default"),
)

holding_out = listed(
    (
        *("folds", str, "auto"),
        "auto (cities, or blocks of one), city, blocks, a number of sets of cities, a CSV file of "
        "scene (or site) and fold",
    ),
    ("blocks", str, "2x2", "rows x columns of spatial blocks of a city"),
    ("gap", str, "32", 'around a held-out block, in pixels, or in metres as "100m"'),
)

burning = listed(("all_touched", bool, True, "burn every pixel that a polygon touches"))

fitting = listed(("gt_path", PATH, "output/train/masks", "folder of the scenes' masks"))

reporting = listed(
    ("gt_path", str, "", "the split with the polygons; validate's by default"),
    ("images_path", str, "", "scenes or tiles; the run's by default"),
    (
        "labels_path",
        str,
        "",
        "folders of weaken and pseudo_labels, with ; between them; none by default",
    ),
)

weakening = listed(
    ("tags", str, "presence", "presence or shares of classes, a list .csv, a coarse raster .tif"),
    ("full", click.FloatRange(0), 1.0, "a raster's value of a cell all built-up, as a probability"),
    ("cell", COUNT, 200, "side of a cell, pixels"),
    ("block", COUNT, 1, "cells that a tile shows along a side, whole number"),
    ("context", FROM_0, 28, "shown around a cell or block, pixels"),
    (
        "least_share",
        click.FloatRange(0, 1),
        0.0,
        "share of a cell that a class must exceed, 0 to 1",
    ),
    ("shares", str, "10;70;20", "of the scenes: pixel labels, tags, validation, percent"),
    ("seed", FROM_0, 0, "any whole number: other scenes"),
)

validating = listed(
    ("preds_path", str, "", "a folder of predictions; that of run_id by default"),
    ("gt_path", PATH, "input/train", "the split with the polygons"),
    ("run_id", str, "", "an inference run; the newest finished one by default"),
    ("gt_layer", str, "", "a folder of masks below gt_path to score by; polygons by default"),
    ("per_scene", bool, False, "masks: each scene's own probabilities, not its site's map"),
    ("block", str, "", "masks: blocks of intervals, 64 (pixels) or 50m; 100m by default"),
    ("erode", FROM_0, 0, "masks: score without pixels so near to another class as well"),
)

handing_in = listed(
    (
        *("format", click.Choice(["polygons", "chips"]), "polygons"),
        "what is handed in: polygons, or a class map of each scene, in a tar",
    ),
)

tracing = listed(
    ("input_path", str, "", "polygons, a raster, a folder; a run by default"),
    ("run_id", str, "", "a run, models:/<name>@champion, shipped; the newest inference by default"),
)

demonstrating = listed(
    (
        *("sensor", click.Choice(["sentinel1", "aerial"]), "sentinel1"),
        "radar, or orthomosaics with heights",
    ),
    ("output_path", PATH, "output/demo", "folder for all of it; from the air aerial/ below it"),
    ("seed", int, 0, "any whole number: other towns, another start"),
    ("max_minutes", float, 3.0, "most minutes of training"),
)

auditing = listed(
    ("run_id", str, ..., "a training run that holds ground out, or its folder"),
    ("weights", click.Choice(["best", "last", "soup"]), "best", "of that run"),
    ("chip", click.IntRange(min=16), 256, "side of a chip, pixels"),
    ("worst", click.IntRange(min=1, max=200), 20, "chips that are shown as pictures"),
    ("data_path", str, "", "tiles; those that the run logged by default"),
    ("output_path", str, "", "a folder; audit/ of the run's artifacts by default"),
)

comparing = listed(
    ("runs", str, ..., "parent runs, configs or folders, separated by ;"),
    ("level", click.FloatRange(0.5, 0.999), 0.95, "probability of the intervals"),
    ("output", str, "", "a folder; output/compare by default"),
)

leaving_out = listed(
    ("config_path", PATH, ..., "a config of configs/train"),
    ("folds", str, "", "names separated by ; and all by default"),
    ("seeds", str, "", 'separated by ; such as "0;1;2"; the config\'s by default'),
    ("overrides", str, "", 'settings to replace, "num_epochs=3"; none by default'),
    ("num_gpus", COUNT, 1, "processes a fold"),
    ("output", str, "", "a folder; output/cross_validation/<config> by default"),
)

searching = listed(
    ("config_path", PATH, ..., "a config of configs/search: a base, a metric, and space(trial)"),
    ("trials", OrNothing(COUNT), "", "of the whole study; the config's, or 20, by default"),
    ("minutes", OrNothing(click.FloatRange(0)), "", "no trial begins after; no limit by default"),
    ("folds", str, "", "held out in turn, separated by ; and the config's val_fold by default"),
    ("seed", FROM_0, 0, "any whole number: other proposals; trainings have the config's"),
    ("overrides", str, "", 'settings to replace, "num_epochs=3"; none by default'),
    ("num_gpus", COUNT, 1, "processes a trial"),
    ("output", str, "", "a folder for the study; output/search/<config> by default"),
)

ensembling = listed(
    ("input_paths", str, ..., "folders or run ids, separated by ;"),
    ("output_path", PATH, "output/ensemble", "folder for the means"),
    ("weights", str, "", '"0.2;0.8", or fit; all alike by default'),
    ("threshold", str, "mean", "a number, mean (of the runs'), fit, or that of all"),
    ("gt_path", str, "", "polygons or masks that fit learns from; none by default"),
    ("drop_blank", bool, False, "leave out of a scene the one run that finds nothing in it"),
)

#: Beside `results`.
pseudo_labelling = listed(
    ("tiles_path", PATH, "input/train_tiles", "folder of the tiles to label, with images/"),
    ("output_path", PATH, "output/pseudo", "folder for the tiles and their labels"),
    (
        "mode",
        click.Choice(["soft", "hard", "tags", "negatives"]),
        "soft",
        "probabilities, classes where sure, the same of those tagged, or scenes sure to be empty",
    ),
    ("source", _SOURCE, "scene", "each scene's own map, or that of its city, of all dates"),
    (
        "low",
        click.FloatRange(0, 1),
        0.2,
        "hard, negatives: background up to this probability",
    ),
    ("high", click.FloatRange(0, 1), 0.8, "mode=hard: least probability of a building, or class"),
    ("max_std", PROBABILITY, "", "most standard deviation of dates, 0 to 1; any by default"),
    (
        "presence",
        click.FloatRange(0, 1),
        0.2,
        "mode=negatives: probability that the presence head stays below",
    ),
    ("keep", click.FloatRange(0, 1), 0.9, "mode=tags: least probability of a class"),
    ("per_class", str, "", 'mode=tags: the same by class, "car=0.8;tree=0.7"; keep by default'),
    ("tags_path", str, "", "mode=tags: the cells' tags; tags.csv of tiles_path by default"),
    ("gt_path", str, "", "polygons or masks to compare labels with; none by default"),
)

self_training = listed(
    ("model", str, ..., "the teacher: a training run, models:/…, a folder or weights"),
    ("input_path", str, ..., "scenes in folders <City>_<year>, or images, without labels"),
    ("output_path", PATH, "output/self_train", "folder for its maps, labels and tiles"),
    ("student", str, "", "a config of configs/selftrain; radar or aerial, as model, by default"),
    ("overrides", str, "", 'settings of it to replace, "max_minutes=3"; none by default'),
    ("tta", str, "d4", "views that the teacher averages: none, hflip, flips, rotations, d4"),
    ("source", _SOURCE, "city", "each scene's own map, or that of its city, of all dates"),
    ("max_std", PROBABILITY, "", "most standard deviation of dates, 0 to 1; any by default"),
    ("shares_path", str, "", "a coarse raster of built-up shares, in any CRS; none by default"),
    ("shares_full", click.FloatRange(0), 1.0, "its value of a cell all built-up, as a probability"),
    ("num_workers", COUNT, 2, "processes on this machine"),
)

predicting = listed(
    ("model", str, "shipped", "a training run, models:/…, a folder, weights, or builtup's own"),
    ("input_path", str, ..., "scenes or STAC items, separated by ;"),
    ("output_path", str, "output/predict", "folder for the maps"),
    ("area", str, "", "a polygon file, or minx,miny,maxx,maxy in degrees; all by default"),
    ("tta", str, "none", "views to average: none, hflip, vflip, flips, transpose, rotations, d4"),
    (
        *("adapt", str, "auto"),
        "statistics of the normalisation from what is mapped: auto, none, scene, city, scene:0.5",
    ),
    ("window", click.IntRange(32), 512, "side of a window, pixels"),
    ("overlap", FROM_0, 64, "of windows, pixels"),
    (
        *("stride", OrNothing(FROM_0), ""),
        "steps of window // stride instead of an overlap; none by default",
    ),
    ("blend", str, "ramp", "weights of overlapping windows: ramp, mean or gaussian"),
    (
        *("fold", str, ""),
        "several scales to one: vote, soft, mean, or logits of cascade_fit (logits:<where>), of "
        "scales by default those fitted to the model",
    ),
    ("scales", Numbers(), "", '"1/4;1/2;1"; by the size of scene and window by default'),
    ("exponent", float, 2.0, "times the pixels along a side from one of these scales to the next"),
    ("alpha", float, 0.3333, "fold=vote and soft: share of the coarser map, 0 to 1"),
    ("batch_size", COUNT, 4, "windows at a time"),
    threshold,
    ("temperature", str, "", "of the logits: run, or a number; none by default"),
    ("units", str, "auto", "of the scenes: auto, power, amplitude or db"),
    years,
    polygon_options,
    ("device", str, "auto", "auto, cpu or cuda"),
    ("backend", str, "torch", "what the network runs on: torch, openvino, openvino-int8 or auto"),
    ("decoders", OrNothing(FROM_0), "", "processes that read ahead; by default for a GPU only"),
    ("allow", str, "", "prefixes of what STAC items may point to besides; none by default"),
    ("run_name", str, "", "name of the run in MLflow; by its scenes by default"),
    ("probabilities", bool, False, "of images: keep those of each class"),
    ("pixel", str, "", "of images, metres, or own; that of training where it is far by default"),
)
