"""A scene to its raster of probabilities, in one pass and in flat memory; an image to its map, too.

A scene as it is stored, which `predict` hands over as a job, or a 3-band scene of the chain. A tile
is a small scene that is held in memory (`builtup.prediction.network.predict_array`). The map of an
image is the class of each pixel, and how sure it is.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.area import parse_area
from builtup.geo.grid import Grid
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.windows import Window
from builtup.jobs.steps import Job, Step
from builtup.maps.class_map import write_class_map
from builtup.prediction.adapt import (
    SIDE,
    Adapted,
    interleaved,
    measure,
    sampled,
    spread_windows,
)
from builtup.prediction.beyond import BEYOND, beyond
from builtup.prediction.cascade import predict_source
from builtup.prediction.network import mark_invalid, within_memory
from builtup.prediction.progress import Advance
from builtup.prediction.raster import CACHE_BYTES, Predicted, Source, predict_raster
from builtup.prediction.recipe import Recipe, load
from builtup.prediction.windows import Stream
from builtup.runs.prediction_tags import CONFIDENCE, PredictionTags
from builtup.runs.records import InferenceRecord
from builtup.runs.results import QUICKLOOK
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.scene_files import is_simulated
from builtup.sensors.source import Headers, SceneSource

__all__ = [
    "FITTING",
    "STEP",
    "SceneWork",
    "fit",
    "fitting_jobs",
    "is_simulated_scene",
    "predict_job",
    "predict_scene",
    "scene_job",
    "stored_source",
]

log = logging.getLogger(__name__)

STEP = Step("predict", 3)
FITTING = Step("adapt", 1)
#: Where probabilities of images lie that are not kept, beside raw/.
DRAFTS = "drafts"
# --- a scene as it is stored --------------------------------------------------------------------


@dataclass(frozen=True)
class SceneWork:
    """What a scene's job needs besides its files; small enough to be sent to another machine.

    `source` reads the scene, `adapted` is the file that says what the network is adapted to, see
    `fitting`. Of images, `probabilities` says whether those of each class are kept.
    """

    headers: Headers
    source: SceneSource
    recipe: Recipe
    tags: PredictionTags
    area: str = ""
    adapted: Path | None = None
    probabilities: bool = False


def scene_job(work: SceneWork, raw: Path, settings: Mapping[str, Any]) -> Job:
    """The job that writes `raw/<scene>_prob.tif`, or of an image its map: the classes
    `raw/<name>.tif`, their `_confidence` and, where they are kept, the probabilities of each class.
    `settings` are what its pixels depend on."""
    scene = work.headers.scene
    outputs = [scene.output_name("prob")]
    if work.tags.sensor:
        of_map = [f"{scene.plain_id}.tif", scene.output_name(CONFIDENCE)]
        outputs = [*of_map, *(outputs if work.probabilities else [])]
    return Job(
        name=scene.plain_id,
        inputs=(*work.headers.files, *(() if work.adapted is None else (work.adapted,))),
        outputs=tuple(raw / name for name in outputs),
        settings={
            **settings,
            **work.headers.validity,
            "scene": scene.scene_id,
            "city": work.tags.city,
            **({"year": work.tags.year} if work.tags.year else {}),
            **beyond(work.headers.grid.shape, work.recipe.window),
        },
        pixels=work.headers.grid.pixels,
        context=work,
        resources={"GPU": 1} if work.recipe.device.startswith("cuda") else {},
    )


def predict_job(job: Job, advance: Advance = lambda pixels: None) -> dict[str, int]:
    """Predict a scene; InputError where it cannot be read to its end or has no valid pixel.

    BuiltupError where the device's memory does not hold its work.
    """
    return within_memory(job.name, partial(_predict, job, advance))


def _predict(job: Job, advance: Advance) -> dict[str, int]:
    work: SceneWork = job.context
    headers, (stream, tags) = work.headers, _network(work)
    with gdal_env():
        cache = work.source.cache_bytes(headers, stream.window)
    opening = partial(work.source.within, headers, work.area, cache)
    area = parse_area(work.area)
    source = Source(opening, headers.grid, headers.scene.shown, cache, area)
    quicklook = job.outputs[0].with_name(headers.scene.output_name(QUICKLOOK))
    cascade = load(work.recipe).cascade
    with _probabilities(job) as inner:
        predicted = predict_source(source, stream, cascade, inner, tags, quicklook, advance)
        if tags.sensor:
            tags = replace(tags, presence=predicted.presence)
            write_class_map(inner.outputs[0], job.outputs[0], job.outputs[1], tags)
    if not predicted.valid:  # no error: another date may have some
        log.warning("%s: none of its valid pixels lies in area=%s", job.name, work.area)
    return {"windows": predicted.windows}


@contextmanager
def _probabilities(job: Job) -> Iterator[Job]:
    """The job that writes the raster of probabilities: itself, or, where those of an image are not
    kept, one of a draft beside raw/, which is gone in the end."""
    if not job.context.tags.sensor:
        yield job
    elif job.context.probabilities:
        yield replace(job, outputs=job.outputs[2:])
    else:
        raw = job.outputs[0].parent
        name = job.context.headers.scene.output_name("prob")
        draft = raw.parent / DRAFTS / name
        (raw / name).unlink(missing_ok=True)  # of a map that is made anew
        try:
            yield replace(job, outputs=(draft,))
        finally:
            draft.unlink(missing_ok=True)
            with suppress(OSError):  # others work there, or it was never made
                draft.parent.rmdir()


def _network(work: SceneWork) -> tuple[Stream, PredictionTags]:
    """What predicts the scene, and what its raster says of itself."""
    loaded = load(work.recipe)
    if work.adapted is None:
        return loaded.stream, work.tags
    adapted, tag = loaded.adapted(work.adapted), Adapted.read(work.adapted).tag
    threshold = adapted.threshold if work.tags.sensor else adapted.model_threshold
    share = None if tag else work.tags.share  # an adapted network's has become the scene's
    tags = replace(work.tags, adapted=tag, threshold=threshold, share=share)
    return adapted.stream, tags.of_kind("scene")


# --- the network's normalisation ----------------------------------------------------------------


def fitting_jobs(jobs: Iterable[Job], record: InferenceRecord) -> list[Job]:
    """The jobs that look at the scenes of prediction jobs and decide what to adapt to.

    Scenes whose jobs name one file are looked at together: the dates of a city.
    """
    of_network = {*record.settings(), "threshold", "city", "year", *BEYOND}
    together: dict[Path, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.context.adapted is not None:
            together[job.context.adapted].append(job)
    return [
        Job(
            name=path.stem,
            inputs=tuple(file for job in of for file in job.context.headers.files),
            outputs=(path,),
            settings={
                "weights": record.weights,
                "adapt": record.adapt,
                "simulated": [is_simulated_scene(job.context.headers) for job in of],
                "scenes": [
                    {key: value for key, value in job.settings.items() if key not in of_network}
                    for job in of
                ],
            },
            pixels=sum(job.pixels for job in of),
            context=[job.context for job in of],
            resources=of[0].resources,
        )
        for path, of in together.items()
    ]


def is_simulated_scene(headers: Headers) -> bool:
    """Whether the simulator wrote a scene."""
    places = headers.scene.locations
    return all(not place.remote and is_simulated(place.path) for place in places)


def fit(job: Job) -> None:
    """Look at the scenes of a fitting job; InputError where one cannot be read."""
    works: list[SceneWork] = job.context
    loaded = load(works[0].recipe)
    required = loaded.stream.required
    with ExitStack() as stack:
        windows = interleaved([_sample(work, stack, required) for work in works])
        look = partial(
            measure,
            loaded.trained,
            windows,
            loaded.adapt,
            scenes=[work.headers.scene.scene_id for work in works],
            simulated=all(job.settings["simulated"]),
            device=loaded.stream.device,
        )
        found = within_memory(job.name, look)
    found.write(job.outputs[0])


def _sample(
    work: SceneWork, stack: ExitStack, required: int | None
) -> Iterator[NDArray[np.float32]]:
    """Windows of a scene, spread over what `area` leaves of it, for as long as `stack` is open.

    `required` as in `Stream`.
    """
    headers = work.headers
    with gdal_env():
        cache = work.source.cache_bytes(headers, SIDE)
    read = stack.enter_context(work.source.within(headers, work.area, cache))
    limits = parse_area(work.area)
    within = None if limits is None else limits.on(headers.grid)
    windows = spread_windows(headers.grid.width, headers.grid.height)
    chosen = [w for w in windows if within is None or within.meets(w)]
    return sampled(read, chosen, required=required)


# --- a 3-band scene -----------------------------------------------------------------------------


def predict_scene(
    path: Path, stream: Stream, final: Path, tags: PredictionTags | None = None
) -> Predicted:
    """Predict a whole 3-band scene into a COG of 8-bit probabilities on its grid."""
    source = stored_source(path)
    return predict_raster(source.opening, source.grid, stream, final, tags, name=source.name)


def stored_source(path: Path) -> Source:
    """A 3-band scene as what can be read by windows."""
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as scene:
        return Source(partial(_stored, path), Grid.of(scene), str(path))


@contextmanager
def _stored(path: Path) -> Iterator[Callable[[Window], NDArray[np.float32]]]:
    """Open a scene of the chain: what reads a window's bands, NaN where invalid."""
    indexes = list(DEFAULT.read)
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as scene:
        nodata = scene.nodata
        yield lambda window: mark_invalid(read_window(scene, window, indexes), nodata)
