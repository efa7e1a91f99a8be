"""Linear power of VH and VV by windows of the grid that is predicted on.

Values become power where they are stored, and only then are resampled: the mean of decibels is not
the decibels of the mean. What is invalid takes no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from builtup.geo.area import parse_area
from builtup.geo.grid import Grid
from builtup.geo.open_raster import Raster, as_float, open_location
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window
from builtup.sensors.radar.headers import Polarisation, Survey
from builtup.sensors.radar.units import to_power

__all__ = ["PowerReader", "cache_bytes", "open_power", "power_within"]

Float = NDArray[np.float32]

#: Most source pixels that are resampled at once (16 MB a polarisation).
MOST_PIXELS = 1 << 22
#: Source pixels around a window that resampling may look at.
MARGIN = 4
#: Bytes of GDAL's cache: for tiled files, and at most where they are stored in strips.
CACHE, MOST_CACHE = 48 << 20, 128 << 20


class PowerReader:
    """Reads windows of a scene: power (2, height, width) of VH and VV, float32, NaN if invalid."""

    def __init__(self, found: Survey, rasters: dict[Any, Raster]) -> None:
        self.grid = found.grid
        vh, vv = (_Stored(p, rasters[p.location]) for p in (found.vh, found.vv))
        self._layers = [_Layer((vh, vv), found.grid)]
        if not found.joint:
            self._layers = [_Layer((vh,), found.grid), _Layer((vv,), found.grid)]

    def read(self, window: Window) -> Float:
        """The power of a window; InputError where a file cannot be read."""
        if len(self._layers) == 1:
            return self._layers[0].read(window)
        power = np.concatenate([layer.read(window) for layer in self._layers])
        np.copyto(power, np.float32(np.nan), where=np.isnan(power).any(axis=0))
        return power


@contextmanager
def open_power(found: Survey) -> Iterator[PowerReader]:
    """Open a surveyed scene for reading by windows."""
    with ExitStack() as stack:
        rasters = {
            location: stack.enter_context(open_location(location))
            for location in found.scene.locations
        }
        yield PowerReader(found, rasters)


@contextmanager
def power_within(found: Survey, area: str, cache: int) -> Iterator[Callable[[Window], Float]]:
    """What reads a surveyed scene by windows: NaN, and nothing read, where `area` does not meet.

    GDAL's cache holds `cache` bytes.
    """
    limits = parse_area(area)
    within = None if limits is None else limits.on(found.grid)
    with gdal_env(GDAL_CACHEMAX=cache), open_power(found) as reader:

        def read(window: Window) -> Float:
            if within is not None and not within.meets(window):
                return np.full((2, window.height, window.width), np.nan, np.float32)
            return reader.read(window)

        yield read


def cache_bytes(found: Survey, rows: int) -> int:
    """GDAL's cache for reading a scene in windows of `rows`: a row of them where it has strips."""
    needed = 0
    with ExitStack() as stack:
        for band in (found.vv, found.vh):
            dataset = stack.enter_context(open_location(band.location)).dataset
            block = dataset.block_shapes[band.band - 1]
            if block[1] == dataset.width and dataset.width > 2048:
                size = np.dtype(dataset.dtypes[band.band - 1]).itemsize
                needed += (rows + 2 * block[0]) * dataset.width * size
    return min(max(CACHE, needed), MOST_CACHE)


@dataclass(frozen=True)
class _Stored:
    """One polarisation and the open file that holds it."""

    band: Polarisation
    raster: Raster

    def read(self, window: Window) -> Float:
        """Values as they are stored, as float32."""
        return as_float(self.raster.read(window, self.band.band))


