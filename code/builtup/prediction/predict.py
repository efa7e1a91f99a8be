"""From scenes to maps and polygons in one command: what is to do, the scenes, their maps."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from builtup.maps.places import MapScenes, check_years, one_each, say_maps, with_cities
from builtup.maps.polygonize import polygonize
from builtup.maps.products import write_products
from builtup.models.channels import inputs_of, sensor_of_model
from builtup.options import PolygonOptions
from builtup.prediction.adapt import ADAPTED, Adapted, say_adapted
from builtup.prediction.image_source import ImageSource
from builtup.prediction.output_folder import (
    OutputRun,
    backend_before,
    begin,
    check_folder,
    find_run,
    finish,
)
from builtup.prediction.progress import progress
from builtup.prediction.recipe import Loaded, Recipe, load_for_jobs
from builtup.prediction.scene import (
    FITTING,
    STEP,
    SceneWork,
    fit,
    fitting_jobs,
    is_simulated_scene,
    predict_job,
    scene_job,
)
from builtup.runs.recorder import recording
from builtup.runs.results import RAW, PredictionTags
from builtup.runs.tracking import listed_places
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.radar.source import RadarSource
from builtup.sensors.remarks import say
from builtup.sensors.source import Headers, SceneSource

__all__ = ["PredictOptions", "predict"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOptions:
    """What is predicted, where to, and how its maps are made.

    `input_path` are scenes or STAC items, several separated by `;`, and `allow` prefixes of what
    the items may point to besides; `area` a polygon file, or minx,miny,maxx,maxy in degrees;
    `units` those of the scenes; `years` says whether the years of a city (folders `<City>_<year>`)
    are maps "apart", or one of their "mean". `run_name` is the name of the run in MLflow; empty:
    by its scenes. Of images, each of which is a map, `probabilities` keeps those of each class, and
    `pixel` is the one that they are read in: "own", metres, or nothing: see `ImageSource`.
    """

    input_path: str
    output_path: str = "output/predict"
    area: str = ""
    units: str = "auto"
    years: str = "apart"
    polygons: PolygonOptions = PolygonOptions()
    allow: str = ""
    run_name: str = ""
    probabilities: bool = False
    pixel: str = ""
    num_workers: int = 2
    on_error: str = "stop"


def predict(recipe: Recipe, options: PredictOptions) -> list[Summary]:
    """Predict all scenes of `input_path` with a trained model, and map their cities.

    Writes `<output_path>/raw/`: a probability COG of each scene, and of each city its mean
    probability, disagreement, mask, polygons and what a GIS opens; see docs/predict.md. What is
    done already, with these settings, is not done again. Returns the summaries of the steps.

    Raises InputError, GridError, RunError, ConfigError or BuiltupError, in one line.
    """
    plan = _plan(recipe, options)
    begins = bool(plan.pending) or not plan.run.finished
    run_id = plan.run.run_id
    name = options.run_name or f"predict {_places(plan.jobs)}"
    with recording("Inferences", name, active=begins, run_id=run_id) as recorder:
        settings = {
            "input_path": options.input_path,
            "area": options.area,
            "threshold": recipe.threshold,
            "units": options.units,
            "years": options.years,
        }
        run = begin(plan.run, recorder, plan.loaded, settings)
        jobs = [_of_run(job, run.run_id) for job in plan.jobs]
        adapted, refused = _adapt(plan, jobs, options.on_error)
        jobs = [job for job in jobs if job.context.adapted not in refused]
        predicted = _predict_scenes(plan, run, jobs, options.on_error, adapted)
        maps = _make_maps(plan, recipe.threshold, options)
        finish(run, recorder, jobs, predicted)
    return [*adapted, predicted, *maps]


def _places(jobs: Sequence[Job]) -> str:
    tags: list[PredictionTags] = [job.context.tags for job in jobs]
    return listed_places((of.city, of.date) for of in tags)


# --- what is to do ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """The model, the run, a job for each scene, those not done yet, and what is refused."""

    loaded: Loaded
    run: OutputRun
    jobs: tuple[Job, ...]
    pending: tuple[Job, ...]
    problems: tuple[BuiltupError, ...]


def _plan(recipe: Recipe, options: PredictOptions) -> _Plan:
    """Look at scenes, model and folder; refuse what cannot work before anything is written."""
    folder, trusted = Path(options.output_path), Allow.parse(options.allow)
    check_allow(trusted)
    check_years(options.years)
    parse_threshold(recipe.threshold)
    radar, area = RadarSource(options.units), parse_area(options.area)
    if recipe.backend == "auto":
        recipe = replace(recipe, backend=backend_before(folder))
    loaded = load_for_jobs(recipe)
    source = _source(loaded, radar, options)
    found = source.find(options.input_path, trusted)
    headers, problems = _read_headers(source, found.scenes, area)
    problems = [*found.problems, *problems]
    if problems and (options.on_error == "stop" or not headers):
        raise problems[0]
    if not headers:
        where = "area" if area is None else area.name
        raise InputError(where, "meets no scene", "check its place and its CRS")
    if source is radar:
        maps = with_cities(headers, options.years)
        say_maps(maps)
    else:
        maps = one_each(headers)
    run = find_run(folder, loaded, simulated=all(map(is_simulated_scene, headers)))
    jobs = []
    for job in _jobs(maps, run, loaded, source, area, options.probabilities):
        if not isinstance(job, BuiltupError):
            jobs.append(job)
        elif options.on_error == "stop":
            raise job
        else:
            problems.append(job)
    pending = tuple(job for job in jobs if not is_done(STEP, job))
    say(remark for job in jobs for remark in job.context.headers.remarks)
    check_folder(run, jobs, skipping=bool(problems))
    return _Plan(loaded, run, tuple(jobs), pending, tuple(problems))


def _source(loaded: Loaded, radar: RadarSource, options: PredictOptions) -> SceneSource:
    """What finds and reads the scenes that the network takes."""
    model = loaded.trained.model
    if sensor_of_model(model) is DEFAULT:
        return radar
    window = loaded.stream.window
    return ImageSource(inputs_of(model), loaded.trained.metres, options.pixel, window)


def _read_headers(
    source: SceneSource, scenes: Sequence[Any], area: Area | None
) -> tuple[list[Any], list[BuiltupError]]:
    """The headers of the scenes that the area meets, and a problem for each that cannot be used."""
    usable: list[Any] = []
    problems: list[BuiltupError] = []
    beside = 0
    for headers in source.read_each(scenes):
        if isinstance(headers, BuiltupError):
            problems.append(headers)
        elif area is not None and not headers.grid.crs:
            problem = "has no CRS, so nobody knows where area lies on it"
            problems.append(InputError(headers.scene.shown, problem, "leave area out"))
        elif area is not None and area.on(headers.grid) is None:
            beside += 1
        else:
            usable.append(headers)
    if beside:
        log.info("%d of %d scenes lie outside of area", beside, len(scenes))
    return usable, problems


def _jobs(
    maps: Sequence[MapScenes],
    run: OutputRun,
    loaded: Loaded,
    source: SceneSource,
    area: Area | None,
    probabilities: bool,
) -> list[Job | BuiltupError]:
    """A job a scene, or why there is none."""
    sensor = sensor_of_model(loaded.trained.model)
    of_images = sensor is not DEFAULT
    # a map of images is decided as it is predicted, one of dates when they are averaged
    threshold = loaded.threshold if of_images else loaded.model_threshold
    settings = {
        **run.record.settings(),
        "threshold": threshold,
        **({} if loaded.share is None else {"share": loaded.share}),
        **source.settings,
        "area": "" if area is None else area.digest,
    }

    def fitted(scene: Headers, city: MapScenes) -> Path | None:
        """The file that says what the network is adapted to."""
        if not loaded.adapt.is_on:
            return None
        name = city.key if loaded.adapt.mode == "city" else scene.scene.plain_id
        return run.folder / ADAPTED / f"{name}.safetensors"

    scenes = []
    for city in maps:
        for scene in city.dates:
            tags = PredictionTags(
                scene=scene.scene.scene_id,
                city=city.key,
                width=scene.grid.width,
                height=scene.grid.height,
                run_id=run.run_id,
                threshold=threshold,
                classes=loaded.trained.class_names,
                date=scene.scene.date,
                year=city.year,
                sensor=sensor.name if of_images else "",
                share=loaded.share,
            ).with_roles(loaded.trained.classes)
            tags = tags.of_kind("scene")
            where = "" if area is None else area.name
            file = fitted(scene, city)
            work = SceneWork(scene, source, loaded.recipe, tags, where, file, probabilities)
            scenes.append(work)
    return list(map_threads(partial(_job, raw=run.folder / RAW, settings=settings), scenes))


def _job(work: SceneWork, *, raw: Path, settings: Mapping[str, Any]) -> Job:
    """The job of a scene; of one that is not done the units are made sure of first."""
    headers, source = work.headers, work.source
    elsewhere = [place.shown for place in headers.scene.locations if place.remote]
    if elsewhere:  # no sha256 of what lies elsewhere: what was sampled tells it apart
        judged = source.judged(headers)
        settings = {**settings, "elsewhere": elsewhere, "sampled": judged.sampled}
        return scene_job(replace(work, headers=judged), raw, settings)
    job = scene_job(work, raw, settings)
    shared = str(settings.get("adapt", "")).startswith("city")  # fitted anew, it is done no more
    if is_done(STEP, job) and not shared:
        return job
    return scene_job(replace(work, headers=source.judged(headers)), raw, settings)


def _of_run(job: Job, run_id: str) -> Job:
    """The job, writing under the id of its run."""
    work: SceneWork = job.context
    return replace(job, context=replace(work, tags=replace(work.tags, run_id=run_id)))


# --- scenes and maps ----------------------------------------------------------------------------


def _adapt(
    plan: _Plan, jobs: Sequence[Job], on_error: str
) -> tuple[list[Summary], Collection[Path]]:
    """Look at the scenes that are not done, and decide to what the network is adapted for each.

    Returns the summary of that step, if any, and the files that could not be made.
    """
    wanted = {job.context.adapted for job in plan.pending} - {None}
    chosen = [job for job in jobs if job.context.adapted in wanted]
    fitting = fitting_jobs(chosen, plan.run.record)
    if not fitting:
        return [], ()
    summary = run_step(FITTING, fitting, fit, num_workers=1, on_error=on_error)
    done = [job for job in fitting if is_done(FITTING, job)]
    alike: dict[tuple[bool, str], list[tuple[str, Adapted]]] = defaultdict(list)
    for job in done:
        found = Adapted.read(job.outputs[0])
        alike[bool(found.moments), found.why].append((job.name, found))
    for some in alike.values():
        names = ", ".join(name for name, _ in some)
        threshold = plan.loaded.adapted_threshold if plan.loaded.by_threshold else None
        say_adapted(some[0][1], names, threshold)
    made = {job.outputs[0] for job in done}
    return [summary], {path for job in fitting if (path := job.outputs[0]) not in made}


def _predict_scenes(
    plan: _Plan, run: OutputRun, jobs: Sequence[Job], on_error: str, adapted: Sequence[Summary]
) -> Summary:
    """The scenes that are not done; raises where there is none in the end."""
    refused = [*plan.problems, *(problem for summary in adapted for problem in summary.skipped)]
    pixels = sum(job.pixels for job in plan.pending)
    with progress("predict", pixels, position=1) as advance:  # below the bar of the scenes
        work = predict_job if executors.is_remote() else partial(predict_job, advance=advance)
        predicted = run_step(STEP, jobs, work, num_workers=1, on_error=on_error, problems=refused)
    if not predicted.done + predicted.up_to_date:
        raise predicted.skipped[0]
    if len(predicted.skipped) > len(refused):  # what failed may have an earlier raster
        check_folder(run, [job for job in jobs if is_done(STEP, job)], skipping=True)
    return predicted


def _make_maps(plan: _Plan, threshold: str, options: PredictOptions) -> list[Summary]:
    """Dates to cities, cities to polygons and products; images are maps already."""
    folder = options.output_path
    how: dict[str, Any] = {"num_workers": options.num_workers, "on_error": options.on_error}
    joined = []
    if sensor_of_model(plan.loaded.trained.model) is DEFAULT:
        years = options.years
        joined = [all_agg_by_city(input_path=folder, threshold=threshold, years=years, **how)]
    return [
        *joined,
        polygonize(input_path=folder, polygons=options.polygons, **how),
        write_products(Path(folder), **how),
    ]
