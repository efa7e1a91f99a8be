"""One file of three bands a scene: VH, VV and their mean, with one rule for no-data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.prefetch import running_ahead
from builtup.geo.rasters import create_raster, gdal_env
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_path
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.sensors.radar import bands
from builtup.sensors.radar.discovery import require_split
from builtup.sensors.radar.headers import SceneHeaders
from builtup.sensors.radar.reader import PowerReader, open_power
from builtup.sensors.radar.units import usable_scenes
from builtup.sensors.remarks import say

__all__ = ["generate_3b_images", "merge_scene", "scene_profile"]

STEP = Step("generate_3b_images", version=1, spawn_above=40_000_000)

#: Uncompressed 256-blocks are the fastest to read patches from: 269 random patches of 256 px/s
#: from a 12,288² scene, 105–187 with ZSTD, which saves only 16 % of speckle.
BLOCK = 256
#: Rows and columns of a window: whole blocks, and few enough rows that a stripped input of any
#: usual width stays in GDAL's cache while the windows of a row are read.
WINDOW = (256, 2048)


def generate_3b_images(
    *, input_path: Path, output_path: Path, num_workers: int = 2, on_error: str = "stop"
) -> Summary:
    """Merge the VV and VH files of each scene below `input_path` (one split).

    Writes `<output_path>/<City>_<year>/<scene, kind 3b>.tif`. Raises InputError or GridError, or
    with `on_error="skip"` lists them in the summary.
    """
    found = require_split(input_path)
    usable, refused = usable_scenes(found.scenes)
    say(remark for headers in usable for remark in headers.remarks)
    jobs = [
        Job(
            name=headers.scene.scene_id,
            inputs=headers.files,
            outputs=(headers.scene.output(output_path, "3b"),),
            settings={**headers.validity, **headers.conversion},
            pixels=headers.grid.pixels,
            context=headers,
        )
        for headers in usable
    ]
    return run_step(
        STEP,
        jobs,
        _merge_job,
        num_workers=num_workers,
        on_error=on_error,
        problems=[*found.problems, *refused],
    )


def merge_scene(headers: SceneHeaders, output: Path) -> None:
    """Write one 3-band scene, block by block; invalid pixels are NaN in all bands.

    float32 linear power on the grid of `headers`, whose units were judged; bands described VH, VV,
    mean. Raises InputError where the files cannot be read or hold no valid pixel; then nothing is
    written.
    """
    with gdal_env(), open_power(headers) as reader:
        windows = aligned(reader.grid.width, reader.grid.height, WINDOW)
        with (
            running_ahead(partial(_merge_window, reader), windows) as merged,
            atomic_path(output) as beside,
            create_raster(beside, **scene_profile(reader.grid)) as out,
        ):
            out.descriptions = bands.BAND_NAMES
            valid = 0
            for window, power, count in merged:
                out.write(power, window=window.rasterio)
                valid += count
            if valid == 0:
                raise headers.scene.all_invalid()


def scene_profile(grid: Grid) -> dict[str, Any]:
    """How 3-band scenes are stored, as settings of rasterio."""
    return {
        "width": grid.width,
        "height": grid.height,
        "count": len(bands.BAND_NAMES),
        "dtype": "float32",
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": float("nan"),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "bigtiff": "IF_SAFER",
    }


def _merge_job(job: Job) -> None:
    merge_scene(job.context, job.outputs[0])


def _merge_window(reader: PowerReader, window: Window) -> tuple[Window, NDArray[np.float32], int]:
    """The three bands of a window, and how many of its pixels are valid."""
    power = np.empty((3, window.height, window.width), dtype=np.float32)
    bad = reader.read_into(window, power[:2])
    bands.mean_power(power[0], power[1], out=power[2])
    return window, power, bad.size - int(np.count_nonzero(bad))
