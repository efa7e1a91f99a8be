"""Synthesis of one acquisition, block by block, into its files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetWriter
from scipy import ndimage

from builtup.geo.rasters import create_raster, gdal_env
from builtup.geo.windows import Window
from builtup.sensors.radar.names import POLARISATIONS
from builtup.simulate.plan.city import PIXEL, City, CitySpec
from builtup.simulate.radar.acquisition import Acquisition, Pass, ground_transform
from builtup.simulate.radar.backscatter import Canvas, Returns, Scatterers, building_returns
from builtup.simulate.radar.ground import LEVELS, garden_power, ground_power
from builtup.simulate.radar.speckle import SpeckleRows

__all__ = ["BLOCK", "scene_files", "write_scene"]

#: Side of a block of the files and of the synthesis, in pixels.
BLOCK = 512
#: Pixels around a block that take part: layover and shadow, urban ground, impulse response.
HALO = 24

Float = NDArray[np.float32]


def scene_files(spec: CitySpec, overpass: Pass) -> list[tuple[Path, Path]]:
    """A raster of power and its BorderMask for each polarisation, below the city's folder."""
    folder, tile = Path(overpass.folder, spec.tile), spec.tile
    stems = [overpass.stem(tile, polarisation) for polarisation in POLARISATIONS]
    return [(folder / f"{stem}.tif", folder / f"{stem}_BorderMask.tif") for stem in stems]


def write_scene(city: City, date: Acquisition, folder: Path) -> None:
    """Write the `scene_files` of a date below the city's folder."""
    profile = {
        "width": date.width,
        "height": date.height,
        "count": 1,
        "crs": f"EPSG:{city.spec.epsg}",
        "transform": ground_transform(city.spec, date),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
    }
    with ExitStack() as stack:
        stack.enter_context(gdal_env())
        files = []
        for power_path, border_path in scene_files(city.spec, date.overpass):
            (folder / power_path).parent.mkdir(parents=True, exist_ok=True)
            powers = {**profile, "dtype": "float32", "predictor": 3}
            masks = {**profile, "dtype": "uint8"}
            power = create_raster(folder / power_path, **powers)
            border = create_raster(folder / border_path, **masks)
            files.append((stack.enter_context(power), stack.enter_context(border)))
        _write_blocks(city, date, files)


def _write_blocks(city: City, date: Acquisition, files: list[tuple[DatasetWriter, Any]]) -> None:
    key = (*city.spec.key, 8, date.overpass.number)
    sensor = date.conditions.sensor
    sources = [
        SpeckleRows((*key, number), date.width, sensor.looks, sensor.correlation)
        for number in range(len(POLARISATIONS))
    ]
    box = city.buildings.bounds
    for y in range(0, date.height, BLOCK):
        height = min(BLOCK, date.height - y)
        speckle = [source.next(height) for source in sources]
        for x in range(0, date.width, BLOCK):
            window = Window(y, x, height, min(BLOCK, date.width - x))
            valid = _valid(date, window)
            columns = slice(x, x + window.width)
            for number, mean in enumerate(mean_power(city, date, window, box)):
                noise = np.float32(date.noise)
                # what thermal noise adds is subtracted again, as the product's annotation has it
                power = (mean + noise) * speckle[number][:, columns] - noise
                power[~valid] = 0
                files[number][0].write(power, 1, window=window.rasterio)
                files[number][1].write(valid.astype(np.uint8), 1, window=window.rasterio)


def _axes(date: Acquisition, window: Window, halo: int) -> tuple[Any, Any]:
    """Ground positions (metres) of the pixel middles of a window's columns and rows."""
    x = date.shift[0] + (np.arange(-halo, window.width + halo) + window.x + 0.5) * PIXEL
    y = date.shift[1] + (np.arange(-halo, window.height + halo) + window.y + 0.5) * PIXEL
    return x, y


def _valid(date: Acquisition, window: Window) -> NDArray[np.bool_]:
    if date.wedge is None:
        return np.ones((window.height, window.width), np.bool_)
    a, b, c = date.wedge
    x, y = _axes(date, window, 0)
    return a * x[None, :] + b * y[:, None] <= c


def mean_power(
    city: City, date: Acquisition, window: Window, box: NDArray[np.float64]
) -> tuple[Float, Float]:
    """Mean σ⁰ (VV, VH; linear) of a window of a date's grid, before speckle and noise.

    `box` are the bounds of the city's buildings.
    """
    x, y = _axes(date, window, HALO)
    view, surface = date.view, date.conditions.surface
    vv, vh = ground_power(city.country, x, y, date.weather, view.look, view.incidence, surface)
    canvas = Canvas(x[0] - PIXEL / 2, y[0] - PIXEL / 2, len(y), len(x))
    vv, vh = _with_roads(city, canvas, vv, vh)
    left, top, right, bottom = canvas.bounds
    near = (box[:, 2] > left) & (box[:, 3] > top) & (box[:, 0] < right) & (box[:, 1] < bottom)
    scatterers = [group.near(canvas.bounds) for group in (date.lasting, date.ships)]
    if near.any():
        houses = city.buildings.take(np.flatnonzero(near))
        returns = building_returns(canvas, houses, view, date.conditions.echo)
        scatterers += returns.scatterers
        vv, vh = _urban_ground(city, date, returns, (vv, vh), (x, y))
    strong = Scatterers.joined(scatterers)
    area = PIXEL * PIXEL
    more_vv, more_vh = canvas.splat(strong.points, strong.vv / area, strong.vh / area)
    vv, vh = vv + more_vv, vh + more_vh
    inner = (slice(HALO, -HALO), slice(HALO, -HALO))
    sensor = date.conditions.sensor
    first, second = (
        ndimage.gaussian_filter(p, sensor.response, truncate=4)[inner] * np.float32(10 ** (g / 10))
        for p, g in zip((vv, vh), sensor.gain, strict=True)
    )
    return first, second


def _with_roads(city: City, canvas: Canvas, vv: Float, vh: Float) -> tuple[Float, Float]:
    """Asphalt takes the share of each pixel that it covers."""
    left, top, right, bottom = canvas.bounds
    x, y = city.roads.points.T
    near = (x > left - 20) & (y > top - 20) & (x < right + 20) & (y < bottom + 20)
    if not near.any():
        return vv, vh
    asphalt = canvas.splat(city.roads.points[near], city.roads.area[near] / PIXEL**2)
    share = np.minimum(asphalt[0], 1)
    level = LEVELS["road"]
    road_vv, road_vh = np.float32(10 ** (level.vv / 10)), np.float32(10 ** (level.vh / 10))
    return vv + share * (road_vv - vv), vh + share * (road_vh - vh)


def _urban_ground(
    city: City,
    date: Acquisition,
    returns: Returns,
    ground: tuple[Float, Float],
    axes: tuple[Any, Any],
) -> tuple[Float, Float]:
    """Gardens and pavement between houses, less what is under roofs or in shadow."""
    urban = np.clip(5 * ndimage.gaussian_filter(returns.covered, 2.0, truncate=4), 0, 1)
    surface, (vv, vh) = date.conditions.surface, ground
    garden_vv, garden_vh = garden_power(city.country, *axes, date.weather.cold, surface)
    lit = (1 - returns.covered) * (1 - returns.shaded)
    return (vv + urban * (garden_vv - vv)) * lit, (vh + urban * (garden_vh - vh)) * lit
