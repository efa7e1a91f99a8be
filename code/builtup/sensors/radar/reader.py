"""Linear power of VH and VV by windows of a scene's grid.

Values become power where they are stored, and only then are resampled: the mean of decibels is not
the decibels of the mean. What is invalid takes no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from builtup.geo.area import parse_area
from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.geo.open_raster import Raster, as_float, open_location
from builtup.geo.prefetch import running_ahead
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window
from builtup.sensors.radar.bands import Gaps
from builtup.sensors.radar.headers import (
    BandHeader,
    SceneHeaders,
    open_rasters,
)
from builtup.sensors.radar.units import to_power

__all__ = ["Invalid", "PowerReader", "cache_bytes", "open_power", "power_within"]

Float = NDArray[np.float32]
#: A window and its invalid pixels, (height, width) bool.
Invalid = tuple[Window, NDArray[np.bool_]]

#: Most source pixels that are resampled at once (16 MB a polarisation).
MOST_PIXELS = 1 << 22
#: Source pixels around a window that resampling may look at.
MARGIN = 4
#: Bytes of GDAL's cache: for tiled files, and at most where they are stored in strips.
CACHE, MOST_CACHE = 48 << 20, 128 << 20
#: Windows whose validity is read before it is asked for, at most 0.5 MB each for 256 × 4,096
#: pixels of both polarisations: what is decoded while polygons are read need not be waited for.
AHEAD = 96


class PowerReader:
    """Reads windows of a scene: power (2, height, width) of VH and VV, float32, NaN if invalid."""

    def __init__(self, headers: SceneHeaders, rasters: Mapping[Location, Raster]) -> None:
        self.headers = headers
        self.grid = headers.grid
        vh, vv = (_Stored(band, rasters[band.location]) for band in (headers.vh, headers.vv))
        self._layers = [_Layer((vh, vv), headers.grid)]
        if not headers.joint:
            self._layers = [_Layer((vh,), headers.grid), _Layer((vv,), headers.grid)]

    def read(self, window: Window) -> Float:
        """The power of a window; InputError where a file cannot be read."""
        power = np.empty((2, window.height, window.width), np.float32)
        self.read_into(window, power)
        return power

    def read_into(self, window: Window, power: Float) -> NDArray[np.bool_]:
        """As `read`, into (2, height, width) that is given; returns what is invalid."""
        if len(self._layers) == 1:
            return self._layers[0].read_into(window, power)
        bad = np.logical_or(
            *(
                layer.read_into(window, part)
                for layer, part in zip(self._layers, (power[:1], power[1:]), strict=True)
            )
        )
        np.copyto(power, np.float32(np.nan), where=bad)
        return bad

    def invalid(self, window: Window) -> NDArray[np.bool_]:
        """The invalid pixels of a window, (height, width)."""
        return self.read_into(window, np.empty((2, window.height, window.width), np.float32))

    @contextmanager
    def invalid_ahead(self, windows: Sequence[Window]) -> Iterator[Iterator[Invalid]]:
        """The invalid pixels of each window in turn, read ahead, each polarisation by a thread.

        Decoding takes longer than most of what is done with validity, and waits for Python's lock
        where that is busy: two threads make up for it, and run far ahead. What they leave are at
        most two bits a pixel and polarisation, and nothing of a window that is wholly valid. What
        cannot be read is raised in its turn (InputError).
        """
        layer = self._layers[0]
        if len(self._layers) > 1 or not layer.apart:
            with running_ahead(self.invalid, windows) as found:
                yield zip(windows, found, strict=True)
            return
        vh, vv = layer.stored
        with (
            running_ahead(vv.gaps, windows, AHEAD) as first,
            running_ahead(vh.gaps, windows, AHEAD) as second,
        ):
            yield (
                (window, one.joined(other, (window.height, window.width)))
                for window, one, other in zip(windows, first, second, strict=True)
            )


@contextmanager
def open_power(headers: SceneHeaders) -> Iterator[PowerReader]:
    """Open a scene whose headers were read, for reading by windows.

    Values count as power unless units were judged: see `units.judge_units`.
    """
    with open_rasters(headers.scene) as rasters:
        yield PowerReader(headers, rasters)


@contextmanager
def power_within(
    headers: SceneHeaders, area: str, cache: int
) -> Iterator[Callable[[Window], Float]]:
    """What reads a scene by windows: NaN, and nothing read, where `area` does not meet.

    GDAL's cache holds `cache` bytes.
    """
    limits = parse_area(area)
    within = None if limits is None else limits.on(headers.grid)
    with gdal_env(GDAL_CACHEMAX=cache), open_power(headers) as reader:

        def read(window: Window) -> Float:
            if limits is not None and (within is None or not within.meets(window)):
                return np.full((2, window.height, window.width), np.nan, np.float32)
            return reader.read(window)

        yield read


def cache_bytes(headers: SceneHeaders, rows: int) -> int:
    """GDAL's cache for reading a scene in windows of `rows`: a row of them where it has strips."""
    needed = 0
    with ExitStack() as stack:
        for band in headers.bands:
            dataset = stack.enter_context(open_location(band.location)).dataset
            block = dataset.block_shapes[band.band - 1]
            if block[1] == dataset.width and dataset.width > 2048:
                size = np.dtype(dataset.dtypes[band.band - 1]).itemsize
                needed += (rows + 2 * block[0]) * dataset.width * size
    return min(max(CACHE, needed), MOST_CACHE)


