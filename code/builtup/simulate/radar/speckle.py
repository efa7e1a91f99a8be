"""Multiplicative speckle of detected, multi-looked radar images."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from builtup.simulate.plan.noise import stream

__all__ = ["LOOKS", "SpeckleRows", "gamma_from_normal"]

#: Equivalent number of looks of IW GRDH (ESA, Sentinel-1 Product Definition, S1-RS-MDA-52-7440).
LOOKS = 4.4
#: Deviation (pixels) of the Gaussian filter that correlates the speckle. An impulse response of
#: 20 m by 22 m (IW GRDH) sampled at 10 m gives intensity correlations of about 0.72 and 0.27 at
#: one and two pixels; measured 0.72–0.76 and 0.22–0.31 in the real scenes of the documentation.
CORRELATION = 0.88
RADIUS = 4
#: Normal deviates are cut at ±LIMIT and rounded to 1/STEPS.
LIMIT, STEPS = 6, 4096

Float = NDArray[np.float32]


@cache
def _table(looks: float) -> Float:
    """Gamma quantiles at the normal deviates −LIMIT … LIMIT, STEPS apart for each."""
    normal = (np.arange(2 * LIMIT * STEPS + 1) + 0.5) / STEPS - LIMIT
    return (special.gammaincinv(looks, special.ndtr(normal)) / looks).astype(np.float32)


def gamma_from_normal(normal: Float, looks: float = LOOKS) -> Float:
    """Gamma variables of mean 1 and so many looks from standard normal ones, rank by rank."""
    scaled = (normal + np.float32(LIMIT)) * np.float32(STEPS)
    np.clip(scaled, 0, 2 * LIMIT * STEPS, out=scaled)
    return _table(looks)[scaled.astype(np.int32)]


class SpeckleRows:
    """Correlated speckle of a scene, a strip of rows after another, without seams.

    `key` makes the random stream; strips must be asked for in order and have the same height
    (the last may be lower). `correlation`: deviation (pixels) of the filter that correlates it.
    """

    def __init__(
        self,
        key: tuple[int, ...],
        width: int,
        looks: float = LOOKS,
        correlation: float = CORRELATION,
    ) -> None:
        self._key = key
        self._width = width + 2 * RADIUS
        self._looks, self._filter = looks, _kernel(correlation)
        self._strip = 0
        self._tail = stream(*key, 0).standard_normal((2 * RADIUS, self._width), dtype=np.float32)

    def next(self, height: int) -> Float:
        """The next strip, (height, width), of mean 1."""
        self._strip += 1
        rng = stream(*self._key, self._strip)
        fresh = rng.standard_normal((height, self._width), dtype=np.float32)
        white = np.concatenate([self._tail, fresh])
        self._tail = white[-2 * RADIUS :].copy()
        smooth = ndimage.correlate1d(white, self._filter, axis=0)[RADIUS:-RADIUS]
        smooth = ndimage.correlate1d(smooth, self._filter, axis=1)[:, RADIUS:-RADIUS]
        return gamma_from_normal(smooth, self._looks)


@cache
def _kernel(correlation: float) -> Float:
    """Filter along one axis that keeps the variance of white noise."""
    t = np.arange(-RADIUS, RADIUS + 1)
    kernel = np.exp(-0.5 * (t / correlation) ** 2)
    return (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)