class _Layer:
    """One or both polarisations on one grid, resampled where that is not the target's."""

    def __init__(self, stored: tuple[_Stored, ...], target: Grid) -> None:
        self.stored, self.target = stored, target
        self.source = stored[0].band.grid

        self.direct = self.source.matches(target)
        if not self.direct:
            from_crs, to_crs = (CRS.from_wkt(g.crs.to_wkt()) for g in (target, self.source))
            self._to_source = Transformer.from_crs(from_crs, to_crs, always_xy=True)
            sides, goal = self.source.metres_per_pixel, target.metres_per_pixel
            across, down = (s / t for s, t in zip(sides, goal, strict=True))
            finer = max(across, down)
            # GDAL would take these from each window, and resample every window differently
            self._scales = {"XSCALE": f"{across:.6f}", "YSCALE": f"{down:.6f}"}
            self._resampling = Resampling.average if finer < 0.99 else Resampling.bilinear

    def read(self, window: Window) -> Float:
        """(1 or 2, height, width) power on the target's grid, NaN where invalid."""
        if self.direct:
            return self._power(window)
        out = np.full((len(self.stored), window.height, window.width), np.nan, np.float32)
        for part in self._parts(window):
            source = self._source_window(part)
            if source is None:
                continue
            rows, columns = part.relative_to(window).slices
            out[:, rows, columns] = self._warped(part, source)
        return out

    def _power(self, window: Window) -> Float:
        values = [stored.read(window) for stored in self.stored]
        # 0 is no-data in both; in one where the other, which would tell, lies on another grid
        bad = np.logical_and.reduce([value == 0 for value in values])
        for value, stored in zip(values, self.stored, strict=True):
            bad |= stored.band.unmeasured(value)
        power = np.empty((len(values), window.height, window.width), np.float32)
        for out, value, stored in zip(power, values, self.stored, strict=True):
            band = stored.band
            if (band.scale, band.offset) != (1.0, 0.0):
                value = value * np.float32(band.scale) + np.float32(band.offset)
            out[:] = value
            # what is invalid must not overflow on its way
            np.copyto(out, np.float32(0), where=bad)
            to_power(out, band.unit)
        np.copyto(power, np.float32(np.nan), where=bad)
        return power

    def _parts(self, window: Window) -> Iterator[Window]:
        """The window, halved until what it is made from is not too much at once."""
        source = self._source_window(window)
        pixels = 0 if source is None else source.height * source.width
        if pixels <= MOST_PIXELS or window.height * window.width <= 64:
            yield window
            return
        y, x, height, width = window.y, window.x, window.height, window.width
        if height >= width:
            halves = (
                Window(y, x, height // 2, width),
                Window(y + height // 2, x, height - height // 2, width),
            )
        else:
            halves = (
                Window(y, x, height, width // 2),
                Window(y, x + width // 2, height, width - width // 2),
            )
        for half in halves:
            yield from self._parts(half)

    def _source_window(self, window: Window) -> Window | None:
        """The source's pixels that a window of the target is made from, with a margin."""
        steps = np.linspace(0, 1, 21)
        columns, rows = np.meshgrid(
            window.x + steps * window.width, window.y + steps * window.height
        )
        t = self.target.transform
        xs, ys = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
        xs, ys = self._to_source.transform(xs, ys)
        if self.source.crs.is_geographic:  # a source across the date line goes on beyond ±180°
            left, _, right, _ = self.source.bounds
            xs = xs - 360 * np.round((xs - (left + right) / 2) / 360)
        inverse = ~self.source.transform
        across = inverse.a * xs + inverse.b * ys + inverse.c
        down = inverse.d * xs + inverse.e * ys + inverse.f
        good = np.isfinite(across) & np.isfinite(down)
        if not good.any():
            return None
        low = np.floor([down[good].min(), across[good].min()]).astype(int) - MARGIN
        high = np.ceil([down[good].max(), across[good].max()]).astype(int) + MARGIN
        reach = Window(int(low[0]), int(low[1]), *(int(v) for v in high - low))
        return reach.intersection(Window(0, 0, self.source.height, self.source.width))

    def _warped(self, part: Window, source: Window) -> Float:
        power = self._power(source)
        out = np.full((len(power), part.height, part.width), np.nan, np.float32)
        place = self.source.window(source.x, source.y, source.width, source.height)
        goal = self.target.window(part.x, part.y, part.width, part.height)
        reproject(
            power,
            out,
            src_transform=place.transform,
            src_crs=place.crs,
            src_nodata=np.nan,
            dst_transform=goal.transform,
            dst_crs=goal.crs,
            dst_nodata=np.nan,
            resampling=self._resampling,
            **self._scales,
        )
        np.copyto(out, np.float32(np.nan), where=np.isnan(out).any(axis=0))
        return out
