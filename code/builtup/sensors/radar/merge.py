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
from builtup.sensors.radar.names import ScenePair, require_pairs
from builtup.sensors.radar.pairs import OpenPair, all_invalid, check_pairs, open_pair

__all__ = ["generate_3b_images", "merge_pair", "scene_profile"]

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
    discovery = require_pairs(input_path)
    usable, refused = check_pairs(discovery.pairs)
    jobs = [
        Job(
            name=pair.scene_id,
            inputs=(pair.vv, pair.vh),
            outputs=(pair.output(output_path, "3b"),),
            settings={},
            pixels=grid.pixels,
            context=pair,
        )
        for pair, grid in usable
    ]
    return run_step(
        STEP,
        jobs,
        _merge_job,
        num_workers=num_workers,
        on_error=on_error,
        problems=[*discovery.problems, *refused],
    )


def merge_pair(pair: ScenePair, output: Path) -> None:
    """Write one 3-band scene, block by block; invalid pixels are NaN in all bands.

    float32 linear power, bands described VH, VV, mean. Raises InputError where the files cannot be
    read or hold no valid pixel; then nothing is written.
    """
    with gdal_env(), open_pair(pair) as scene:
        grid = scene.grid
        windows = aligned(grid.width, grid.height, WINDOW)
        with (
            running_ahead(partial(_merge_window, scene), windows) as merged,
            atomic_path(output) as beside,
            create_raster(beside, **scene_profile(grid)) as out,
        ):
            out.descriptions = bands.BAND_NAMES
            valid = 0
            for window, power, count in merged:
                out.write(power, window=window.rasterio)
                valid += count
            if valid == 0:
                raise all_invalid(pair)


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
    merge_pair(job.context, job.outputs[0])


def _merge_window(scene: OpenPair, window: Window) -> tuple[Window, NDArray[np.float32], int]:
    power = np.empty((3, window.height, window.width), dtype=np.float32)
    bad = scene.read(window, power[:2])
    power[2] = bands.mean_power(power[0], power[1])
    count = bad.size - int(np.count_nonzero(bad))
    if count < bad.size:
        np.copyto(power, np.float32(np.nan), where=bad)
    return window, power, count
