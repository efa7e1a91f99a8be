"""From scenes to maps and polygons in one command."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builtup.errors import BuiltupError, InputError
from builtup.geo.area import Area, parse_area
from builtup.geo.locations import Allow, check_allow
from builtup.geo.probability import parse_threshold
from builtup.jobs import executors
from builtup.jobs.executors import map_threads
from builtup.jobs.steps import Job, Summary, is_done, run_step
from builtup.maps.cities import all_agg_by_city
from builtup.maps.city_keys import with_cities
from builtup.maps.polygonize import polygonize
from builtup.maps.products import write_products
from builtup.options import PolygonOptions
from builtup.prediction.output_folder import check_earlier
from builtup.prediction.progress import progress
from builtup.prediction.recipe import Loaded, Recipe, load, load_for_workers
from builtup.prediction.record import Run, begin, describe, finish, known_backend
from builtup.prediction.scene import STEP, SceneWork, predict_job, scene_job
from builtup.runs.results import RAW, PredictionTags
from builtup.runs.tracking import Recorder, recording
from builtup.sensors.radar.discovery import find_scenes
from builtup.sensors.radar.headers import PREDICT, SceneHeaders, read_each
from builtup.sensors.radar.units import judge_units, parse_units

__all__ = ["predict"]

log = logging.getLogger(__name__)


@dataclass
class _Work:
    """The scenes to predict, by city, and what is refused."""

    cities: dict[str, tuple[SceneHeaders, ...]]
    problems: list[BuiltupError]


def predict(
    *,
    model: str,
    input_path: str,
    output_path: str = "output/predict",
    area: str = "",
    tta: str = "none",
    window: int = 512,
    overlap: int = 64,
    batch_size: int = 4,
    blend: str = "ramp",
    threshold: str = "",
    temperature: str = "",
    units: str = "auto",
    polygons: PolygonOptions = PolygonOptions(),
    device: str = "auto",
    backend: str = "torch",
    decoders: int | None = None,
    num_workers: int = 2,
    on_error: str = "stop",
    allow: str = "",
    run_name: str = "predict",
) -> list[Summary]:
    """Predict all scenes of `input_path` with a trained model, and map their cities.

    Writes `<output_path>/raw/`: a probability COG of each scene, and of each city its mean
    probability, disagreement, mask, polygons and what a GIS opens; see docs/predict.md. What is
    done already, with these settings, is not done again. Returns the summaries of the steps.

    Raises InputError, GridError, RunError, ConfigError or BuiltupError, in one line.
    """
    folder, trusted = Path(output_path), Allow.parse(allow)
    check_allow(trusted)
    parse_threshold(threshold)
    given, limits = parse_units(units), parse_area(area)
    found = find_scenes(input_path, trusted)
    backend = known_backend(folder) if backend == "auto" else backend
    recipe = Recipe(
        *(model, tta, window, overlap, batch_size, blend, temperature, device, backend, decoders)
    )
    executor = executors.chosen()
    loaded = load_for_workers(recipe) if executor and executor.remote else load(recipe)
    work = _survey(found.scenes, list(found.problems), limits, on_error)
    run = describe(folder, loaded)
    jobs = _jobs(work, run, loaded, given, limits, on_error)
    pending = [job for job in jobs if not is_done(STEP, job)]
    check_earlier(run, jobs, skipping=bool(work.problems))
    context: Any = nullcontext(Recorder())
    if pending or not run.finished:
        context = recording("Inferences", run_name, run_id=run.run_id)
    settings = {"input_path": input_path, "area": area, "threshold": threshold, "units": units}
    with context as recorder:
        run = begin(run, recorder, loaded, settings)
        jobs = [_of_run(job, run.run_id) for job in jobs]
        with progress(sum(job.pixels for job in pending)):
            predicted = run_step(
                STEP, jobs, predict_job, num_workers=1, on_error=on_error, problems=work.problems
            )
        if not predicted.done + predicted.up_to_date:
            raise predicted.skipped[0]
        if len(predicted.skipped) > len(work.problems):  # what failed may have an earlier raster
            done = [job for job in jobs if is_done(STEP, job)]
            check_earlier(run, done, skipping=True)
        maps = _maps(folder, threshold, polygons, num_workers, on_error)
        finish(run, recorder, jobs, predicted)
    return [predicted, *maps]


def _maps(
    folder: Path,
    threshold: str,
    polygons: PolygonOptions,
    num_workers: int,
    on_error: str,
) -> list[Summary]:
    """Dates to cities, cities to polygons and products."""
    how: dict[str, Any] = {"num_workers": num_workers, "on_error": on_error}
    place = str(folder)
    return [
        all_agg_by_city(input_path=place, threshold=threshold, **how),
        polygonize(input_path=place, polygons=polygons, **how),
        write_products(folder, **how),
    ]


def _survey(
    scenes: list[Any], problems: list[BuiltupError], limits: Area | None, on_error: str
) -> _Work:
    """Read the headers of the scenes; leave out those that the area does not meet."""
    surveys: list[SceneHeaders] = []
    beside = 0
    for scene, found in zip(scenes, read_each(scenes, PREDICT), strict=True):
        if isinstance(found, BuiltupError):
            problems.append(found)
            continue
        if limits is not None and limits.on(found.grid) is None:
            beside += 1
            continue
        for remark in found.remarks:
            log.warning("%s: %s", scene.plain_id, remark)
        surveys.append(found)
    if problems and on_error == "stop":
        raise problems[0]
    if beside:
        log.info("%d of %d scenes lie outside of area", beside, len(scenes))
    if not surveys:
        raise (
            problems[0]
            if problems
            else InputError(
                limits.name if limits else "area", "meets no scene", "check its place and its CRS"
            )
        )
    return _Work(with_cities(surveys), problems)


def _jobs(
    work: _Work,
    run: Run,
    loaded: Loaded,
    given: str,
    limits: Area | None,
    on_error: str,
) -> list[Job]:
    """A job a scene; the units of those that are not done are made sure of first."""
    settings = {
        **run.record.settings(),
        "threshold": loaded.threshold,
        "units": given,
        "area": "" if limits is None else limits.digest,
    }
    jobs = []
    scenes = [(city, found) for city, surveys in work.cities.items() for found in surveys]
    for job in map_threads(lambda of: _job(*of, run, loaded, settings, limits), scenes):
        if not isinstance(job, BuiltupError):
            jobs.append(job)
        elif on_error == "stop":
            raise job
        else:
            work.problems.append(job)
    return jobs


def _job(
    city: str,
    found: SceneHeaders,
    run: Run,
    loaded: Loaded,
    settings: Mapping[str, Any],
    limits: Area | None,
) -> Job:
    tags = PredictionTags(
        scene=found.scene.scene_id,
        city=city,
        width=found.grid.width,
        height=found.grid.height,
        run_id=run.run_id,
        threshold=loaded.threshold,
        classes=loaded.trained.class_names,
        date=found.scene.date,
    )
    raw = run.folder / RAW
    work = SceneWork(found, loaded.recipe, tags, "" if limits is None else limits.name)
    elsewhere = [place.shown for place in found.scene.locations if place.remote]
    given = str(settings["units"])
    if elsewhere:  # no sha256 of what lies elsewhere: what was sampled tells it apart
        judged = judge_units(found, given)
        settings = {**settings, "elsewhere": elsewhere, "sampled": judged.sampled}
        return scene_job(replace(work, headers=judged), raw, settings)
    job = scene_job(work, raw, settings)
    if is_done(STEP, job):
        return job
    return scene_job(replace(work, headers=judge_units(found, given)), raw, settings)


def _of_run(job: Job, run_id: str) -> Job:
    """The job, writing under the id of its run."""
    work: SceneWork = job.context
    return replace(job, context=replace(work, tags=replace(work.tags, run_id=run_id)))
