"""One scene from VV and VH to its probability raster, in one pass and in flat memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.area import GridArea, parse_area
from builtup.geo.probability import NODATA
from builtup.geo.rasters import create_cog, gdal_env
from builtup.geo.windows import Window
from builtup.jobs.steps import Job, Step
from builtup.prediction.decoders import decoding
from builtup.prediction.memory import within_memory
from builtup.prediction.progress import advance
from builtup.prediction.recipe import Recipe, load
from builtup.prediction.windows import predict_stream, windows_of
from builtup.runs.results import PredictionTags, write_tags
from builtup.sensors.radar.headers import SceneHeaders
from builtup.sensors.radar.reader import cache_bytes, power_within

__all__ = ["STEP", "SceneWork", "predict_job", "scene_job"]

log = logging.getLogger(__name__)

STEP = Step("predict", 3)


@dataclass(frozen=True)
class SceneWork:
    """What a scene's job needs besides its files; small enough to be sent to another machine."""

    headers: SceneHeaders
    recipe: Recipe
    tags: PredictionTags
    area: str = ""


def scene_job(work: SceneWork, raw: Path, settings: Mapping[str, Any]) -> Job:
    """The job that writes `raw/<scene>_prob.tif`; `settings` are what its pixels depend on."""
    scene = work.headers.scene
    inputs = tuple(location.path for location in scene.locations if not location.remote)
    return Job(
        name=scene.plain_id,
        inputs=inputs,
        outputs=(raw / scene.output_name("prob"),),
        settings={**settings, "scene": scene.scene_id, "city": work.tags.city},
        pixels=work.headers.grid.pixels,
        context=work,
        resources={"GPU": 1} if work.recipe.device.startswith("cuda") else {},
    )


def predict_job(job: Job) -> dict[str, int]:
    """Predict a scene; InputError where it cannot be read to its end or has no valid pixel.

    BuiltupError where the device's memory does not hold its work.
    """
    return within_memory(job.name, partial(_predict, job))


def _predict(job: Job) -> dict[str, int]:
    work: SceneWork = job.context
    found, stream = work.headers, load(work.recipe).stream
    grid, name = found.grid, found.scene.vv.location.shown
    limits = parse_area(work.area)
    area = None if limits is None else limits.on(grid)
    profile: dict[str, Any] = {"count": stream.bands, "dtype": "uint8", "nodata": NODATA}
    with gdal_env():
        cache = cache_bytes(found, stream.window)
    opening = partial(power_within, found, work.area, cache)
    places = windows_of(grid.width, grid.height, stream)
    with (
        gdal_env(GDAL_CACHEMAX=cache),
        create_cog(job.outputs[0], grid, **profile) as out,
        # closed first: its cached blocks are gone when the COG is made
        decoding(opening, places, stream.decoders, stream.values) as read,
    ):
        write_tags(out, work.tags)
        out.descriptions = work.tags.classes[-stream.bands :] or ("building",)

        held = False

        def write(window: Window, values: NDArray[np.uint8]) -> None:
            nonlocal held
            if area is not None:
                values = _limited(values, window, area)
            held = held or bool((values != NODATA).any())
            out.write(values, window=window.rasterio)
            advance(window.height * window.width)

        wanted = None if area is None else area.meets
        windows = predict_stream(read, write, grid.width, grid.height, stream, wanted=wanted)
        if windows == 0 and area is None:
            raise InputError(name, "no pixel is valid in both VV and VH", "remove the scene")
        if not held:  # no error: another date may have some
            log.warning("%s: none of its valid pixels lies in area=%s", job.name, work.area)
    return {"windows": windows}


def _limited(values: NDArray[np.uint8], window: Window, area: GridArea) -> NDArray[np.uint8]:
    return np.where(area.holds(window), values, np.uint8(NODATA))
