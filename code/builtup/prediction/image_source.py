"""Images from the air as `predict` takes them: of their own pixels, or of those of training.

A network that has learnt from pixels of 10 cm sees other shapes in pixels of 5 cm or of 50. Where
both are known and differ by more than half as much again, images are read in pixels of training:
means of what is known where these are larger, interpolated where they are smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from builtup.data.pixels import MOST_ENLARGED
from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.geo.area import parse_area
from builtup.geo.lengths import alike
from builtup.geo.locations import Allow
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window, aligned
from builtup.prediction.zoom import Zoom, zoomed
from builtup.sensors.optical.cameras import HEIGHT
from builtup.sensors.optical.image_reader import CACHE, open_image
from builtup.sensors.optical.stored_images import (
    FoundImages,
    ImageHeaders,
    StoredImage,
    find_images,
    read_headers,
)
from builtup.sensors.remarks import Remark

__all__ = ["ImageSource"]

#: Sides of what is resampled at once, in pixels: of what is made, and of what it is made of.
PART, PART_READ = 256, 2048

Float = NDArray[np.float32]
Read = Callable[[Window], Float]


@dataclass(frozen=True)
class ImageSource:
    """How images are found, judged and read: `builtup.sensors.source.SceneSource`.

    `inputs` are what the network takes, `trained` the metres of a pixel that it has learnt from,
    `window` its windows' side. `pixel` is what the user says: nothing (as above), "own", or metres.
    Raises ConfigError for anything else.
    """

    inputs: tuple[str, ...]
    trained: float | None = None
    pixel: str = ""
    window: int = 512

    def __post_init__(self) -> None:
        if self.pixel not in {"", "own"}:
            self._given()

    def _given(self) -> float:
        try:
            metres = float(self.pixel.removesuffix("m"))
        except ValueError:
            metres = -1.0
        if not 0 < metres < math.inf:
            raise ConfigError(f"pixel={self.pixel}: expected own, or metres (0.1)")
        return metres

    @property
    def with_height(self) -> bool:
        """Whether the network takes the height above ground."""
        return HEIGHT in self.inputs

    @property
    def settings(self) -> Mapping[str, str]:
        """What pixels depend on besides the files: the scenes' own validity says it all."""
        return {}

    def find(self, input_path: str, allow: Allow) -> FoundImages:
        """See `find_images`."""
        return find_images(input_path)

    def read_each(self, scenes: Sequence[StoredImage]) -> Iterator[ImageHeaders | BuiltupError]:
        """The headers of each image in turn, with the grid that it is read on."""
        for headers in read_headers(scenes, with_height=self.with_height):
            try:
                yield headers if isinstance(headers, BuiltupError) else self._on_grid(headers)
            except BuiltupError as e:
                yield e

    def judged(self, headers: ImageHeaders) -> ImageHeaders:
        """As they are."""
        return headers

    def cache_bytes(self, headers: ImageHeaders, rows: int) -> int:
        """GDAL's cache: that of tiled files."""
        return CACHE

    @contextmanager
    def within(self, headers: ImageHeaders, area: str, cache: int) -> Iterator[Read]:
        """Open what reads an image by windows of the grid that it is read on, (inputs, h, w)."""
        limits = parse_area(area)
        within = None if limits is None else limits.on(headers.grid)
        opening = partial(_native, headers, cache, with_height=self.with_height)
        stored, scale = headers.stored, self._scale(headers)
        if scale != 1:
            size = (stored.width, stored.height)
            opening = partial(zoomed, opening, size, 1 / scale)
        with opening() as stored_read:
            read = stored_read if scale == 1 else partial(_by_parts, stored_read, scale)

            def limited(window: Window) -> Float:
                if limits is not None and (within is None or not within.meets(window)):
                    shape = (len(self.inputs), window.height, window.width)
                    return np.full(shape, np.nan, np.float32)
                return read(window)

            yield limited

    def _on_grid(self, headers: ImageHeaders) -> ImageHeaders:
        name, remarks = headers.scene.path.name, list(headers.remarks)
        scale = self._scale(headers)
        own, trained = headers.metres, self.trained
        grid = headers.stored if scale == 1 else Zoom(headers.stored, scale).grid
        if scale != 1 and own is not None:
            detail = f"from {own:.3g} m to {own / scale:.3g} m"
            why = "as pixel asks" if self.pixel else "of which the network has learnt"
            what = f"resampled to pixels {why}"
            if not self.pixel and trained is not None and own / trained > MOST_ENLARGED:
                what = f"enlarged {scale:g} times only"
                detail += f", {trained:.3g} m in training"
            what += "" if self.pixel else "; pixel=own leaves them"
            remarks.append(Remark(name, what, detail))
        elif own is None and trained is not None and self.pixel != "own":
            what = "the size of its pixels is not known: they are taken to be as in training"
            remarks.append(Remark(name, what, f"{trained:.3g} m"))
        elif own is not None and trained is not None and not alike(own, trained):
            what = "its pixels stay, though the network has learnt from others"
            remarks.append(Remark(name, what, f"{own:.3g} m and {trained:.3g} m"))
        if min(grid.shape) < self.window:
            what = f"smaller than a window of {self.window} pixels: goes on as in a mirror"
            remarks.append(Remark(name, what, f"{grid.width} x {grid.height}", doubtful=False))
        return replace(headers, grid=grid, remarks=tuple(remarks))

    def _scale(self, headers: ImageHeaders) -> float:
        """Pixels that it is read in to one of its own, along a side."""
        own = headers.metres
        if self.pixel == "own" or (own is None and not self.pixel):
            return 1.0
        if own is None:
            problem = "the size of its pixels is not known, so they cannot be made others"
            raise InputError(headers.scene.path, problem, "give it a CRS, or leave pixel out")
        if self.pixel:
            return own / self._given()
        if self.trained is None or alike(own, self.trained):
            return 1.0
        return min(MOST_ENLARGED, own / self.trained)


@contextmanager
def _native(headers: ImageHeaders, cache: int, *, with_height: bool) -> Iterator[Read]:
    with gdal_env(GDAL_CACHEMAX=cache), open_image(headers, with_height=with_height) as reader:
        yield reader.read


def _by_parts(read: Read, scale: float, window: Window) -> Float:
    """A window of resampled pixels in parts: what is read for each stays small."""
    side = max(16, min(PART, int(PART_READ * scale)))
    parts = []
    for part in aligned(window.width, window.height, (side, side)):
        moved = Window(window.y + part.y, window.x + part.x, part.height, part.width)
        parts.append((part, read(moved)))
    out = np.empty((len(parts[0][1]), window.height, window.width), np.float32)
    for part, values in parts:
        rows, columns = part.slices
        out[:, rows, columns] = values
    return out
