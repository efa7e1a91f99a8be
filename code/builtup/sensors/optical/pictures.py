"""Pictures as they come (RGB, RGBA, palette, 16 bit; GeoTIFF, PNG, JPEG), read as 8-bit RGBA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import open_raster, read_window
from builtup.geo.side_files import has_mask, unread_beside
from builtup.geo.windows import Window, aligned
from builtup.sensors.remarks import Remark

__all__ = ["FORMATS", "WINDOW", "Picture", "open_picture"]

#: What is read as a picture.
FORMATS = ("GTiff", "PNG", "JPEG")
#: Rows and columns of a window: whole blocks, few enough rows that stripes stay in GDAL's cache.
WINDOW = (256, 2048)
#: Values of 16 bits below the first percentile are 0, above the second 255.
STRETCH = (2.0, 98.0)
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

Bytes = NDArray[np.uint8]


class Picture:
    """An open picture, whose windows are red, green, blue and alpha (0 no data, 255 data).

    `alpha_from` says how pixels without data are told: "alpha", "mask" (GDAL's), "nodata", or
    "black": then those are marked that are 0 in all three, of which the caller keeps the ones that
    are connected to the border. Raises InputError for what is no picture in colours of 8 or 16
    bits, in one line.
    """

    def __init__(self, dataset: DatasetReader) -> None:
        self.dataset = dataset
        self.path = Path(dataset.name)
        self.grid = Grid.of(dataset)
        self.remarks: list[Remark] = []
        self._palette = _palette(dataset)
        self._bands = (1,) if self._palette is not None else self._three()
        self._alpha = _alpha_band(dataset)
        self._say_unread()
        kind = dataset.dtypes[self._bands[0] - 1]
        if kind not in {"uint8", "uint16"} or (self._palette is not None and kind != "uint8"):
            raise InputError(
                self.path,
                f"values of type {kind}",
                "export it with 8 or 16 bits (gdal_translate -ot Byte -scale)",
            )
        self._deep = kind == "uint16"
        self._stretch: Bytes | None = None
        self.alpha_from = self._say_no_data()

    def read(self, window: Window) -> Bytes:
        """(4, h, w): red, green, blue, alpha."""
        if self._palette is not None:
            values = read_window(self.dataset, window, 1)
            out = np.ascontiguousarray(np.moveaxis(self._palette[values], -1, 0))
            if self.alpha_from == "black":
                out[3] = _any_colour(out[:3])
            elif self.alpha_from != "alpha":
                out[3] = self._known(window, values[None])
            return out
        stored = read_window(self.dataset, window, list(self._bands))
        out = np.empty((4, window.height, window.width), np.uint8)
        out[3] = self._known(window, stored)
        out[:3] = stored if not self._deep else self._look_up(stored)
        return out

    def _three(self) -> tuple[int, int, int]:
        """The bands of red, green and blue: those described so, else the first three."""
        dataset = self.dataset
        if dataset.count < 3:
            noun = "band" if dataset.count == 1 else "bands"
            raise InputError(
                self.path,
                f"{dataset.count} {noun} without a palette, no picture in colours",
                "give a picture with red, green and blue",
            )
        known = {of: i for i, of in reversed(list(enumerate(dataset.colorinterp, 1)))}
        if all(colour in known for colour in _COLOURS):
            return (known[_COLOURS[0]], known[_COLOURS[1]], known[_COLOURS[2]])
        self._say("its bands say no colours: the first three are taken for red, green, blue")
        return (1, 2, 3)

    def _say_unread(self) -> None:
        """Name further bands (an alpha that is not declared to be one is easily among them), and
        what only files beside the picture say."""
        read = {*self._bands, self._alpha}
        names = [of.name for i, of in enumerate(self.dataset.colorinterp, 1) if i not in read]
        if names:
            what = "bands beyond red, green, blue and a declared alpha are passed over"
            doubtful = "undefined" in names
            self.remarks.append(Remark(self.path.name, what, ", ".join(names), doubtful))
        if beside := unread_beside(self.dataset):
            what = "files beside it are not read: bring what they say into it (gdal_translate)"
            self.remarks.append(Remark(self.path.name, what, ", ".join(beside)))

    def _say_no_data(self) -> str:
        if self._alpha is not None or self._has_clear_colours():
            return "alpha"
        if has_mask(self.dataset, self._bands[0]):
            self._say("no data by its mask")
            return "mask"
        if (value := self.dataset.nodata) is not None:
            self._say(f"no data where all bands are {value:g}, as it declares")
            return "nodata"
        return "black"

    def _has_clear_colours(self) -> bool:
        return self._palette is not None and bool((self._palette[:, 3] == 0).any())

    def _known(self, window: Window, stored: NDArray[Any]) -> Bytes:
        """255 where there is data, else 0, (h, w); in the case of "black" 0 where all are 0."""
        if self._alpha is not None:
            known = read_window(self.dataset, window, self._alpha) > 0
        elif self.alpha_from == "mask":
            known = self.dataset.read_masks(self._bands[0], window=window.rasterio) > 0
        elif self.alpha_from == "nodata":
            known = (stored != self.dataset.nodata).any(axis=0)
        else:
            return _any_colour(stored)
        return known.view(np.uint8) * np.uint8(255)

    def _look_up(self, stored: NDArray[np.uint16]) -> Bytes:
        if self._stretch is None:
            self._stretch = self._measured()
        return self._stretch[stored]

    def _measured(self) -> Bytes:
        """What each value of 16 bits is in 8: one rule for the three bands, so that colours stay.

        As they are where none is above 255, else straight between two percentiles of all valid.
        """
        counts = np.zeros(2**16, np.int64)
        for window in aligned(self.grid.width, self.grid.height, WINDOW):
            stored = read_window(self.dataset, window, list(self._bands))
            known = self._known(window, stored) > 0
            for band in stored:
                counts += np.bincount(band[known], minlength=2**16)
        values = np.arange(2**16)
        top = int(values[counts > 0].max(initial=0))
        if top <= 255:
            self._say("16 bits, but no value above 255: taken as they are")
            return np.minimum(values, 255).astype(np.uint8)
        share = np.cumsum(counts) / counts.sum() * 100
        low, high = (int(np.searchsorted(share, of)) for of in STRETCH)
        high = max(high, low + 1)
        rule = f"{STRETCH[0]:g} % to {STRETCH[1]:g} % of the values of all bands are 0 to 255"
        self._say(f"16 bits scaled to 8: {rule}", f"{low} to {high}")
        return np.round(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)

    def _say(self, what: str, detail: str = "") -> None:
        self.remarks.append(Remark(self.path.name, what, detail, doubtful=False))


@contextmanager
def open_picture(path: Path) -> Iterator[Picture]:
    """Open a picture; raise InputError where it is none."""
    with open_raster(path, FORMATS) as dataset:
        yield Picture(dataset)


def _palette(dataset: DatasetReader) -> Bytes | None:
    """The colours (256, 4) of a picture of one band that has a palette; unused ones are clear."""
    if dataset.count != 1 or dataset.colorinterp[0] != ColorInterp.palette:
        return None
    colours = np.full((256, 4), 255, np.uint8)
    for value, colour in dataset.colormap(1).items():
        colours[value] = colour
    return colours


def _alpha_band(dataset: DatasetReader) -> int | None:
    found = [i for i, of in enumerate(dataset.colorinterp, 1) if of == ColorInterp.alpha]
    return found[0] if found else None


def _any_colour(bands: NDArray[Any]) -> Bytes:
    """255 where a pixel of (3, h, w) is not 0 in all, else 0."""
    some = (bands[0] | bands[1] | bands[2]) > 0 if len(bands) == 3 else bands[0] > 0
    return some.view(np.uint8) * np.uint8(255)
