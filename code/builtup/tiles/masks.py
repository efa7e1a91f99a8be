"""Ground truth masks: a city's polygons on the grid of each of its scenes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from builtup.errors import BuiltupError
from builtup.geo.burn import BlockBurner, Burner, placed_burner
from builtup.geo.grid import Grid
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import create_raster, gdal_env
from builtup.geo.vectors import PolygonFile, PolygonSet
from builtup.geo.windows import aligned
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.sensors.radar.discovery import require_split
from builtup.sensors.radar.headers import SceneHeaders
from builtup.sensors.radar.reader import Invalid, open_power
from builtup.sensors.radar.scenes import Scene
from builtup.sensors.radar.units import usable_scenes
from builtup.tiles.labels import CityLabels, city_labels

__all__ = [
    "burner_on",
    "mask_profile",
    "rasterize",
    "rasterize_scene",
]

log = logging.getLogger(__name__)

STEP = Step("rasterize", version=3, spawn_above=40_000_000)
BLOCK = 256
#: Rows and columns of a window: whole blocks, few enough rows for stripped inputs (see merge).
WINDOW = (256, 4096)


def rasterize(
    *,
    input_path: Path,
    output_path: Path,
    all_touched: bool = True,
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Rasterise the polygons of each city below `input_path` (one split) for each of its scenes.

    Writes `<output_path>/<City>_<year>/<scene, kind mask>.tif`. Raises InputError or GridError, or
    with `on_error="skip"` lists them in the summary.
    """
    found = require_split(input_path)
    usable, problems = usable_scenes(found.scenes)  # what is said of them, the merge says
    jobs = []
    for headers in usable:
        try:
            jobs.append(_job(input_path, output_path, headers, all_touched))
        except BuiltupError as e:
            problems.append(e)
    return run_step(
        STEP,
        jobs,
        _rasterize_job,
        num_workers=num_workers,
        on_error=on_error,
        problems=[*found.problems, *problems],
    )


def rasterize_scene(
    headers: SceneHeaders,
    labels: CityLabels,
    output: Path,
    *,
    all_touched: bool = True,
) -> dict[str, int]:
    """Write the mask of one scene, block by block: uint8, 1 built-up, 0 not, 255 unknown.

    255 is where the scene is invalid and outside the labelled area (a pixel is inside when its
    centre is). Returns counts: polygons on the scene, geometries repaired.
    """
    scene, grid = headers.scene, headers.grid
    with gdal_env(), open_power(headers) as reader:
        windows = list(aligned(grid.width, grid.height, WINDOW))
        with reader.invalid_ahead(windows) as validity:
            polygons = PolygonFile(labels.polygons)
            area = None if labels.labelled_area is None else PolygonFile(labels.labelled_area)
            burner = _burner(polygons, grid, scene, all_touched=all_touched)
            inside = None if area is None else _burner(area, grid, scene, all_touched=False)
            with atomic_path(output) as beside:
                if not _write(beside, grid, validity, burner, inside):
                    raise scene.all_invalid()
    counts = {"polygons": len(burner)}
    repaired = polygons.repaired + (0 if area is None else area.repaired)
    return {**counts, "repaired": repaired} if repaired else counts


def burner_on(
    polygons: PolygonFile | PolygonSet, grid: Grid, scene: Scene, *, all_touched: bool
) -> tuple[Burner, str]:
    """Polygons ready to be burnt into a scene; a warning where none meets it, else ""."""
    burner, far = placed_burner(polygons, grid, all_touched=all_touched)
    if not far:
        return burner, ""
    return burner, (
        f"{polygons.path}: its polygons do not meet the scene {scene.shown} ({far}); "
        "check their CRS and the city's folder"
    )


def mask_profile(grid: Grid) -> dict[str, Any]:
    """How masks are stored, as settings of rasterio."""
    return {
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": IGNORE,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        # not compressed, as the scene itself: training reads patches anywhere (raster/direct.py)
        "bigtiff": "IF_SAFER",
    }


def _job(root: Path, output: Path, headers: SceneHeaders, all_touched: bool) -> Job:
    scene = headers.scene
    labels = city_labels(root, scene.folder, scene.city_key)
    return Job(
        name=scene.scene_id,
        inputs=(*headers.files, *labels.files),
        outputs=(scene.output(output, "mask"),),
        settings={"all_touched": all_touched, **headers.validity, **headers.conversion},
        pixels=headers.grid.pixels,
        context=(headers, labels),
    )


def _rasterize_job(job: Job) -> dict[str, int]:
    headers, labels = job.context
    all_touched = bool(job.settings["all_touched"])
    return rasterize_scene(headers, labels, job.outputs[0], all_touched=all_touched)


def _burner(polygons: PolygonFile, grid: Grid, scene: Scene, *, all_touched: bool) -> Burner:
    burner, warning = burner_on(polygons, grid, scene, all_touched=all_touched)
    if warning:
        log.warning("%s", warning)
    return burner


def _write(
    path: Path,
    grid: Grid,
    validity: Iterable[Invalid],
    burner: Burner,
    inside: Burner | None,
) -> int:
    """Write the mask window by window; return the number of valid pixels of the scene."""
    valid = 0
    labels = BlockBurner(burner)
    limits = None if inside is None else BlockBurner(inside)
    with create_raster(path, **mask_profile(grid)) as out:
        for window, bad in validity:
            mask = labels.burn(window)
            valid += bad.size - int(np.count_nonzero(bad))
            if limits is not None:
                bad |= limits.burn(window) == 0
            np.copyto(mask, np.uint8(IGNORE), where=bad)
            out.write(mask, 1, window=window.rasterio)
    return valid
