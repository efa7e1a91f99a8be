"""What is handed in, made of predicted tiles or scenes: polygons, or a class map of each chip."""

from __future__ import annotations

import io
import logging
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.io import MemoryFile

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import parse_threshold
from builtup.geo.rasters import create_raster, gdal_env, open_raster, read_window
from builtup.geo.windows import aligned
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.maps.polygonize import polygonize
from builtup.options import PolygonOptions
from builtup.runs.records import EnsembleRecord
from builtup.runs.results import (
    Results,
    kind_of,
    read_tags,
    resolve_results,
    scene_rasters,
    upload_results,
)
from builtup.sensors.radar.names import plain_id

__all__ = ["FORMATS", "to_submission"]

log = logging.getLogger(__name__)

STEP = Step("to_submission", 1)
#: Polygons of the cities' maps, or the classes of each scene in a tar.
FORMATS = ("polygons", "chips")
#: The file of chips, in raw/.
CHIPS = "submission.tar"
#: Rows and columns that are read at once.
WINDOW = (512, 4096)


def to_submission(
    *,
    input_path: str = "",
    run_id: str = "",
    format: str = "polygons",
    threshold: str = "",
    years: str = "apart",
    polygons: PolygonOptions = PolygonOptions(),
    num_workers: int = 2,
    on_error: str = "stop",
) -> list[Summary]:
    """Merge tiles, average the dates of each city, polygonise; return the summaries of the steps.

    With `format="chips"` the scenes are not averaged: the classes of each (uint8, 1 the mapped
    class, 0 all else) go into `raw/submission.tar` as `<scene>.tif`, the same bytes at every run;
    of images of which `predict` kept no probabilities, the classes that it decided.
    There is nothing to merge in the result of `ensemble`, and nothing to average of images, each a
    map of its own as `predict` and `ensemble` write them: these become polygons as they are.
    The set of predictions is looked up once, so that all work on the same one, and uploaded
    once, at the end, where the run's store is not local. Parameters as of the steps. Raises
    ConfigError for options of the other format.
    """
    _check_format(format, years, polygons)
    results = resolve_results(input_path, run_id)
    folder = str(results.folder)
    work: dict[str, Any] = {"num_workers": num_workers, "on_error": on_error}
    # an ensemble holds whole scenes, merged already
    merged = EnsembleRecord.find(results.folder) is not None
    images = _images(results)
    merged |= bool(images) or (format == "chips" and not any(results.raw.glob("*_tiles")))
    summaries = [] if merged else [merge_tiles(input_path=folder, **work)]
    if format == "chips":
        problems = [e for summary in summaries for e in summary.skipped]
        summaries.append(_chips(results, threshold, on_error, problems))
    else:
        if not images:
            summaries.append(
                all_agg_by_city(input_path=folder, threshold=threshold, years=years, **work)
            )
        elif threshold or years != "apart":
            remedy = "leave threshold and years out, or cut them anew with predict or ensemble"
            raise InputError(images[0], "an image, whose map is decided already", remedy)
        summaries.append(polygonize(input_path=folder, polygons=polygons, **work))
    upload_results(results)
    return summaries


def _check_format(format: str, years: str, polygons: PolygonOptions) -> None:
    if format not in FORMATS:
        raise ConfigError(f"format={format}: unknown; choose polygons or chips")
    if format == "chips" and (years != "apart" or polygons != PolygonOptions()):
        raise ConfigError(
            "format=chips: the classes of each scene are handed in, neither averaged over years "
            "nor drawn as polygons; leave years and the options of polygons out"
        )


def _chips(
    results: Results, threshold: str, on_error: str, problems: list[BuiltupError]
) -> Summary:
    """Write the tar of all scenes' classes; none where one of them is missing."""
    if problems:
        raise problems[0]  # a submission lacks no chip
    given = parse_threshold(threshold)
    rasters = _rasters(results, given)
    names: dict[str, Path] = {}
    pixels, thresholds = 0, set()
    for path in rasters:
        tags = read_tags(path)
        scene = plain_id(tags.scene) or tags.city
        name = f"{scene}.tif"
        if name in names:
            problem = f"of the scene {scene}, and so is {names[name]}"
            raise InputError(path, problem, "remove one of them")
        names[name] = path
        pixels += tags.width * tags.height
        thresholds.add(tags.threshold)
    if given is None and len(thresholds) > 1:
        log.warning(
            "%s: scenes of several thresholds (%s): each is decided by its own",
            *(results.raw, ", ".join(f"{value:g}" for value in sorted(thresholds))),
        )
    ordered = dict(sorted(names.items()))
    job = Job(
        name=CHIPS,
        inputs=tuple(ordered.values()),
        outputs=(results.raw / CHIPS,),
        settings={"threshold": given, "names": list(ordered)},
        pixels=pixels,
        context=given,
    )
    summary = run_step(STEP, [job], _write_tar, num_workers=1, on_error=on_error)
    summary.noun = "file"
    log.info("%s: %d chips", job.outputs[0], len(ordered))
    return summary


def _images(results: Results) -> list[Path]:
    """The class maps of images, which are not averaged with others."""
    maps = [path for path in results.raw.glob("*.tif") if kind_of(path) == "classes"]
    return sorted(path for path in maps if read_tags(path).sensor)


def _rasters(results: Results, threshold: float | None) -> list[Path]:
    """The probabilities of each scene; where there are none, the classes of each image."""
    if rasters := scene_rasters(results):
        return rasters
    rasters = _images(results)
    if not rasters:
        remedy = "run the inference first, or give a folder of predictions"
        raise InputError(results.raw, "no maps of scenes in it", remedy)
    if threshold is not None:
        remedy = "leave threshold out, or predict with probabilities=true"
        raise InputError(rasters[0], "classes, which were decided already", remedy)
    return rasters


def _write_tar(job: Job) -> dict[str, int]:
    """A file for each raster, without anything of the day or the machine."""
    with atomic_path(job.outputs[0]) as beside, tarfile.open(beside, "w") as tar:
        for name, path in zip(job.settings["names"], job.inputs, strict=True):
            content = _chip(path, job.context)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return {"chips": len(job.inputs)}


def _chip(path: Path, threshold: float | None) -> bytes:
    """A scene's classes as the bytes of a GeoTIFF: 1 where it is of the mapped class, else 0,
    where nothing is known as well."""
    tags = read_tags(path)
    classes = tags.class_set
    value = tags.threshold if threshold is None else threshold
    with gdal_env(), open_raster(path) as dataset, MemoryFile(ext=".tif") as memory:
        grid = Grid.of(dataset)
        place = {"crs": grid.crs} if grid.crs else {}
        if not grid.transform.is_identity:
            place["transform"] = grid.transform
        size = {"width": grid.width, "height": grid.height, "count": 1, "dtype": "uint8"}
        with create_raster(Path(memory.name), **size, **place, compress="deflate") as out:
            for window in aligned(grid.width, grid.height, WINDOW):
                values = read_window(dataset, window)
                decided = values[0] if tags.kind == "classes" else classes.decide(values, value)
                mapped = (decided == classes.mapped_index).astype(np.uint8)
                out.write(mapped, 1, window=window.rasterio)
        return bytes(memory.getbuffer())