@dataclass(frozen=True)
class _Stored:
    """One polarisation and the open file that holds it."""

    header: BandHeader
    raster: Raster

    def read_into(self, window: Window, out: Float) -> None:
        """Values of a window as they are stored, as float32, into (height, width)."""
        if self.raster.dataset.dtypes[self.header.band - 1] == "float32":
            self.raster.read(window, self.header.band, out)
        else:
            out[:] = as_float(self.raster.read(window, self.header.band))

    def gaps(self, window: Window) -> Gaps:
        """What this polarisation contributes to the invalid pixels of a window."""
        values = np.empty((window.height, window.width), np.float32)
        self.read_into(window, values)
        return Gaps.of(self.unmeasured(window, values), values == 0)

    def unmeasured(self, window: Window, stored: Float) -> NDArray[np.bool_]:
        """Pixels without a measurement: by their values, as stored, and by what hides them."""
        bad, hidden = self.header.unmeasured(stored), self.header.hidden(self.raster, window)
        return bad if hidden is None else bad | hidden


class _Layer:
    """One or both polarisations on one grid, resampled where that is not the target's."""

    def __init__(self, stored: tuple[_Stored, ...], target: Grid) -> None:
        self.stored, self.target = stored, target
        self.source = stored[0].header.grid
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

    @property
    def apart(self) -> bool:
        """Whether it is two files on the target's grid, which two threads may read."""
        files = {stored.header.location for stored in self.stored}
        return self.direct and len(files) == 2

    def read_into(self, window: Window, out: Float) -> NDArray[np.bool_]:
        """Power on the target's grid into (1 or 2, height, width), NaN where it is invalid.

        Returns what is invalid.
        """
        if self.direct:
            return self._read_stored(window, out)
        out.fill(np.nan)
        for part in self._parts(window):
            source = self._source_window(part)
            if source is not None:
                rows, columns = part.relative_to(window).slices
                out[:, rows, columns] = self._warped(part, source)
        return np.isnan(out[0])

    def _read_stored(self, window: Window, power: Float) -> NDArray[np.bool_]:
        """As `read_into`, of a window of the source's grid."""
        for values, stored in zip(power, self.stored, strict=True):
            stored.read_into(window, values)
        # 0 is no-data in both; in one where the other, which would tell, lies on another grid
        bad: NDArray[np.bool_] = np.logical_and.reduce([values == 0 for values in power])
        for values, stored in zip(power, self.stored, strict=True):
            bad |= stored.unmeasured(window, values)
        for values, stored in zip(power, self.stored, strict=True):
            header = stored.header
            if not header.is_power:
                if (header.scale, header.offset) != (1.0, 0.0):
                    values *= np.float32(header.scale)
                    values += np.float32(header.offset)
                # what is invalid must not overflow on its way
                np.copyto(values, np.float32(0), where=bad)
                to_power(values, header.unit)
        if bad.any():
            np.copyto(power, np.float32(np.nan), where=bad)
        return bad

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
        points = np.stack((columns.ravel(), rows.ravel()), axis=1)
        xs, ys = self._to_source.transform(*self.target.to_ground(points).T)
        if self.source.crs.is_geographic:  # a source across the date line goes on beyond ±180°
            left, _, right, _ = self.source.bounds
            xs = xs - 360 * np.round((xs - (left + right) / 2) / 360)
        at = self.source.to_pixels(np.stack((xs, ys), axis=1))[:, ::-1]  # rows, columns
        at = at[np.isfinite(at).all(axis=1)]
        if not len(at):
            return None
        low = np.floor(at.min(axis=0)).astype(int) - MARGIN
        high = np.ceil(at.max(axis=0)).astype(int) + MARGIN
        reach = Window(int(low[0]), int(low[1]), *(int(v) for v in high - low))
        return reach.intersection(Window(0, 0, self.source.height, self.source.width))

    def _warped(self, part: Window, source: Window) -> Float:
        power = np.empty((len(self.stored), source.height, source.width), np.float32)
        self._read_stored(source, power)
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
