"""Which pixels of a scene are invalid, read ahead window by window, each polarisation by a thread.

Decoding takes longer than most of what is done with validity, and waits for Python's lock where
that is busy: two threads make up for it, and run far ahead. What they leave are at most two bits a
pixel and polarisation, and nothing of a window that is wholly valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.geo.prefetch import running_ahead
from builtup.geo.windows import Window
from builtup.sensors.radar.bands import unmeasured
from builtup.sensors.radar.pairs import OpenPair, read_power

__all__ = ["Invalid", "invalid_ahead"]

#: A window and its invalid pixels, (height, width) bool.
Invalid = tuple[Window, NDArray[np.bool_]]

#: A bit a pixel; None where none is set.
Bits = NDArray[np.uint8] | None

#: Windows read before they are asked for, at most 0.5 MB each for 256 × 4,096 pixels of both
#: polarisations: what is decoded while the polygons are read need not be waited for later.
AHEAD = 96


@contextmanager
def invalid_ahead(scene: OpenPair, windows: Sequence[Window]) -> Iterator[Iterator[Invalid]]:
    """The invalid pixels of each window in turn, by the rule of `bands.invalid`.

    What cannot be read is raised in its turn (InputError).
    """
    with (
        running_ahead(partial(_bits, scene.vv), windows, AHEAD) as vv,
        running_ahead(partial(_bits, scene.vh), windows, AHEAD) as vh,
    ):
        yield (_invalid(*parts) for parts in zip(windows, vv, vh, strict=True))


def _bits(dataset: DatasetReader, window: Window) -> tuple[Bits, Bits]:
    """Where nothing was measured, and where the power is 0."""
    power = np.empty((window.height, window.width), dtype=np.float32)
    read_power(dataset, window, power)
    return _packed(unmeasured(power, dataset.nodata)), _packed(power == 0)


def _packed(mask: NDArray[np.bool_]) -> Bits:
    return np.packbits(mask) if mask.any() else None


def _invalid(window: Window, vv: tuple[Bits, Bits], vh: tuple[Bits, Bits]) -> Invalid:
    shape = (window.height, window.width)
    found = [bits for bits in (vv[0], vh[0]) if bits is not None]
    if vv[1] is not None and vh[1] is not None:
        found.append(vv[1] & vh[1])
    if not found:
        return window, np.zeros(shape, np.bool_)
    flat = np.unpackbits(np.bitwise_or.reduce(found), count=window.height * window.width)
    return window, flat.view(np.bool_).reshape(shape)
