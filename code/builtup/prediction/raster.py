"""A raster that can be read by windows to its raster of probabilities, in flat memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.probability import NODATA
from builtup.geo.rasters import create_cog, gdal_env
from builtup.geo.windows import Window
from builtup.prediction.decoders import Opening, decoding
from builtup.prediction.progress import Advance
from builtup.prediction.windows import Stream, predict_stream, windows_of
from builtup.prediction.zoom import Halves
from builtup.runs.results import QUICKLOOK, PredictionTags, write_tags
from builtup.sensors.catalogue import DEFAULT, sensor_named
from builtup.sensors.quicklook import Quicklook

__all__ = ["CACHE_BYTES", "GridLimits", "Limits", "Predicted", "Source", "predict_raster"]

#: Bytes of GDAL's cache: enough for the blocks that neighbouring windows of tiled files share.
CACHE_BYTES = 16_000_000


class GridLimits(Protocol):
    """What a prediction is limited to, in the pixels of a grid: see `builtup.geo.area.GridArea`."""

    def meets(self, window: Window) -> bool:
        """Whether any of it lies in a window."""
        ...

    def holds(self, window: Window) -> NDArray[np.bool_]:
        """(height, width): the pixels of a window whose centre lies in it."""
        ...


class Limits(Protocol):
    """What a prediction is limited to, such as an area."""

    def on(self, grid: Grid) -> GridLimits | None:
        """It on a grid; None where it does not meet it."""
        ...


@dataclass(frozen=True)
class Source:
    """A raster that can be read by windows.

    `opening` opens what reads windows of it, (inputs, h, w) float32, NaN where invalid; `halves`
    are the openings of its own average overviews, where it has them. `name` begins what is said of
    it, GDAL's cache holds `cache` bytes while it is read, outside of `area` all is no-data.
    """

    opening: Opening[Window]
    grid: Grid
    name: str
    cache: int = CACHE_BYTES
    area: Limits | None = None
    halves: Halves | None = None


@dataclass(frozen=True)
class Predicted:
    """What a prediction did: windows that the network saw, pixels written, any of them valid.

    `presence` is the largest probability that a presence head gave a window; None without one.
    """

    windows: int
    pixels: int
    valid: bool
    presence: float | None = None


def predict_raster(
    opening: Opening[Window],
    grid: Grid,
    stream: Stream,
    final: Path,
    tags: PredictionTags | None = None,
    *,
    name: str,
    cache: int = CACHE_BYTES,
    area: GridLimits | None = None,
    quicklook: Path | None = None,
    advance: Advance = lambda pixels: None,
    overviews: bool = True,
) -> Predicted:
    """Predict a raster on `grid` into the COG `final` of 8-bit probabilities, whole or not at all.

    `opening` opens what reads windows of it, (inputs, h, w) float32, NaN where invalid; GDAL's
    cache holds `cache` bytes meanwhile. Outside of `area` all is no-data. A `quicklook` of what was
    read stands there before the raster does. What only programs read can do without `overviews`.
    Raises InputError, which begins with `name`, where no pixel is valid, and as reading does.
    """
    profile: dict[str, Any] = {"count": stream.bands, "dtype": "uint8", "nodata": NODATA}
    places = windows_of(grid.width, grid.height, stream)
    with (
        gdal_env(GDAL_CACHEMAX=cache),
        create_cog(final, grid, overviews=overviews, **profile) as out,
        # closed first: its cached blocks are gone when the COG is made
        decoding(opening, places, stream.decoders, stream.values) as read,
    ):
        if tags is not None:
            write_tags(out, tags)
            out.descriptions = tags.class_set.bands
        sensor = sensor_named(tags.sensor) if tags is not None and tags.sensor else DEFAULT
        seen = None if quicklook is None else Quicklook(grid, sensor)
        valid = False

        def write(window: Window, values: NDArray[np.uint8]) -> None:
            nonlocal valid
            if area is not None:
                values = np.where(area.holds(window), values, np.uint8(NODATA))
            valid = valid or bool((values != NODATA).any())
            out.write(values, window=window.rasterio)
            advance(window.height * window.width)

        wanted = None if area is None else area.meets
        watched = read if seen is None else seen.watching(read)
        found: list[Tensor] = []
        windows = predict_stream(
            *(watched, write, grid.width, grid.height, stream), wanted=wanted, presence=found.append
        )
        presence = float(torch.stack(found).max()) if found else None
        if tags is not None and presence is not None:
            write_tags(out, replace(tags, presence=presence))
        if windows == 0 and area is None:
            both = "both " if len(sensor.names) == 2 else ""
            names = f"{both}{' and '.join(sensor.names)}"
            raise InputError(name, f"no pixel is valid in {names}", "remove the scene")
        if seen is not None and quicklook is not None:
            seen.write(quicklook, {} if tags is None else replace(tags, kind=QUICKLOOK).as_gdal())
    return Predicted(windows, grid.pixels, valid, presence)
