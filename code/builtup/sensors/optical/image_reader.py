"""Images by windows, as networks take them: colours, the height above ground, NaN where unknown."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.height import Ground, GroundCells
from builtup.geo.prefetch import running_ahead
from builtup.geo.windows import Window, aligned
from builtup.sensors.optical.borders import BorderBlack
from builtup.sensors.optical.elevations import Elevation, open_elevation, stray_values
from builtup.sensors.optical.pictures import WINDOW, Picture, open_picture
from builtup.sensors.optical.stored_images import ImageHeaders
from builtup.sensors.remarks import say

__all__ = ["CACHE", "ImageReader", "open_image"]

#: Bytes of GDAL's cache for tiled files.
CACHE = 48 << 20
#: Masks of black that are kept, of half a megabyte each at most.
_KEPT = 48
#: Heights are kept to a fraction of a metre, as `import_scenes` does.
_STEP = 1024

Float = NDArray[np.float32]


class ImageReader:
    """Reads windows of an image on its own grid, (3, h, w) float32 0 to 255, or, of a scene whose
    height counts, (4, h, w) with metres above local ground; NaN where nothing is known."""

    def __init__(
        self,
        picture: Picture,
        black: BorderBlack | None,
        elevation: Elevation | None,
        ground: Ground | None,
        *,
        with_height: bool,
    ) -> None:
        self.picture, self.black = picture, black
        self.elevation, self.ground, self.with_height = elevation, ground, with_height
        self._dark = frozenset(() if black is None else black.windows)
        self._masks: OrderedDict[Window, NDArray[np.bool_]] = OrderedDict()

    def read(self, window: Window) -> Float:
        """The values of a window; InputError where a file cannot be read to its end."""
        pixels = self.picture.read(window)
        values = np.empty((4 if self.with_height else 3, window.height, window.width), np.float32)
        values[:3] = pixels[:3]
        hidden = self._outside(window) if self.black is not None else pixels[3] == 0
        if hidden.any():
            np.copyto(values[:3], np.float32(np.nan), where=hidden)
        if self.with_height:
            values[3] = self._height(window)
        return values

    def _height(self, window: Window) -> Float:
        if self.elevation is None:
            return np.full((window.height, window.width), np.nan, np.float32)
        height = self.elevation.read(window)
        if self.ground is not None:
            height = height - self.ground.under(window)
            np.round(height * _STEP, out=height)
            height /= _STEP
        return height

    def _outside(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels of a window are black that is connected to the image's border."""
        out = np.zeros((window.height, window.width), np.bool_)
        rows, columns = WINDOW
        grid = self.picture.grid
        for y in range(window.y // rows * rows, window.y + window.height, rows):
            for x in range(window.x // columns * columns, window.x + window.width, columns):
                block = Window(y, x, min(rows, grid.height - y), min(columns, grid.width - x))
                if block not in self._dark:
                    continue
                top, left = max(y, window.y), max(x, window.x)
                bottom = min(y + block.height, window.y + window.height)
                right = min(x + block.width, window.x + window.width)
                part = self._mask(block)[top - y : bottom - y, left - x : right - x]
                out[top - window.y : bottom - window.y, left - window.x : right - window.x] = part
        return out

    def _mask(self, block: Window) -> NDArray[np.bool_]:
        if block in self._masks:
            self._masks.move_to_end(block)
            return self._masks[block]
        assert self.black is not None
        mask = self.black.outside(block, self.picture.read(block)[3] == 0)
        self._masks[block] = mask
        if len(self._masks) > _KEPT:
            self._masks.popitem(last=False)
        return mask


@contextmanager
def open_image(headers: ImageHeaders, *, with_height: bool) -> Iterator[ImageReader]:
    """Open an image whose headers were read.

    One without alpha is gone through once, for the black that is connected to its border, and so
    are elevations, for the ground below them. Raises InputError where it cannot be read.
    """
    scene = headers.scene
    with ExitStack() as stack:
        picture = stack.enter_context(open_picture(scene.path))
        black = _border_black(picture) if picture.alpha_from == "black" else None
        elevation: Elevation | None = None
        ground: Ground | None = None
        if with_height and scene.height is not None and headers.height_grid is not None:
            opened = open_elevation(scene.height, headers.height_grid, headers.stored)
            elevation = stack.enter_context(opened)
            if scene.is_elevation and headers.metres is not None:
                ground = _ground(elevation, headers.stored, headers.metres)
                say(stray_values(scene.height) if elevation.stray else [])
                elevation = elevation if ground is not None else None
        yield ImageReader(picture, black, elevation, ground, with_height=with_height)


def _border_black(picture: Picture) -> BorderBlack:
    black = BorderBlack(picture.grid.width, picture.grid.height)
    windows = list(aligned(picture.grid.width, picture.grid.height, WINDOW))
    with running_ahead(picture.read, windows) as read:
        for window, pixels in zip(windows, read, strict=True):
            black.add(window, pixels[3] == 0)
    return black


def _ground(elevation: Elevation, grid: Grid, metres: float) -> Ground | None:
    cells = GroundCells(grid.width, grid.height, metres)
    windows = list(aligned(grid.width, grid.height, WINDOW))
    with running_ahead(elevation.read, windows) as read:
        for window, values in zip(windows, read, strict=True):
            cells.add(window, values)
    return cells.ground()
