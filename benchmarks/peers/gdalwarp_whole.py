"""A scene of pictures as a script brings it into form: gdalwarp, then whole files in memory.

It writes what import_scenes writes, in the same layout: picture with overviews, classes by their
colours, heights above the ground (by the same percentiles, of the same cells).
"""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from scipy import ndimage

COLOURS = (
    (230, 25, 75), (145, 30, 180), (60, 180, 75), (245, 130, 48), (255, 255, 255), (0, 130, 200),
)  # fmt: skip
CELL = 40  # pixels of 10 cm

warnings.simplefilter("ignore", NotGeoreferencedWarning)  # of the labels


def run(root: str, output: str, name: str) -> dict[str, Any]:
    """One scene; work in megapixels."""
    source, target = Path(root), Path(output)
    target.mkdir(parents=True, exist_ok=True)
    with rasterio.open(source / f"images/{name}-ortho.tif") as dataset:
        image = dataset.read()
        place = {"crs": dataset.crs, "transform": dataset.transform}
        extent = [*dataset.bounds, dataset.width, dataset.height]
    warped = target / "warped.tif"
    _warp(source / f"elevations/{name}-elev.tif", warped, place["crs"].to_string(), extent)
    height, width = image.shape[1:]
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "band"}
    layout = {"driver": "GTiff", "width": width, "height": height, **place, **tiled}
    _write(target / "image.tif", image, {**layout, "count": 4, "dtype": "uint8"}, overviews=True)
    with rasterio.open(source / f"labels/{name}-label.png") as dataset:
        labels = dataset.read()
    mask = np.full((height, width), 255, np.uint8)
    for number, colour in enumerate(COLOURS):
        mask[(labels == np.array(colour, np.uint8)[:, None, None]).all(axis=0)] = number
    mask[image[3] == 0] = 255
    _write(target / "mask.tif", mask[None], {**layout, "count": 1, "dtype": "uint8"})
    with rasterio.open(warped) as dataset:
        surface = dataset.read(1)
    above = surface - _ground(surface)
    profile = {**layout, "count": 1, "dtype": "float32", "nodata": np.nan}
    _write(target / "height.tif", above[None], profile, overviews=True)
    warped.unlink()
    return {"work": mask.size / 1e6}


def _warp(source: Path, target: Path, crs: str, extent: list[float]) -> None:
    command = ["gdalwarp", "-q", "-overwrite", "-r", "bilinear", "-dstnodata", "nan"]
    command += ["-t_srs", crs, "-te", *map(str, extent[:4]), "-ts", *map(str, extent[4:])]
    command += ["-co", "TILED=YES", str(source), str(target)]
    # gdal-bin finds its own PROJ database, not the one inside rasterio's wheel
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
    subprocess.run(command, check=True, env=environment)


def _ground(surface: Any) -> Any:
    """A low percentile within 160 m, in cells of 4 m, and a high one of that; smoothed."""
    rows, columns = (-(-side // CELL) for side in surface.shape)
    more = ((0, rows * CELL - surface.shape[0]), (0, columns * CELL - surface.shape[1]))
    padded = np.pad(surface, more, constant_values=np.nan)
    cells = np.nanmean(padded.reshape(rows, CELL, columns, CELL), axis=(1, 3))
    low = ndimage.percentile_filter(cells, 10, 41)
    smooth = ndimage.gaussian_filter(ndimage.percentile_filter(low, 90, 41), 4)
    places = [np.arange(side, dtype=np.float32) / CELL - 0.5 for side in surface.shape]
    grid = np.meshgrid(*places, indexing="ij")
    return ndimage.map_coordinates(smooth, grid, np.float32, order=1, mode="nearest")


def _write(path: Path, values: Any, profile: dict[str, Any], *, overviews: bool = False) -> None:
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
    if overviews:
        factors = [2**i for i in range(1, 12) if max(values.shape) >> (i - 1) > 256]
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(factors, Resampling.average)
